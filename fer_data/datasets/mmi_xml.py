"""Read the three kinds of XML file next to an MMI clip: session, clip, onset-apex-offset coding.

In:  the bytes of a file, and where it lies, for messages.
Out: the view, the emotion code, the frames at the apex.

    <session ...><track filename="S035-004.avi" view="0" ...>...</track></session>
    <...><Metatag Name="Emotion" Value="4"/></...>
    <...><ActionUnit Number="12"><Marker Frame="31" Type="2"/><Marker Frame="52" Type="3"/></ActionUnit></...>

Elements are looked for by name, wherever they stand: the names of what encloses them are not known from any public source.
Marker types: 0 neutral, 1 onset, 2 apex, 3 offset; Frame is 1-based; an action unit is at its apex in [Type 2, Type 3).
"""

import itertools
import re
from collections import Counter
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fer_data.errors import DatasetError
from fer_data.pictures.file_kinds import not_media

__all__ = ["MAX_BYTES", "read_view", "read_emotion", "read_apex"]

MAX_BYTES = 4_000_000                 # the real files have a few thousand


def read_view(data: bytes, clip: str, where: str) -> str | None:
    """Return the attribute `view` of the track of a clip (its file name), or None if no track has one.

    The track that names the clip is preferred to the first one that has a view. Raises DatasetError if this is not XML.
    """
    tracks = [one for one in _named(_parse(data, where), "track") if one.get("view") is not None]
    mine = [one for one in tracks if clip.lower() in (one.get("filename") or "").lower()]
    return (mine or tracks)[0].get("view").strip() if tracks else None


def read_emotion(data: bytes, where: str) -> int | None:
    """Return the emotion code of a clip, or None if its XML has no Metatag named Emotion.

    Raises DatasetError if this is not XML, if the value is not a whole number, or if there are two different ones.
    """
    tags = [one for one in _named(_parse(data, where), "metatag") if (_attribute(one, "name") or "").strip().lower() == "emotion"]
    values = {(_attribute(one, "value") or "").strip() for one in tags}
    if not values:
        return None
    value = values.pop()
    if values or not re.fullmatch(r"[0-9]{1,4}", value):
        got = " and ".join(sorted(repr(one[:40]) for one in {value, *values}))
        raise DatasetError(f"reading an MMI label: Emotion must be one whole number, got {got} in {where}")
    return int(value)


def read_apex(data: bytes, count: int, where: str) -> tuple[int, int] | None:
    """Return (first, last) position, 0-based, of the longest run of frames on which most action units are at their apex.

    count   frames of the clip; what is coded beyond them is left out
    "Most" is more than half of the action units that have an apex; of runs that are equally long the first is taken. Not the frames with
    the most of them: one unit that begins as the others end would put the peak on the last frame before the offset.
    Action units that lack a marker are left out, as every public reader does. None: no run of frames has that much in common.
    Raises DatasetError if this is not XML.
    """
    votes: Counter = Counter()
    units = 0
    for unit in _named(_parse(data, where), "actionunit"):
        inside = {frame for first, last in _apexes(unit) for frame in range(max(first, 0), min(last, count - 1) + 1)}
        units += bool(inside)
        votes.update(inside)
    held = sorted(frame for frame, number in votes.items() if 2 * number > units)
    return _longest_run(held) if held else None


def _apexes(unit: Element) -> list[tuple[int, int]]:
    """Return (first, last) position of each apex of an action unit: from a Type 2 marker to before the next Type 3."""
    markers = []
    for marker in _named(unit, "marker"):
        frame, kind = (re.fullmatch(r"\s*([0-9]{1,7})\s*", _attribute(marker, name) or "") for name in ("frame", "type"))
        if frame and kind:
            markers.append((int(frame[1]), int(kind[1])))
    markers.sort()
    return [
        (frame - 1, following - 2)
        for (frame, kind), (following, next_kind) in itertools.pairwise(markers)
        if kind == 2 and next_kind == 3
    ]


def _longest_run(frames: list[int]) -> tuple[int, int]:
    """Return (first, last) of the longest run of whole numbers without a gap."""
    runs = [[frames[0], frames[0]]]
    for frame in frames[1:]:
        if frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    first, last = max(runs, key=lambda run: (run[1] - run[0], -run[0]))
    return first, last


def _parse(data: bytes, where: str) -> Element:
    """Return the root of an XML file. Entities and external references are refused."""
    if other := not_media(data[:512]):
        raise DatasetError(f"reading XML: {where} {other}")
    if len(data) > MAX_BYTES:
        raise DatasetError(f"reading XML: {where} has {len(data)} bytes, more than the {MAX_BYTES} that are read")
    try:
        return fromstring(data, forbid_dtd=False)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise DatasetError(f"reading XML: {where} is not XML that can be read ({str(error) or type(error).__name__})") from error


def _named(root: Element, name: str) -> list[Element]:
    """Return the elements of this name below `root`, in order; case and namespace do not matter."""
    return [one for one in root.iter() if isinstance(one.tag, str) and one.tag.rpartition("}")[2].lower() == name]


def _attribute(element: Element, name: str) -> str | None:
    """Return an attribute whatever the case of its name."""
    return next((value for key, value in element.attrib.items() if key.lower() == name), None)
