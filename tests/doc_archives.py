"""What the pages of docs/ begin with: drawn databases, packed as the real ones are handed out.

In:  an empty folder, a drawn CK+ tree. Out: the archives or folders that a page expects, by the page's name.
"""

import csv
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2

from tests.trees import ck_plus_sequences

__all__ = ["ARCHIVES"]


def _pack(archive: Path, root: Path, *tops: str, litter: bool = False) -> None:
    """Put folders of `root` into a zip, under their own names."""
    with zipfile.ZipFile(archive, "w") as file:
        for top in tops:
            for path in sorted((root / top).rglob("*")):
                file.write(path, path.relative_to(root))
        if litter:
            file.writestr("__MACOSX/._x", b"\x00\x05\x16\x07")


def _ck(out: Path, tree: Path) -> None:
    _pack(out / "extended-cohn-kanade-images.zip", tree, "cohn-kanade-images", litter=True)
    _pack(out / "Emotion_labels.zip", tree, "Emotion", litter=True)
    _pack(out / "Landmarks.zip", tree, "Landmarks")


def _faces(tree: Path):
    """Yield (expression, path) of the last three frames of each labelled sequence."""
    with (tree / "truth.csv").open(newline="") as file:
        labelled = {(row["subject"], row["sequence"]): row["label"] for row in csv.DictReader(file) if row["label"]}
    for (subject, sequence), expression in sorted(labelled.items()):
        frames = sorted((tree / "cohn-kanade-images" / subject / sequence).glob("*.png"))[-3:]
        yield from ((expression, path) for path in frames)


def _small(path: Path, side: int):
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)                # (490, 640)
    return cv2.resize(picture[45:445, 120:520], (side, side), interpolation=cv2.INTER_AREA)


def _ck48(out: Path, tree: Path) -> None:
    words = {"happiness": "happy"}
    for expression, path in _faces(tree):
        place = out / "copy" / "CK+48" / words.get(expression, expression)
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / path.name), _small(path, 48))
    _pack(out / "CK+48.zip", out / "copy", "CK+48")
    shutil.rmtree(out / "copy")


def _folder(out: Path, tree: Path) -> None:
    rows = []
    for expression, path in _faces(tree):
        subject, sequence, number = path.stem.split("_")
        name = f"{subject}/{subject}_{sequence}_{expression}_{int(number)}.jpg"
        (out / "faces" / subject).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out / "faces" / name), _small(path, 96))
        rows.append(f"{name},{subject},{expression},{sequence}\n")
    (out / "index.csv").write_text("path,subject,expression,sequence\n" + "".join(rows))


def _mmi(out: Path, tree: Path) -> None:
    from fer_data.synthetic.mmi import write_mmi

    write_mmi(out / "drawn", subjects=3, seed=0, traps=True)
    for top in sorted((out / "drawn").glob("mmi-facial*")):
        _pack(out / f"{top.name}.zip", out / "drawn", top.name)
    shutil.rmtree(out / "drawn")


def _oulu(out: Path, tree: Path) -> None:
    from fer_data.synthetic.oulu_casia import write_oulu

    write_oulu(out / "drawn", lights=["strong"], spectra=["vis"], subjects=3, seed=0, cropped=True, traps=True)
    _pack(out / "B_OriginalImg.zip", out / "drawn", "B_OriginalImg")
    _pack(out / "PreProcessImg.zip", out / "drawn", "PreProcessImg")
    shutil.rmtree(out / "drawn")


def _bu4dfe(out: Path, tree: Path) -> None:
    from fer_data.synthetic.bu4dfe import write_bu4dfe

    write_bu4dfe(out / "BU_4DFE", subjects=3, seed=0, frames=4, traps=True)
    shutil.copytree(tree, out / "CK+")


def _crema_d(out: Path, tree: Path) -> None:
    """Three people who say two sentences, and the sha256 of their clips as if two were not damaged."""
    from fer_data.files import sha256_of_file
    from fer_data.synthetic.crema_d import write_crema_d

    write_crema_d(out / "CREMA-D", subjects=3, seed=0, takes=1, traps=True)
    clips = sorted((out / "CREMA-D" / "VideoFlash").glob("1*.flv"))
    for path in [path for path in clips if path.stem[5:8] not in ("DFA", "IOM")]:
        path.unlink()
        clips.remove(path)
    digests = {path: "0" * 64 if path.stem in ("1001_DFA_ANG_XX", "1001_DFA_DIS_XX") else sha256_of_file(path) for path in clips}
    (out / "published.txt").write_text("".join(f"{digest} * VideoFlash/{path.name}\n" for path, digest in digests.items()))


