"""`fer-model`: from prepared faces to a fold's accuracy. Each command parses, calls one library function, prints."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from cli import common
from fer_model.config import FOLD_RULES, HEADS, METHODS, PRESETS, SELECTIONS, preset, with_budgets, with_head

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
    fer-model crossval --preset small
    fer-model evaluate runs/ck+-degan-fold0
    """


PRESET_HELP = "smoke: seconds; small: minutes a fold on 2 cores; best: small with what came after the paper; paper: its own."


def kimg(stage, text):
    """Return the option that overrides a stage's budget."""
    kind = click.FloatRange(0, min_open=True)
    return click.option(f"--kimg-{stage}", type=kind, metavar="KIMG", help=f"{text}, in thousands of images.")


def choice(option, allowed, default, text, name=None):
    """Return an option with a few allowed words."""
    kind = common.Choice(allowed)
    return click.option(option, *([name] if name else []), type=kind, default=default, show_default=True, help=text)


def as_json_option(text):
    """Return the option of commands that print a table."""
    return click.option("--json", "as_json", is_flag=True, help=text)


@main.command()
@click.option("--fold", type=click.IntRange(0), required=True, metavar="N", help="The test fold, counted from 0.")
@click.option("--data", type=common.PREPARED, default=Path("prepared"), show_default=True, help="What fer-data prepare wrote.")
@click.option("--run", type=common.OUT_DIR, help="Run folder.  [default: runs/<dataset>-<method>[-<head>...]-fold<N>]")
@choice("--method", METHODS, METHODS[0], "DE-GAN and its head, or the paper's CNN baseline.")
@choice("--head", HEADS, HEADS[0], "What predicts: taps and f(x), the paper; taps alone; an MLP or a linear SVM on f(x) alone.")
@click.option("--gan", type=common.RUN, metavar="RUN", help="Take stage 1 as it is from this run of the same fold and settings.")
@click.option("--init", type=common.RUN, metavar="RUN", help="Start stage 1 from this run of pretrain.")
@choice("--selection", SELECTIONS, SELECTIONS[0], "The weights after the last step, or the best on training people set aside.")
@choice("--preset", list(PRESETS), "small", PRESET_HELP, "preset_name")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, order and noise.")
@choice("--fold-rule", FOLD_RULES, FOLD_RULES[0], "The folds of the prepared folder, or as many drawn anew over its people.")
@click.option("--fold-seed", type=click.IntRange(0), default=0, show_default=True, help="Of shuffled folds.")
@kimg("gan", "Budget of DE-GAN (stage 1)")
@kimg("head", "Budget of the FER head (stage 2)")
@kimg("cnn", "Budget of the baseline; default: stages 1 and 2 together")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on with the run folder, or start it anew.")
@click.option("--dry-run", is_flag=True, help="Print configuration, steps, estimated time and disk; write nothing.")
@as_json_option("Print the figures, or what --dry-run says, as JSON; the log goes to stderr.")
def train(
    fold, data, run, method, head, gan, init, selection, preset_name, device, seed, fold_rule, fold_seed,
    kimg_gan, kimg_head, kimg_cnn, resume, dry_run, as_json,
):  # fmt: skip
    """Train on all folds but one, then predict that one.

    \b
    fer-model train --fold 0 --preset small
    fer-model train --fold 0 --preset paper --dry-run
    fer-model train --fold 0 --preset small --head taps --gan runs/ck+-degan-fold0
    fer-model train --fold 0 --preset small --init runs/bu4dfe-pretrain
    """
    given = {"fold": fold, "method": method, "seed": seed, "fold_rule": fold_rule, "fold_seed": fold_seed, "selection": selection}
    config = with_budgets(with_head(preset(preset_name, **given), head), kimg_gan, kimg_head, kimg_cnn)
    _train(data, run, config, device, resume, dry_run, as_json, gan, init)


@main.command()
@click.option("--data", type=common.PREPARED, default=Path("prepared"), show_default=True, help="What fer-data prepare wrote.")
@click.option("--run", type=common.OUT_DIR, help="Run folder.  [default: runs/<dataset>-pretrain]")
@choice("--preset", list(PRESETS), "small", "Its networks must be those of the runs that start from this one.", "preset_name")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, order and noise.")
@kimg("gan", "Budget")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on with the run folder, or start it anew.")
@click.option("--dry-run", is_flag=True, help="Print configuration, steps, estimated time and disk; write nothing.")
@as_json_option("Print result.json, or what --dry-run says, as JSON; the log goes to stderr.")
def pretrain(data, run, preset_name, device, seed, kimg_gan, resume, dry_run, as_json):
    """Train DE-GAN (stage 1) on all people of a database, for runs on another one to start from.

    Nobody is held out: train --init refuses a fold that tests on one of these people.

    \b
    fer-model pretrain --data prepared-bu4dfe --preset small
    fer-model train --fold 0 --preset small --init runs/bu4dfe-pretrain
    """
    config = with_budgets(preset(preset_name, method="pretrain", fold=None, seed=seed), kimg_gan)
    _train(data, run, config, device, resume, dry_run, as_json)


