"""A clip of which a part has arrived is named in every container, and a whole one never is."""

import io
import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fer_data.errors import ImageError
from fer_data.pictures import containers, video
from fer_data.pictures.file_kinds import is_clip
from fer_model.use.shots import sources
from tests.mmi_sessions import clip_bytes, write_session

av = pytest.importorskip("av")

FRAMES, RATE = 60, 25
# name -> (container, codec, options)
KINDS = {
    "a.mp4": ("mp4", "mpeg4", {}), "fast.mp4": ("mp4", "mpeg4", {"movflags": "faststart"}), "a.mov": ("mov", "mpeg4", {}),
    "fast.mov": ("mov", "mpeg4", {"movflags": "faststart"}), "fragments.mp4": ("mp4", "mpeg4", {"movflags": "frag_keyframe+empty_moov"}),
    "a.3gp": ("3gp", "mpeg4", {}), "a.mkv": ("matroska", "mpeg4", {}), "browser.webm": ("webm", "libvpx", {"live": "1"}),
    "a.webm": ("webm", "libvpx", {}), "a.flv": ("flv", "flv", {}), "a.wmv": ("asf", "wmv2", {}), "a.avi": ("avi", "mpeg4", {}),
    "a.mpg": ("mpeg", "mpeg1video", {}), "a.vob": ("vob", "mpeg2video", {}), "a.ts": ("mpegts", "mpeg2video", {}),
    "a.m2ts": ("mpegts", "mpeg2video", {"mpegts_m2ts_mode": "1"}), "a.ogv": ("ogg", "libvpx", {}),
}
COUNTED = ("fast.mp4", "fast.mov")    # their headers, which come first, give the number of frames
BEGINNINGS = (b"RIFF....AVI ", b"\0\0\0\x18ftyp", b"\x1aE\xdf\xa3", b"0&\xb2u", b"FLV\x01\5\0\0\0\x09", b"\0\0\1\xba", b"OggS")
TIMED = ("a.mkv", "a.webm", "a.flv")  # or how long they are


