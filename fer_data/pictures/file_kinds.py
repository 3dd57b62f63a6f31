"""Recognise what a file is, by its name and by its first bytes: a picture or clip that is read here, another one, or no such thing.

In:  a name; the beginning of a file (512 bytes are enough; all of it, if it is shorter).
Out: whether it is meant to be a picture, a clip; what it is instead, as the end of a sentence that says what to do.
"""

import re

from fer_data.files import left_over

__all__ = ["PICTURES", "CLIPS", "is_picture", "is_clip", "not_media", "other_picture", "shows_picture",
           "unread_kind"]

# What pictures/decode.py reads.
PICTURES = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".jfi", ".mpo", ".bmp", ".dib", ".tif", ".tiff", ".webp",
            ".pbm", ".pgm", ".ppm", ".pnm", ".pam")
# What pictures/video.py reads.
CLIPS = (".avi", ".divx", ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".mpg", ".mpeg", ".mpe", ".vob", ".ts",
         ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".ogv")
# kind -> suffixes: pictures too, but they are not read. Decoders of some of them are in some builds of OpenCV and not in others.
_UNREAD = {
    "GIF": (".gif",), "HEIC": (".heic", ".heics"), "HEIF": (".heif", ".hif", ".heifs"), "AVIF": (".avif", ".avifs"),
    "JPEG 2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpm"), "JPEG XL": (".jxl",), "JPEG XR": (".jxr", ".wdp", ".hdp"),
    "a camera's raw file": (".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf", ".pef",
                            ".srw", ".3fr", ".erf", ".kdc", ".mrw", ".x3f", ".iiq", ".rwl"),
    "a Photoshop file": (".psd", ".psb"), "a GIMP file": (".xcf",), "OpenEXR": (".exr",), "Radiance HDR": (".hdr",), "PFM": (".pfm",),
    "TGA": (".tga",), "PCX": (".pcx",), "SVG": (".svg", ".svgz"), "an icon": (".ico", ".icns", ".cur"), "DICOM": (".dcm", ".dicom"),
    "BigTIFF": (".btf", ".tf8"), "FITS": (".fits", ".fit"), "a Sun raster": (".ras", ".sr"), "DDS": (".dds",), "QOI": (".qoi",),
    "BPG": (".bpg",), "FLIF": (".flif",), "EPS": (".eps",),
}
_KIND_OF = {suffix: kind for kind, suffixes in _UNREAD.items() for suffix in suffixes}
_WHAT_TO_DO = "convert it to PNG or JPEG"
# (how it begins, what it is), the more special first
_BEGINNINGS = (
    (rb"GIF8[79]a", "GIF"), (rb"....ftyp(?:.{4}){0,12}?avi[fs]", "AVIF"),
    (rb"....ftyp(?:.{4}){0,12}?(?:hei[cxms]|hev[cxms])", "HEIC"), (rb"....ftyp(?:mif1|mif2|msf1)", "HEIF"),
    (rb"....ftypcrx ", "a camera's raw file"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"), (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (rb"II\xbc", "JPEG XR"), (rb"II\*\0....CR\x02\0|II(?:U\0|RO|RS)|MMOR|FUJIFILMCCD-RAW|\0MRM|FOVb", "a camera's raw file"),
    (rb"II\+\0|MM\0\+", "BigTIFF"), (rb"8BPS", "a Photoshop file"), (rb"gimp xcf", "a GIMP file"), (rb"v/1\x01", "OpenEXR"),
    (rb"#\?R(?:ADIANCE|GBE)", "Radiance HDR"), (rb"P[Ff]\s", "PFM"), (rb".{128}DICM", "DICOM"), (rb"SIMPLE  =", "FITS"),
    (rb"\x59\xa6\x6a\x95", "a Sun raster"), (rb"DDS ", "DDS"), (rb"qoif", "QOI"), (rb"BPG\xfb", "BPG"), (rb"FLIF", "FLIF"),
    (rb"%!PS", "EPS"), (rb"\0\0[\x01\x02]\0[^\0]\0|icns", "an icon"),
    (rb"\s*(?:<\?xml.*?)?(?:<!--.*?-->\s*)?(?:<!DOCTYPE svg.*?)?<svg", "SVG"),
)
_READ = rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF....WEBP|P[1-7]\s"     # how PICTURES begin
_NO_PICTURE = (
    (rb"....ftyp|....(?:moov|mdat|wide)|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|0&\xb2u|\0\0\x01\xba|OggS", "is a clip, not a picture"),
    (rb"%PDF", "is a PDF document; save its pictures as PNG or JPEG"),
    (rb"PK\x03\x04|Rar!\x1a|7z\xbc\xaf|\x1f\x8b", "is an archive; unpack it"),
)


def is_picture(path: str) -> bool:
    """Say whether a file name ends like a picture's, one that is read here or not.

    >>> is_picture("a.JFIF"), is_picture("a.heic"), is_picture("a.txt")
    (True, True, False)
    """
    return path.lower().endswith((*PICTURES, *_KIND_OF))


def is_clip(path: str) -> bool:
    """Say whether a file name ends like a video clip's."""
    return path.lower().endswith(CLIPS)


def unread_kind(path: str) -> str | None:
    """Return "is HEIC; convert it to PNG or JPEG" for a name of a picture that is not read here, else None."""
    kind = _KIND_OF.get("." + path.lower().rpartition(".")[2])
    return kind and f"is {kind}; {_WHAT_TO_DO}"


def other_picture(head: bytes) -> str | None:
    """Return what the beginning of a file shows that is none of the pictures read here, as "is ...", or None if it is not known.

    >>> other_picture(b"GIF89a")
    'is GIF; convert it to PNG or JPEG'
    """
    for beginning, kind in _BEGINNINGS:
        if re.match(beginning, head, re.DOTALL):
            return f"is {kind}; {_WHAT_TO_DO}"
    return next((what for beginning, what in _NO_PICTURE if re.match(beginning, head, re.DOTALL)), None)


def shows_picture(head: bytes) -> bool:
    """Say whether a file begins like a picture, one that is read here or not.

    >>> shows_picture(b"GIF89a"), shows_picture(b"P5 640 490 255 "), shows_picture(b"Please read me")
    (True, True, False)
    """
    beginnings = (_READ, *(beginning for beginning, _ in _BEGINNINGS))
    return any(re.match(beginning, head, re.DOTALL) for beginning in beginnings)


def not_media(head: bytes) -> str | None:
    """Return "is ...", or None if the file may well be what it should be.

    >>> not_media(b"")
    'is empty (0 bytes)'
    """
    if not head:
        return "is empty (0 bytes)"
    if what := left_over(head):
        return f"is {what}"
    if re.match(rb"\s*<(!doctype\s+)?html", head, re.IGNORECASE):
        return "is a web page; the download failed"
    return None