def _ravdess(out: Path, tree: Path) -> None:
    from fer_data.synthetic.ravdess import write_ravdess

    write_ravdess(out / "drawn", subjects=3, seed=0, traps=True)
    for path in (out / "drawn").rglob("*-*-*-*-0?-02-*.mp4"):            # one repetition is enough for a page
        path.unlink()
    for top in sorted((out / "drawn").glob("Video_Speech_*")):
        _pack(out / f"{top.name}.zip", top, "Actor_" + top.name[-2:])
    shutil.rmtree(out / "drawn")


def _web(out: Path, tree: Path) -> None:
    from fer_data.synthetic.web import write_web

    for dataset, name in (("rafdb", "drawn"), ("affectnet", "AffectNet"), ("expw", "ExpW"), ("sfew", "SFEW"), ("caer-s", "CAER-S")):
        write_web(out / name, dataset, pictures=48, traps=True)
    _pack(out / "basic.zip", out / "drawn", "basic")
    shutil.rmtree(out / "drawn")


def _prepared(out: Path, tree: Path) -> None:
    """A prepared folder without looking for faces: for pages that are about splits."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset

    _ck48(out, tree)
    with zipfile.ZipFile(out / "CK+48.zip") as file:
        file.extractall(out)
    prepare_dataset("ck48", out / "CK+48", out / "prepared", PrepareConfig(landmarks="none", folds=4, views="virtual"))


def _cluster(out: Path, tree: Path) -> None:
    shutil.copytree(tree, out / "CK+")


def _trained(out: Path, tree: Path) -> None:
    """A prepared folder, fold 0 of a cross-validation on it, and pictures to look at."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset
    from fer_model.config import preset, with_budgets
    from fer_model.job import Job
    from fer_model.train import train

    prepare_dataset("ck+", tree, out / "prepared", PrepareConfig(landmarks="dlib", folds=4, views="virtual"))
    config = with_budgets(preset("smoke"), gan=0.064, head=0.064)
    train(Job(out / "prepared", out / "runs" / "ck+-degan" / "fold0", config), "cpu", say=lambda _: None)
    (out / "holiday").mkdir()
    pictures = [cv2.imread(str(path)) for _, path in list(_faces(tree))[2:8:3]]
    cv2.imwrite(str(out / "me.jpg"), pictures[0])
    for name, picture in zip(("1.jpg", "2.jpg", "3.jpg"), [*pictures, 0 * pictures[0]], strict=True):
        cv2.imwrite(str(out / "holiday" / name), picture)
    (out / "holiday" / "notes.txt").write_text("Not a picture.")


def _small_databases(out: Path, tree: Path) -> None:
    from fer_data.synthetic.described import write_described

    names = {"jaffe": "jaffe", "kdef": "KDEF", "rafd": "RaFD", "faces-mpi": "FACES", "wsefep": "WSEFEP", "adfes": "ADFES", "mug": "MUG"}
    for dataset, folder in names.items():
        write_described(dataset, out / folder, subjects=2)


def _ck48_names(out: Path, tree: Path) -> None:
    """The folder of CK+48 with the names of its 981 pictures, and no pixels."""
    for row in ck_plus_sequences():
        place = out / "CK+48" / {"happiness": "happy"}.get(row["expression"], row["expression"])
        place.mkdir(parents=True, exist_ok=True)
        for back in range(3):
            (place / f"{row['subject']}_{row['sequence']}_{int(row['last_frame']) - back:08d}.png").touch()


def _own_network(out: Path, tree: Path) -> None:
    """A prepared folder, a picture, and the network that the page on methods shows."""
    from fer_data.prepare.plan import PrepareConfig
    from fer_data.prepare.run import prepare_dataset
    from tests.doc_pages import DOCS, blocks_of

    prepare_dataset("ck+", tree, out / "prepared", PrepareConfig(landmarks="dlib", folds=2, views="virtual"))
    cv2.imwrite(str(out / "me.jpg"), cv2.imread(str(list(_faces(tree))[2][1])))
    shown = next(block for block in blocks_of(DOCS / "extend/method.md") if block.kind == "python")
    (out / "net.py").write_text(shown.text)


ARCHIVES: dict[str, Callable[[Path, Path], None]] = {
    "howto/ck.md": _ck, "howto/ck48.md": _ck48, "howto/mmi.md": _mmi, "howto/oulu.md": _oulu, "howto/bu4dfe.md": _bu4dfe,
    "howto/crema-d.md": _crema_d, "howto/ravdess.md": _ravdess,
    "howto/small_databases.md": _small_databases, "howto/web_databases.md": _web,
    "howto/folder.md": _folder, "audit.md": _prepared, "leaks.md": _ck48_names, "protocol.md": _prepared,
    "howto/predict.md": _trained, "howto/export-model.md": _trained, "howto/card.md": _trained, "howto/export-faces.md": _prepared,
    "howto/shards.md": _prepared, "howto/settings.md": _prepared, "howto/cluster.md": _cluster,
    "howto/any_network.md": _own_network, "extend/method.md": _own_network,
}
