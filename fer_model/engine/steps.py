"""Do the steps of a stage: what a tick's steps need is drawn first and goes to the device in one copy, then each is computed.

In:  a Stage; the numbers of the steps; perhaps a Recorder.
Out: the stage, moved; losses by name, of each step.

The host asks the device for nothing until it reads the losses, so the next steps may be drawn while these are computed. With a recorder
the first step of each kind is recorded and the others repeat it: it takes its row of what was drawn by a counter that lies on the device,
and puts its losses into a row of a table there.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fer_model.engine.capture import Recorder
from fer_model.engine.stage import Stage

__all__ = ["Drawn", "Steps"]

WORD = 8                              # bytes
PART = 8                              # words; each tensor of a row begins at a multiple of so many, 64 bytes


class _Layout:
    """Where the tensors of a row lie in one piece of memory."""

    def __init__(self, row: Mapping[str, Tensor]):
        self.places: dict[str, tuple[int, int, torch.dtype, torch.Size]] = {}       # name -> first word, words, type, shape
        self.words = 0
        for name, tensor in row.items():
            words = -(-tensor.numel() * tensor.element_size() // WORD)
            self.places[name] = (self.words, words, tensor.dtype, tensor.shape)
            self.words += -(-words // PART) * PART

    def split(self, row: Tensor) -> dict[str, Tensor]:
        """Return the tensors of a row (words,) int64 by name, as views of it."""
        return {
            name: row[first : first + words].view(dtype)[: shape.numel()].view(shape)
            for name, (first, words, dtype, shape) in self.places.items()
        }


@dataclass(frozen=True)
class Drawn:
    """What was drawn for steps `first` and on."""

    first: int
    rows: Tensor                      # (steps, words) int64, on the CPU; pinned, if it is for a GPU


@dataclass(frozen=True)
class _Recording:
    """A step of one kind, recorded."""

    repeat: Callable[[], None]
    names: tuple[str, ...]            # of its losses
    losses: Tensor                    # (most, losses) float32, on the device; in the row of a step that it was repeated for


class Steps:
    """Does the steps of a stage, at most a tick of them at once."""

    def __init__(self, stage: Stage, recorder: Recorder | None = None):
        """`recorder`: None: each step is done by itself."""
        self.stage, self.recorder, self.most = stage, recorder, stage.config.tick_steps
        self.layout: _Layout | None = None       # known from the first row on
        self.rows: Tensor | None = None          # (most, words) int64, on the device: those that are computed
        self.at = torch.zeros(1, dtype=torch.int64, device=stage.device)         # the row of the next step, where steps are repeated
        self.recordings: dict[Hashable, _Recording] = {}         # by the kind of step
        self.losses: list[dict[str, Tensor]] = []                # of the steps that were started last, done by themselves
        self.repeated: list[_Recording] = []                     # the same, repeated

    def draw(self, first: int, end: int) -> Drawn:
        """Return what steps `first` .. `end` - 1 need."""
        assert end - first <= self.most, "a tick at most"
        found = [self.stage.row(step) for step in range(first, end)]
        if self.layout is None:
            self.layout = _Layout(found[0])
            self.rows = torch.zeros(self.most, self.layout.words, dtype=torch.int64, device=self.stage.device)
        rows = torch.zeros(end - first, self.layout.words, dtype=torch.int64, pin_memory=self.stage.device.type == "cuda")
        for row, tensors in zip(rows, found, strict=True):
            for name, place in self.layout.split(row).items():
                place.copy_(tensors[name])
        return Drawn(first, rows)

    def start(self, drawn: Drawn, hook: Callable[[int], None] = lambda step: None) -> None:
        """Have the device do these steps; `hook` is called with the number of each that was handed over."""
        self.rows[: len(drawn.rows)].copy_(drawn.rows, non_blocking=True)
        self.at.zero_()
        self.losses, self.repeated = [], []
        for step, row in enumerate(self.rows[: len(drawn.rows)], drawn.first):
            kind = self.stage.kind(step)
            if self.recorder is None:
                self.losses.append(self.stage.advance(self.layout.split(row), kind))
            else:
                self._repeat(kind)
            hook(step)

    def _repeat(self, kind: Hashable) -> None:
        if kind not in self.recordings:
            self.recordings[kind] = self._recorded(kind)
        self.recordings[kind].repeat()
        self.repeated.append(self.recordings[kind])

    def _recorded(self, kind: Hashable) -> _Recording:
        """Record a step of a kind. What it does meanwhile to the stage is undone."""
        state = [*self.stage.state(), self.at]
        before = [tensor.clone() for tensor in state]
        names, table = (), None

        def work() -> None:
            nonlocal names, table
            row = self.layout.split(self.rows.index_select(0, self.at)[0])       # (words,)
            losses = self.stage.advance(row, kind)
            if table is None:                                                    # in a rehearsal: it is no part of the recorded memory
                names, table = tuple(losses), torch.zeros(self.most, len(losses), device=self.stage.device)
            table.index_copy_(0, self.at, torch.stack([loss.float() for loss in losses.values()])[None])
            self.at += 1

        for _ in range(self.recorder.rehearsals):
            with self.recorder.rehearsing():
                work()
                torch._foreach_copy_(state, before)
        repeat = self.recorder.record(work)
        torch._foreach_copy_(state, before)
        return _Recording(repeat, names, table)

    def read(self) -> list[dict[str, Tensor]]:
        """Return the losses of each of the steps that were started last; those that were repeated are read from the device."""
        if self.recorder is None:
            return self.losses
        tables = {key: one.losses.cpu() for key, one in {id(one): one for one in self.repeated}.items()}     # a wait for each recording
        return [dict(zip(one.names, tables[id(one)][row], strict=True)) for row, one in enumerate(self.repeated)]

    def do(self, first: int, end: int) -> list[dict[str, Tensor]]:
        """Do steps `first` .. `end` - 1, however many; return the losses of each. As in training, what the next ones need is drawn
        before these are waited for."""
        found, drawn = [], None
        for start in range(first, end, self.most):
            now, after = min(end, start + self.most), min(end, start + 2 * self.most)
            self.start(drawn or self.draw(start, now))
            drawn = self.draw(now, after) if now < end else None
            found += self.read()
        return found
