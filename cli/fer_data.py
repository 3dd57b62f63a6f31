"""The program `fer-data`: from a database on disk to faces and folds. Each command parses, calls one library function, prints."""

import sys
from pathlib import Path

import click

from cli import common, options
from cli.options import choice, flag, number, several
from fer_data.datasets.forms import ALL, FORMS, load_form
from fer_data.datasets.published import load_facts

__all__ = ["main"]


@click.group(cls=common.Group, epilog=common.COMPLETION.format("FER_DATA", "fer-data"))
@common.version_option
def main():
    """Prepare facial-expression databases: aligned faces, the paper's 110 views, subject-disjoint folds.

    \b
    fer-data synth ck+ synthetic --subjects 20
    fer-data prepare ck+ synthetic prepared --landmarks dlib --folds 5
    fer-data inspect prepared
    """


# --- prepare ----------------------------------------------------------------------------------------------------------


_OPENFACE = (
    "Folder of OpenFace's CSV files, for --landmarks openface. They are in the same tree as the pictures and clips (DIR/S005/001.csv), or "
    "have the name of the sequence or of the picture (DIR/S005_001.csv, DIR/S005_001_00000011.csv)."
)


_SCHEDULER = (
    "Use the workers of a Dask cluster, e.g. tcp://HOST:8786, and not processes of this machine. The bytes are the same. Start the cluster "
    "with `dask scheduler` on one machine and `dask worker tcp://HOST:8786 --nworkers -1 --nthreads 1` on each. Every machine needs ROOT "
    "under the same path, and this version of fer-degan with the extra [dask]. Only this command writes. It gives up after 10 seconds if "
    "the scheduler does not answer, and after 60 seconds without a worker."
)


@main.group(cls=common.Group, resumes=True)
def prepare():
    """Prepare a database: choose peak frames, find and align faces, render views, assign folds, write shards and the manifest.

    On a cluster, start Dask, then give --scheduler tcp://HOST:8786. With SLURM, keep the third command running (package dask-jobqueue):

    \b
    dask scheduler                                            # on one machine
    dask worker tcp://HOST:8786 --nworkers -1 --nthreads 1    # on each
    python -ic "from dask_jobqueue import SLURMCluster;
    c = SLURMCluster(cores=1, memory='4GB', scheduler_options={'port': 8786}); c.scale(40)"

    \b
    fer-data prepare ck+ ~/data/CK+ prepared --landmarks dlib --workers 2
    fer-data prepare ck+ ~/data/CK+ prepared --landmarks dlib --dry-run
    """


_FOLDS = (
    number("--folds", 10, 2, "Number of subject-disjoint folds."),
    choice("--fold-rule", ["step", "stratified", "shuffled"],
           "step: subjects[i::N], as in the literature; stratified: expressions are spread evenly; shuffled: at random."),
)


def prepare_options(*backends, people=True, from_neutral=True):
    """Return what every database's command takes, ROOT and OUT first; the first of its landmark backends is the default.

    people         whether they are known; else there are no folds, and so many pictures that views are virtual
    from_neutral   whether sequences begin with a neutral face
    """
    detector = [
        choice("--detector", ["sfd", "dlib"], "Face detector of the fan backend."),
        flag("--small-faces", "fan, dlib: where no face is found, look again at twice the size. For faces of less than about 80 pixels."),
    ] if backends[0] == "fan" else []
    openface = [click.option("--openface", type=options.DIR, metavar="DIR", help=_OPENFACE)] if "openface" in backends else []
    neutral = [
        choice("--neutral", ["off", "class", "reference"],
               "The neutral first frame of each sequence: leave it out, make it a class, or keep it in rows that are not trained on."),
    ] if people and from_neutral else []
    by_person = [
        *neutral, *_FOLDS,
        flag("--distinct-subjects", "Ids that differ only in case, leading zeros or separators (1 and 001) are different people."),
        options.seed("fold_seed"),
    ] if people else []
    return options.together(
        click.argument("root", type=options.ROOT), click.argument("out", type=options.OUT_DIR),
        choice("--landmarks", backends, "Landmark backend. If it cannot run, the command stops; no other one is used."),
        *detector, *openface, *by_person,
        choice("--views", ["stored", "virtual"],
               "stored: all 110 views are written; virtual: they are rendered when they are needed (about 1/55 of the disk).",
               default="stored" if people else "virtual"),
        choice("--colour", ["grey", "rgb"], "Channels of the faces."), options.workers(),
        click.option("--scheduler", metavar="ADDRESS", help=_SCHEDULER),
        options.dry_run(), flag("--strict", "Exit 1 if a frame that should be used cannot be used."), options.json(),
    )


