"""The program `fer-model`: from prepared faces to a fold's accuracy. Each command parses, calls one library function, prints."""

import os
import sys
from dataclasses import replace
from functools import wraps
from pathlib import Path

import click

from cli import common, options
from cli.options import choice, flag, number, together
from fer_model.config import FOLD_RULES, HEADS, METHODS, NETWORKS, OFFICIAL, PRESETS, PRETRAINED, SELECTIONS, STAGES_OF

__all__ = ["main"]

# Threads that wait for each other sleep. Spinning, OpenMP's habit, is slow as soon as another process wants a core: one
# step of DE-GAN took 9.3 s in place of 2.2 s on 2 shared cores. Read when torch is imported, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@click.group(cls=common.Group, epilog=common.COMPLETION.format("FER_MODEL", "fer-model"))
@common.version_option
def main():
    """Train DE-GAN, its FER head and the CNN baseline on subject-disjoint folds, and report what they reach.

    \b
    fer-model train --fold 0 --preset small
    fer-model crossval --preset small --set gan.lr=1e-4
    fer-model evaluate runs/ck+-degan-fold0
    """


# --- settings: the options that choose a configuration ----------------------------------------------------------------

PRESET_HELP = (
    "smoke: seconds; small: minutes a fold on 2 cores; strong: small, longer, with mixup and averaged weights;"
    " pretrained: small for a run that starts from another, shorter; paper: the paper's numbers where it gives them, DR-GAN's layers (weeks"
    " without a GPU)."
)
preset_option = choice("--preset", PRESETS, PRESET_HELP, "preset_name", default="small")


def kimg(stage, text):
    """Return the option that overrides a stage's budget."""
    kind = click.FloatRange(0, min_open=True)
    return click.option(f"--kimg-{stage}", type=kind, metavar="KIMG", help=f"{text}, in thousands of images.")


def complete_key(context, option, begun):
    """Return the settings whose names begin like this."""
    from fer_model.settings import ELSEWHERE, kinds

    return [f"{key}=" for key in kinds() if key.startswith(begun) and key not in ELSEWHERE]


def set_option(text, value):
    """Return --set."""
    return click.option("--set", "sets", multiple=True, metavar=f"NAME={value}", shell_complete=complete_key, help=text)


SETTINGS = (
    preset_option,
    click.option("--config", "file", type=options.FILE, metavar="YAML", help="Settings from a file, as `fer-model config` prints them."),
)
SET = set_option("Any setting by its name, such as gan.lr=1e-4; `fer-model config` lists them. May be repeated.", "VALUE")
METHOD = (
    click.option("--method", type=options.Method(METHODS, NETWORKS), default=METHODS[0], show_default=True,
                 help="DE-GAN and its head; DE-AE, without an adversary, with the baseline's network or with the head; DeRL and IACNN,"
                      " rivals of the paper's; a plain CNN as baseline; a network of the library timm (extra [timm]); or your own"
                      " network, FILE.py:Class, whose code is run."),
    choice("--head", HEADS, "What predicts. both: small CNNs on layers inside the encoder (taps) and its output f(x), as in the paper;"
                            " taps: without f(x); f-mlp and f-svm: f(x) alone."),
    click.option("--arch", cls=options.Option, metavar="NAME", show_default="resnet18", help="Which network of timm, by timm's name."),
    choice("--selection", SELECTIONS, "Keep the weights after the last step, or the best on people held out of the training set."),
)
BUDGETS = (
    kimg("gan", "Budget of DE-GAN (stage 1)"),
    kimg("head", "Budget of the FER head (stage 2)"),
    kimg("cnn", "Budget of the baseline (default: that of stages 1 and 2 together)"),
)
WEIGHTS = (
    click.option("--weights", type=options.FILE, metavar="FILE", help="Start timm's or your own network from the tensors of a file."),
    flag("--pretrained", "Start the network of timm from the weights that timm names for it; fetched once from the Hub."),
    click.option("--trained-on", metavar="NAME", help="What the weights were trained on; kept in the run, and refused if it has the"
                                                      " pictures that are tested."),
)
FOLD_SEED = number("--fold-seed", 0, 0, "Seed of shuffled folds, or of draws; for --repeats, of the first repeat.")
# Parameter -> setting. One that was not given on the command line leaves its setting to the file, or to the preset.
NAMED = {
    "preset_name": "preset", "method": "method", "fold": "fold", "fold_rule": "fold_rule", "fold_seed": "fold_seed", "seed": "seed",
    "selection": "selection", "head": "head.variant", "arch": "timm.arch",
    "kimg_gan": "gan.kimg", "kimg_head": "head.kimg", "kimg_cnn": "cnn.kimg",
}


