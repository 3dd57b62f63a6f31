"""Every picture of a tree is used or listed: what the decoder reads under any name, and what it does not, with what to do about it."""

import io
import re
import struct

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli.fer_data import main
from fer_data.audit.places import is_listed_picture
from fer_data.datasets.adapters import ADAPTERS
from fer_data.datasets.tree import walk
from fer_data.errors import DatasetError, ImageError
from fer_data.pictures.decode import decode_picture
from fer_data.pictures.file_kinds import CLIPS, PICTURES, is_clip, is_picture, not_media, other_picture, shows_picture
from fer_data.prepare.plan import PrepareConfig
from fer_data.prepare.run import prepare_dataset
from fer_data.store.manifest import read_manifest, read_skipped
from fer_model.use.shots import sources
from tests.conftest import REPOSITORY
from tests.test_adapters import OPTIONS, TREES

CASE = REPOSITORY.parent / "shared" / "cases" / "pictures-that-vanish"
PLAIN = {"landmarks": "none", "folds": 2, "views": "virtual"}
ENCODERS = {".jpg": ".jpg", ".jpeg": ".jpg", ".jpe": ".jpg", ".jif": ".jpg", ".jfif": ".jpg", ".jfi": ".jpg", ".mpo": ".jpg",
            ".png": ".png", ".apng": ".png", ".bmp": ".bmp", ".dib": ".bmp",
            ".tif": ".tiff", ".tiff": ".tiff", ".webp": ".webp", ".pbm": ".pbm",
            ".pgm": ".pgm", ".ppm": ".ppm", ".pnm": ".ppm", ".pam": ".pam"}


def box(brand, *others):
    """Return how a file of the ISO family begins."""
    inner = b"ftyp" + brand + b"\0\0\0\0" + b"".join(others)
    return struct.pack(">I", 4 + len(inner)) + inner


def saved(kind, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, kind, **options)
    return buffer.getvalue()


def raw_tiff(*tags):
    """A TIFF of 8x8 whose first directory has more tags, as cameras write."""
    good, data = cv2.imencode(".tiff", np.zeros((8, 8), np.uint8))
    assert good
    data = data.tobytes()
    start = struct.unpack("<I", data[4:8])[0]
    count = struct.unpack("<H", data[start : start + 2])[0]
    entries = data[start + 2 : start + 2 + 12 * count] + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", count + len(tags)) + entries + bytes(4)


# what the file is -> how it begins
UNREAD = {
    "GIF": saved("GIF"), "AVIF": box(b"avif", b"mif1"), "HEIC": box(b"heic", b"mif1"), "HEIF": box(b"mif1", b"miaf"),
    "JPEG 2000": saved("JPEG2000"), "JPEG XL": b"\xff\x0a" + bytes(30), "JPEG XR": b"II\xbc\x01" + bytes(30),
    "a Photoshop file": b"8BPS\0\x01", "OpenEXR": b"v/1\x01\x02", "DICOM": bytes(128) + b"DICM", "BigTIFF": b"II+\0\x08\0",
    "SVG": b"<svg/>", "EPS": b"%!PS-Adobe",
    "a camera's raw file": raw_tiff((50706, 1)), "an icon": saved("ICO", sizes=[(8, 8)]), "PFM": b"PF\n8 8\n",
    "Radiance HDR": b"#?RADIANCE\n", "a Sun raster": b"\x59\xa6\x6a\x95",
}
BRANDS = {"heix": "HEIC", "hevc": "HEIC", "heis": "HEIC", "avis": "AVIF", "crx ": "a camera's raw file", "msf1": "HEIF"}


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(1).integers(0, 256, (48, 48), np.uint8)


@pytest.fixture(scope="module")
def png(picture):
    return cv2.imencode(".png", picture)[1].tobytes()


def test_every_suffix_that_is_read_is_tried_here():
    """Seen red: a suffix more in PICTURES."""
    assert sorted(ENCODERS) == sorted(PICTURES)