@prepare.command("ck+")
@prepare_options("fan", "dlib", "dataset", "openface")
def prepare_ck_plus(root, out, **given):
    """CK+ from its unpacked archives: the last three frames of each labelled sequence.

    \b
    fer-data prepare ck+ ~/data/CK+ prepared --landmarks dlib --workers 2
    """
    _prepare("ck+", root, out, {}, **given)


@prepare.command("ck48")
@prepare_options("none", "dlib", "fan")
def prepare_ck48(root, out, **given):
    """CK+48: the 981 faces of 48x48 pixels, in a folder for each expression.

    With --landmarks none each picture is used as it is. dlib and fan place landmarks in the whole picture, without a face detector.

    \b
    fer-data prepare ck48 ~/data/CK+48 prepared
    """
    _prepare("ck48", root, out, {}, **given, detector="whole")


@prepare.command("mmi")
@click.option("--list", "listing", type=options.FILE,
              help="Use only the sequences in this list. A line is `happiness;50;3` or `S050_003_030.png`.")
@choice("--frames", ["apex-or-middle-three", "middle-three", "all"],
        "Which frames of a clip are used. The apex is known where the clip is coded.")
@prepare_options("fan", "dlib", "openface")
def prepare_mmi(root, out, listing, **given):
    """MMI from one or several downloads: three frames around the peak of each frontal clip of a basic expression.

    \b
    fer-data prepare mmi ~/data/MMI prepared --landmarks dlib --workers 2
    """
    _prepare("mmi", root, out, {"listing": listing} if listing else {}, **given)


@prepare.command("oulu")
@choice("--light", ["strong", "weak", "dark"], "Illumination.")
@choice("--spectrum", ["vis", "nir"], "Visible light or near infrared.")
@choice("--tree", ["auto", "original", "cropped"], "Pictures as filmed, or as cropped by the authors. auto: as filmed, if they are there.")
@prepare_options("fan", "dlib", "openface")
def prepare_oulu(root, out, light, spectrum, tree, **given):
    """Oulu-CASIA NIR&VIS: the last three frames of each sequence of one camera and one light.

    \b
    fer-data prepare oulu ~/data/Oulu_CASIA prepared --landmarks dlib --workers 2
    """
    _prepare("oulu", root, out, {"light": light, "spectrum": spectrum, "tree": tree}, **given)


@prepare.command("bu4dfe")
@click.option("--every", type=click.IntRange(1, 9999), default=1, show_default=True, metavar="N",
              help="Use every N-th frame, from the first.")
@prepare_options("fan", "dlib", "openface")
def prepare_bu4dfe(root, out, every, **given):
    """BU-4DFE, for pre-training: all textures of all sequences, about 60,600. Use --views virtual: 1 GB instead of 61.

    \b
    fer-data prepare bu4dfe ~/data/BU_4DFE prepared --every 10 --views virtual --landmarks dlib --workers 2
    """
    _prepare("bu4dfe", root, out, {}, **given, frames=f"every-{every}")


_CLIP_FRAMES = ["middle-half", "middle-three", "all"]


@prepare.command("crema-d")
@choice("--labels", ["intended", "face-vote"],
        "intended: what the actor was asked to show; face-vote: what most people saw in the face alone, without ties.")
@click.option("--votes", cls=options.Option, type=options.FILE, show_default="the one below ROOT",
              help="The database's table summaryTable.csv: what people saw.")
@click.option("--check-source", type=options.FILE, help="A list of the published sha256, to compare the clips with: what `git lfs ls-files "
              "--long` prints in a clone.")
@choice("--frames", _CLIP_FRAMES, "Which frames of a clip are used. middle-half: three, evenly spaced over its middle half.")
@prepare_options("fan", "dlib", "openface", from_neutral=False)
def prepare_crema_d(root, out, labels, votes, check_source, **given):
    """CREMA-D: three frames of each clip of 91 actors, six expressions. Free to download.

    \b
    fer-data prepare crema-d ~/data/CREMA-D prepared --landmarks dlib --views virtual --workers 2
    """
    files = {"votes": votes, "check_source": check_source}
    _prepare("crema-d", root, out, {"labels": labels, **{name: path for name, path in files.items() if path}}, **given)