def layers(**fixed):
    """Return what settings.configure needs of this command's options: named settings, a file, texts of --set."""
    context = click.get_current_context()
    given = {name for name in context.params if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT}
    named = {key: context.params[name] for name, key in NAMED.items() if name in given}
    if named.get("method", METHODS[0]) not in STAGES_OF:
        named |= own_network(named["method"])
    return {**named, **fixed}, context.params["file"], context.params["sets"]


def undecided(init, weights=None, pretrained=False, repeats=0):
    """Return the settings that this command's other options decide: --init and the like, --repeats."""
    return [*(["init"] if init or weights or pretrained else []), *(["fold_rule"] if repeats else [])]


def own_network(given):
    """Run the code of the user's network, and return what names it in a configuration."""
    from fer_model.stages.own_network import allow

    network, sha256 = allow(given)
    return {"method": "own", "own.network": network, "own.sha256": sha256}


@main.command()
@choice("--method", STAGES_OF, "Whose stages are trained.")
@together(*SETTINGS, SET)
@click.option("--of", "run", type=options.RUN, metavar="RUN", help="Show what this run was trained with.")
@options.json()
def config(run, as_json, **_):
    """Print every setting with its value, type, allowed values and a line of help, as YAML that --config takes back.

    \b
    fer-model config --preset paper
    fer-model config --of runs/ck+-degan-fold0
    fer-model config --set gan.lr=1e-4 --json
    """
    from fer_model import settings_text

    named, *others = layers()
    if run and (named or any(others)):
        raise click.UsageError("--of RUN shows a run as it is. Leave out --of, or all other settings.")
    common.answer(settings_text.of_run(run) if run else settings_text.of_layers(named, *others), as_json)


# --- training ---------------------------------------------------------------------------------------------------------

_WHO_IS_TESTED = "Give either --fold N or --split official."


def or_fold(context, option, split):
    """Refuse a command that names neither, before its data are looked for."""
    if split is None and context.params.get("fold") is None:
        raise click.UsageError(_WHO_IS_TESTED)
    return split


@main.command(resumes=True)
@click.option("--fold", type=click.IntRange(0), metavar="N", help="The fold to test on, counted from 0.")
@click.option("--split", type=options.Choice([OFFICIAL]), callback=or_fold,
              help="In place of --fold: the split of a database whose people are unknown.")
@options.data()
@options.run("runs/<dataset>-<method>[-<head>...][-<preset>][-<start>][-<settings>]-fold<N>")
@together(*METHOD)
@options.gan("Take stage 1 from this finished run; its fold and settings must be equal.")
@options.init("Start the first stage from the weights of this `fer-model pretrain` run.")
@together(*WEIGHTS)
@together(*SETTINGS, SET)
@options.device()
@options.seed()
@choice("--fold-rule", [rule for rule in FOLD_RULES if rule != OFFICIAL],
        "manifest: the folds stored by fer-data; shuffled: the same number, people drawn at random;"
                                    " confounded, control, missing: one run of `fer-model shortcut`.")
@FOLD_SEED
@together(*BUDGETS)
@options.resume()
@options.dry_run()
@options.json()
def train(fold, split, data, run, gan, init, weights, pretrained, trained_on, device, resume, dry_run, as_json, **_):
    """Train on all folds except --fold, then test on that one; or train and test on the parts of the official split (--split).

    The settings are those of the preset; --config changes some, then --set, then the other options. Run the same command again to
    resume.

    \b
    fer-model train --fold 0 --preset small
    fer-model train --fold 0 --preset paper --dry-run
    fer-model train --fold 0 --preset small --set gan.lr=1e-4 --set head.dropout=0.3
    fer-model train --fold 0 --preset small --head taps --gan runs/ck+-degan-fold0
    fer-model train --fold 0 --preset small --method timm --arch resnet18 --weights resnet18.safetensors --trained-on ImageNet
    fer-model train --fold 0 --preset small --init runs/bu4dfe-pretrain
    fer-model train --split official --method cnn --data prepared-fer2013
    """
    from fer_model.settings import configure

    if fold is not None and split is not None:
        raise click.UsageError(_WHO_IS_TESTED)
    given = {"fold": 0, "fold_rule": OFFICIAL} if split else {}
    config = configure(*layers(**given), undecided=undecided(init, weights, pretrained))
    weights, trained_on = given_weights(config, init, weights, pretrained, trained_on, dry_run)
    _train(data, run, config, device, resume, dry_run, as_json, gan=gan, init=init, weights=weights, trained_on=trained_on)