def _train(data, run, config, device, resume, dry_run, as_json, gan=None, init=None):
    """Answer with what the run would cost, or train with a bar on a terminal and answer with the Outcome."""
    from fer_model.job import Job, default_run
    from fer_model.plan import plan
    from fer_model.train import train as library

    job = Job(data, run or Path(), config, gan, init)
    job = replace(job, run=run or default_run(job))
    if dry_run:
        common.answer(plan(job, device), as_json)
        return
    with common.training_bar() as hook:
        found = library(job, device, resume, common.tell if as_json else common.show, hook)
    common.answer(found, as_json)


@main.command("check-device")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@choice("--preset", list(PRESETS), "small", "Whose networks are tried.", "preset_name")
@as_json_option("Print as JSON.")
def check_device(device, preset_name, as_json):
    """Train a few steps on a device and on the CPU and compare them number by number; say how fast it is. Needs no data.

    \b
    fer-model check-device
    fer-model check-device --device cuda:1 --preset paper
    """
    from fer_model.check_device import check_device as library

    found = library(device, preset_name)
    common.answer(found, as_json)
    sys.exit(0 if found.good else 1)


def words(kind):
    """Return a callback that reads an option as words between commas."""

    def read(context, option, text):
        try:
            return tuple(kind(word) for word in text.split(",")) if text else ()
        except ValueError as error:
            raise click.BadParameter(f"allowed are numbers between commas, such as 0,1,2; got {text!r}") from error

    return read


@main.command()
@click.option("--data", type=common.PREPARED, default=Path("prepared"), show_default=True, help="What fer-data prepare wrote.")
@click.option("--run", type=common.OUT_DIR, help="Folder for the runs.  [default: runs/<dataset>-<method>, -seed<N> behind it if not 0]")
@choice("--method", METHODS, METHODS[0], "DE-GAN and its head, or the paper's CNN baseline.")
@choice("--head", HEADS, HEADS[0], "What predicts: taps and f(x), the paper; taps alone; an MLP or a linear SVM on f(x) alone.")
@click.option("--gan", type=common.RUN, metavar="RUNS", help="Take each fold's stage 1 as it is from this cross-validation.")
@click.option("--init", type=common.RUN, metavar="RUN", help="Start each fold's stage 1 from this run of pretrain.")
@choice("--selection", SELECTIONS, SELECTIONS[0], "The weights after the last step, or the best on training people set aside.")
@choice("--preset", list(PRESETS), "small", PRESET_HELP, "preset_name")
@click.option("--folds", callback=words(int), metavar="N,N", help="Only these folds, counted from 0.  [default: all]")
@click.option("--repeats", type=click.IntRange(0), default=0, metavar="R", help="R times, the people dealt out to folds anew each time.")
@click.option("--fold-seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first of the repeats.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, order and noise.")
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Runs at once; they share the cores.  [default: one per device]")
@click.option("--devices", callback=words(str), default="auto", show_default=True, metavar="NAME,NAME", help="auto, cpu, or cuda:0,cuda:1.")
@kimg("gan", "Budget of DE-GAN (stage 1)")
@kimg("head", "Budget of the FER head (stage 2)")
@kimg("cnn", "Budget of the baseline; default: stages 1 and 2 together")
@click.option("--dry-run", is_flag=True, help="Print configuration, steps and estimated time; write nothing.")
@as_json_option("Print the figures, or what --dry-run says, as JSON; the log goes to stderr.")
def crossval(
    data, run, method, head, gan, init, selection, preset_name, folds, repeats, fold_seed, seed, jobs, devices,
    kimg_gan, kimg_head, kimg_cnn, dry_run, as_json,
):  # fmt: skip
    """Train on all folds but one, for every fold; then pool what they predict.

    Run the same command again to go on: complete folds are passed over. --repeats shows how much of a figure is owed to who
    fell into which fold.

    \b
    fer-model crossval --preset small --method cnn --jobs 2
    fer-model crossval --preset small --method cnn --repeats 5
    fer-model crossval --preset small --head taps --gan runs/ck+-degan
    """
    from fer_model import crossval as library
    from fer_model.job import Job

    given = {"method": method, "seed": seed, "fold_seed": fold_seed, "selection": selection}
    config = with_budgets(with_head(preset(preset_name, **given), head), kimg_gan, kimg_head, kimg_cnn)
    job = Job(data, run or Path(), config, gan, init)
    job = replace(job, run=run or library.default_crossval(job, repeats))
    if dry_run:
        common.answer(library.plan_crossval(job, folds, repeats, devices), as_json)
        return
    say = common.tell if as_json else common.show
    found = library.crossval(job, folds, repeats, jobs or len(devices), devices, say)
    common.answer(found, as_json)
    found.refuse_failed()