@prepare.command("ravdess")
@choice("--channel", ["speech", "song", "both"], "What the actors do.")
@choice("--modality", ["video-only", "with-sound"], "Which clip of each trial: both very likely show one take, so both are never used.")
@choice("--intensity", ["both", "normal", "strong"], "How strongly the expression is shown. Neutral is always normal.")
@flag("--no-calm", "Leave out the expression calm, which no other database has.")
@choice("--frames", _CLIP_FRAMES, "Which frames of a clip are used. middle-half: three, evenly spaced over its middle half.")
@prepare_options("fan", "dlib", "openface", from_neutral=False)
def prepare_ravdess(root, out, channel, modality, intensity, no_calm, **given):
    """RAVDESS: three frames of each clip of 24 actors, eight expressions. Free to download.

    \b
    fer-data prepare ravdess ~/data/RAVDESS prepared --landmarks dlib --views virtual --workers 2
    """
    _prepare("ravdess", root, out, {"channel": channel, "modality": modality, "intensity": intensity, "calm": not no_calm}, **given)


@prepare.command("fer2013")
@choice("--labels", ["fer2013", "ferplus"], "The labels of the database, or those of FER+, which are given with --votes.")
@click.option("--votes", type=options.FILE, help="fer2013new.csv of FER+. Its rows are joined with those of the CSV file in their order.")
@choice("--rule", ["majority", "argmax"], "How the votes of FER+ become a label: more than half, single votes dropped; or the most.")
@flag("--drop-duplicates", "Of pictures that are exactly the same, keep one, that of the test part if it is there.")
@prepare_options("none", "dlib", "fan", people=False)
def prepare_fer2013(root, out, labels, votes, rule, drop_duplicates, **given):
    """FER2013 from a CSV file or from folders: faces of 48x48 pixels, people unknown, the official split.

    \b
    fer-data prepare fer2013 ~/data/fer2013 prepared
    fer-data prepare fer2013 ~/data/fer2013 prepared-plus --labels ferplus --votes fer2013new.csv
    """
    if (labels == "ferplus") != (votes is not None):
        raise click.UsageError("--labels ferplus and --votes FILE go together.")
    asked = {"labels": labels, "votes": votes, "rule": rule} if votes else {}
    _prepare_unknown("fer2013", root, out, asked | ({"drop_duplicates": True} if drop_duplicates else {}), **given, detector="whole")


@prepare.command("rafdb")
@choice("--tree", ["aligned", "original"], "Faces that the authors aligned, or the pictures as they were found: a face is looked for.")
@prepare_options("none", "dlib", "fan", people=False)
def prepare_rafdb(root, out, tree, **given):
    """RAF-DB, basic expressions, from the authors' list or from folders: people unknown, the official split.

    \b
    fer-data prepare rafdb ~/data/RAF-DB prepared
    fer-data prepare rafdb ~/data/RAF-DB prepared-original --tree original --landmarks fan
    """
    if tree == "original" and given["landmarks"] == "none":
        raise click.UsageError("--tree original has whole pictures: find the faces in them with --landmarks dlib or fan.")
    _prepare_unknown("rafdb", root, out, {"tree": tree}, **given, detector="sfd" if tree == "original" else "whole")


@prepare.command("affectnet")
@choice("--classes", ["8", "7"], "Expressions. 7: without contempt, as many papers have it.")
@prepare_options("none", "dlib", "fan", people=False)
def prepare_affectnet(root, out, classes, **given):
    """AffectNet from its lists, its numbered files or class folders: people unknown, train and validation.

    \b
    fer-data prepare affectnet ~/data/AffectNet prepared --classes 7 --workers 2
    """
    _prepare_unknown("affectnet", root, out, {"classes": classes}, **given, detector="whole")


@prepare.command("expw")
@prepare_options("none", "dlib", "fan", people=False)
def prepare_expw(root, out, **given):
    """ExpW: each face that label.lst gives a box for. People unknown, no split: pre-train on it or test on it.

    \b
    fer-data prepare expw ~/data/ExpW prepared --workers 2
    """
    _prepare_unknown("expw", root, out, {}, **given, detector="whole")


