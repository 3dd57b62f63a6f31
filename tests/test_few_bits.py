"""Pictures whose file has more bits than their camera: scaled by those that are used, and said; all others as they always were."""

import json
import struct

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.fer_data import main
from fer_data.errors import ImageError
from fer_data.files import sha256_of_bytes
from fer_data.pictures.decode import Remark, decode, decode_picture, few_bits, grey_of
from fer_data.pictures.header import bits_per_sample, largest_value
from fer_data.prepare import sequence as work
from fer_data.prepare.plan import PrepareConfig, make_plan
from fer_data.prepare.run import prepare_dataset
from fer_data.records import Frame, Sequence
from fer_data.store import shards
from fer_data.store.manifest import read_settings, read_skipped
from fer_model.use.prediction import Prediction
from fer_model.use.prediction_files import CsvWriter
from fer_model.use.shots import sources
from tests.conftest import REPOSITORY

CASE = REPOSITORY.parent / "shared" / "cases" / "12-bits-in-16"
PLAIN = {"landmarks": "none", "folds": 2, "views": "virtual", "options": {"pattern": "{subject}/{sequence}_{expression}.*"}}
RAMP = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)               # 0..4095


def encoded(picture, extension=".png"):
    return cv2.imencode(extension, picture)[1].tobytes()


def pgm(picture, white, kind="P5"):
    head = f"{kind}\n# by hand\n{picture.shape[1]} {picture.shape[0]}\n{white}\n"
    return head.encode() + picture.astype(">u2" if white > 255 else "u1").tobytes()


def pam(picture, white):
    head = f"P7\nWIDTH {picture.shape[1]}\nHEIGHT {picture.shape[0]}\nDEPTH 1\nMAXVAL {white}\nTUPLTYPE GRAYSCALE\nENDHDR\n"
    return head.encode() + picture.astype(">u2").tobytes()


