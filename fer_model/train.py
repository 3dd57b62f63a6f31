"""Train one run: stage after stage, then predict the test fold. Resumable at any point.

In:  a Job: OUT of `fer-data prepare`, a run folder, a TrainConfig; perhaps earlier runs whose stage 1 is taken, or started from.
Out: the run folder as runs/folder.py draws it; Outcome. plan.py says beforehand what it will cost. Method pretrain holds nobody
     out and ends with stage 1.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from fer_data.files import write_json_atomically
from fer_data.people import UNKNOWN, people_text
from fer_data.store.shards import refuse_damaged
from fer_data.text import counted
from fer_model.config import CELL_RULES, OFFICIAL, TrainConfig, steps_of, told_budget
from fer_model.data.fold import Fold, FoldReader, Prepared, people_in, read_prepared
from fer_model.engine import checkpoint, distributed, norm_elu
from fer_model.engine.devices import use_device, with_threads
from fer_model.engine.journal import Journal
from fer_model.engine.loop import Hook, run_stage
from fer_model.engine.stage import Stage
from fer_model.evaluate.figures import Evaluation, evaluate
from fer_model.evaluate.run_table import evaluate_run
from fer_model.job import Job, Start, settled, start_of
from fer_model.runs.folder import RunFolder, code_version, locked
from fer_model.runs.given_weights import GivenWeights
from fer_model.runs.predictions import judged, predictions_frame, write_predictions
from fer_model.runs.pretrained import command_from
from fer_model.runs.taken_over import GanSource, read_gan, refuse_itself
from fer_model.settings_text import describe, differences
from fer_model.stages.any_network import build_itself
from fer_model.stages.inputs import StageInputs
from fer_model.stages.registry import STAGES, refuse_uneven, refuse_unfit, with_helpers

__all__ = ["Outcome", "finished", "refuse_other_run", "train", "training"]

Result = TypeVar("Result")

RULES = {
    "epoch": "last",                  # or validation's; no epoch is chosen by looking at the test fold
    "test_view": "centre crop, unrotated, not mirrored",
    "unit": "frame: each image; sequence: mean probability over its images",
    "interval": "95 %, bootstrap over the people of the test fold",
}
# ... and of a run whose people are unknown
UNKNOWN_RULES = {
    "people": f"{UNKNOWN}: the database does not say who is in its pictures; whether somebody is trained on and tested, nobody can tell",
    "interval": "95 %, bootstrap over the pictures of the test part: too narrow if some show the same person",
}


@dataclass(frozen=True)
class Outcome:
    """What `train` ends with."""

    run: Path
    evaluation: Evaluation | None     # None: nobody was held out, or the test fold stays closed
    was_complete: bool                # nothing was left to do

    def to_json(self) -> dict:
        """Return what result.json holds, and the figures as `evaluate --json` prints them."""
        figures = {"evaluation": self.evaluation.to_json()} if self.evaluation else {}
        return {"run": str(self.run), "was_complete": self.was_complete, **RunFolder(self.run).read_result(), **figures}

    def __rich__(self):
        """Return the figures under the run's name, for the console."""
        from rich.console import Group
        from rich.markup import escape

        name = escape(f"{self.run}: complete" + ("; nothing was left to do" if self.was_complete else ""))
        return Group(name, self.evaluation or escape(self._next()))

    def _next(self) -> str:
        """Return the command that goes on from a run without figures."""
        content = RunFolder(self.run).read_content()
        if content["config"]["fold"] is not None:
            return "its test fold stayed closed: there are no figures"
        return f"`{command_from(content['config'], str(self.run))}` starts from it"


def finished(going: Generator[None, None, Result]) -> Result:
    """Return what a generator returns at its end."""
    while True:
        try:
            next(going)
        except StopIteration as end:
            return end.value