@prepare.command("sfew")
@prepare_options("none", "dlib", "fan", people=False)
def prepare_sfew(root, out, **given):
    """SFEW 2.0: the aligned faces of train and validation. People unknown; the labels of the test part are withheld.

    \b
    fer-data prepare sfew ~/data/SFEW prepared
    """
    _prepare_unknown("sfew", root, out, {}, **given, detector="whole")


@prepare.command("caer-s")
@prepare_options("fan", "dlib", people=False)
def prepare_caer_s(root, out, **given):
    """CAER-S: the largest face of each scene. People unknown, train and test.

    \b
    fer-data prepare caer-s ~/data/CAER-S prepared --landmarks dlib --small-faces --workers 2
    """
    _prepare_unknown("caer-s", root, out, {}, **given)


_TABLE = "Table, e.g. CSV, with the columns path, subject, expression[, sequence, frame]."


@prepare.command("folder")
@click.option("--labels", "index", cls=options.Option, formerly="--index", type=options.FILE, help=_TABLE)
@click.option("--key", metavar="COLUMN", help="Column of --labels that names the pictures: path, name, or name without suffix.")
@click.option("--label", metavar="COLUMN", help="Column of --labels with the expressions.")
@click.option("--subject", metavar="COLUMN", help="Column of --labels with the ids of people.")
@click.option("--pattern", metavar="TEXT", help="File names, e.g. '{subject}/{subject}_{sequence}_{expression}.jpg'.")
@click.option("--map", "words", type=options.FILE, help="YAML file, a line for each word of yours, e.g. `AF: fear`; null leaves it out.")
@click.option("--name", cls=options.Option, metavar="TEXT", show_default="that of the folder ROOT",
              help="Name of the data set, in reports and in the names of runs.")
@choice("--frames", ["all", "last-three", "middle-three"], "Which frames of a sequence are used.")
@prepare_options("fan", "dlib", "openface", "none")
def prepare_folder(root, out, index, pattern, name, key, label, subject, words, **given):
    """Any folder of face pictures, with a table of them (--labels) or a pattern of their names (--pattern).

    \b
    fer-data prepare folder faces prepared --pattern '{subject}/{subject}_{sequence}_{expression}.jpg'
    fer-data prepare folder faces prepared --labels norms.csv --key 'Picture ID' --label Display --subject 'Displayer ID'
    """
    if (index is None) == (pattern is None):
        raise click.UsageError("Give either --labels FILE.csv or --pattern TEXT.")
    adapter_options = {"index": index, "pattern": pattern, "name": name, "key": key, "label": label, "subject": subject, "words": words}
    _prepare("folder", root, out, {option: value for option, value in adapter_options.items() if value is not None}, **given)


_OF_FORMS = """{name}: {what}.

    \b
    fer-data prepare {dataset} ~/data/{name} prepared --landmarks dlib{labels}
    """


def _prepare_by_form(dataset):
    """Add the command of a database that is read by a form (fer_data/datasets/forms.py); its parts and its table are options."""
    form, facts = load_form(dataset), load_facts(dataset)

    def command(root, out, labels=None, **given):
        chosen = {part: given.pop(part) for part in form.parts}
        _prepare(dataset, root, out, chosen | ({"labels": labels} if labels else {}), **given)

    command.__doc__ = _OF_FORMS.format(
        name=facts.name, dataset=dataset, what=facts.frame_rule_text, labels=" --labels norms.csv" if form.columns else ""
    )
    added = [choice(f"--{name}", [*part.choices, ALL], part.help) for name, part in form.parts.items()]
    if form.columns:
        wanted = ", ".join(form.columns.values())
        added.append(click.option("--labels", type=options.FILE, help=f"The database's table, with the columns {wanted}. It is needed."))
    prepare.command(dataset)(options.together(*added, prepare_options("fan", "dlib", "openface"))(command))


for _dataset in FORMS:
    _prepare_by_form(_dataset)


def _prepare_unknown(dataset, root, out, adapter_options, **given):
    """Prepare a database whose people are unknown: no folds, its own split."""
    _prepare(dataset, root, out, adapter_options, **given, folds=0, fold_rule="official")