@main.command(resumes=True)
@options.data()
@options.run("runs/<dataset>-pretrain[-<method>][-<preset>][-<settings>]")
@choice("--method", ["degan", *PRETRAINED], "Stage 1 of DE-GAN; the baseline; a network of the library timm.")
@together(*METHOD[2:])
@together(*SETTINGS, SET)
@options.device()
@options.seed()
@together(*BUDGETS[::2])
@options.resume()
@options.dry_run()
@options.json()
def pretrain(data, run, method, device, resume, dry_run, as_json, **_):
    """Train stage 1 of DE-GAN, or a classifier, on all people of a database. Runs on another one can start from it (train --init).

    Nobody is left out: train --init refuses a fold that tests on one of these people. Where people are unknown, the part that the
    database's own split tests is left out; where there is no split, nothing is. Both need the networks of the same preset. With --selection
    validation some people, or pictures, are set aside to choose the weights by.

    \b
    fer-model pretrain --data prepared-bu4dfe --preset small
    fer-model train --fold 0 --preset small --init runs/bu4dfe-pretrain
    fer-model pretrain --method cnn --data prepared-fer2013 --preset small --selection validation
    fer-model train --method cnn --fold 0 --preset pretrained --init runs/fer2013-pretrain-cnn-validation
    """
    from fer_model.settings import configure

    method = "pretrain" if method == "degan" else method
    _train(data, run, configure(*layers(method=method), [method], held_out=False, undecided=()), device, resume, dry_run, as_json)


def given_weights(config, init, weights, pretrained, trained_on, dry_run):
    """Return the file that training starts from, and what it was trained on; with --pretrained they are timm's."""
    named = [name for name, given in (("--init RUN", init), ("--weights FILE", weights), ("--pretrained", pretrained)) if given]
    if len(named) > 1:
        raise click.UsageError(f"{named[0]} and {named[1]} name two starts. Leave one of them out.")
    if not pretrained:
        return weights, trained_on
    from fer_model.stages.timm_network import hub_file

    path, theirs = hub_file(config, fetch=not dry_run)
    return path, trained_on or theirs


def _train(data, run, config, device, resume, dry_run, as_json, **sources):
    """Answer with what the run would cost, or train with a bar on a terminal and answer with the Outcome."""
    from fer_model.job import Job, default_run
    from fer_model.plan import plan
    from fer_model.train import train as library

    job = Job(data, run or Path(), config, **sources)
    job = replace(job, run=run or default_run(job))
    if dry_run:
        common.answer(plan(job, device, resume=resume), as_json)
        return
    with common.training_bar() as hook:
        found = library(job, device, resume, common.tell if as_json else common.show, hook)
    common.answer(found, as_json)


@main.command("check-device")
@options.device()
@preset_option
@options.json()
def check_device(device, preset_name, as_json):
    """Train a few steps on a device and on the CPU, compare the numbers, and measure the speed. Needs no data.

    \b
    fer-model check-device
    fer-model check-device --device cuda:1 --preset paper
    """
    from fer_model.check_device import check_device as library

    found = library(device, preset_name)
    common.answer(found, as_json)
    sys.exit(0 if found.good else 1)


def several_at_once(command):
    """Add --jobs and --devices. The command is given a number of jobs: one for each device, where none was typed."""

    @wraps(command)
    def with_jobs(*, jobs, devices, **given):
        return command(jobs=jobs or len(devices), devices=devices, **given)

    return together(
        click.option("--jobs", cls=options.Option, type=click.IntRange(1), metavar="N", show_default="one per device",
                     help="Runs at once; they share the cores, or the one GPU."),
        options.listed("--devices", str, "NAME,NAME", "auto, cpu, or cuda:0,cuda:1.", default="auto"),
    )(with_jobs)