def train(
    job: Job,
    device: str = "auto",             # auto, cpu, cuda, cuda:N
    resume: bool = True,              # False: remove what an earlier run left in the folder, and start again
    say: Callable[[str], None] = print,
    hook: Hook | None = None,         # as in engine.loop.run_stage
    save_every_s: float = 60.0,       # as in engine.loop.run_stage
    prepared: Prepared | None = None,         # job.data, where the caller has read it already
) -> Outcome:
    """Train what is left to train, predict the test fold, evaluate.

    Raises children of FerError: fold, device, configuration, checkpoint, divergence.
    """
    return finished(training(job, device, resume, say, hook, save_every_s, prepared, "--no-resume"))


def training(
    job: Job, device: str, resume: bool = True, say: Callable[[str], None] = print, hook: Hook | None = None,
    save_every_s: float = 60.0, prepared: Prepared | None = None, anew: str = "",
) -> Generator[None, None, Outcome]:
    """Do what `train` does, with a yield where engine.loop.run_stage has one. Closed before its end, it leaves a run that resumes.

    `anew`: as in RunFolder.open; "": remove the folder.
    """
    run, prepared = job.run, prepared or read_prepared(job.data)
    fold, where = prepared.fold_of(job.config), use_device(distributed.local_device(device))
    refuse_itself(run, job.gan, job.init, job.weights and job.weights.parent)
    made = replace(job.config, network=replace(job.config.network, channels=prepared.channels))
    refuse_unfit(made, len(fold.classes), len(fold.identities))
    distributed.join(where)
    folder = RunFolder(run)
    if distributed.is_first():
        folder.refuse_strangers()
    # All that can be refused is refused before the folder is touched: with resume=False a finished run may lie there.
    config = settled(job, prepared, fold, where, resume)
    tests = config.tested and len(fold.test) > 0
    reader = FoldReader(job.data, fold, where, lambda: tests and all(folder.weights(name).is_file() for name in config.stages))
    neutral = reader.neutral() if "neutral" in config.stages else None
    inputs = StageInputs(config, fold, reader.train(), where, reader.validation(), neutral)
    taken = None if job.gan is None else read_gan(job.gan, config, fold)
    done = {name for name in with_helpers(config.stages) if resume and folder.weights(name).is_file()}
    if not (resume and folder.result.is_file()):                         # what is complete looks at no face again
        refuse_damaged(prepared.path, prepared.settings["shards"])
    refuse_uneven(config, {*done, *(taken.weights if taken else ())}, distributed.size())
    start = start_of(job, config, fold)
    inputs = replace(inputs, begun_with=start.begun_with if isinstance(start, GivenWeights) else None)
    with locked(run), with_threads(folder.threads() if resume and where.type == "cpu" else None):
        if distributed.is_first() and not resume:
            folder.clear()
        with distributed.first_one_first():
            config = folder.open(config, fold, prepared, start and start.entry(), where, anew or f"remove {run}")
        if folder.result.is_file():
            return Outcome(run, evaluate_run(run) if tests else None, was_complete=True)
        distributed.wait()
        journal = Journal(folder.log, say)
        _announce(config, differences(job.config), fold, where, journal)
        last = yield from _train_stages(inputs, folder, journal, hook, save_every_s, taken, start)
        evaluation = None
        with distributed.first_one_first():
            if tests and distributed.is_first():
                shards = prepared.settings["shards"]                     # looked at again: training took long
                refuse_damaged(prepared.path, {name: shards[name] for name in sorted(set(fold.test["shard"]))})
                found = last.predict(reader.test()).numpy()              # (n, K)
                write_predictions(folder.predictions, predictions_frame(fold.test, found, fold.classes))
            if tests:
                evaluation = evaluate(judged(folder.read_predictions()))
            if distributed.is_first():
                write_json_atomically(folder.result, _result(config, fold, last, evaluation, journal, start))
        return Outcome(run, evaluation, was_complete=False)


