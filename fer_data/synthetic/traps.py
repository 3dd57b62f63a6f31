"""Files that real downloads hold besides the database, and damaged ones: adapters must not be misled by them.

In:  the root of a written tree, a folder of its first subject.
Out: more files in it, some of its own damaged; the number of files touched.
"""

import shutil
from pathlib import Path

import cv2
import numpy as np

from fer_data.synthetic import litter
from fer_data.synthetic.trees import write_png

__all__ = ["LFS_POINTER", "for_oulu", "for_bu4dfe", "for_crema_d", "for_ravdess", "for_web", "leave_litter", "cut_in_half"]

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 48213\n"
_APPLE_DOUBLE = litter.APPLE_DOUBLE_MAGIC + bytes(213)
_THUMBS = bytes.fromhex("d0cf11e0a1b11ae1").ljust(512, b"\0")  # the signature of an OLE container


def for_oulu(root: Path, original: Path, cropped: Path) -> int:
    """Damage and surround the sequences of one subject of an Oulu-CASIA tree.

    Disgust: the last picture but one is a Git LFS pointer. Surprise: the last picture is cut in half. Anger: unpacked twice.
    An expression folder of a subject that does not exist is empty; a change log, and a picture of nobody, lie about.
    """
    disgust, surprise = (sorted((original / word).glob("*.jpeg")) for word in ("Disgust", "Surprise"))
    disgust[-2].write_bytes(LFS_POINTER)
    cut_in_half(surprise[-1])
    twice = root / "B_OriginalImg (2)" / (original / "Anger").relative_to(root / "B_OriginalImg")
    shutil.copytree(original / "Anger", twice)
    (original.parent / "P999" / "Anger").mkdir(parents=True)
    shutil.copy(original / "Anger" / "000.jpeg", root / "IMG_0815.jpeg")
    (root / "change_log.txt").write_bytes(b"2012-03-04 cropped again\n")
    return 4 + len(list(twice.iterdir())) + leave_litter(root, [original / "Anger", cropped / "Fear"])


def for_bu4dfe(root: Path, subject: Path) -> int:
    """Damage and surround the sequences of one subject of a BU-4DFE tree.

    Disgust: the first texture is a Git LFS pointer. Surprise: the first texture is cut in half. A folder is named like a
    subject, but for one digit; landmark files are next to it; the viewer has a picture of its own.
    """
    disgust, surprise = (sorted((subject / word).glob("*.jpg")) for word in ("Disgust", "Surprise"))
    disgust[0].write_bytes(LFS_POINTER)
    cut_in_half(surprise[0])
    for name in ("BU_WrlViewer_V2/splash.jpg", "F0001/Angry/000.jpg", "IMG_0815.JPG"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(subject / "Angry" / "000.jpg", root / name)
    points = root / "BU4DFE_BND_V1.1" / subject.name / "Angry"
    points.mkdir(parents=True)
    (points / "000.bnd").write_bytes(b"0 0.0 0.0 0.0\n" * 83)
    (root / "M999" / "Sad").mkdir(parents=True)
    return 6 + leave_litter(root, [subject / "Angry", subject / "Fear"])


def for_web(root: Path, dataset: str) -> int:
    """Damage and surround a tree of pictures from the web: of five of its pictures the first becomes a Git LFS pointer, the second is cut
    in half, a copy of the third is nobody's. Of CAER-S the fourth shows nobody, and the fifth somebody else as well, in a smaller picture.
    """
    pictures = sorted(path for path in root.rglob("*") if path.suffix in (".png", ".jpg"))
    first, second, third, fourth, fifth = pictures[len(pictures) // 2 :][:5]
    shutil.copy(third, root / f"IMG_0815{third.suffix}")
    first.write_bytes(LFS_POINTER)
    cut_in_half(second)
    if dataset == "caer-s":
        scene, other = cv2.imread(str(fifth)), cv2.resize(cv2.imread(str(fourth)), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
        padded = cv2.copyMakeBorder(other, scene.shape[0] - other.shape[0], 0, 0, 0, cv2.BORDER_REPLICATE)
        write_png(fifth, np.hstack([scene, padded]))
        write_png(fourth, np.full_like(scene, 90))
    return 3 + 2 * (dataset == "caer-s") + leave_litter(root, [third.parent])


def for_crema_d(root: Path) -> int:
    """Damage and surround the clips of the first subject of a CREMA-D tree.

    DFA_ANG is a Git LFS pointer, DFA_DIS is cut in half, DFA_FEA was converted to MP4 as well, with the actor's sex behind its name. The
    sound of a clip, and a clip of nobody, lie about.
    """
    clips = root / "VideoFlash"
    (clips / "1001_DFA_ANG_XX.flv").write_bytes(LFS_POINTER)
    cut_in_half(clips / "1001_DFA_DIS_XX.flv")
    for folder, name in (("VideoMP4", "1001_DFA_FEA_XX_01.mp4"), ("AudioWAV", "1001_DFA_FEA_XX.wav"), ("VideoFlash", "IMG_0815.flv")):
        (root / folder).mkdir(exist_ok=True)
        shutil.copy(clips / "1001_DFA_FEA_XX.flv", root / folder / name)
    return 5 + leave_litter(root, [clips])


def for_ravdess(root: Path) -> int:
    """Damage and surround the spoken clips of the first subject of a RAVDESS tree.

    The first angry clip is cut in half, the folder of the first happy one was unpacked twice. The sound of a clip, and a clip of nobody,
    lie about.
    """
    folder = root / "Video_Speech_Actor_01" / "Actor_01"
    happy = folder / "02-01-03-01-01-01-01.mp4"
    cut_in_half(folder / "02-01-05-01-01-01-01.mp4")
    for place in ("Actor_01 (1)/02-01-03-01-01-01-01.mp4", "Audio_Speech/Actor_01/03-01-03-01-01-01-01.wav", "Actor_01 (1)/IMG_0815.mp4"):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(happy, root / place)
    return 4 + leave_litter(root, [folder])


def leave_litter(root: Path, folders: list[Path]) -> int:
    """Put Thumbs.db and an AppleDouble twin of the first file into folders, .DS_Store and __MACOSX at the top."""
    count = 0
    for folder in folders:
        first = min(path for path in folder.iterdir() if path.is_file())
        for path, content in ((folder / "Thumbs.db", _THUMBS), (folder / f"._{first.name}", _APPLE_DOUBLE)):
            path.write_bytes(content)
        twin = root / "__MACOSX" / folder.relative_to(root)
        twin.mkdir(parents=True, exist_ok=True)
        (twin / f"._{first.name}").write_bytes(_APPLE_DOUBLE)
        count += 3
    (root / ".DS_Store").write_bytes(b"\0\0\0\1Bud1".ljust(6148, b"\0"))
    return count + 1


def cut_in_half(path: Path) -> None:
    """Leave the first half of a file, as a download that broke off does."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
