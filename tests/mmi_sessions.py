"""Clips, and MMI sessions as they lie on disk: what tests write."""

import io
import struct

import numpy as np

__all__ = ["chunks", "clip_bytes", "coding", "rebuilt", "write_session"]


def clip_bytes(frames, size=(72, 56)):
    """A small AVI clip of `frames` frames, (width, height)."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        for number in range(frames):
            picture = np.full((size[1], size[0], 3), 20 + 2 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


def chunks(data):
    """(start of the list of frames, its end, [(id, payload), ...]) of an AVI file."""
    start = data.index(b"movi") - 8
    end = start + 8 + struct.unpack("<I", data[start + 4 : start + 8])[0]
    at, found = start + 12, []
    while at < end:
        size = struct.unpack("<I", data[at + 4 : at + 8])[0]
        found.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return start, end, found


def rebuilt(data, frames):
    """The AVI file with other frames in it, and a header that promises as many as before."""
    body = b"movi" + b"".join(name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2) for name, part in frames)
    inner = data[8 : chunks(data)[0]] + b"LIST" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def coding(units):
    """The OAO XML of action units, {number: [(frame, type), ...]}."""
    markers = {unit: "".join(f'<Marker Frame="{frame}" Type="{kind}"/>' for frame, kind in marks) for unit, marks in units.items()}
    return "<Coding>" + "".join(f'<ActionUnit Number="{unit}">{inner}</ActionUnit>' for unit, inner in markers.items()) + "</Coding>"


def write_session(sessions, session, subject, clip, emotion=None, view="0", frames=9, units=None, data=None):
    """Write Sessions/<session>/ with its clip and XML files; return the folder."""
    folder, stem = sessions / str(session), f"S{subject:03d}-{clip:03d}"
    folder.mkdir(parents=True)
    (folder / f"{stem}.avi").write_bytes(clip_bytes(frames) if data is None else data)
    names = [f"{stem}.xml", *([f"{stem}-oao_aucs.xml"] if units is not None else [])]
    inner = "".join(f'<annotation filename="{name}"/>' for name in names)
    if view is not None:
        text = f'<session sessionId="{session}"><track filename="{stem}.avi" view="{view}">{inner}</track></session>'
        (folder / "session.xml").write_text(text)
    tag = "" if emotion is None else f'<Metatag Name="Emotion" Value="{emotion}"/>'
    (folder / f"{stem}.xml").write_text(f'<Root><Metatag Name="Subject" Value="{subject}"/>{tag}</Root>')
    if units is not None:
        (folder / f"{stem}-oao_aucs.xml").write_text(coding(units))
    return folder
