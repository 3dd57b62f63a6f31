"""Start training from a run that was trained on other people (--init).

In:  the folder of a complete run: of `fer-model pretrain`, on all people of a database, or of a run of the same method.
Out: Pretrained: weights to start from, and what is said of them in config.json, result.json and the log; seen_before, the same for a
     report, with what that run had started from itself. Networks of other sizes are refused, and people of the held-out sides: a
     network that has seen them is not tested by them. So are databases that hold the pictures that are tested, where it is not known
     who is in them.

                                DE-GAN, stage 1                                             cnn, timm
    carried over                encoder, D's trunk, decoder (columns of f(x) and noise)     all but the classifier
    made new                    D's heads, the decoder's columns of the identity code       the classifier, BN's statistics

A stage 1 that was pre-trained where people are unknown has no columns of a code and no D^i: both are new like anybody's.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_data.datasets.published import parts_of
from fer_data.files import sha256_of_bytes
from fer_data.people import people_text
from fer_data.text import counted
from fer_model.config import PRETRAINED, STAGES_OF, TrainConfig
from fer_model.data.fold import Fold, in_common, people_in
from fer_model.engine import checkpoint
from fer_model.errors import ConfigError, FoldError
from fer_model.runs.differences import first_difference
from fer_model.runs.folder import RunFolder
from fer_model.runs.given_weights import refuse_same_pictures, told
from fer_model.stages.classifier import ClassifierStage
from fer_model.stages.gan import GanStage
from fer_model.stages.registry import STAGES

__all__ = ["CARRIED", "NEW", "Pretrained", "command_from", "databases_seen", "names_people", "names_seen", "read_pretrained", "seen_before",
           "with_init"]

# By stage: what is carried over, what is made new.
CARRIED = {"gan": ("encoder", "discriminator's trunk", "decoder, its columns of f(x) and noise")}
NEW = {"gan": ("discriminator's heads", "decoder's columns of the identity code")}
CARRIED |= dict.fromkeys(PRETRAINED, ("all layers but the classifier",))
NEW |= dict.fromkeys(PRETRAINED, ("classifier", "statistics of BN"))
# Fields of NetworkConfig that need not agree: the new parts are initialised and scaled as the new run says.
FREE = ("init_std", "code_scale")
# Fields of a classifier's own section that decide sizes.
SIZES = ("arch", "channels", "features", "members")


@dataclass(frozen=True)
class Pretrained:
    """A trained network to start from."""

    run: Path
    tensors: dict[str, Tensor]        # network/name, as Stage.weights gives them
    sha256: str                       # of the stage's file
    dataset: str
    people: tuple[str, ...]           # dataset/subject, all whose faces are known to have shaped the weights
    n_people: int                     # of `dataset`; 0: people unknown
    n_faces: int
    kimg: float
    stage: str                        # which it is
    before: dict | None               # the entry of what that run itself had started from, without names; None: random weights

    def entry(self) -> dict:
        """Return what config.json says of it."""
        return {
            "run": str(self.run), "sha256": self.sha256, "dataset": self.dataset, "n_people": self.n_people, "n_faces": self.n_faces,
            "kimg": self.kimg, "carried_over": list(CARRIED[self.stage]), "made_new": list(NEW[self.stage]),
            "people": list(self.people), **({} if self.before is None else {"before": self.before}),
        }

    def sentence(self) -> str:
        """Return the same for people."""
        return (
            f"{self.run} ({seen_before(self.entry())}); carried over: {'; '.join(CARRIED[self.stage])}; made new:"
            f" {'; '.join(NEW[self.stage])}"
        )

    @torch.no_grad()
    def start(self, stage: GanStage | ClassifierStage) -> None:
        """Give a fresh stage what is carried over; the rest keeps its random weights."""
        if isinstance(stage, ClassifierStage):
            self._start_classifier(stage)
            return
        checkpoint.load_module("discriminator/trunk", stage.discriminator.trunk, self._part("discriminator/trunk."), str(self.run))
        for generator in {stage.generator, stage.finished}:
            checkpoint.load_module("encoder", generator.encoder, self.tensors, str(self.run))
            n_f, _, n_noise = generator.decoder.inputs
            mine, theirs = generator.decoder.fc.weight.clone(), self.tensors["decoder/fc.weight"]        # (N_f * base^2, N_f + N_i + N_z)
            mine[:, :n_f], mine[:, -n_noise:] = theirs[:, :n_f], theirs[:, -n_noise:]
            checkpoint.load_module("decoder", generator.decoder, {**self.tensors, "decoder/fc.weight": mine}, str(self.run))

    def _start_classifier(self, stage: ClassifierStage) -> None:
        for network in (stage.learner.network, stage.used[stage.name]):
            for name, tensor in network.carried().items():
                tensor.copy_(self.tensors[f"{self.stage}/{name}"])
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.reset_running_stats()

    def _part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors below `prefix`, a network's part, as a network of their own."""
        network = prefix.rstrip(".")
        return {f"{network}/{name.removeprefix(prefix)}": t for name, t in self.tensors.items() if name.startswith(prefix)}