def packed_tiff(picture):
    """A TIFF of 12 bits a sample, two samples in three bytes."""
    one, other = picture.ravel().astype(np.uint32).reshape(-1, 2).T
    body = np.stack([one >> 4, (one & 15) << 4 | other >> 8, other & 255], 1).astype(np.uint8).tobytes()
    height, width = picture.shape
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, len(body))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("extension", [".png", ".tiff", ".pgm"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_uppermost_bits_that_are_used_are_taken(bits, extension):
    """Grey and RGB. Seen red: by the upper byte a picture of 12 bits had values 0..15."""
    grey = (RAMP.astype(np.uint32) * ((1 << bits) - 1) // 4095).astype(np.uint16)
    for picture in (grey, np.dstack([grey, grey // 2, grey // 3])):
        data = encoded(picture, ".ppm" if extension == ".pgm" and picture.ndim == 3 else extension)
        found, remark = decode(data, True, "a")
        expected = np.broadcast_to(picture.reshape(64, 64, -1)[..., ::-1] >> (bits - 8), found.shape)
        assert np.abs(found.astype(int) - expected).max() <= (bits == 16 and extension == ".tiff"), "OpenCV rounds a TIFF of 16 bits"
        assert found.min() == 0 and found.max() == 255
        words = f"uses {bits} of 16 bits (its largest value is {(1 << bits) - 1}): the brightness is scaled by them"
        assert remark == (Remark() if bits == 16 else Remark("few-bits", words))
        np.testing.assert_array_equal(decode_picture(data, False, "a"), grey_of(found))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(16384, 65535), st.sampled_from([".png", ".tiff", ".ppm"]), st.booleans())
def test_a_picture_that_uses_its_bits_is_decoded_as_it_always_was(seed, largest, extension, colour):
    """Against what OpenCV makes of it, to the bit. Seen red: `>> 8` in place of OpenCV's own picture (a TIFF differs by 1)."""
    picture = np.random.default_rng(seed).integers(0, largest, (8, 9, 3), np.uint16, endpoint=True)
    picture[0, 0] = largest
    data = encoded(picture, extension)
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    found, remark = decode(data, colour, "a")
    np.testing.assert_array_equal(found, theirs if colour else grey_of(theirs))
    assert remark == Remark()


def test_a_black_picture_and_one_of_8_bits_are_not_scaled():
    dark = np.full((8, 8), 3, np.uint8)
    for data in (encoded(np.zeros((8, 8), np.uint16)), encoded(dark), encoded(dark, ".tiff")):
        assert decode(data, False, "a")[1] == Remark() and decode_picture(data, False, "a").max() in (0, 3)
    assert few_bits(255) == 8 and few_bits(256) == 10 and few_bits(16383) == 14


@pytest.mark.parametrize("white", [1, 15, 100, 1000, 4095, 10000])
def test_what_a_pnm_calls_white_is_white(white):
    """Seen red: OpenCV leaves the values as they are: 4,095 became 15."""
    picture = (RAMP.astype(np.uint32) * white // 4095).astype(np.uint16)
    for data in (pgm(picture, white), *([pam(picture, white)] if white > 255 else [])):
        found, remark = decode(data, False, "a")
        assert (found.min(), found.max()) == (0, 255) and remark.text == f"calls {white} white: the brightness is scaled by it"
        assert np.abs(found - picture * 255.0 / white).max() <= 1
    assert largest_value(pgm(RAMP, 65535)) is None and largest_value(pgm(RAMP % 256, 255)) is None


@pytest.mark.parametrize("white", [1, 15, 100, 254, 1023, 4095])
def test_a_pnm_as_text_is_the_one_as_bytes(white):
    """Seen red: scaled twice up to 254, so that of 0, 5, 10 and 15 all but the first were 255."""
    picture = (RAMP.astype(np.uint32) * white // 4095).astype(np.uint16)
    for text, raw, shape in ((b"P2", "P5", "64 64"), (b"P3", "P6", "16 64")):
        head = f" {shape} {white}\n"
        values = picture.ravel()[: 3072 if raw == "P6" else 4096]
        as_text = text + head.encode() + "\n".join(map(str, values)).encode() + b"\n"
        as_bytes = raw.encode() + head.encode() + values.astype(">u2" if white > 255 else "u1").tobytes()
        found, expected = decode(as_text, True, "a"), decode(as_bytes, True, "a")
        assert found[1] == expected[1] and np.abs(found[0].astype(int) - expected[0]).max() <= 1


def test_points_of_scaled_pictures_are_kept_for_one_way_of_scaling(tmp_path, monkeypatch):
    """The shard is made again after a change of it, and so must be its points. Seen red: one key for both."""
    keys = {}
    for name, picture in (("plain", np.zeros((8, 8), np.uint8)), ("deep", RAMP)):
        data = encoded(picture)
        (tmp_path / name).write_bytes(data)
        one = Sequence("faces", "a", "b", "anger", (Frame(name, 0),))
        task = work.Task(str(tmp_path), one, (sha256_of_bytes(data),), ("dlib", {}), {"name": "dlib"}, [], False, None)
        monkeypatch.setattr(work, "locate", lambda *given: ("whole", ["no-face"]))
        for version in (1, 2):
            monkeypatch.setattr(work, "SCALING_VERSION", version)
            keys[name, version] = work.process(task).cache_key
    assert keys["plain", 1] == keys["plain", 2] and keys["deep", 1] != keys["deep", 2]


def test_other_kinds_of_deep_pictures():
    """12 bits packed in a TIFF say what they are; 32 and 64 bits are refused in words. Seen red: 'damaged or of a format'; the place of
    the three numbers of bits of a colour TIFF, cut to 16 bits, taken for the number: "has 9373 bits a sample"."""
    found, remark = decode(packed_tiff(RAMP), False, "a")
    np.testing.assert_array_equal(found, RAMP >> 4)
    assert remark == Remark()
    signed = decode(encoded((RAMP.astype(np.int32) - 100).astype(np.int16), ".tiff"), False, "a")
    assert signed[0].min() == 0 and signed[0].max() == 3995 >> 4 and signed[1].text.startswith("uses 12 of 16 bits")
    for depth, bits in ((np.float32, 32), (np.float64, 64)):
        with pytest.raises(ImageError, match=rf"a\.tif has {bits} bits a sample; save it with 8 or 16"):
            decode(encoded(RAMP.astype(depth) / 4095, ".tiff"), False, "a.tif")
    with_alpha = np.dstack([RAMP, RAMP, RAMP, np.full_like(RAMP, 65535)])
    assert decode(encoded(with_alpha), False, "a")[0].max() == 255, "alpha does not count"
    colour = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)                   # so large that its tags lie far behind
    for deep in (colour, colour.astype(np.uint16) * 257):
        assert np.abs(decode(encoded(deep, ".tiff"), True, "a")[0].astype(int) - colour[..., ::-1]).max() <= 1
    assert [bits_per_sample(encoded(RAMP, end)) for end in (".png", ".tiff", ".pgm")] == [16] * 3
    assert [bits_per_sample(encoded(RAMP.astype(np.uint8), end)) for end in (".png", ".tiff", ".pgm", ".jpg", ".bmp", ".webp")] == [8] * 6


def write_faces(root, bits):
    """Two people, two pictures of 16 bits each that use `bits` of them."""
    rng = np.random.default_rng(5)
    for subject in ("p0", "p1"):
        (root / subject).mkdir(parents=True, exist_ok=True)
        for number, expression in enumerate(("neutral", "happy")):
            picture = rng.integers(0, 1 << bits, (96, 96)).astype(np.uint16)
            (root / subject / f"{number}_{expression}.png").write_bytes(encoded(picture))
    return root


def test_prepare_says_which_pictures_were_scaled_and_again_from_its_cache(tmp_path):
    """Seen red: without the remark in skipped.csv the second run, which decodes nothing, had no note: settings.json differed."""
    root, out = write_faces(tmp_path / "in", 12), tmp_path / "out"
    done = prepare_dataset("folder", root, out, PrepareConfig(**PLAIN))
    assert (done.found, done.kept, done.skipped, done.unusable) == (4, 4, {}, 0)
    words = "4 pictures with fewer bits than the file has, such as p0/0_neutral.png: it uses 12 of 16 bits"
    assert [note for note in done.notes if note.startswith(words)] and read_settings(out)["notes"] == list(done.notes)
    table = read_skipped(out)
    assert table["reason"].tolist() == ["few-bits"] * 4 and table["frames"].tolist() == [0] * 4
    before = (out / "settings.json").read_bytes()
    again = prepare_dataset("folder", root, out, PrepareConfig(**PLAIN))
    assert again.decoded == 0 and again.notes == done.notes and (out / "settings.json").read_bytes() == before


def test_only_the_keys_of_pictures_that_may_be_scaled_are_new(tmp_path, monkeypatch):
    """A folder prepared before stays valid; faces that were nearly black are made again. Seen red: no `scaling` in the key."""
    monkeypatch.setattr("fer_data.prepare.plan.SHARD_FACES", 2)
    root, out = write_faces(tmp_path / "in", 12), tmp_path / "out"
    for path in (root / "p1").iterdir():
        path.write_bytes(encoded(np.random.default_rng(1).integers(0, 256, (96, 96), np.uint8)))
    monkeypatch.setattr("fer_data.prepare.sequence.largest_value", lambda data: None)
    monkeypatch.setattr("fer_data.prepare.sequence.bits_per_sample", lambda data: 8)         # the keys of before
    prepare_dataset("folder", root, out, PrepareConfig(**PLAIN))
    monkeypatch.undo()
    monkeypatch.setattr("fer_data.prepare.plan.SHARD_FACES", 2)
    done = prepare_dataset("folder", root, out, PrepareConfig(**PLAIN))
    assert (done.shards_kept, done.shards_written) == (1, 1)
    assert shards.read_record(out / "shards", "00000.h5") and make_plan("folder", root, PrepareConfig(**PLAIN)).n_faces == 4


def test_predict_says_it_beside_what_it_finds(tmp_path):
    """Seen red: `ok` without a word."""
    (tmp_path / "a.png").write_bytes(encoded(RAMP))
    shot = next(sources(str(tmp_path / "a.png")).shots())
    assert shot.problem == "" and shot.remark.startswith("it uses 12 of 16 bits") and shot.picture.max() == 255
    lines = []
    CsvWriter(("fear",), lines.append).add(Prediction("a.png", None, None, (64, 64), (), remark=shot.remark))
    assert "no face was found; it uses 12 of 16 bits" in lines[1]
    assert Prediction("a", None, None, (1, 1), (), remark="x").status == "no-face"


def test_a_clip_of_16_bits_that_uses_fewer_is_not_taken_for_dark(tmp_path):
    """Lossless clips of infrared cameras. Seen red: frames with values 0..15."""
    av = pytest.importorskip("av")
    for name, largest in (("dark.mkv", 4095), ("whole.mkv", 65535)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "gray16le"
            picture = (RAMP.astype(np.uint32) * largest // 4095).astype(np.uint16)
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray16le")))
            container.mux(stream.encode())
    dark, whole = (list(sources(str(tmp_path / name)).shots()) for name in ("dark.mkv", "whole.mkv"))
    assert len(dark) == 3 and all("uses 12 of 16 bits; save the clip with 8 bits" in shot.problem for shot in dark)
    assert [shot.problem for shot in whole] == [""] * 3 and whole[0].picture.max() == 255


@pytest.mark.skipif(not CASE.is_dir(), reason="no cases on this machine")
def test_the_case_that_was_reported(tmp_path):
    """Seen in 0.1.0: values 0..15 of 255, without a word."""
    more = ["--landmarks", "none", "--views", "virtual", "--folds", "2", "--pattern", "{subject}/{sequence}_{expression}.*"]
    arguments = ["prepare", "folder", str(CASE / "faces"), str(tmp_path / "out"), *more]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0 and "uses 12 of 16 bits" in " ".join(done.output.split()), done.output
    summary = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert summary["kept"] == 4 and "uses 12 of 16 bits" in summary["notes"][-1]
    import h5py

    with h5py.File(tmp_path / "out/shards/00000.h5") as file:
        assert file["faces"][:].mean() > 100
