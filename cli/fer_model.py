"""`fer-model`: from prepared faces to a fold's accuracy. Each command parses, calls one library function, prints."""

import os
from pathlib import Path

import click

from cli import common
from fer_model.config import METHODS, PRESETS, preset, with_budgets

__all__ = ["main"]

# Threads that wait for each other sleep. Spinning, OpenMP's habit, is slow as soon as another process wants a core: one
# step of DE-GAN took 9.3 s in place of 2.2 s on 2 shared cores. Read when torch is imported, which is later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@click.group(cls=common.Group)
@common.version_option
def main():
    """Train DE-GAN, its FER head and the CNN baseline on subject-disjoint folds, and report what they reach.

    \b
    fer-model train --fold 0 --preset small
    fer-model evaluate runs/ck+-degan-fold0
    """


def kimg(stage, text):
    """Return the option that overrides a stage's budget."""
    kind = click.FloatRange(0, min_open=True)
    return click.option(f"--kimg-{stage}", type=kind, metavar="KIMG", help=f"{text}, in thousands of images.")


def choice(option, allowed, default, text, name=None):
    """Return an option with a few allowed words."""
    kind = click.Choice(allowed)
    return click.option(option, *([name] if name else []), type=kind, default=default, show_default=True, help=text)


@main.command()
@click.option("--fold", type=click.IntRange(0), required=True, metavar="N", help="The test fold, counted from 0.")
@click.option("--data", type=common.DIR, default=Path("prepared"), show_default=True, help="What fer-data prepare wrote.")
@click.option("--run", type=common.OUT_DIR, help="Run folder.  [default: runs/<dataset>-<method>-fold<N>]")
@choice("--method", METHODS, METHODS[0], "DE-GAN and its head, or the paper's CNN baseline.")
@choice("--preset", list(PRESETS), "small", "smoke: seconds; small: minutes on 2 cores; paper: its own settings.", "preset_name")
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, order and noise.")
@kimg("gan", "Budget of DE-GAN (stage 1)")
@kimg("head", "Budget of the FER head (stage 2)")
@kimg("cnn", "Budget of the baseline; default: stages 1 and 2 together")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on with the run folder, or start it anew.")
@click.option("--dry-run", is_flag=True, help="Print configuration, steps, estimated time and disk; write nothing.")
def train(fold, data, run, method, preset_name, device, seed, kimg_gan, kimg_head, kimg_cnn, resume, dry_run):
    """Train on all folds but one, then predict that one.

    \b
    fer-model train --fold 0 --preset small
    fer-model train --fold 0 --preset paper --dry-run
    """
    from fer_model import train as library

    config = with_budgets(preset(preset_name, fold=fold, method=method, seed=seed), kimg_gan, kimg_head, kimg_cnn)
    if dry_run:
        common.show(library.plan(data, config, device))
        return
    run = run or library.default_run(data, config)
    common.show(library.train(data, run, config, device, resume, say=common.show))


@main.command()
@click.argument("runs", type=common.DIR, nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON: a list, one object per run.")
def evaluate(runs, as_json):
    """Accuracy per frame and per sequence, macro recall and confusion matrix of a run, beside the majority class.

    Several runs are shown in one table.

    \b
    fer-model evaluate runs/ck+-degan-fold0
    fer-model evaluate runs/ck+-cnn-fold0 runs/ck+-degan-fold0
    """
    from fer_model.train import compare_runs

    found = compare_runs(runs)
    common.show_json(found.to_json()) if as_json else common.show(found)


@main.command()
@click.argument("runs", type=common.DIR, nargs=-1, required=True)
@click.option("--out", type=common.OUT_DIR, default=Path("report"), show_default=True, help="Folder of report.html, .md and .json.")
@click.option("--no-faces", is_flag=True, help="Leave out the synthesised faces, which are personal data.")
def report(runs, out, no_faces):
    """One page that can be believed: accuracy with its unit, average and interval, paired differences, the paper's tables.

    RUNS are run folders, and folders of folds as crossval leaves them; runs that differ in fold and seed alone are one method.

    \b
    fer-model report runs/ck+-degan runs/ck+-cnn --out report
    """
    from fer_model.evidence.report import write_report

    common.show(write_report(runs, out, faces=not no_faces))


if __name__ == "__main__":
    main()
