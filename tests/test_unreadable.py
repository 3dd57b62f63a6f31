"""Entries of a tree that are no files, or cannot be opened: skipped with a reason, counted, and never waited for."""

import errno
import os
import shutil
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cli.fer_data import main
from fer_data import files
from fer_data.audit.check_split import check_split
from fer_data.datasets.adapters import ADAPTERS
from fer_data.datasets.tree import walk
from fer_data.errors import DatasetError, ImageError, ManifestError, SplitError, UnreadableError
from fer_data.files import opened, read_file, sealed_json, why_unreadable
from fer_data.labels import classes_of
from fer_data.pictures.file_kinds import is_picture
from fer_data.prepare.plan import PrepareConfig, make_plan
from fer_data.prepare.run import prepare_dataset
from fer_data.store.folder import MARK, marked
from fer_data.store.manifest import read_manifest, read_skipped
from fer_data.store.verify import verify
from fer_data.text import natural_key
from fer_model.use.shots import sources
from tests.test_adapters import OPTIONS, TREES

pytestmark = pytest.mark.timeout(120)   # a FIFO that is opened would wait for ever

WHY = {
    "dangling": "is a link to nowhere.png, which is not there", "loop": "is a link to {name}, which leads back to itself",
    "FIFO": "is a FIFO, not a file", "socket": "is a socket, not a file", "device": "is a device, not a file",
    "denied": "may not be read (no permission)", "vanishing": "cannot be read (Input/output error)",
}
SPECIAL = ("FIFO", "socket", "device")


def make(kind, path):
    """Put an entry of a kind at a path, in place of what is there."""
    path.unlink(missing_ok=True)
    if kind == "dangling":
        path.symlink_to("nowhere.png")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")    # without an end
    elif kind == "socket":
        here = os.open(".", os.O_RDONLY)
        os.chdir(path.parent)           # the name of a socket has at most 107 bytes
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
        os.fchdir(here)
        os.close(here)
    else:
        path.write_bytes(b"x")          # and `refusing` does the rest


@pytest.fixture
def refusing(monkeypatch):
    """Return a function that makes paths unreadable to this process, root's too: path -> number of the error."""
    refused = {}
    monkeypatch.setattr(os, "open", _refusing(os.open, refused))
    monkeypatch.setattr(os, "scandir", _refusing(os.scandir, refused))
    return refused.update


def test_a_folder_of_ours_that_may_not_be_read_says_so(tiny_prepared, refusing, tmp_path):
    """Each file in turn; verify goes on with the rest. Seen red: they were not read by files.read_file, and so
    each ended with `[Errno 13]`, `verify` too."""
    out = shutil.copytree(tiny_prepared, tmp_path / "out")
    for name, where in (("shards/00000.json", "00000.h5: reading a shard's record: "), ("manifest.csv", "reading the manifest as text: ")):
        refusing({out / name: errno.EACCES})
        assert [problem.startswith(where) for problem in verify(out).problems if f"{out / name} {WHY['denied']}" in problem] == [True]
        refusing({out / name: 0})
    refusing({out / "settings.json": errno.EACCES})
    with pytest.raises(ManifestError, match=r"^reading settings: .*settings.json may not be read \(no permission\)"):
        read_manifest(out)
    (out / MARK).write_bytes(sealed_json({"dataset": "tiny"}))
    refusing({out / MARK: errno.EACCES})
    with pytest.raises(DatasetError, match=rf"^looking at .*: its {MARK} may not be read \(no permission\)"):
        marked(out)


def test_a_table_of_fer2013_that_is_a_dead_link_is_named(tmp_path):
    """Seen red: `[Errno 2] No such file or directory`."""
    (tmp_path / "fer2013.csv").symlink_to("nowhere.csv")
    with pytest.raises(DatasetError, match=r"reading FER2013 below .*fer2013\.csv is a link to nowhere\.csv, which is not there"):
        ADAPTERS["fer2013"](tmp_path)