@pytest.fixture(scope="module")
def clips():
    """name -> bytes of a clip of 60 frames, 2.4 s; noise, so that no frame is small."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(FRAMES)]
    return {name: written(pictures, *kind) for name, kind in KINDS.items()}


def written(pictures, kind, codec, options, sound_s=0.0):
    path = Path(tempfile.mkdtemp()) / "a"  # faststart reads the file again
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.codec_context.gop_size = "yuv420p", 10
        sound = container.add_stream("pcm_s16le", rate=8000) if sound_s else None
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
        for at in range(0, int(8000 * sound_s), 1000):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.int16), format="s16", layout="mono")
            block.rate, block.pts = 8000, at
            container.mux(sound.encode(block))
    data = path.read_bytes()
    shutil.rmtree(path.parent)
    return data


def seen(path, data):
    """Return how many frames come, and what is said at the end."""
    path.write_bytes(data)
    count = 0
    try:
        for _ in video.each_frame(path, path.name):
            count += 1
    except ImageError as error:
        return count, str(error)
    return count, ""


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_clip_is_whole(name, clips, tmp_path):
    """Its structure is walked to its end. Seen red: an element of unknown size, as browsers write, taken for one of 2**56 bytes."""
    assert seen(tmp_path / name, clips[name]) == (FRAMES, "")
    assert video.measure_clip(tmp_path / name, name).frames == FRAMES and is_clip(name)
    assert containers.promised_bytes(io.BytesIO(clips[name]), len(clips[name]), clips[name][:4096]) is None


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("part", [0.99, 0.9, 0.5, 0.1])
def test_a_clip_that_is_cut_says_so_after_what_is_there(name, part, clips, tmp_path):
    """Not between two packets of MPEG's streams, which say nothing of what comes next. Seen red: with the structure of RIFF alone, all but
    the AVI gave what was there as if it were all; without that of MPEG and Ogg, so did these."""
    data = clips[name][: int(len(clips[name]) * part) - 1]
    count, said = seen(tmp_path / name, data)
    assert f"reading a clip: {name} has {len(data)} bytes of " in said and ": it is truncated" in said and count <= FRAMES
    with pytest.raises(ImageError, match=f"{name} has {len(data)} bytes of .*: it is truncated"):
        video.measure_clip(tmp_path / name, name)
    if name in COUNTED + TIMED and part == 0.5:
        whole = "60 frames and 2.4 s" if name in COUNTED else "2.4 s"
        assert 20 <= count < 40 and f"; its header promises {whole}, {count} frames and " in said
    shots = list(sources(str(tmp_path / name)).shots())
    assert shots[-1].picture is None and "it is truncated" in shots[-1].problem and len(shots) == count + 1


@settings(max_examples=300)
@example(b"\0\0\0\1ftyp", b"")
@example(b"FLV\x01", b"")
@example(b"OggS", bytes(22))
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=300))
def test_a_damaged_structure_promises_something_or_nothing(start, body):
    """Seen red: struct.error of a box that is cut in its header. A length of 0 must not be stepped over for ever."""
    data = start + body
    found = containers.promised_bytes(io.BytesIO(data), len(data), data)
    assert found is None or found > len(data)


def test_a_stream_of_ogg_ends_with_a_page_that_says_so(clips):
    """A cut between two pages. Seen red: whole, for the last page is."""
    data = clips["a.ogv"]
    cut = data[: data.rindex(b"OggS")]
    assert containers.promised_bytes(io.BytesIO(cut), len(cut), cut) == len(cut) + 27


def test_sound_that_is_longer_than_the_pictures_is_no_cut(clips, tmp_path):
    """Seen red: the end of the pictures alone was compared with the length of the file, 2.4 s of 6.0 s."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(FRAMES)]
    data = written(pictures, "matroska", "mpeg4", {}, sound_s=6.0)
    assert seen(tmp_path / "a.mkv", data) == (FRAMES, "")
    count, said = seen(tmp_path / "b.mkv", data[: len(data) // 2])
    assert "its header promises 6.0 s" in said and count < FRAMES


def test_a_file_of_the_right_size_whose_end_has_not_arrived(clips, tmp_path):
    """Some downloads reserve the room first: zeros. MP4's frames are damaged, Matroska is shorter than its header says.

    Seen red: without the length in time the MKV was whole.
    """
    for name in ("fast.mp4", "a.mkv", "a.webm", "a.flv"):
        data = clips[name]
        half = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
        (tmp_path / name).write_bytes(half)
        shots = list(sources(str(tmp_path / name)).shots())
        good = [shot for shot in shots if shot.picture is not None]
        assert 0 < len(good) < 40 and shots[-1].problem, name


def test_a_clip_that_was_trimmed_is_whole_and_one_that_reaches_to_the_end_of_its_file_is_not_taken_to_be(clips, tmp_path):
    """An edit list shows 1 s of 2.4 s; the length 0 of a box says that it reaches to the end, wherever that is.

    Seen red: the count of frames alone said of the trimmed one that it ends early.
    """
    data = bytearray(clips["fast.mp4"])
    at = data.index(b"elst") + 12
    data[at : at + 8] = struct.pack(">Ii", 1000, 6400)
    assert seen(tmp_path / "trimmed.mp4", bytes(data))[1] == "" and video.measure_clip(tmp_path / "trimmed.mp4", "a").frames < FRAMES
    data = bytearray(clips["fast.mp4"])
    at = data.index(b"mdat")
    data[at - 4 : at] = bytes(4)
    assert seen(tmp_path / "open.mp4", bytes(data)) == (FRAMES, "")
    count, said = seen(tmp_path / "open.mp4", bytes(data[: len(data) // 2]))
    assert said.startswith("reading a clip: open.mp4 ends early: it is truncated; its header promises 60 frames and 2.4 s, ") and count < 40


def test_a_length_in_time_need_not_be_kept_to_the_frame(clips, tmp_path):
    """A length in time is rounded, here by up to 5 % or half a second. Seen red: no such allowance."""
    mkv = bytearray(clips["a.mkv"])
    at = mkv.index(b"\x44\x89\x88") + 3
    assert struct.unpack(">d", mkv[at : at + 8])[0] == 2400.0
    for length, whole in ((2700.0, True), (3300.0, False)):
        mkv[at : at + 8] = struct.pack(">d", length)
        count, said = seen(tmp_path / "a.mkv", bytes(mkv))
        assert count == FRAMES and (said == "") == whole
        assert whole or said.endswith("a.mkv ends early: it is truncated; its header promises 3.3 s, 60 frames and 2.4 s are there")


def test_an_avi_of_several_pieces_is_walked_to_its_last(tmp_path):
    """OpenDML: more than 1 GB in several RIFF chunks. Seen red: the first alone was looked at."""
    data = clip_bytes(5)
    whole = data + b"RIFF" + struct.pack("<I", 1004) + b"AVIX" + bytes(1000)
    assert containers.promised_bytes(io.BytesIO(whole), len(whole), whole) is None
    assert containers.promised_bytes(io.BytesIO(whole[:-500]), len(whole) - 500, whole) == len(whole)


@pytest.mark.parametrize("name", ["fast.mp4", "a.mkv", "a.flv"])
def test_prepare_does_not_take_a_cut_clip_for_a_whole_one(name, clips, tmp_path):
    """MMI's clips in another container. Seen red: 24 frames, and the peak in the middle of those."""
    from fer_data.datasets.mmi import scan

    for number, part in ((1, 1.0), (2, 0.5)):
        folder = write_session(tmp_path / "Sessions", number, number, 1, emotion=1, data=b"")
        old = folder / f"S00{number}-001.avi"
        old.unlink()
        old.with_suffix(Path(name).suffix).write_bytes(clips[name][: int(len(clips[name]) * part)])
        meta = folder / "session.xml"
        meta.write_text(meta.read_text().replace(old.name, old.with_suffix(Path(name).suffix).name))
    found = scan(tmp_path)
    assert [len(one.frames) for one in found.sequences] == [FRAMES]
    assert [(skip.reason, skip.subject) for skip in found.skipped] == [("unreadable", "S002")]
    assert "it is truncated" in found.skipped[0].detail
