"""Clips of synthetic people: pictures in, the bytes of a file out; and clips of people who speak, which share their drawings.

Needs the extra [video] (PyAV). The same bytes are promised for one version of PyAV: encoders change.
"""

import io
from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np

from fer_data.synthetic.sequences import Drawn, draw_sequence

__all__ = ["LEVELS", "SIZE", "draw_levels", "encode_clip", "pictures_of", "spoken"]

SIZE = (320, 240)                     # width, height of a clip of somebody who speaks
LEVELS = (0.0, 0.4, 0.7, 1.0)         # intensities that are drawn of each performance
_CODECS = {"avi": "mpeg4", "mp4": "mpeg4", "flv": "flv", "mpeg": "mpeg2video"}
_GROUP = 12                           # frames from one key frame to the next
_FILL = 1.45                          # the faces fill more of the frame than in CK+


def encode_clip(pictures: Iterable[np.ndarray], kind: str, rate: int = 25, bit_rate: int = 4_000_000) -> bytes:
    """Return a clip of RGB pictures (H, W, 3) uint8; nothing in it names the time.

    kind      of _CODECS
    rate      frames a second
    bit_rate  bits a second
    """
    import av

    pictures = list(pictures)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(_CODECS[kind], rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.bit_rate, context.gop_size, context.thread_count = bit_rate, _GROUP, 1
        context.flags |= av.codec.context.Flags.bitexact
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def draw_levels(seed: int, layout: str, key: tuple[int, int, int], expression: str) -> list[Drawn]:
    """Return one performance, a frame at each of LEVELS; `layout` and `key` as in draw_sequence.

    Calm, which has no action units, is a faint smile.
    """
    intensities = [0.25 * level for level in LEVELS] if expression == "calm" else list(LEVELS)
    performed = "happiness" if expression == "calm" else expression
    closer = {"adapt": lambda scene: replace(scene, scale=scene.scale * _FILL)}
    return list(draw_sequence(seed, layout, key, performed, intensities, SIZE, grain=False, **closer))


def pictures_of(drawn: list[Drawn], peak: int, frames: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """Return the pictures of a clip of its own length and exposure, of a performance that others share.

    peak    the last of LEVELS that is shown
    frames  shortest and longest clip
    """
    exposure = float(rng.uniform(0.9, 1.0))
    lit = [cv2.convertScaleAbs(one.picture, alpha=exposure) for one in drawn]
    return [lit[step] for step in spoken(peak, int(rng.integers(frames[0], frames[1] + 1)))]


def spoken(peak: int, length: int) -> list[int]:
    """Return which of LEVELS each frame of a clip shows: from neutral to the peak, which lasts the middle half, and back.

    >>> spoken(2, 12)
    [0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1, 0]
    """
    ramp = (length - 1) // 4
    up = [round(peak * position / ramp) for position in range(ramp)]
    return [*up, *[peak] * (length - 2 * ramp), *reversed(up)]