def _refusing(real, refused):
    def call(path, *more, **options):
        number = refused.get(Path(path) if isinstance(path, str | os.PathLike) else None)
        if number:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *more, **options)

    return call


ERRORS = {"denied": errno.EACCES, "vanishing": errno.EIO}


@pytest.mark.parametrize("kind", ["dangling", "loop", "FIFO", "socket", "device", "denied", "vanishing"])
def test_an_entry_is_called_what_it_is_and_is_not_waited_for(kind, tmp_path, refusing):
    """Seen red: a device that was opened before it was looked at (here: may not be read)."""
    path = tmp_path / "a.png"
    make(kind, path)
    refusing({path: ERRORS.get(kind, errno.EPERM)})
    with pytest.raises(UnreadableError) as caught:
        read_file(path)
    assert caught.value.why == WHY[kind].format(name="a.png") and str(caught.value) == f"{path} {caught.value.why}"
    assert kind in ERRORS or why_unreadable(path) == caught.value.why


def test_a_name_that_becomes_a_fifo_between_looking_and_opening_is_not_waited_for(tmp_path, monkeypatch):
    """Seen red: without O_NONBLOCK it was waited for; without the second look, b"" was read."""
    os.mkfifo(tmp_path / "a.png")
    monkeypatch.setattr(files, "why_unreadable", lambda path: "")
    with pytest.raises(UnreadableError, match=r"a\.png is a FIFO, not a file"):
        read_file(tmp_path / "a.png")


def test_what_is_no_fault_of_the_file_is_not_laid_to_it(tmp_path, refusing):
    """Too many open files would fail for each of the next files as well: the run stops. Seen red with an empty tuple _OURS."""
    (tmp_path / "a.png").write_bytes(b"x")
    refusing({tmp_path / "a.png": errno.EMFILE})
    with pytest.raises(OSError, match="Too many open files"), opened(tmp_path / "a.png"):
        pass


def test_a_walk_names_each_entry_and_keeps_the_names_that_are_missing(tmp_path, refusing):
    """Seen red: the folder that may not be listed ended the walk."""
    for name in ("dangling.png", "loop.png", "FIFO.png", "socket.png", "device.png"):
        make(name[:-4], tmp_path / name)
    (tmp_path / "P9").symlink_to("nowhere")       # perhaps a folder on a disk that is not mounted
    (tmp_path / "locked").mkdir()
    (tmp_path / "up").symlink_to(".")
    (tmp_path / "good.png").write_bytes(b"x")
    refusing({tmp_path / "locked": errno.EACCES})
    found, left = walk(tmp_path)
    assert found == ["P9", "dangling.png", "good.png", "loop.png"]
    assert [(skip.source, skip.reason, skip.frames) for skip in left] == [
        ("FIFO.png", "litter", 0), ("P9", "unreadable", 1), ("dangling.png", "unreadable", 0), ("device.png", "litter", 0),
        ("locked/", "unreadable", 1), ("loop.png", "unreadable", 0), ("socket.png", "litter", 0),
    ]
    details = {skip.source: skip.detail for skip in left}
    assert details["locked/"] == "the folder may not be read (no permission)"
    assert details["loop.png"] == f"it {WHY['loop'].format(name='loop.png')}"
    refusing({tmp_path: errno.EACCES})
    with pytest.raises(DatasetError, match="may not be read"):
        walk(tmp_path)


def picture(seed):
    """Return the bytes of a picture of noise."""
    return cv2.imencode(".png", np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8))[1].tobytes()


# each way to read pictures: a layout of its own, a form, a list without people, a pattern; and clips
WAYS = ("bu4dfe", "ck+", "ck48", "folder", "jaffe", "mmi", "oulu", "rafdb")