def seen_before(init: dict, whole: bool = False) -> str:
    """Return what the weights that a run started from had seen, from the entry that config.json has of them: database, people, faces.

    `whole`: of a file of weights every tensor is named that was not taken or is new.
    """
    if "said" in init:                                                   # a file of weights
        return told(init) if whole else init["said"]
    before = f"; before that {seen_before(init['before'], whole)}" if init.get("before") else ""
    return f"{init['dataset']}: {people_text(_n_people(init))}, {init['n_faces']} faces, {init['kimg']:g} kimg{before}"


def names_seen(init: dict | None) -> str:
    """Return the names of what the weights of an entry had seen, the last first: `ImageNet`, `ck48, before that fer2013`; None: "".

    Of a file of weights it is what the user says, or the file's own name.
    """
    return ", before that ".join(str(one.get("dataset") or one.get("trained_on") or one.get("file")) for one in _starts(init))


def names_people(init: dict) -> bool:
    """Say whether the entry of a start names everybody in its pictures; a file of weights names nobody, nor does a database without ids."""
    before = init.get("before")
    return "said" not in init and _n_people(init) > 0 and (not before or names_people(before))


def _n_people(init: dict) -> int:
    """Return of how many people an entry's database is; 0: unknown. A run of an older program has all names and no number."""
    return init.get("n_people", len(init.get("people", ())))


def command_from(config: dict, run: str) -> str:
    """Return the command that starts from a run of pretrain, which `run` names; `config`: as its config.json has it."""
    method = "" if config["method"] == "pretrain" else f" --method {config['method']}"
    return f"fer-model train --fold 0 --data PREPARED{method} --preset {config['preset']} --init {run}"


def with_init(config: TrainConfig, run: Path | None) -> TrainConfig:
    """Return the configuration that names the weights of a run as those it starts from; None: as it is.

    Raises ConfigError if the method starts from no run, RunError if the run has no complete stage of this kind.
    """
    if run is None:
        return config
    return replace(config, init=sha256_of_bytes(RunFolder(run).read_weights(_stage_of(config, run))))


def _stage_of(config: TrainConfig, run: Path) -> str:
    """Return the stage that starts from a run."""
    found = next((stage for stage in config.stages if stage in CARRIED), None)
    if found is None:
        raise ConfigError(f"starting from {run}: method {config.method} has no stage 1 that could start from a run; leave --init out")
    theirs = RunFolder(run).read_content()["config"]["method"]
    if found not in STAGES_OF.get(theirs, (found,)):
        option = "no --method" if theirs == "pretrain" else f"--method {theirs}"
        raise ConfigError(f"starting from {run}: it was trained with method {theirs}, and {config.method} is asked for; give {option} here")
    return found