def _prepare(dataset, root, out, adapter_options, dry_run, strict, as_json, **given):
    """Prepare, or say what would be done; exit 1 under --strict if something was unusable."""
    from fer_data.prepare import plan, run

    if (given["landmarks"] == "openface") != (given.get("openface") is not None):
        raise click.UsageError("--landmarks openface and --openface DIR go together.")
    if given.get("small_faces") and given["landmarks"] not in ("fan", "dlib"):
        raise click.UsageError(f"--small-faces goes with --landmarks fan or dlib: {given['landmarks']} looks for no faces.")
    if given["scheduler"] is not None and given["workers"] > 1:
        raise click.UsageError("--workers counts processes of this machine: leave it out with --scheduler.")
    if given.get("detector") == "whole" and given["landmarks"] == "none":
        del given["detector"]
    config = plan.PrepareConfig(options=adapter_options, **given)
    if dry_run:
        common.answer(plan.dry_run(dataset, root, out, config), as_json)
        return
    for note in plan.made_again(dataset, root, out, config):
        common.tell(f"note: {note}")
    with common.progress(f"preparing {dataset}") as progress:
        summary = run.prepare_dataset(dataset, root, out, config, progress)
    common.answer(summary, as_json)
    sys.exit(1 if strict and summary.unusable else 0)


@main.command("join", resumes=True)
@click.argument("folders", nargs=-1, required=True, metavar="PREPARED PREPARED...", type=options.PREPARED)
@click.argument("out", type=options.OUT_DIR)
@_FOLDS[0]
@_FOLDS[1]
@options.seed("fold_seed")
@options.dry_run()
@options.json()
def join_(folders, out, folds, fold_rule, fold_seed, dry_run, as_json):
    """Join prepared folders of several databases into one, with folds by person over all of them. No face is looked for again.

    The classes are the expressions that any of them has. Refused are faces of different kinds (landmarks, views, colour), and databases
    that hold the same pictures.

    \b
    fer-data join prepared-jaffe prepared-kdef prepared-joined --folds 5 --fold-rule stratified
    """
    from fer_data.prepare.join import join, plan_join

    plan = plan_join(folders, out, folds, fold_rule, fold_seed)
    if dry_run:
        common.answer(plan, as_json)
        return
    with common.progress("joining shards") as progress:
        summary = join(plan, progress)
    common.answer(summary, as_json)


# --- look at what is there --------------------------------------------------------------------------------------------


@main.command()
@options.prepared()
@options.json()
def inspect(prepared, as_json):
    """Show images and subjects per fold and expression, and why frames were skipped.

    \b
    fer-data inspect prepared
    """
    from fer_data.report.overview import overview

    common.answer(overview(prepared), as_json)


@main.command()
@options.prepared()
@options.json()
def verify(prepared, as_json):
    """Check every shard, data set and row against the hashes that were written with them.

    \b
    fer-data verify prepared
    """
    from fer_data.store.verify import verify as check

    with common.progress("verifying shards") as progress:
        found = check(prepared, progress)
    common.answer(found, as_json)
    sys.exit(1 if found.problems else 0)


@main.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE...", type=options.ROOT)
@click.option("--subject-pattern", metavar="REGEX", help="Finds the subject in a file name: its first group, or the group named subject.")
@click.option("--subject-column", "columns", multiple=True, metavar="NAME",
              help="A column that tells the subject. Give it again for each where several do, such as sex and number.")
@click.option("--images", type=options.DIR, help="Folder of the listed pictures. They are compared to find duplicates.")
@click.option("--near-bits", type=click.IntRange(0, 64), default=24, show_default=True, metavar="N",
              help="Two pictures are near duplicates if at most N of the 256 bits of their hashes differ.")
@flag("--distinct-subjects", "Subject ids are right as they are written: 1 and 001 are different people.", "distinct")
@flag("--strict", "Exit 1 also for other doubts: images tested twice or never, classes that are missing.")
@options.json()
def audit(paths, subject_pattern, columns, images, near_bits, distinct, strict, as_json):
    """Find people who are both in training and in test, in any split. Exit code 1 if there are any, or if it is unclear who is who.

    A split is a table (columns path or id, fold or split, perhaps subject), lists such as train_1.txt and test_1.txt, a folder
    for training and one for testing, or a prepared folder. Subjects come from a column, from the file names of known databases,
    or from --subject-pattern.

    \b
    fer-data audit prepared
    fer-data audit train.txt test.txt
    fer-data audit my_split.csv --images ~/faces --subject-pattern '/person_([0-9]+)/'
    """
    from fer_data.audit.check_split import check_split

    with common.progress("auditing") as progress:
        report = check_split(paths, subject_pattern, images, near_bits, progress, distinct, columns)
    common.answer(report, as_json)
    sys.exit(1 if report.verdict != "CLEAN" or (strict and report.doubtful) else 0)