@pytest.mark.parametrize("suffix", ENCODERS)
def test_a_picture_of_every_suffix_that_is_read_becomes_a_face(suffix, picture, tmp_path):
    """Two people; each in lower, in upper case. Seen red: PICTURES of 0.1.0, under which .jfif, .jpe and .dib were nowhere."""
    pixels = np.where(picture > 127, 255, 0).astype(np.uint8) if suffix == ".pbm" else picture
    pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if suffix in (".ppm", ".pnm") else pixels
    data = cv2.imencode(ENCODERS[suffix], pixels)[1].tobytes()
    for subject, end in (("a", suffix), ("b", suffix.upper())):
        (tmp_path / "in" / subject).mkdir(parents=True)
        (tmp_path / "in" / subject / f"1-happy{end}").write_bytes(data)
    config = PrepareConfig(**PLAIN, options={"pattern": "{subject}/{sequence}-{expression}.*"})
    done = prepare_dataset("folder", tmp_path / "in", tmp_path / "out", config)
    assert (done.found, done.kept, done.unusable) == (2, 2, 0) and is_listed_picture(f"a{suffix}")
    assert read_manifest(tmp_path / "out")["source"].tolist() == [f"a/1-happy{suffix}", f"b/1-happy{suffix.upper()}"]


@pytest.mark.parametrize("kind", UNREAD)
@pytest.mark.parametrize("name", ["a.jpg", "a.PNG", "a"])
def test_a_picture_that_is_not_read_is_called_what_it_is_under_any_name(kind, name):
    """Seen red for each by an empty table of beginnings: 'is none of PNG'; a raw file gave its thumbnail, 8x8, as the picture."""
    with pytest.raises(ImageError, match=f"decoding a picture: {name} is {kind}; convert it to PNG or JPEG"):
        decode_picture(UNREAD[kind], False, name)
    assert shows_picture(UNREAD[kind][:512]) and other_picture(b"\x89PNG\r\n\x1a\n") is None


@pytest.mark.parametrize("brand", BRANDS)
def test_each_brand_of_the_iso_family_is_known(brand):
    assert other_picture(box(brand.encode(), b"mif1")) == f"is {BRANDS[brand]}; convert it to PNG or JPEG"


def test_what_is_no_picture_at_all_is_named_too(picture):
    """A live photo under .jpg, a PDF, an archive. Seen red with an empty _NO_PICTURE."""
    clip = box(b"isom", b"mp41")
    for data, words in ((clip, "is a clip, not a picture"), (b"%PDF-1.7", "is a PDF document"), (b"PK\x03\x04..", "is an archive")):
        with pytest.raises(ImageError, match=f"a.jpg {words}"):
            decode_picture(data, False, "a.jpg")
        assert not shows_picture(data)
    with pytest.raises(ImageError, match=r"a\.heic is HEIC; convert it to PNG or JPEG"):
        decode_picture(b"no beginning that is known", False, "a.heic")
    for extension in (".png", ".jpg", ".bmp", ".tiff", ".webp", ".pgm", ".pam"):
        head = cv2.imencode(extension, picture)[1].tobytes()[:512]
        assert shows_picture(head) and other_picture(head) is None and not_media(head) is None, extension


@pytest.mark.parametrize("tags", [((50706, 1),), ((330, 8), (254, 1))])
def test_a_raw_file_that_looks_like_a_tiff_is_not_taken_for_its_thumbnail(tags):
    """Seen red: decoded, 8x8. A TIFF with neither pair of tags is a picture."""
    with pytest.raises(ImageError, match="is a camera's raw file"):
        decode_picture(raw_tiff(*tags), False, "a.tif")
    assert decode_picture(raw_tiff((330, 8)), False, "a.tif").shape == (8, 8)