@pytest.fixture(params=WAYS)
def spoilt(request, tmp_path, refusing):
    """(dataset, root, {path that was wanted: kind}, all spoilt paths) of a tree of a database with one entry of each kind."""
    dataset, root = request.param, tmp_path / "root"
    root.mkdir()
    TREES[dataset](root)
    if dataset in ("ck48", "folder"):   # of the others there are enough frames
        for number in range(9):
            name = f"CK+48/fear/S011_00{number}_00000001.png" if dataset == "ck48" else f"p8/{number}-fear/1.png"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"x")
    if dataset == "mmi":
        from tests.mmi_sessions import write_session

        for number in range(9):
            write_session(root / "download/Sessions", 2000 + number, 40, 1 + number, emotion=2, frames=3)
    if dataset == "jaffe":
        for number in range(9):
            (root / f"jaffe/KL.{('AN', 'HA', 'SU')[number // 3]}{1 + number % 3}.{151 + number}.tiff").write_bytes(b"x")
    if dataset == "rafdb":
        with (root / "basic/EmoLabel/list_patition_label.txt").open("a") as lines:
            for number in range(1, 9):
                lines.write(f"train_{number:05d}.jpg {1 + number % 7}\n")
                (root / f"basic/Image/aligned/train_{number:05d}_aligned.jpg").write_bytes(b"x")
    for number, name in enumerate(sorted(name for name in walk(root)[0] if is_picture(name))):
        (root / name).write_bytes(picture(number))
    folds = {"folds": 0, "fold_rule": "official"} if dataset == "rafdb" else {"folds": 2}
    config = PrepareConfig(landmarks="none", views="virtual", options=OPTIONS.get(dataset, {}), **folds)
    used = list(dict.fromkeys(frame.source for one in make_plan(dataset, root, config).selected for frame in one.sequence.frames))
    wanted = dict(zip(used[1:], ("dangling", "loop", "denied", "vanishing", *SPECIAL), strict=False))
    assert len(wanted) == 7
    more = {f"other-{kind}.txt": kind for kind in ("dangling", "loop", *SPECIAL)}
    for name, kind in (wanted | more).items():
        make(kind, root / name)
    refusing({root / name: ERRORS[kind] for name, kind in wanted.items() if kind in ERRORS})
    (root / "locked").mkdir()
    (root / "P99").symlink_to("/mnt/not-mounted/P99")
    refusing({root / "locked": errno.EACCES})
    return dataset, root, config, wanted, {*wanted, *more, "locked/", "P99"}


def test_prepare_goes_past_what_cannot_be_read(spoilt, tmp_path):
    """Seen red: with sha256 and read_bytes in place of hash_source and read_file, each database stopped at its first such entry."""
    dataset, root, config, wanted, entries = spoilt
    done = prepare_dataset(dataset, root, tmp_path / "out", config)
    table = read_skipped(tmp_path / "out")
    assert entries <= set(table["source"]), entries - set(table["source"])
    assert done.found == done.kept + sum(done.skipped.values()) and done.kept == len(read_manifest(tmp_path / "out")) > 0
    for name, kind in wanted.items():
        rows = table[(table["source"] == name) & table["reason"].isin(["unreadable", "litter"])]
        assert len(rows) == 1 and rows["reason"].item() == ("litter" if kind in SPECIAL else "unreadable"), (name, kind)
        assert WHY[kind].format(name=Path(name).name) in rows["detail"].item()
        assert rows["frames"].item() == (0 if kind in SPECIAL else 1)
    assert done.skipped["unreadable"] == 6, "four of those that were wanted, the folder, the link without a suffix"
    again = prepare_dataset(dataset, root, tmp_path / "out", config)
    assert again.shards_written == 0 and again.skipped == done.skipped
    assert read_skipped(tmp_path / "out").equals(table)


