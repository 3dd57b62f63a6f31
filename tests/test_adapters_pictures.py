"""Pictures as they lie on disks: every format gives the same pixels, every damage gives one sentence."""

import struct
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer_data.errors import ImageError
from fer_data.pictures.decode import MAX_PIXELS, decode_picture, frame_picture, grey_of, unframe_points
from fer_data.pictures.header import claimed_size, cut_short

LOSSLESS = (".png", ".bmp", ".tiff", ".ppm", ".webp")


@pytest.fixture(scope="module")
def smooth():
    """A smooth RGB picture, (60, 80, 3) uint8."""
    y, x = np.mgrid[0:60, 0:80]
    waves = [np.sin(x / a + y / b) for a, b in ((9, 14), (17, 8), (23, 31))]
    return np.stack([np.round(127.5 + 120 * wave).astype(np.uint8) for wave in waves], -1)


def encoded(picture, extension, *options):
    """The bytes of a picture whose channels are RGB (or grey, or RGBA)."""
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return cv2.imencode(extension, picture, list(options))[1].tobytes()


@pytest.mark.parametrize("extension", LOSSLESS)
def test_grey_and_colour_do_not_depend_on_the_format(smooth, extension):
    """Broken once by IMREAD_GRAYSCALE: PNG, BMP, TIFF and PPM each rounded their own way, by 1 level."""
    options = (cv2.IMWRITE_WEBP_QUALITY, 101) if extension == ".webp" else ()
    data = encoded(smooth, extension, *options)
    np.testing.assert_array_equal(decode_picture(data, True, "a"), smooth)
    np.testing.assert_array_equal(decode_picture(data, False, "a"), grey_of(smooth))
    grey = encoded(smooth[..., 0], ".pgm" if extension == ".ppm" else extension, *options)
    np.testing.assert_array_equal(decode_picture(grey, False, "a"), smooth[..., 0])


def test_sixteen_bits_palette_alpha_and_cmyk(smooth):
    """Broken once by IMREAD_UNCHANGED: red where this went through as uint16."""
    image = pytest.importorskip("PIL.Image")
    grey = smooth[..., 0]
    for extension in (".png", ".tiff"):
        data = encoded(grey.astype(np.uint16) * 256 + 7, extension)
        np.testing.assert_array_equal(decode_picture(data, False, "a"), grey)
    with_alpha = encoded(np.dstack([smooth, grey]), ".png")
    np.testing.assert_array_equal(decode_picture(with_alpha, True, "a"), smooth)
    palette = image.fromarray(smooth).quantize(64)
    np.testing.assert_array_equal(decode_picture(saved(palette, "PNG"), True, "a"), np.array(palette.convert("RGB")))
    cmyk = decode_picture(saved(image.fromarray(smooth).convert("CMYK"), "JPEG", quality=95), True, "a")
    assert np.abs(cmyk.astype(int) - smooth).mean() < 3


def saved(picture, kind, **options):
    import io

    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_picture_that_a_camera_stored_lying_comes_out_upright(smooth):
    """Broken once with IMREAD_IGNORE_ORIENTATION: the shape was (60, 80)."""
    data = encoded(smooth, ".jpg")
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    turned = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    np.testing.assert_array_equal(decode_picture(turned, False, "a"), np.rot90(decode_picture(data, False, "a"), -1))


NAMED = {
    "empty": b"",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "AppleDouble": bytes.fromhex("00051607") + bytes(213),
    "web page": b"\n<!DOCTYPE html><html><body>Log in</body></html>",
    "none of PNG": b"not a picture at all",
    "header is damaged": b"\x89PNG\r\n\x1a\n1234",
}


@pytest.mark.parametrize("words", NAMED)
def test_what_is_no_picture_is_called_what_it_is(words):
    """Broken once by returning None from _problem: three of them were only 'damaged'."""
    with pytest.raises(ImageError, match=f"seq/a.png.*{words}"):
        decode_picture(NAMED[words], False, "seq/a.png")