@main.command()
@options.prepared()
@options.out_file("report.html in the folder", formerly="--to")
@flag("--no-faces", "Leave out pictures of faces, landmarks and mean faces, which are personal data.")
def report(prepared, out, no_faces):
    """Write one HTML page about a prepared folder: balance, faces, misalignments, what was left out.

    \b
    fer-data report prepared -o prepared.html
    """
    from fer_data.report.page import write_report

    common.show(write_report(prepared, out, faces=not no_faces))


@main.command()
@options.out_folder(Path(), "here")
@options.json()
def doctor(out, as_json):
    """Check the installation and suggest fixes. Takes some seconds. --out is the folder that you want to write to later.

    \b
    fer-data doctor -o prepared
    """
    from fer_data.doctor.checks import check_installation

    found = check_installation(out)
    common.answer(found, as_json)
    sys.exit(0 if any(found.ready.values()) else 1)


# --- share ------------------------------------------------------------------------------------------------------------


@main.command("export", resumes=True)
@options.prepared()
@click.argument("dest", type=options.OUT_DIR)
@click.option("--format", "form", type=options.Choice(["imagefolder", "webdataset", "hf", "parquet"]), required=True,
              help="imagefolder: PNG files in folders; webdataset: tar files; hf: for Hugging Face datasets; parquet: for pandas.")
@click.option("--view", type=click.IntRange(0, 109), metavar="K",
              cls=options.Option, show_default="the whole face, 132x132",
              help="Write this one of the 110 views, 96x96. Models are tested on view 0.")
@options.dry_run()
@options.json()
def export(prepared, dest, form, view, dry_run, as_json):
    """Write a prepared folder in a format that other libraries read, with its folds. Do not publish licensed faces in any format.

    DEST is a new folder. After an interruption, run the same command again to resume.

    \b
    fer-data export prepared exported --format hf
    fer-data export prepared exported --format imagefolder --view 0
    """
    from fer_data.share.export import export_faces, plan_export

    plan = plan_export(prepared, dest, form, view)
    common.stderr.print(plan.terms.warning, style=None if plan.terms.public else "bold red", markup=False)
    if dry_run:
        common.answer(plan, as_json)
        return
    with common.progress(f"exporting to {form}") as progress:
        summary = export_faces(plan, progress)
    common.answer(summary, as_json)


@main.command()
@options.prepared()
@options.out_folder(None, "the prepared folder", formerly="--to")
def card(prepared, out):
    """Write a dataset card of a prepared folder (card.md), and Croissant 1.1 metadata (croissant.json). They contain no faces.

    \b
    fer-data card prepared
    """
    from fer_data.share.card import write_card

    common.show(write_card(prepared, out))


# --- model files ------------------------------------------------------------------------------------------------------


@main.group(cls=common.Group)
def weights():
    """List, download and check the model files of the landmark backends.

    \b
    fer-data weights list
    fer-data weights fetch fan --accept-licence
    """


@weights.command("list")
@options.json()
def weights_list(as_json):
    """List the model files: where they are, which backend needs them, their licences.

    \b
    fer-data weights list
    """
    from fer_data.weights import check_files

    common.answer(check_files(in_full=True), as_json)


@weights.command("fetch", resumes=True)
@click.argument("names", nargs=-1, metavar="[BACKEND|FILE]...")
@click.option("--from", "source", type=options.FILE, help="Use this file, which was downloaded on another machine.")
@flag("--accept-licence", "Say that you have read the licence of each file (weights list) and accept it.")
def weights_fetch(names, source, accept_licence):
    """Download model files, or use one that you have. Each is checked before it gets its name.

    \b
    fer-data weights fetch fan --accept-licence
    fer-data weights fetch s3fd-619a316812.pth --from ~/Downloads/s3fd-619a316812.pth --accept-licence
    """
    from fer_data.weights import choose, fetch, refuse_unaccepted

    chosen = [entry for entry in choose(names) if names or entry.url]
    if source and len(chosen) != 1:
        raise click.UsageError("--from FILE needs the name of one model file.")
    if not accept_licence:
        refuse_unaccepted(chosen)
    for entry in chosen:
        with common.progress(f"fetching {entry.name}") as progress:
            path = fetch(entry, accept_licence, source, progress)
        common.show(f"nothing to fetch, the package {entry.package} brings it: {path}" if entry.package else str(path))