def test_what_can_be_read_again_is_taken_again(tmp_path):
    """Seen red: with a fixed text in place of a hash, the second run kept the shard without the face."""
    root, out = tmp_path / "root", tmp_path / "out"
    for number, name in enumerate(("a/1-happy/1.png", "a/2-sad/1.png", "b/1-happy/1.png")):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_bytes(picture(number))
    config = PrepareConfig(landmarks="none", folds=2, views="virtual", options=OPTIONS["folder"])
    make("dangling", root / "a/2-sad/1.png")
    assert prepare_dataset("folder", root, out, config).kept == 2
    (root / "a/2-sad/nowhere.png").write_bytes(picture(3))
    done = prepare_dataset("folder", root, out, config)
    assert done.kept == 3 and "unreadable" not in done.skipped and classes_of(read_manifest(out)["expression"]) == ("happiness", "sadness")


@pytest.mark.parametrize("kind", ["dangling", "loop", "denied", "vanishing", *SPECIAL])
def test_a_label_that_cannot_be_read_costs_its_sequence_alone(kind, tmp_path, refusing):
    """CK+'s code and MMI's XML. Seen red: read_text and read_bytes ended the run (OSError)."""
    TREES["ck+"](tmp_path / "ck")
    label = next((tmp_path / "ck/Emotion/S010/002").iterdir())
    make(kind, label)
    TREES["mmi"](tmp_path / "mmi")
    folder = tmp_path / "mmi/download/Sessions/1841"
    make(kind, folder / "session.xml")
    refusing(dict.fromkeys((label, folder / "session.xml"), ERRORS[kind]) if kind in ERRORS else {})
    for dataset, file, kept, subject in (("ck+", label, 2, "S010"), ("mmi", folder / "session.xml", 2, "S035")):
        root = tmp_path / dataset.removesuffix("+")
        plan = make_plan(dataset, root, PrepareConfig(landmarks="none", folds=2))
        assert len(plan.selected) == kept
        name = file.relative_to(root).as_posix()
        rows = [skip for skip in plan.skipped if skip.source == name or name in skip.detail]
        assert rows and any(WHY[kind].format(name=file.name) in skip.detail for skip in rows)
        if kind not in SPECIAL:         # they are no files: the sequence has no label, or no view
            assert [(skip.reason, skip.subject) for skip in rows if skip.frames] == [("unreadable", subject)]


@pytest.mark.parametrize("kind", ["dangling", "loop", "denied", *SPECIAL])
def test_points_and_codings_that_cannot_be_read_cost_what_rests_on_them(kind, synthetic_ck, tmp_path, refusing):
    """CK+'s own landmarks, an onset-apex-offset coding. Seen red: read_bytes ended the run."""
    shutil.copytree(synthetic_ck, tmp_path / "ck")
    config = PrepareConfig(landmarks="dataset", folds=2, views="virtual")
    frame = make_plan("ck+", tmp_path / "ck", config).selected[0].sequence.frames[0]
    make(kind, tmp_path / "ck" / frame.points)
    refusing({tmp_path / "ck" / frame.points: errno.EACCES} if kind == "denied" else {})
    done = prepare_dataset("ck+", tmp_path / "ck", tmp_path / "out", config)
    table = read_skipped(tmp_path / "out")
    assert table[table["reason"] == "no-landmarks"]["source"].tolist() == [frame.source]
    assert done.found == done.kept + sum(done.skipped.values())
    from tests.mmi_sessions import write_session

    folder = write_session(tmp_path / "mmi/Sessions", 1, 1, 1, emotion=1, units={1: [(2, 2), (5, 3)]})
    write_session(tmp_path / "mmi/Sessions", 2, 2, 1, emotion=2)
    coding = folder / "S001-001-oao_aucs.xml"
    make(kind, coding)
    refusing({coding: errno.EACCES} if kind == "denied" else {})
    plan = make_plan("mmi", tmp_path / "mmi", PrepareConfig(landmarks="none", folds=2))
    assert len(plan.selected) == 2 and any(coding.name in f"{skip.source} {skip.detail}" for skip in plan.skipped)


