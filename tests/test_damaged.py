"""A damaged picture is said to be one: a JPEG by a remark, a PNG by its row; decoders print nothing into the user's terminal."""

import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pandas as pd
import pytest

from fer_data.errors import ImageError
from fer_data.pictures.complaints import complaints
from fer_data.pictures.decode import Remark, decode, decode_picture
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_model.use.shots import sources

PICTURE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8), (0, 0), 2)


def encoded(suffix):
    return cv2.imencode(suffix, PICTURE)[1].tobytes()


@contextmanager
def nothing_said():
    """complaints() of a version that asked for none."""
    yield []


def with_a_gap(data, share):
    """Return the file without a third of its bytes. Of a short gap libjpeg may find more bits than it needs and say nothing."""
    place = int(len(data) * share)
    return data[:place] + data[place + len(data) // 3 :]


def test_a_damaged_jpeg_is_decoded_and_said_to_be_damaged(capfd):
    """Seen red: no word but libjpeg's own on stderr, while a part of the picture is another."""
    found, remark = decode(with_a_gap(encoded(".jpg"), 0.5), True, "a.jpg")
    assert np.abs(found.astype(int) - decode(encoded(".jpg"), True, "a.jpg")[0]).max() > 30
    assert remark.reason == "damaged" and remark.text.startswith("is damaged, so that a part of it may be grey or lie elsewhere (Corrupt")
    assert decode(encoded(".jpg"), True, "a.jpg")[1] == Remark()
    assert capfd.readouterr().err == ""


def test_what_libpng_says_stands_in_our_sentence_alone(capfd):
    """Seen red: "libpng error: bad adaptive filter value" on stderr as well."""
    data = bytearray(encoded(".png"))
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match=r"a\.png is damaged or of a format that OpenCV does not read \(libpng error: "):
        decode(bytes(data), True, "a.png")
    assert capfd.readouterr().err == ""


def test_what_others_print_meanwhile_is_printed():
    """In a process of its own, whose standard error nobody replaces. Seen red: lost."""
    program = (
        "import os\nfrom fer_data.pictures.complaints import complaints\n"
        "with complaints() as said:\n    os.write(2, b'progress\\nlibpng error: bad\\nlibpng warning: iCCP: known\\n')\nprint(said)\n"
        "os.close(2)\nwith complaints() as said:\n    pass\nprint(said)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("['libpng error: bad']\n[]\n", "progress\n")


def test_threads_decode_at_once_where_nobody_asks_what_decoders_say():
    """As `audit` does with thousands of pictures. Seen red: each waited for the one before."""
    decoding = Thread(target=decode_picture, args=(encoded(".jpg"), True, "a.jpg"), daemon=True)
    with complaints():
        decoding.start()
        decoding.join(20)
        assert not decoding.is_alive()


def test_descriptors_are_given_back():
    """Also where the block fails. Seen red: one more is open each time."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(ImageError), complaints():
            raise ImageError("x")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_prepare_keeps_a_damaged_jpeg_and_counts_it(tmp_path, monkeypatch):
    """Seen red: neither a row nor a note. Prepared once more, nothing is decoded and both are there as before; of a folder of an earlier
    version, which has neither, they are made. Seen red: its shards were kept."""
    for person in ("p1", "p2"):
        for word in ("fear", "anger"):
            (tmp_path / "in" / person).mkdir(parents=True, exist_ok=True)
            data = encoded(".jpg") + person.encode() + word.encode()
            (tmp_path / "in" / person / f"1_{word}.jpg").write_bytes(with_a_gap(data, 0.5) if (person, word) == ("p2", "fear") else data)
    config = PrepareConfig(landmarks="none", folds=2, views="virtual", options={"pattern": "{subject}/{sequence}_{expression}.jpg"})
    monkeypatch.setattr("fer_data.pictures.decode.complaints", nothing_said)
    monkeypatch.setattr("fer_data.prepare.run.SCALING_VERSION", 2)
    assert not prepare_dataset("folder", tmp_path / "in", tmp_path / "out", config).notes
    monkeypatch.undo()
    for _ in range(2):
        summary = prepare_dataset("folder", tmp_path / "in", tmp_path / "out", config)
        assert summary.kept == 4 and not summary.skipped
        (note,) = [note for note in summary.notes if "damaged" in note]
        assert note.startswith("1 picture of a damaged file, such as p2/1_fear.jpg: it is damaged, so that a part of it may be grey")
        table = pd.read_csv(tmp_path / "out/skipped.csv")
        assert table[["source", "reason", "frames"]].values.tolist() == [["p2/1_fear.jpg", "damaged", 0]]
    shutil.copy(tmp_path / "in/p2/1_fear.jpg", tmp_path / "a.jpg")
    (shot,) = sources(str(tmp_path / "a.jpg")).shots()
    assert shot.problem == "" and shot.remark.startswith("it is damaged, so that")
