"""Clips: true counts, the right frame, and no frame that a decoder made up."""

import builtins
import io
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_data.errors import DatasetError, FerError, ImageError
from fer_data.pictures import video
from tests.mmi_sessions import chunks, rebuilt

av = pytest.importorskip("av")

HEIGHT, WIDTH = 96, 128


def drawn(number):
    """A smooth picture that names its frame: stripes whose phase is the number. (96, 128, 3) uint8."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin(x / a + y / b + number) for a, b in ((19, 14), (17, 28), (23, 31))]
    return np.stack([np.round(127.5 + 100 * wave).astype(np.uint8) for wave in waves], -1)


def clip(frames=12, codec="mpeg4", kind="avi", gop=100):
    """The bytes of a clip of drawn(0), drawn(1), ..."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.bit_rate, stream.codec_context.gop_size = 6_000_000, gop
        for number in range(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(drawn(number), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def on_disk(tmp_path, data):
    (tmp_path / "a.avi").write_bytes(data)
    return tmp_path / "a.avi"


KINDS = [("mpeg4", "avi"), ("mjpeg", "avi"), ("msmpeg4v2", "avi"), ("mpeg4", "mp4"), ("mpeg4", "matroska")]


@pytest.mark.parametrize(("codec", "kind"), KINDS)
def test_the_frame_at_a_position_is_that_frame(tmp_path, codec, kind):
    """Broken once by counting positions from 1: frame 4 for 5, 26 levels off on average."""
    data = clip(12, codec, kind)
    assert video.measure_clip(on_disk(tmp_path, data), "a")[:1] == (12,)
    found = video.read_frames(data, [0, 5, 11], "a")
    assert sorted(found) == [0, 5, 11]
    for position, picture in found.items():
        assert (picture.dtype, picture.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
        errors = [np.abs(picture.astype(int) - drawn(number)).mean() for number in range(12)]
        assert np.argmin(errors) == position
        assert errors[position] < 4


def test_a_header_that_promises_more_is_not_believed(tmp_path):
    """Broken once by returning the header's count: 40 for 12."""
    data = bytearray(clip(12))
    for name, offset in ((b"avih", 16), (b"strh", 32)):
        at = data.index(name) + 8 + offset
        data[at : at + 4] = struct.pack("<I", 40)
    measured = video.measure_clip(on_disk(tmp_path, data), "a")
    assert (measured.frames, measured.promised, measured.width, measured.height) == (12, 40, WIDTH, HEIGHT)
    found = video.read_frames(bytes(data), [11, 12], "s/a.avi")
    assert found[11].shape == (HEIGHT, WIDTH, 3)
    assert found[12] == "reading a clip: s/a.avi ends after 12 frames, frame 12 is not there"


def test_frames_that_a_camera_dropped_are_no_frames(tmp_path):
    """Broken once by counting empty packets: 13 for 12."""
    data = clip(12)
    frames = chunks(data)[2]
    dropped = rebuilt(data, [*frames[:4], (frames[0][0], b""), *frames[4:]])
    assert video.measure_clip(on_disk(tmp_path, dropped), "a").frames == 12
    assert np.abs(video.read_frames(dropped, [11], "a")[11].astype(int) - drawn(11)).mean() < 4


@pytest.mark.parametrize("codec", ["mpeg4", "msmpeg4v2"])
def test_what_follows_damage_is_not_handed_on_until_the_next_key_frame(codec):
    """Broken once by handing on frames that are not marked corrupt themselves: frames 6 to 9 came, with the damage in them."""
    data = clip(20, codec, gop=10)
    frames = chunks(data)[2]
    bad = bytearray(frames[5][1])
    bad[len(bad) // 3 : len(bad) // 3 + 20] = bytes(20)
    found = video.read_frames(rebuilt(data, [*frames[:5], (frames[5][0], bytes(bad)), *frames[6:]]), range(20), "s/a.avi")
    damaged = {position for position, one in found.items() if isinstance(one, str)}
    assert damaged == {5, 6, 7, 8, 9}
    assert found[7] == "reading a clip: frame 7 of s/a.avi is damaged"
    assert np.abs(found[10].astype(int) - drawn(10)).mean() < 4


def test_a_frame_that_cannot_be_decoded_keeps_its_place():
    """Broken once by not counting it: the picture at 6 was that of frame 7."""
    data = clip(12, "mjpeg")
    frames = chunks(data)[2]
    found = video.read_frames(rebuilt(data, [*frames[:4], (frames[0][0], bytes(50)), *frames[5:]]), [4, 6], "a")
    assert found[4] == "reading a clip: frame 4 of a is damaged"
    assert np.argmin([np.abs(found[6].astype(int) - drawn(number)).mean() for number in range(12)]) == 6


@pytest.mark.parametrize(("codec", "whole"), [("mpeg4", 1), ("mjpeg", 4)])
def test_a_clip_cut_short_is_named_and_its_last_piece_is_no_frame(tmp_path, codec, whole):
    """Broken once by ignoring the size field (a count of 4 came back), once by ignoring the packet's own mark: grey below. `whole`: frames
    at least that lie in the half; half of MPEG-4 is its first frame and a little. Seen red: nothing decoded."""
    data = clip(12, codec)
    half = data[: len(data) // 2]
    with pytest.raises(ImageError, match=rf"s/a.avi has {len(half)} bytes of {len(data)}: it is truncated"):
        video.measure_clip(on_disk(tmp_path, half), "s/a.avi")
    found = video.read_frames(half, range(12), "a")
    assert sum(not isinstance(one, str) for one in found.values()) >= whole
    for position, one in found.items():
        assert isinstance(one, str) or np.abs(one.astype(int) - drawn(position)).mean() < 4


def test_only_what_is_needed_is_decoded(monkeypatch):
    """Broken once by reading on to the end: 12 frames were decoded for position 4."""
    decoded = []
    frames = video._frames
    monkeypatch.setattr(video, "_frames", lambda *args: (decoded.append(frame) or frame for frame in frames(*args)))
    video.read_frames(clip(12), [1, 4], "a")
    assert len(decoded) == 5


NAMED = {
    "is empty": b"",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "AppleDouble": bytes.fromhex("00051607") + bytes(213),
    "none of avi": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\nhttp://example.org/a.ts\n",
    "cannot be decoded": b"RIFF\x04\0\0\0AVI ",
}


@pytest.mark.parametrize("words", NAMED)
def test_what_is_no_clip_is_called_what_it_is(tmp_path, words):
    """Broken once by letting FFmpeg choose the container: the playlist went to whatever FFmpeg takes it for."""
    with pytest.raises(ImageError, match=f"s/a.avi.*{words}"):
        video.measure_clip(on_disk(tmp_path, NAMED[words]), "s/a.avi")
    with pytest.raises(ImageError, match=f"s/a.avi.*{words}"):
        video.read_frames(NAMED[words], [0], "s/a.avi")


def test_absurd_sizes_and_clips_without_pictures_are_refused(tmp_path):
    """Broken once by leaving out the limit: the count came back as if nothing were wrong."""
    data = bytearray(clip(3, "rawvideo"))
    at = data.index(b"strf") + 8
    data[at + 4 : at + 12] = struct.pack("<ii", 9000, 9000)
    with pytest.raises(ImageError, match=r"must have 1 to 40000000 pixels; their size is 9000x9000"):
        video.measure_clip(on_disk(tmp_path, data), "a")
    with pytest.raises(ImageError, match="holds no frame"):
        video.measure_clip(on_disk(tmp_path, rebuilt(clip(3), [])), "a")


def test_without_av_the_sentence_says_what_to_install(monkeypatch, tmp_path):
    """Broken once by importing av first: ModuleNotFoundError."""
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *args: pytest.fail("av was imported") if name == "av" else real(name, *args))
    with pytest.raises(DatasetError, match=r"pip install 'fer-degan\[video\]'"):
        video.measure_clip(on_disk(tmp_path, b"RIFF"), "a")


WHOLE = clip(6)


@settings(max_examples=150)
@given(st.data())
def test_only_our_own_error_leaves_a_broken_clip(tmp_path_factory, data):
    """Broken once by catching av.error.PermissionError alone when opening: InvalidDataError got out."""
    broken = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 12))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(broken[: data.draw(st.integers(0, len(broken)))])
    path = tmp_path_factory.getbasetemp() / "broken.avi"
    path.write_bytes(broken)
    for look in (lambda: video.measure_clip(path, "a"), lambda: video.read_frames(broken, [0, 3], "a")):
        try:
            look()
        except FerError as error:
            assert str(error).startswith("reading a clip: ")


@pytest.mark.parametrize(("codec", "kind"), KINDS)
def test_each_frame_comes_in_order_with_its_time(tmp_path, codec, kind):
    """Seen red: every third one counted from 1; times a tenth of a second late."""
    path = on_disk(tmp_path, clip(12, codec, kind))
    found = list(video.each_frame(path, "a", every=3))
    assert [position for position, _, _ in found] == [0, 3, 6, 9]
    assert [time for _, time, _ in found] == pytest.approx([position / 25 for position in (0, 3, 6, 9)], abs=2e-3)
    for position, _, picture in found:
        errors = [np.abs(picture.astype(int) - drawn(number)).mean() for number in range(12)]
        assert np.argmin(errors) == position


def test_times_begin_at_the_first_frame(tmp_path):
    """Of a clip cut out of a longer one. Seen red: 2 s for 0."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(drawn(number), format="rgb24")
            frame.pts, frame.time_base = 50 + number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert [time for _, time, _ in video.each_frame(tmp_path / "a.mkv", "a")] == pytest.approx([0, 0.04, 0.08, 0.12], abs=2e-3)


def test_each_frame_of_a_damaged_clip_is_a_picture_or_a_sentence(tmp_path):
    data = clip(12, gop=6)
    frames = chunks(data)[2]
    bad = bytearray(frames[3][1])
    bad[len(bad) // 3 : len(bad) // 3 + 20] = bytes(20)
    data = rebuilt(data, [*frames[:3], (frames[3][0], bytes(bad)), *frames[4:]])
    found = {position: picture for position, _, picture in video.each_frame(on_disk(tmp_path, data), "a.avi")}
    expected = video.read_frames(data, range(12), "a.avi")
    assert sorted(found) == list(range(12))
    for position in range(12):
        assert type(found[position]) is type(expected[position])
        same = found[position] == expected[position]
        assert same if isinstance(found[position], str) else same.all()
    assert any(isinstance(one, str) for one in found.values())


def test_a_picture_is_turned_as_its_file_asks(tmp_path):
    """What a telephone held upright writes: pixels that lie on their side, and a matrix. Seen red: turned the other way."""
    picture = drawn(3)
    assert (video._upright(picture, 90) == np.rot90(picture)).all() and (video._upright(picture, -90) == np.rot90(picture, -1)).all()
    assert (video._upright(picture, 180) == picture[::-1, ::-1]).all() and video._upright(picture, 0) is picture
    data = clip(2, "mpeg4", "mp4")
    at = data.index(b"tkhd") + 4 + 40                                            # version 0: the matrix stands 40 bytes into the box
    one = 1 << 16
    quarter = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)           # clockwise by 90 degrees
    (tmp_path / "b.mp4").write_bytes(data[:at] + quarter + data[at + 36 :])
    (_, _, turned), *_ = video.each_frame(tmp_path / "b.mp4", "b")
    assert turned.shape == (WIDTH, HEIGHT, 3) and np.abs(turned.astype(int) - np.rot90(drawn(0), -1)).mean() < 4