def read_pretrained(run: Path, config: TrainConfig, fold: Fold) -> Pretrained:
    """Return what a run of `config` on `fold` starts from: the same stage of a complete run.

    Raises RunError if the run is not complete, ConfigError if its networks have other sizes, FoldError if it was trained on
    somebody, or on pictures, held out here.
    """
    folder, stage = RunFolder(run), _stage_of(config, run)
    theirs, content = folder.read_config()
    folder.read_result()
    data = folder.read_weights(stage)
    tensors = checkpoint.read_tensors(folder.weights(stage))
    _refuse_other_sizes(run, stage, tensors, theirs, config, len(fold.classes))
    before, own = content["init"], [*content["identities"], *content["validation_people"]]     # it may have started from another itself
    people = sorted({*own, *(before["people"] if before else ())})
    before = before and {**{name: value for name, value in before.items() if name != "people"}, "n_people": _n_people(before)}
    held_out = in_common(people, [*people_in(fold.test), *people_in(fold.validation)])
    if held_out:
        raise FoldError(
            f"starting from {run}: it was trained on {min(held_out)} ({counted(len(held_out), 'person', 'people')} in all), who is held out"
            f" in fold {fold.number}; choose an --init that was trained on none of them"
        )
    for dataset, n_people in databases_seen({"dataset": content["dataset"], "n_people": len(own), "before": before}):
        if not n_people or not fold.identities:                          # nobody can say who is in both
            refuse_same_pictures(f"starting from {run}", dataset, fold.test["dataset"].unique())
    counts = len(own), content["n_train"], getattr(theirs, stage).kimg
    return Pretrained(Path(run), tensors, sha256_of_bytes(data), content["dataset"], tuple(people), *counts, stage, before)


def databases_seen(init: dict | None) -> Iterator[tuple[str, int]]:
    """Yield each database that the weights of an entry have seen, the last one first, and of how many known people the pictures were.

    Of a joined database each part is yielded. What a user said of a file (--trained-on) is yielded as it is: it may be FER+. None: nothing.
    """
    for one in _starts(init):
        said = one.get("trained_on")
        for dataset in [said] if said else parts_of(one.get("dataset", "")):
            yield dataset, _n_people(one)


def _starts(init: dict | None) -> Iterator[dict]:
    """Yield the entry of a start, that of the start before it, and so on."""
    while init:
        yield init
        init = init.get("before")


def _refuse_other_sizes(
    run: Path, stage: str, tensors: dict[str, Tensor], theirs: TrainConfig, config: TrainConfig, n_classes: int
) -> None:
    """Raise ConfigError, naming the first difference, unless what is carried over has the same sizes in both."""
    what = f"starting from {run}: networks must have the same sizes, but"
    found = first_difference(_sizes(theirs, stage), _sizes(config, stage))
    if stage != "gan" and _fits(stage, tensors, config, n_classes):
        return
    if found:
        name, there, here = found
        fix = "prepare both with the same --colour" if name == "network.channels" else f"give both runs the same preset and the same {name}"
        raise ConfigError(f"{what} {name} is {there} there and {here} here; {fix}")
    if stage != "gan":
        raise ConfigError(f"{what} those of {stage} are not, though the settings are; train {run} again with this program")


def _sizes(config: TrainConfig, stage: str) -> dict[str, object]:
    """Return the fields that may decide the sizes of what is carried over, by name: those of the stage's own network first."""
    own = {f"{stage}.{name}": value for name, value in asdict(getattr(config, stage)).items() if name in SIZES}
    shared = {f"network.{name}": value for name, value in asdict(config.network).items() if name not in FREE}
    return shared if stage == "gan" else own | shared


def _fits(stage: str, tensors: dict[str, Tensor], config: TrainConfig, n_classes: int) -> bool:
    """Say whether a classifier's network finds all that it takes, of its own sizes."""
    network = STAGES[stage].fresh(config, n_classes, 0, torch.device("cpu"))[stage]
    theirs = {name: tensors.get(f"{stage}/{name}") for name in network.carried()}
    return all(theirs[name] is not None and theirs[name].shape == tensor.shape for name, tensor in network.carried().items())