FOLDS = options.listed("--folds", int, "N,N", "Only these folds, counted from 0.", unset="all")


@main.command(resumes=True)
@options.data()
@options.run("runs/<dataset>-<method>[-<preset>][-<start>][-<settings>][-seed<N>]")
@together(*METHOD)
@options.gan("Use each fold's stage 1 of this cross-validation.", "RUNS")
@options.init("Start each fold's first stage from this `fer-model pretrain` run.")
@together(*WEIGHTS)
@together(*SETTINGS, SET)
@FOLDS
@number("--repeats", 0, 0, "Repeat N times; each time the people are assigned to folds again.")
@FOLD_SEED
@options.seed()
@several_at_once
@together(*BUDGETS)
@options.dry_run()
@options.json()
def crossval(data, run, gan, init, weights, pretrained, trained_on, folds, repeats, jobs, devices, dry_run, as_json, **_):
    """Hold out each fold in turn, train on the others, then pool the predictions.

    Run the same command again to resume: complete folds are kept. --repeats shows how much a figure depends on who is in which
    fold.

    \b
    fer-model crossval --preset small --method cnn --jobs 2
    fer-model crossval --preset small --method cnn --repeats 5
    fer-model crossval --preset small --set head.dropout=0.3
    fer-model crossval --preset small --head taps --gan runs/ck+-degan
    """
    from fer_model import crossval as library
    from fer_model.job import Job
    from fer_model.settings import configure

    config = configure(*layers(), undecided=undecided(init, weights, pretrained, repeats))
    weights, trained_on = given_weights(config, init, weights, pretrained, trained_on, dry_run)
    job = Job(data, run or Path(), config, gan, init, weights, trained_on)
    job = replace(job, run=run or library.default_crossval(job, repeats))
    if dry_run:
        common.answer(library.plan_crossval(job, folds, repeats, jobs, devices), as_json)
        return
    found = library.crossval(job, folds, repeats, jobs, devices, common.tell if as_json else common.show)
    common.answer(found, as_json)
    found.refuse_failed()


@main.command(resumes=True)
@options.data()
@options.run("runs/<dataset>-<method>[-<preset>][-<start>]-sweep-<setting>...")
@set_option("A setting with the values to try, such as gan.lr=1e-4,2e-4. May be repeated; every combination is trained.", "VALUE,VALUE")
@together(*METHOD)
@options.init("Start each run from this run of pretrain.")
@together(*SETTINGS)
@FOLDS
@options.listed("--seeds", int, "N,N", "Train each combination with each of these seeds.", default="0")
@several_at_once
@together(*BUDGETS)
@options.dry_run()
@options.json()
def sweep(data, run, init, folds, seeds, jobs, devices, dry_run, as_json, **_):
    """Train every combination of a few settings on the same folds and seeds; print one table of accuracy and cost.

    Run the same command again to resume: complete runs are kept. Lists need brackets: gan.betas=[0,0.9],[0.5,0.999]. The table is
    also written as sweep.json. With --selection validation no test fold is opened: the table shows what was reached on training
    people set aside.

    \b
    fer-model sweep --set gan.lr=1e-4,2e-4 --set network.code_scale=1,10 --folds 0,1 --seeds 0,1
    fer-model sweep --set cnn.dropout=0,0.3,0.5 --method cnn --jobs 2
    fer-model sweep --set head.dropout=0.3,0.5 --selection validation --dry-run
    fer-model sweep --set cnn.carried_lr=0.03,0.1 --method cnn --init runs/fer2013-pretrain-cnn --selection validation --folds 0,1,2
    """
    from fer_model import sweep as library

    points = library.grid(*layers(), undecided(init))
    asked = library.Sweep(data, run or Path(), points, folds, seeds, init)
    asked = replace(asked, path=run or library.default_sweep(asked))
    if dry_run:
        common.answer(library.plan_sweep(asked, jobs, devices), as_json)
        return
    found = library.sweep(asked, jobs, devices, common.tell if as_json else common.show)
    common.answer(found, as_json)
    found.refuse_failed()


def without_data(context, option, path):
    """Leave --data alone: it need not be there to show a folder that `shortcut` wrote."""
    if path is not None:
        context.default_map = {"data": str(path)}
    return path