def test_audit_goes_past_what_cannot_be_read(tmp_path, refusing):
    """Folders of pictures, and folders of lists. Seen red: it stopped at the first link, and waited for the FIFO."""
    for side, subject in (("train", 1), ("test", 2)):
        (tmp_path / "pictures" / side).mkdir(parents=True)
        for number in range(9):
            (tmp_path / "pictures" / side / f"S00{subject}_001_{number:08d}.png").write_bytes(picture(10 * subject + number))
    spoilt = dict(zip(sorted((tmp_path / "pictures/train").iterdir()), ("dangling", "loop", "denied", *SPECIAL), strict=False))
    for path, kind in spoilt.items():
        make(kind, path)
    (tmp_path / "pictures/test/locked").mkdir()
    refusing({path: errno.EACCES for path, kind in spoilt.items() if kind == "denied"} | {tmp_path / "pictures/test/locked": errno.EACCES})
    report = check_split([tmp_path / "pictures"])
    assert not report.leaks and report.doubtful and report.overall.train_images == 6, "what is missing is still said to be trained on"
    assert report.warnings[-1].startswith("6 entries cannot be read: ")
    assert report.pixels.notes == ("3 files cannot be read and were not compared",)
    done = CliRunner().invoke(main, ["audit", str(tmp_path / "pictures"), "--strict"])
    assert done.exit_code == 1 and "6 entries cannot be read" in done.output, done.output
    (tmp_path / "lists").mkdir()
    for name, subject in (("train_1.txt", 1), ("test_1.txt", 2), ("train_2.txt", 2), ("test_2.txt", 1)):
        (tmp_path / "lists" / name).write_text("".join(f"S00{subject}_001_{number:08d}.png\n" for number in range(3)))
    for name, kind in (("test_3.txt", "dangling"), ("train_3.txt", "denied"), ("train_4.txt", "FIFO"), ("test_4.txt", "loop")):
        make(kind, tmp_path / "lists" / name)
    refusing({tmp_path / "lists/train_3.txt": errno.EACCES})
    report = check_split([tmp_path / "lists"])
    assert len(report.folds) == 2 and report.doubtful and report.warnings[-1].startswith("4 entries cannot be read: ")
    for name in ("test_3.txt", "train_3.txt", "train_4.txt", "test_4.txt"):
        with pytest.raises(SplitError, match=rf"reading the split .*{name} (is|may)"):
            check_split([tmp_path / "lists" / name])


def test_predict_goes_past_what_cannot_be_read(tmp_path, refusing):
    """Seen red: a FIFO was no picture and was only counted; a folder that may not be listed ended the run; FIFOs stood before all else."""
    for number, kind in enumerate(("dangling", "loop", "denied", *SPECIAL)):
        make(kind, tmp_path / f"{number}.png")
        make(kind, tmp_path / f"{number}.mp4")
    (tmp_path / "9.png").write_bytes(picture(1))
    (tmp_path / "locked").mkdir()
    (tmp_path / "P9").symlink_to("nowhere")
    refusing({tmp_path / "2.png": errno.EACCES, tmp_path / "2.mp4": errno.EACCES, tmp_path / "locked": errno.EACCES})
    seen = sources(str(tmp_path))
    shots = {shot.source: shot for shot in seen.shots()}
    assert [*shots] == sorted(shots, key=natural_key)
    assert shots.keys() == {*(f"{number}.{end}" for number in range(6) for end in ("png", "mp4")), "9.png", "P9", "locked/"}
    assert seen.passed_over == () and [name for name, shot in shots.items() if shot.picture is not None] == ["9.png"]
    for number, kind in enumerate(("dangling", "loop", "denied", *SPECIAL)):
        for end in ("png", "mp4"):
            assert WHY[kind].format(name=f"{number}.{end}") in shots[f"{number}.{end}"].problem
    for number, kind in ((0, "dangling"), (1, "loop"), (3, "FIFO"), (4, "socket"), (5, "device")):
        with pytest.raises(ImageError, match=f"{number}.png {WHY[kind].format(name=f'{number}.png')}"):
            sources(str(tmp_path / f"{number}.png"))
    assert next(sources(str(tmp_path / "2.png")).shots()).problem == "it may not be read (no permission)"