@main.command()
@click.argument("runs", type=common.RUN, nargs=-1, required=True)
@click.option("--logdir", type=common.OUT_DIR, default=Path("tensorboard"), show_default=True, help="Where the event files go.")
@click.option("--follow", type=click.FloatRange(1), metavar="SECONDS", help="Look again every so often, until Ctrl-C.")
def tensorboard(runs, logdir, follow):
    """Write the logs of runs as event files for TensorBoard: every number, and the synthesised faces. Extra [tensorboard].

    \b
    fer-model tensorboard runs/ck+-degan
    fer-model tensorboard runs/ck+-degan runs/ck+-cnn --follow 30
    """
    from fer_model.use.tensorboard import write_events

    write_events(runs, logdir, follow, common.show)


@main.command()
@click.argument("runs", type=common.RUN, nargs=-1, required=True)
@click.option("--data", type=common.PREPARED, help="Another prepared folder to test on, over the classes that both have.")
@choice("--vote", ["1", "10", "110"], "1", "Views of an image that vote: the centre crop; five crops, mirrored too; all.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="For --data and --vote: auto, cpu, cuda or cuda:N.")
@as_json_option("Print as JSON: a list, one object per run.")
def evaluate(runs, data, vote, device, as_json):
    """Accuracy per frame and per sequence, macro recall and confusion matrix of a run, beside the majority class.

    A run is what train wrote, or what crossval wrote: then its folds are pooled. Several are shown in one table.

    \b
    fer-model evaluate runs/ck+-degan-fold0
    fer-model evaluate runs/ck+-cnn runs/ck+-degan
    fer-model evaluate runs/ck+-degan --data prepared-mmi --vote 10
    """
    from fer_model.evaluate.compare import compare

    found = compare(runs, data, int(vote), device)
    common.answer(found, as_json)


@main.command()
@click.argument("runs", type=common.RUN, nargs=-1, required=True)
@click.option("--out", type=common.OUT_DIR, default=Path("report"), show_default=True, help="Folder of report.html, .md and .json.")
@click.option("--no-faces", is_flag=True, help="Leave out the synthesised faces, which are personal data.")
def report(runs, out, no_faces):
    """One page that can be believed: accuracy with its unit, average and interval, paired differences, the paper's tables.

    RUNS are run folders, and folders of folds as crossval leaves them; runs that differ in fold and seed alone are one method.

    \b
    fer-model report runs/ck+-degan runs/ck+-cnn --out report
    """
    from fer_model.report.report import write_report

    common.show(write_report(runs, out, faces=not no_faces))


@main.command()
@click.argument("run", type=common.RUN)
@click.option("--out", type=common.NEW_FILE, help="Where to write it.  [default: card.md in the folder]")
def card(run, out):
    """A model card in Markdown: what a run or a cross-validation reached, how, on whom; what it is for and what not.

    \b
    fer-model card runs/ck+-degan
    """
    from fer_model.report.card import write_card

    common.show(write_card(run, out))


@main.command()
@click.argument("run", type=common.RUN)
@click.option("--baseline", type=common.RUN, help="Run of method cnn on the same fold: its hidden layer is probed beside.")
@click.option("--data", type=common.PREPARED, help="What fer-data prepare wrote.  [default: where the run found it]")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order of expressions and the MLP's weights.")
@as_json_option("Print what probe.json holds.")
def probe(run, baseline, data, device, seed, as_json):
    """What the representation still knows: who, and which expression. Writes probe.json into the run.

    Identity (linear and MLP) across expressions, expression on unseen people, verification, for f(x), the encoder's taps, the
    baseline's features and pixels. RUN may be a folder of folds; then each fold is probed on its own held-out people.

    \b
    fer-model probe runs/ck+-degan-fold0 --baseline runs/ck+-cnn-fold0
    fer-model probe runs/ck+-degan --baseline runs/ck+-cnn
    """
    from fer_model.probe.probing import probe_run

    found = probe_run(run, baseline, data, device, seed, say=lambda text: common.stderr.print(text, markup=False))
    common.answer(found, as_json)


@main.command()
@click.argument("run", type=common.RUN)
@click.option("--source", "sources", type=common.FILE, multiple=True, metavar="IMG", help="A picture with a face; may be repeated.")
@click.option("--source-id", "source_ids", multiple=True, metavar="ID", help="A face of the prepared folder by image_id; may be repeated.")
@click.option("--identities", callback=words(str), metavar="S005,S010", help="Training people, a column each; an edit takes the first.")
@click.option("--columns", type=click.IntRange(1), default=8, show_default=True, help="How many, evenly spread, if none are named.")
@click.option("--from", "start", metavar="EXPRESSION", help="Edit: move f(x) from the mean of this expression ...")
@click.option("--to", "end", metavar="EXPRESSION", help="... to the mean of this one.")
@click.option("--steps", type=click.IntRange(2), default=7, show_default=True, help="Of an edit, both ends included.")
@click.option("--gif", is_flag=True, help="An edit as an animation.")
@click.option("--landmarks", type=common.Choice(["fan", "dlib", "none"]), help="Backend for --source.  [default: that of the run's data]")
@click.option("--out", type=common.NEW_FILE, help="Picture to write.  [default: transfer.png or edit-<from>-<to>.png in RUN]")
@click.option("--data", type=common.PREPARED, help="What fer-data prepare wrote.  [default: where the run found it]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the noise z.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
def transfer(run, sources, source_ids, identities, start, end, out, data, device, **settings):
    """Draw the expression of faces on other people (a sheet), or change it step by step (a strip or a GIF).

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
@click.argument("run", type=common.RUN_OR_FILE)
@click.argument("source", shell_complete=click.Path().shell_complete)
@click.option("--format", "form", type=common.Choice(["table", "csv", "jsonl"]), help="[default: as --out is named, else table]")
@click.option("-o", "--out", type=common.NEW_FILE, help="File to write to, *.csv, *.jsonl or *.txt.  [default: print]")
@click.option("--annotate", type=click.Path(path_type=Path), metavar="OUT", help="Draw what is found: a picture, a folder, *.mp4.")
@click.option("--landmarks", type=common.Choice(["fan", "dlib", "none"]), help="Find faces otherwise than in the training.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Take each N-th picture of a clip.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after N pictures.")
@click.option("--small-faces/--no-small-faces", default=None, help="Beside large ones.  [default: in pictures, not in clips]")
@click.option("--batch", type=click.IntRange(1, 64), default=64, show_default=True, help="Faces through the network at once.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--strict", is_flag=True, help="Exit 1 if a picture is without a face or cannot be read.")
def predict(run, source, strict, **options):
    """Which expression each face shows, on a picture, a folder, a clip or a camera (its number).

    RUN is a run folder, or what export made of it; an .onnx file needs no PyTorch, unless FAN finds the faces. They are found
    and aligned as those of the training were. A face that is too small, or turned too far, is marked as doubtful.

    \b
    fer-model predict runs/ck+-degan-fold0 me.jpg --annotate seen.png
    fer-model predict runs/ck+-degan-fold0 holiday/ --format csv -o holiday.csv
    fer-model predict model.onnx talk.mp4 --every 5 --format jsonl -o talk.jsonl --annotate talk-seen.mp4
    fer-model predict runs/ck+-degan-fold0 0
    """
    from fer_model.use import predict as library

    quiet = options["out"] is None and options["form"] != "table"                 # stdout holds predictions and nothing else
    found = library.predict(run, library.Request(source, **options), common.show_line, common.tell, common.progress)
    common.tell(found) if quiet else common.show(found)
    sys.exit(1 if found.nothing_read or (strict and found.incomplete) else 0)


@main.command()
@click.argument("run", type=common.RUN_OR_FILE)
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, metavar="N", help="Of 127.0.0.1.")
@click.option("--landmarks", type=common.Choice(["fan", "dlib", "none"]), help="Find faces otherwise than in the training.")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
def demo(run, port, landmarks, device):
    """A page to try a network on: a picture or the camera in; expressions, and the expression on other people, out. Extra [demo].

    It is served to this machine alone, asks nothing of other machines, and keeps no picture once it is closed.

    \b
    fer-model demo runs/ck+-degan-fold0
    fer-model demo model.onnx --port 8000
    """
    from fer_model.use.demo import demo as library

    library(run, port, device, landmarks, common.tell)


@main.command()
@click.argument("run", type=common.RUN)
@choice("--format", ["onnx", "safetensors"], "onnx", "One graph for ONNX Runtime, or the weights by name.", "form")
@click.option("-o", "--out", type=common.NEW_FILE, help="File to write.  [default: model.onnx or model.safetensors in RUN]")
def export(run, form, out):
    """One file with all that predicts: encoder and head, or the baseline; classes and preprocessing in its metadata.

    \b
    fer-model export runs/ck+-degan-fold0
    fer-model predict runs/ck+-degan-fold0/model.onnx me.jpg
    """
    from fer_model.use.export import export as library

    common.show(library(run, form, out))


if __name__ == "__main__":
    main()