@weights.command("verify")
@click.argument("names", nargs=-1, metavar="[BACKEND|FILE]...")
@options.json()
def weights_verify(names, as_json):
    """Check the hashes of the model files. Exit code 1 if a file is wrong, or if a file that you named is missing.

    \b
    fer-data weights verify
    """
    from fer_data.weights import check_files

    found = check_files(names)
    common.answer(found, as_json)
    sys.exit(0 if found.good else 1)


# --- synthetic people -------------------------------------------------------------------------------------------------


@main.group(cls=common.Group)
def synth():
    """Draw databases of synthetic people, in the exact layouts of the real databases.

    Each layout has people of its own. ck+ and table alone show the same people: to train on one and test on the other, give two seeds.

    \b
    fer-data synth ck+ synthetic --subjects 20
    fer-data synth mmi synthetic-mmi --subjects 4
    """


@synth.command("ck+")
@click.argument("out", type=options.OUT_DIR)
@number("--subjects", 20, 1, "Number of people. 123 gives the published counts.")
@options.seed()
@flag("--litter", "Add .DS_Store, ._* and __MACOSX, as a Mac leaves them.")
@options.workers()
@options.json()
def synth_ck_plus(out, as_json, **given):
    """Draw a CK+ tree: pictures, labels, landmarks, and truth.csv next to them.

    \b
    fer-data synth ck+ synthetic --subjects 20 --seed 1
    """
    from fer_data.synthetic.ck_plus import write_ck_plus

    _draw(write_ck_plus, out, as_json, **given)


def synth_options(subjects, text):
    """Return what every synthetic database's command takes."""
    return options.together(
        click.argument("out", type=options.OUT_DIR), number("--subjects", subjects, 1, text), options.seed(),
        flag("--traps", "Add what must not confuse `prepare`: litter, duplicates, broken files, sessions that cannot be used."),
        options.workers(), options.json(),
    )


@synth.command("mmi")
@synth_options(31, "Number of people. 31 gives the published 208 clips.")
def synth_mmi(out, as_json, **given):
    """Draw an MMI tree: AVI clips in numbered sessions, upright, sideways and dual, with their XML files.

    \b
    fer-data synth mmi synthetic-mmi --subjects 4 --traps
    """
    from fer_data.synthetic.mmi import write_mmi

    _draw(write_mmi, out, as_json, **given)


@synth.command("oulu")
@several("--light", ["strong", "weak", "dark"], "Illumination; may be repeated.")
@several("--spectrum", ["vis", "nir"], "Camera; may be repeated.")
@flag("--cropped", "Add the tree of cropped pictures.")
@synth_options(80, "Number of people. 80 gives the published 480 sequences.")
def synth_oulu(out, light, spectrum, as_json, **given):
    """Draw an Oulu-CASIA tree: colour pictures of 320x240, from neutral to the peak.

    \b
    fer-data synth oulu synthetic-oulu --subjects 10 --light strong --light dark
    """
    from fer_data.synthetic.oulu_casia import write_oulu

    parts = {"lights": list(dict.fromkeys(light)), "spectra": list(dict.fromkeys(spectrum))}
    _draw(write_oulu, out, as_json, **parts, **given)


@synth.command("bu4dfe")
@number("--frames", 10, 1, "Frames of each sequence. The real ones have about 100.")
@synth_options(101, "Number of people. 101 gives the published 606 sequences.")
def synth_bu4dfe(out, as_json, **given):
    """Draw a BU-4DFE tree: textures from neutral to the peak and back, with stubs of the meshes.

    \b
    fer-data synth bu4dfe synthetic-bu --subjects 10 --frames 5
    """
    from fer_data.synthetic.bu4dfe import write_bu4dfe

    _draw(write_bu4dfe, out, as_json, **given)


def _synth_by_form(dataset):
    """Add the command that draws a database which is read by a form."""
    facts = load_facts(dataset)

    def command(out, as_json, **given):
        from fer_data.synthetic.described import write_described

        _draw(write_described, out, as_json, dataset=dataset, **given)

    command.__doc__ = f"""Draw a tree of {facts.name}: its folders and names, and its table where it has one.

    \b
    fer-data synth {dataset} synthetic-{dataset} --subjects 4 --traps
    """
    of_all = f"Number of people. {facts.subjects} are published."
    synth.command(dataset)(synth_options(facts.subjects, of_all)(command))