@main.command(resumes=True)
@click.option("--show", type=options.RUN, metavar="FOLDER", is_eager=True, callback=without_data,
              help="Train nothing; show what is complete in this folder.")
@options.data()
@options.run("runs/<dataset>-shortcut-<preset>")
@together(*METHOD[:3], *SETTINGS, SET)
@click.option("--set-cnn", "baseline_sets", multiple=True, metavar="NAME=VALUE", shell_complete=complete_key,
              help="A setting of the CNN that the method is compared with, which otherwise has those of the preset. May be repeated.")
@options.gan("Use stage 1 of this arm, draw by draw and seed by seed.", "ARM")
@choice("--design", ["confounded", "missing"], "confounded: each person shows two expressions in training, for a folder in which everybody"
                                               " shows all; missing: one expression of each person is left out, for any other.")
@number("--draws", 3, 1, "Draw people and what they show N times.")
@options.listed("--seeds", int, "N,N", "Train each draw with each of these seeds.", default="0,1,2,3,4")
@flag("--control", "Train the method on the control too. The baseline always is.")
@FOLD_SEED
@several_at_once
@options.dry_run()
@options.json()
def shortcut(show, data, run, baseline_sets, seeds, jobs, devices, dry_run, as_json, **given):
    """Measure how far a method leans on who is shown: test people on expressions that they do not show in training.

    The baseline CNN is trained next to it, also on a control: the same people and number of pictures, all expressions. Run the same
    command again to resume; with another --method it adds to the table. The table is also written as shortcut.json.

    \b
    fer-model shortcut --preset small --method cnn
    fer-model shortcut --preset small --method degan --draws 1 --seeds 0
    fer-model shortcut --preset small --head f-svm --gan runs/table-shortcut-small/degan-confounded
    fer-model shortcut --preset small --method degan --design missing --dry-run
    fer-model shortcut --show runs/table-shortcut-small
    """
    from fer_model import shortcut as library

    if show is not None:
        context = click.get_current_context()
        typed = {name for name in context.params if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
        if typed - {"show", "as_json"}:
            raise click.UsageError("--show FOLDER shows what is there. Leave out --show, or all other options but --json.")
        common.answer(library.show(show), as_json)
        return
    wanted = {name: given[name] for name in ("design", "draws", "control", "gan")}
    shortcut = library.asked(data, run, layers(), baseline_sets, seeds, **wanted)
    if dry_run:
        common.answer(library.plan_shortcut(shortcut, jobs, devices), as_json)
        return
    found = library.shortcut(shortcut, jobs, devices, common.tell if as_json else common.show)
    common.answer(found, as_json)
    found.refuse_failed()


@main.command()
@click.argument("runs", type=options.RUN, nargs=-1, required=True)
@options.out_folder(Path("tensorboard"), formerly="--logdir")
@click.option("--follow", type=click.FloatRange(1), metavar="SECONDS", help="Look for new lines every so many seconds, until Ctrl-C.")
def tensorboard(runs, out, follow):
    """Write the logs of runs as event files for TensorBoard: every number, and synthesised faces. Needs the extra [tensorboard].

    \b
    fer-model tensorboard runs/ck+-degan
    fer-model tensorboard runs/ck+-degan runs/ck+-cnn --follow 30
    """
    from fer_model.use.tensorboard import write_events

    write_events(runs, out, follow, common.show)


@main.command()
@click.argument("runs", type=options.RUN, nargs=-1, required=True)
@options.own_code()
@options.data_of_run()
@choice("--vote", ["1", "10", "110"], "Views of an image that are averaged: the centre crop; five crops and their mirror images; all.")
@options.device()
@options.json()
def evaluate(runs, data, vote, device, as_json):
    """Show accuracy per frame and per sequence, macro recall and confusion matrix of a run, next to the majority class.

    A run is what train wrote, or what crossval wrote: then its folds are pooled. Several runs are shown in one table, each
    with its paired difference from the first. --data tests a run on another database, on the classes that both have;
    networks of the same folds are compared there.

    \b
    fer-model evaluate runs/ck+-degan-fold0
    fer-model evaluate runs/ck+-cnn runs/ck+-degan
    fer-model evaluate runs/ck+-degan --data prepared-mmi --vote 10
    """
    from fer_model.evaluate.run_table import evaluate_runs

    found = evaluate_runs(runs, data, int(vote), device)
    common.answer(found, as_json)


@main.command()
@click.argument("runs", type=options.RUN, nargs=-1, required=True)
@options.out_folder(Path("report"))
@flag("--no-faces", "Leave out synthesised faces, which are personal data.")
def report(runs, out, no_faces):
    """Write a report on runs: accuracy with its unit, average and interval, paired differences, the paper's tables.

    RUNS are run folders, or folders of folds that crossval wrote. Runs that differ only in fold and seed are one method. The
    files are report.html, report.md and report.json.

    \b
    fer-model report runs/ck+-degan runs/ck+-cnn -o report
    """
    from fer_model.report.report import write_report

    common.show(write_report(runs, out, faces=not no_faces))


@main.command()
@click.argument("run", type=options.RUN)
@options.out_file("card.md in RUN")
def card(run, out):
    """Write a model card in Markdown: what a run or a cross-validation reached, how, on whom, and what it is not for.

    \b
    fer-model card runs/ck+-degan
    """
    from fer_model.report.card import write_card

    common.show(write_card(run, out))


@main.command()
@click.argument("run", type=options.RUN)
@options.own_code()
@click.option("--baseline", type=options.RUN, help="Run of method cnn on the same fold. Its hidden layer is probed too.")
@options.data_of_run()
@options.device()
@options.seed()
@options.json()
def probe(run, baseline, data, device, seed, as_json):
    """Measure what the representation still knows of identity and of expression. Writes probe.json into the run.

    Identity (linear and MLP) across expressions, expression on unseen people, and verification; for f(x), the encoder's taps, the
    baseline's features and pixels. If RUN is a folder of folds, each fold is probed on its own test people.

    \b
    fer-model probe runs/ck+-degan-fold0 --baseline runs/ck+-cnn-fold0
    fer-model probe runs/ck+-degan --baseline runs/ck+-cnn
    """
    from fer_model.probe.probing import probe_run

    found = probe_run(run, baseline, data, device, seed, say=common.tell)
    common.answer(found, as_json)


@main.command()
@click.argument("run", type=options.RUN)
@number("--targets", 1, 1, "Synthesised faces of each source, of so many target identities.")
@options.data_of_run()
@options.device()
@options.seed()
@options.json()
def judge(run, targets, data, device, seed, as_json):
    """Have synthesised faces judged: do they show the expression of the source and the target identity? Writes judged.json into the run.

    All faces of the training people and of the test fold are sources; training people are drawn as themselves, too. The judges are the
    two CNNs that watched stage 1; what they reach on real faces is shown too. On photographs, dlib's face descriptor is asked about the
    identity as well. If RUN is a folder of folds, each fold is judged.

    \b
    fer-model judge runs/ck+-degan-fold0
    fer-model judge runs/ck+-degan --targets 3
    """
    from fer_model.probe.judging import judge_run

    common.answer(judge_run(run, data, device, seed, targets, say=common.tell), as_json)


@main.command()
@click.argument("run", type=options.RUN)
@click.option("--source", "sources", type=options.FILE, multiple=True, metavar="IMG", help="A picture with a face; may be repeated.")
@click.option("--source-id", "source_ids", multiple=True, metavar="ID", help="image_id of a face in the prepared folder; may be repeated.")
@options.listed("--identities", str, "S005,S010", "Target identities: training people, one column for each. An edit uses the first.")
@number("--columns", 8, 1, "Number of target identities, evenly spread, if --identities is not given.")
@click.option("--from", "start", metavar="EXPRESSION", help="Edit: move f(x) from the mean of this expression. Needs --to.")
@click.option("--to", "end", metavar="EXPRESSION", help="Edit: the expression to move to. Needs --from.")
@number("--steps", 7, 2, "Number of pictures of an edit, both ends included.")
@click.option("--gif", is_flag=True, help="Write the edit as an animation.")
@options.landmarks()
@options.out_file("transfer.png or edit-<from>-<to>.png in RUN")
@options.data_of_run()
@options.seed()
@options.device()
def transfer(run, sources, source_ids, identities, start, end, out, data, device, **settings):
    """Transfer the expression of faces to target identities (a sheet), or change it step by step (a strip or a GIF).

    \b
    fer-model transfer runs/ck+-degan-fold0 --source me.jpg --identities S005,S010
    fer-model transfer runs/ck+-degan-fold0 --source me.jpg --from happiness --to surprise --gif
    """
    if (start is None) != (end is None):
        raise click.UsageError("--from and --to go together")
    from fer_model.use import transfer as library

    request = library.Request(sources, source_ids, identities, edit=(start, end) if start else None, **settings)
    common.show(library.transfer(run, request, out, data, device))


@main.command()
@click.argument("run", type=options.RUN_OR_FILE)
@options.own_code()
@click.argument("source", shell_complete=click.Path().shell_complete)
@click.option("--format", "form", cls=options.Option, type=options.Choice(["table", "csv", "jsonl"]), help="Format of the predictions.",
              show_default="by the name of the file of --out, else table")
@options.json()
@options.out_file("print")
@click.option("--annotate", type=click.Path(path_type=Path), metavar="OUT", help="Draw what is found into this picture, folder or *.mp4.")
@options.landmarks()
@number("--every", 1, 1, "Use every N-th frame of a clip.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N pictures.")
@click.option("--small-faces/--no-small-faces", default=None, help="Look for small faces too.  [default: in pictures, not in clips]")
@click.option("--batch", type=click.IntRange(1, 64), default=64, show_default=True, help="Faces that the network sees at once.")
@options.device()
@click.option("--strict", is_flag=True, help="Exit 1 if a picture has no face or cannot be read.")
def predict(run, source, strict, as_json, **given):
    """Predict the expression of each face in a picture, a folder, a clip or a camera (its number).

    RUN is a run folder, or a file that export wrote. An .onnx file needs no PyTorch, unless FAN finds the faces. Faces are found
    and aligned as in the training. A face that is too small, or turned too far, is marked as doubtful. --json prints one JSON
    object on each line, one for each picture, as --format jsonl does.

    \b
    fer-model predict runs/ck+-degan-fold0 me.jpg --annotate seen.png
    fer-model predict runs/ck+-degan-fold0 holiday/ --format csv -o holiday.csv
    fer-model predict model.onnx talk.mp4 --every 5 --format jsonl -o talk.jsonl --annotate talk-seen.mp4
    fer-model predict runs/ck+-degan-fold0 0
    """
    if as_json and (given["out"] or given["form"] not in (None, "jsonl")):
        raise click.UsageError("--json prints the predictions as JSON lines. Leave out --json, or leave out --format and --out.")
    from fer_model.use import predict as library

    given["form"] = "jsonl" if as_json else given["form"]
    quiet = given["out"] is None and given["form"] != "table"                     # stdout holds predictions and nothing else
    found = library.predict(run, library.Request(source, **given), common.show_line, common.tell, common.progress)
    common.tell(found) if quiet else common.show(found)
    sys.exit(1 if found.nothing_read or (strict and found.incomplete) else 0)


@main.command()
@click.argument("run", type=options.RUN_OR_FILE)
@options.own_code()
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, metavar="N", help="Port of the page, on 127.0.0.1.")
@options.landmarks()
@options.device()
def demo(run, port, landmarks, device):
    """Open a page to try a network: a picture or the camera in, expressions and faces of target identities out. Needs the extra [demo].

    Only this machine can open the page. It sends nothing to other machines, and nothing is kept after the command ends;
    the last picture stays in memory up to an hour after the page is left.

    \b
    fer-model demo runs/ck+-degan-fold0
    fer-model demo model.onnx --port 8000
    """
    from fer_model.use.demo import demo as library

    library(run, port, device, landmarks, common.tell)


@main.command()
@click.argument("run", type=options.RUN)
@options.own_code()
@choice("--format", ["onnx", "safetensors"], "onnx: one graph, for ONNX Runtime; safetensors: the weights by name.", "form")
@options.out_file("model.onnx or model.safetensors in RUN")
def export(run, form, out):
    """Write a trained network into one file: encoder and head, or the baseline; with classes and preprocessing as metadata.

    \b
    fer-model export runs/ck+-degan-fold0
    fer-model predict runs/ck+-degan-fold0/model.onnx me.jpg
    """
    from fer_model.use.export import export as library

    common.show(library(run, form, out))


if __name__ == "__main__":
    main()