@pytest.mark.parametrize("extension", [*LOSSLESS, ".jpg"])
def test_a_truncated_file_never_gives_a_picture(smooth, extension):
    """Broken once by cut_short returning False: PNG, JPEG and WebP were no longer called truncated, only damaged."""
    data = encoded(smooth, extension)
    word = "it is truncated" if extension in (".png", ".jpg", ".webp") else "damaged|not a picture"
    for tenth in range(1, 10):
        with pytest.raises(ImageError, match=word):
            decode_picture(data[: len(data) * tenth // 10], False, "a")


def test_what_stands_behind_a_pngs_end_does_not_matter(smooth):
    """Nor does a whole PNG inside one of its chunks. Seen red: `it is truncated`, for more than 60 bytes; by looking for the mark anywhere,
    a picture that is cut off counted as whole."""
    data, thumbnail = encoded(smooth, ".png"), encoded(smooth[:8, :8], ".png")
    for behind in (bytes(61), bytes(9000), b"IHDR" * 99):
        assert not cut_short(data + behind)
        assert np.array_equal(decode_picture(data + behind, False, "a"), decode_picture(data, False, "a"))
    inside = struct.pack(">I4s", len(thumbnail), b"prVt") + thumbnail + bytes(4)
    whole = data[:33] + inside + data[33:]                               # behind the header
    assert not cut_short(whole) and cut_short(whole[:-20])


def test_a_thumbnails_end_mark_is_not_the_pictures(smooth):
    """Broken once by looking for the end mark anywhere, and once in the last 4096 bytes only: each took one for the other."""
    data, thumbnail = encoded(smooth, ".jpg"), encoded(smooth[:8, :8], ".jpg")
    whole = data[:2] + b"\xff\xe2" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]
    assert not cut_short(whole)
    assert not cut_short(whole + bytes(9000))  # what a camera appended
    assert cut_short(whole[:-20])


def bombs():
    """Small files whose headers claim more than MAX_PIXELS."""
    black = np.zeros((8, 8, 3), np.uint8)
    side = 1 + int(MAX_PIXELS**0.5)
    png, bmp, jpg, tiff = (bytearray(encoded(black, ext)) for ext in (".png", ".bmp", ".jpg", ".tiff"))
    png[16:24] = struct.pack(">II", side, side)
    bmp[18:26] = struct.pack("<ii", side, -side)
    at = jpg.find(b"\xff\xc0")
    jpg[at + 5 : at + 9] = struct.pack(">HH", side, side)
    start = struct.unpack("<I", tiff[4:8])[0]
    for index in range(struct.unpack("<H", tiff[start : start + 2])[0]):
        entry = start + 2 + 12 * index
        if struct.unpack("<H", tiff[entry : entry + 2])[0] in (256, 257):
            tiff[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + 2 * (side - 1).to_bytes(3, "little")
    return {"png": png, "bmp": bmp, "jpg": jpg, "tiff": tiff, "webp": webp, "pgm": b"P5\n# a comment\n%d %d\n255\n" % (side, side)}


@pytest.mark.parametrize("kind", ["png", "bmp", "jpg", "tiff", "webp", "pgm"])
def test_a_header_that_claims_too_much_is_refused_before_decoding(kind, monkeypatch):
    """Broken once by leaving BMP, TIFF and WebP out of claimed_size, one at a time: cv2.imdecode was reached."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("the decoder was asked"))
    with pytest.raises(ImageError, match=r"claims 1\d{4}x1\d{4} pixels, more than the 100000000 that are read"):
        decode_picture(bytes(bombs()[kind]), False, "a")


@pytest.mark.parametrize("extension", [*LOSSLESS, ".jpg"])
def test_the_claimed_size_is_the_decoded_one(smooth, extension):
    """Broken once by swapping width and height in the readers of JPEG, BMP, TIFF and WebP: (60, 80) for (80, 60)."""
    assert claimed_size(encoded(smooth, extension)) == (80, 60)


@settings(max_examples=300)
@given(st.data())
def test_only_our_own_error_leaves_the_decoder(data):
    """Broken once by dropping struct.error in claimed_size: a TIFF of 9 bytes raised it."""
    starts = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"RIFF\0\0\0\0WEBPVP8X", b"P5 "]
    start = data.draw(st.sampled_from(starts))
    body = start + data.draw(st.binary(max_size=120))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            picture = decode_picture(body, data.draw(st.booleans()), "a")
        except ImageError as error:
            assert "a " in str(error)
        else:
            assert picture.dtype == np.uint8


@pytest.mark.parametrize("framing", ["whole", "clockwise", "counterclockwise", "left", "right"])
@pytest.mark.parametrize("size", [(80, 60), (81, 60)])
def test_a_point_found_in_a_framing_goes_back_to_its_pixel(framing, size):
    """Broken once by another half at odd widths (one pixel off) and by not mirroring y when turning."""
    width, height = size
    picture = np.arange(width * height, dtype=np.int32).reshape(height, width)  # each pixel has its own value
    framed = frame_picture(picture, framing)
    rows, columns = np.mgrid[0 : framed.shape[0], 0 : framed.shape[1]]
    places = unframe_points(np.stack([columns.ravel(), rows.ravel()], -1), framing, size).astype(int)
    np.testing.assert_array_equal(picture[places[:, 1], places[:, 0]], framed.ravel())