for _dataset in FORMS:
    _synth_by_form(_dataset)
@synth.command("crema-d")
@number("--takes", 3, 1, "Performances of each person and expression; the sentences share them, which saves time.")
@synth_options(91, "Number of people. 91 gives the published 7,442 clips.")
def synth_crema_d(out, as_json, **given):
    """Draw a CREMA-D tree: FLV clips, and the table of what people saw in them.

    \b
    fer-data synth crema-d synthetic-crema-d --subjects 4 --traps
    """
    from fer_data.synthetic.crema_d import write_crema_d

    _draw(write_crema_d, out, as_json, **given)


@synth.command("ravdess")
@several("--channel", ["speech", "song"], "What the actors do; may be repeated.")
@synth_options(24, "Number of people. 24 gives the published 1,440 trials of speech.")
def synth_ravdess(out, channel, as_json, **given):
    """Draw a RAVDESS tree: MP4 clips in a folder for each actor, each trial twice.

    \b
    fer-data synth ravdess synthetic-ravdess --subjects 4 --channel speech --channel song
    """
    from fer_data.synthetic.ravdess import write_ravdess

    _draw(write_ravdess, out, as_json, channels=list(dict.fromkeys(channel)), **given)


@synth.command("fer2013")
@click.argument("out", type=options.OUT_DIR)
@number("--rows", 35_887, 70, "Number of pictures. 35887 gives the published counts.")
@several("--form", ["csv", "icml", "folders"], "fer2013.csv, icml_face_data.csv, or folders train and test; may be repeated.")
@options.seed()
@options.json()
def synth_fer2013(out, form, as_json, **given):
    """Draw FER2013: ready faces of 48x48 pixels in one or several of its forms, and the votes of FER+ (fer2013new.csv).

    \b
    fer-data synth fer2013 synthetic-fer2013 --rows 2000
    """
    from fer_data.synthetic.fer2013 import write_fer2013

    _draw(write_fer2013, out, as_json, forms=list(dict.fromkeys(form)), **given)


def synth_web(dataset, forms, text):
    """Add the command that draws a database of pictures from the web."""
    from_forms = [choice("--form", forms, "Layout in which the database is passed on.")] if len(forms) > 1 else []

    def draw(out, as_json, **given):
        from fer_data.synthetic.web import write_web

        _draw(write_web, out, as_json, dataset=dataset, **given)

    draw.__doc__ = f"""Draw {text}: each face is of another synthetic person.

    \b
    fer-data synth {dataset} synthetic-{dataset} --pictures 60 --traps
    """
    taken = options.together(
        click.argument("out", type=options.OUT_DIR), *from_forms, number("--pictures", 300, 12, "Number of faces."), options.seed(),
        flag("--traps", "Add what must not confuse `prepare`: litter, broken files, strays."), options.workers(), options.json(),
    )
    synth.command(dataset)(taken(draw))


synth_web("rafdb", ["list", "original", "kaggle", "folders"], "a RAF-DB tree")
synth_web("affectnet", ["lists", "numbered", "folders"], "an AffectNet tree")
synth_web("expw", ["list"], "an ExpW tree: label.lst, and scenes with two faces")
synth_web("sfew", ["aligned"], "an SFEW tree: aligned faces")
synth_web("caer-s", ["folders"], "a CAER-S tree: scenes")


@synth.command("table")
@click.argument("out", type=options.OUT_DIR)
@number("--subjects", 60, 1, "Number of people.")
@number("--takes", 8, 1, "Pictures of each person and expression.")
@options.seed()
@options.workers()
@options.json()
def synth_table(out, as_json, **given):
    """Draw a full table: every person shows every expression, several times. `fer-model shortcut` takes cells out of it.

    \b
    fer-data synth table synthetic-table --subjects 60 --takes 8
    fer-data prepare folder synthetic-table prepared --pattern '{subject}/{expression}/{sequence}.png' --landmarks dlib
    """
    from fer_data.synthetic.table import write_table

    _draw(write_table, out, as_json, **given)


def _draw(write, out, as_json, **given):
    """Draw a database with a progress bar, and print what it contains."""
    with common.progress(f"drawing synthetic people into {out}") as progress:
        drawn = write(out=out, progress=progress, **given)
    common.answer(drawn, as_json)


if __name__ == "__main__":
    main()