def put(root, files):
    """Write files, name -> bytes, below a folder."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def prepared(tmp_path, **options):
    """Prepare tmp_path/in; return the Summary, the sources of the faces, and source -> (reason, detail) of the others."""
    done = prepare_dataset("folder", tmp_path / "in", tmp_path / "out", PrepareConfig(**PLAIN, options=options))
    table = read_skipped(tmp_path / "out")
    assert done.found == done.kept + sum(done.skipped.values()) and not table["source"].duplicated().any()
    left = dict(zip(table["source"], zip(table["reason"], table["detail"], strict=True), strict=True))
    return done, read_manifest(tmp_path / "out")["source"].tolist(), left


def test_found_is_kept_and_skipped_whatever_lies_in_a_folder(png, tmp_path):
    """One file of each suffix, whole, in a name that fits; the same in one that does not; under a wrong suffix; clips.

    Seen red: without the clips, 48 of 72 files were found.
    """
    unread = (".gif", ".heif", ".avif", ".jp2", ".jxl", ".nef", ".psd")
    files = {f"a/{number}-happy{suffix}": png for number, suffix in enumerate((*PICTURES, *unread, *CLIPS))}
    files |= {f"b/{number}-sad{suffix}": png for number, suffix in enumerate(PICTURES)}
    files |= {"a/0-happy.png": UNREAD["HEIC"], "a/1-happy.apng": UNREAD["GIF"], "c/2-sad.pts": b"version: 1"}
    files |= {"c/3-sad.HEIC": UNREAD["HEIC"]}
    files |= {"b/IMG_1.heic": UNREAD["HEIC"], "b/IMG_2.png": png, "b/IMG_3.mp4": box(b"isom")}
    put(tmp_path / "in", files)
    done, kept, left = prepared(tmp_path, pattern="{subject}/{sequence}-{expression}.*")
    assert done.found == len(files) - 1 and {*kept, *left} == {*files} - {"c/2-sad.pts"} and not {*kept} & {*left}
    assert {f"a/{len(PICTURES) + number}-happy{suffix}" for number, suffix in enumerate(unread)} <= {*kept}, "PNG under any name"
    assert left["a/0-happy.png"][0] == left["c/3-sad.HEIC"][0] == "unreadable" and "is HEIC; convert it" in left["a/0-happy.png"][1]
    assert "is GIF; convert it" in left["a/1-happy.apng"][1] and left["b/IMG_3.mp4"][0] == "other-part"
    assert left["b/IMG_1.heic"] == ("unreadable", "by its name it is HEIC; convert it to PNG or JPEG")
    assert left["b/IMG_2.png"][0] == "no-match"
    clips = [left[name] for name in files if is_clip(name) and name.startswith("a/")]
    assert {reason for reason, _ in clips} == {"unreadable"} and all("save its frames as pictures" in detail for _, detail in clips)


def test_a_picture_is_one_without_a_suffix_too(png, tmp_path):
    """As in the Yale faces (subject01.happy, some GIF). Seen red: `there is no picture`."""
    put(tmp_path / "in", {"s1.happy": png, "s2.sad": png, "s3.happy": UNREAD["GIF"], "read.me": b"Hello", "s4.zip": b"PK"})
    _, kept, left = prepared(tmp_path, pattern="{subject}.{expression}")
    assert kept == ["s1.happy", "s2.sad"] and left["s3.happy"][0] == "unreadable" and [*left] == ["s3.happy"]


def test_a_picture_without_a_suffix_is_listed_where_it_does_not_fit(png, tmp_path):
    """Seen red: of neither pattern nor index was it in skipped.csv."""
    put(tmp_path / "in", {"a/1_happy.png": png, "b/1_sad.png": png, "b/2_sad": png, "b/3_sad": UNREAD["GIF"], "LICENCE": b"Hello"})
    (tmp_path / "index.csv").write_text("path,subject,expression\na/1_happy.png,a,happy\nb/1_sad.png,b,sad\n")
    for how in ({"pattern": "{subject}/{sequence}_{expression}.*"}, {"index": tmp_path / "index.csv"}):
        _, kept, left = prepared(tmp_path, **how)
        assert len(kept) == 2 and {name: reason for name, (reason, _) in left.items()} == dict.fromkeys(("b/2_sad", "b/3_sad"), "no-match")


def test_a_folder_without_pictures_is_said_in_words(tmp_path):
    """Seen red: `fits PosixPath('...')`."""
    put(tmp_path / "in", {"read.me": b"Hello"})
    (tmp_path / "index.csv").write_text("path,subject,expression\na.png,a,happy\n")
    for how in ({"pattern": "{subject}_{expression}.png"}, {"index": tmp_path / "index.csv"}):
        with pytest.raises(DatasetError, match=re.escape(f"in fits '{next(iter(how.values()))}'; there is no picture")):
            prepared(tmp_path, **how)


def test_an_index_may_name_any_file(png, tmp_path):
    """Seen red: 'names a picture that is not there', of one that is; an .avif that it does not name was no-match, without what to do."""
    files = {"a.jfif": png, "b.dat": png, "c": png, "d.heic": UNREAD["HEIC"], "e.gif": UNREAD["GIF"], "f.mp4": box(b"isom"), "g.txt": b"x"}
    put(tmp_path / "in", {**files, "h.avif": b"x", "i.png": png})
    rows = [f"{name},p{number % 2},happy" for number, name in enumerate(files)]
    (tmp_path / "index.csv").write_text("\n".join(["path,subject,expression", *rows, "z.png,p0,happy"]))
    done, kept, left = prepared(tmp_path, index=tmp_path / "index.csv")
    assert kept == ["a.jfif", "c", "b.dat"] and done.found == len(files) + 2
    reasons = {name: reason for name, (reason, _) in left.items()}
    unread = dict.fromkeys(("d.heic", "e.gif", "f.mp4", "g.txt", "h.avif"), "unreadable")
    assert reasons == {**unread, "i.png": "no-match", "z.png": "no-match"} and "convert it to PNG or JPEG" in left["h.avif"][1]


@pytest.mark.parametrize("dataset", sorted(ADAPTERS))
def test_each_database_takes_what_is_read_and_lists_what_is_not(dataset, tmp_path):
    """Seen red: with the suffixes of 0.1.0 in the names, the .jfif was gone from CK+ and listed nowhere."""
    if dataset in ("mmi", "adfes", "crema-d", "ravdess"):
        pytest.importorskip("av")
    TREES[dataset](tmp_path)
    before = ADAPTERS[dataset](tmp_path, **OPTIONS.get(dataset, {}))
    frame = before.sequences[0].frames[-1].source
    for name in ("x.heic", "y/z.GIF", "y/IMG.jfif", f"{frame.rpartition('.')[0]}.avif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    if dataset != "folder" and is_picture(frame):                       # not a clip, and not a table
        (tmp_path / frame).rename((tmp_path / frame).with_suffix(".JFIF"))
    after = ADAPTERS[dataset](tmp_path, **OPTIONS.get(dataset, {}))
    assert [len(one.frames) for one in after.sequences] == [len(one.frames) for one in before.sequences]
    new = {skip.source: (skip.reason, skip.detail) for skip in after.skipped if skip not in before.skipped}
    assert len(new) == 4 and sum(skip.frames for skip in after.skipped) == sum(skip.frames for skip in before.skipped) + 4
    if dataset != "folder":             # there the pattern decides, and the decoder
        assert new["x.heic"] == ("unreadable", "by its name it is HEIC; convert it to PNG or JPEG") and new["y/z.GIF"][0] == "unreadable"
    assert new["y/IMG.jfif"][0] == "no-match" and (f"{frame.rpartition('.')[0]}.avif" in new)


def test_predict_looks_at_every_picture(picture, tmp_path):
    """Seen red: with the suffixes of 0.1.0 three of five were passed over."""
    others = {"b.heic": UNREAD["HEIC"], "c.gif": UNREAD["GIF"], "d.txt": b"x", "e.png": UNREAD["HEIC"], "f.nef": raw_tiff((50706, 1))}
    put(tmp_path, {"a.jfif": cv2.imencode(".jpg", picture)[1].tobytes(), **others})
    seen = sources(str(tmp_path))
    assert seen.passed_over == ("d.txt",)
    problems = {shot.source: shot.problem for shot in seen.shots()}
    assert problems.pop("a.jfif") == "" and len(problems) == 4
    assert all("convert it to PNG or JPEG" in problem for problem in problems.values())


def test_names_of_clips_are_not_names_of_pictures():
    assert not {*CLIPS} & {*PICTURES} and not any(is_picture(f"a{suffix}") for suffix in CLIPS)


@pytest.mark.skipif(not CASE.is_dir(), reason="no cases on this machine")
def test_the_case_that_was_reported(tmp_path):
    """Seen in 0.1.0: 4 faces, `skipped 0`, exit 0 with --strict."""
    more = ["--landmarks", "none", "--views", "virtual", "--folds", "2"]
    arguments = ["prepare", "folder", str(CASE / "faces"), str(tmp_path / "out"), *more]
    done = CliRunner().invoke(main, [*arguments, "--pattern", "{subject}/{sequence}_{expression}.*", "--strict"])
    assert done.exit_code == 1 and "6 faces" in done.output and "skipped 1 (unreadable 1; see skipped.csv)" in done.output, done.output
    row = read_skipped(tmp_path / "out").iloc[0]
    assert row["source"] == "p4/2_sad.heic" and row["detail"].endswith("is HEIC; convert it to PNG or JPEG")
    assert len(walk(CASE / "faces")[0]) == 7
    arguments[3] = str(tmp_path / "by-index")
    done = CliRunner().invoke(main, [*arguments, "--index", str(CASE / "index.csv")])
    assert done.exit_code == 0
    assert set(read_manifest(tmp_path / "by-index")["source"]) == {"p0/0_neutral.jfif", "p3/0_neutral.png", "p4/0_neutral.png"}
