"""Signs of life where there is no terminal: every few seconds a line, also within one clip, and before anything is counted."""

import time
from contextlib import nullcontext

import numpy as np
import pytest

from cli import progress_lines
from cli.progress_lines import ProgressLines
from fer_model.use import predict as library
from fer_model.use.prediction import Prediction


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress_lines, "EVERY_S", 0.05)


def wait_for(said, words, seconds=10):
    """Wait until a line with these words has been said."""
    end = time.monotonic() + seconds
    while not any(words in line for line in said):
        assert time.monotonic() < end, said
        time.sleep(0.01)


def test_a_piece_of_work_that_takes_long_gives_a_line_every_few_seconds(often):
    """Before anything is counted, within one piece, and where the total is not known. Seen red: without the clock nothing came."""
    said = []
    with ProgressLines("preparing ck+", said.append) as lines:
        wait_for(said, "preparing ck+: 0 s")
        lines(3, 400)
        wait_for(said, "preparing ck+: 3 of 400, ")
        lines(5, None, "predicting talk.mp4, frame 4 (0.2 s)")
        wait_for(said, "predicting talk.mp4, frame 4 (0.2 s): 5 done, ")
    count = len(said)
    time.sleep(0.15)
    assert len(said) == count, "the clock ends with the block"


def test_each_tenth_is_said_at_once_and_nothing_else_in_between():
    """Seen red: a line for each call."""
    said = []
    with ProgressLines("verifying", said.append) as lines:
        for done in range(101):
            lines(done, 100)
    assert said == [f"verifying: {10 * tenth} of 100" for tenth in range(11)]


def test_the_clock_ends_when_the_work_fails(often):
    said = []
    with pytest.raises(ValueError, match="broken"), ProgressLines("x", said.append) as lines:
        raise ValueError("broken")
    assert not lines._clock.is_alive()


def test_a_clip_in_a_folder_does_not_silence_it_and_each_frame_is_told_when_it_was_looked_at(tmp_path, monkeypatch):
    """The faces of 64 pictures go through the network at once: the line must not wait for them.

    Seen red: told before it was looked at.
    """
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "talk.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        for _ in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "a.png").write_bytes(b"no picture")
    told, looked_at = [], []

    class Model:
        classes, notes = ("fear",), ()

        def stream(self, shots, thorough, batch, keep):
            waiting = []
            for shot in shots:
                looked_at.append(shot.frame)
                waiting.append(Prediction(shot.source, shot.frame, shot.time_s, None, ()))
            yield from waiting

    monkeypatch.setattr(library, "load", lambda *_: Model())

    def watch(what):
        return nullcontext(lambda done, total, text: told.append((len(looked_at), done, total, text)))

    library.predict(tmp_path, library.Request(str(tmp_path), out=tmp_path / "out.csv"), watch=watch)
    assert told[0] == (1, 1, None, "predicting a.png") and told[1] == (2, 2, None, "predicting talk.avi, frame 0 (0.0 s)")
    assert told[-1] == (7, 7, None, "predicting talk.avi, frame 5 (0.2 s)")