def refuse_other_run(job: Job, prepared: Prepared, device: torch.device, whole: Path) -> bool:
    """Return whether the run folder holds this run, complete; nothing is trained or written. `whole`: the folder of the command.

    Raises ConfigError if it holds a run of another configuration or on other data, RunError if it holds something else.
    """
    folder = RunFolder(job.run)
    if not job.run.is_dir():
        return False
    folder.refuse_strangers()
    if not folder.config.is_file():
        return False
    folder.refuse_other_data(prepared, f"remove {whole}")                # all of its runs are on the same data; these may have other folds
    fold = prepared.fold_of(job.config)
    said = None if job.weights is None else {"trained_on": job.trained_on}
    folder.open(settled(job, prepared, fold, device), fold, prepared, said, device, f"remove {job.run.parent}")
    return folder.result.is_file()


def _announce(config: TrainConfig, changed: dict, fold: Fold, device: torch.device, journal: Journal) -> None:
    entry = {
        "event": "start", "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "device": str(device), "torch": torch.__version__,
        "threads": torch.get_num_threads(), "processes": distributed.size(), "code_version": code_version(), "config": asdict(config),
    }
    kimg = " + ".join(told_budget(getattr(config, name)) for name in config.stages)
    shuffled = f" (folds shuffled, seed {config.fold_seed})" if config.fold_rule == "shuffled" else ""
    whole = f"all of {fold.dataset}" if fold.identities else f"{fold.dataset}, but for the parts that its own split tests and chooses by"
    where = whole if fold.number is None else f"fold {fold.number} of {fold.dataset}{shuffled}"
    if config.fold_rule in CELL_RULES:
        where = f"draw {fold.number} of {fold.dataset} ({config.fold_rule}, seed {config.fold_seed})"
    if config.fold_rule == OFFICIAL:
        where = f"the official split of {fold.dataset}"
    each = f" in each of {distributed.size()} processes" if distributed.size() > 1 else ""
    shared = f" ({counted(torch.get_num_threads(), 'thread')}{each})" if device.type == "cpu" else each
    known = f"of {people_text(len(fold.identities))}" if fold.identities else f"({UNKNOWN})"
    tested = "nobody held out" if fold.number is None else f"tested on {len(fold.test)}" if config.tested else "the test fold stays closed"
    sentence = (
        f"{config.name} on {where}: {len(fold.train)} faces {known},{_aside(fold)} {tested};"
        f" preset {config.preset}, {kimg} kimg, {device}{shared}, {config.precision}"
    )
    journal.write(entry, sentence)
    ours = any(STAGES[name].build is not build_itself for name in config.stages)
    if ours and (why := norm_elu.why_not(device, config.precision)):
        journal.write({"event": "kernels", "what": why}, why)
    if distributed.is_first():
        for line in describe(config, changed):
            journal.say(line)


def _aside(fold: Fold) -> str:
    if not fold.identities and len(fold.validation):
        return f" {len(fold.validation)} more to choose the weights by,"
    return f" {len(people_in(fold.validation))} more people set aside to choose the weights by," if len(fold.validation) else ""


def _train_stages(
    inputs: StageInputs, folder: RunFolder, journal: Journal, hook: Hook | None, save_every_s: float,
    taken: GanSource | None, start: Start | None,
) -> Generator[None, None, Stage]:
    """Train or load each stage in order, as training yields; return the last one, which predicts unless nobody is held out."""
    for name in with_helpers(inputs.config.stages, taken.weights if taken else ()):
        stage, path = STAGES[name].make(inputs), folder.weights(name)
        if not path.is_file() and taken is not None and name in taken.weights:
            if distributed.is_first():
                taken.copy_to(folder, name)
            journal.write({"event": "taken over", "stage": name, **taken.entry(name)}, f"{name} is taken over from {taken.run}")
        elif not path.is_file():
            if start is not None and name == start.stage:
                start.start(stage)
                journal.write({"event": "started from", "stage": name, **_without_people(start)}, f"{name} starts from {start.sentence()}")
            yield from run_stage(stage, folder.checkpoints, journal, save_every_s, hook, STAGES[name].watchers(inputs, folder.path))
            if distributed.is_first():
                checkpoint.write_tensors(path, stage.weights())          # from here on the stage is complete
        distributed.wait()
        if distributed.is_first():
            checkpoint.remove(folder.checkpoints, name)
        stage.load_weights(checkpoint.read_tensors(path), str(path))
        inputs = inputs.after(stage)
    return stage


def _without_people(start: Start) -> dict:
    entry = start.entry()
    return {**entry, "people": len(entry["people"])}


def _rules(config: TrainConfig, fold: Fold, chosen: dict | None, start: Start | None) -> dict[str, str]:
    """Return how the figures came about, in words; `chosen` is the last look at the validation faces."""
    rules = RULES | {"probability": config.probability}
    if chosen is not None:
        people = people_in(fold.validation)
        whose = f"of {len(people)} training people set aside" if people else "of the validation part, or of training pictures set aside"
        rules["epoch"] = (
            f"the best on {len(fold.validation)} faces {whose}, in no stage trained on;"
            f" looked at every {getattr(config, chosen['stage']).tick_steps * config.validation_every} steps"
        )
    if config.fold_rule == OFFICIAL:
        rules |= UNKNOWN_RULES
    if config.fold_rule in CELL_RULES:
        rules["tested"] = f"{config.fold_rule}: on people of the training, of expressions that they do not show in it"
    rules["pre_training"] = "none" if start is None else start.sentence()
    if not config.tested:
        rules["tested"] = "nobody: the test fold stayed closed, the run is one of a choice between settings"
    untested = ("epoch", "pre_training", *(["tested"] if not config.tested else []))
    return {name: rules[name] for name in untested} if fold.number is None or not config.tested else rules


def _result(config: TrainConfig, fold: Fold, last: Stage, evaluation: Evaluation | None, journal: Journal, start: Start | None) -> dict:
    stages = {}
    for name in config.stages:
        members = getattr(getattr(config, name), "members", 1)           # each is shown the whole budget
        kimg = members * getattr(config, name).kimg
        ticks = [line for line in journal.lines if line.get("event") == "tick" and line["stage"] == name]
        stages[name] = {
            "kimg": kimg, "steps": steps_of(getattr(config, name)),
            "passes_over_faces": round(kimg * 1000 / len(fold.train), 2), "seconds": round(sum(line["seconds"] for line in ticks), 1),
        }
        if ticks and all("processor_seconds" in line for line in ticks):         # a run of before has none
            stages[name]["processor_seconds"] = round(sum(line["processor_seconds"] for line in ticks), 1)
    looks = [line for line in journal.lines if "best_step" in line]
    for line in looks[-1:]:
        stages[line["stage"]] |= {"chosen_step": line["best_step"], "validation_accuracy": line["best_validation_accuracy"]}
    for line in journal.lines:
        if line["event"] == "taken over":
            costs = {name: line[name] for name in ("seconds", "processor_seconds") if line.get(name) is not None}
            stages[line["stage"]] |= {**costs, "taken_from": line["run"], "sha256": line["sha256"]}
    return {
        "method": config.method, "name": config.name, "preset": config.preset, "dataset": fold.dataset, "fold": fold.number,
        "seed": config.seed, "stages": stages, "rules": _rules(config, fold, looks[-1] if looks else None, start),
        "init": None if start is None else _without_people(start), "n_train": len(fold.train), "people": len(fold.identities),
        "parameters": sum(one.numel() for network in last.networks().values() for one in network.parameters()),
        "manifest_sha256": fold.manifest_sha256, "code_version": code_version(),
        **({} if evaluation is None else {"evaluation": evaluation.to_json()}),
    }
