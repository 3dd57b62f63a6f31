"""Repeat a step as a GPU was told it once: CUDA graphs.

In:  work on tensors that keep their shapes and addresses, which asks for no value and draws no random number on the device.
Out: what repeats it. The host then says one word where it said a thousand, one for each kernel.

Whoever repeats work must keep what it reads and writes where it is: weights, moments and averages are restored in place.
"""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch

from fer_model.engine import distributed
from fer_model.engine.devices import queue_at
from fer_model.engine.stage import Stage

__all__ = ["CudaGraphs", "Recorder", "recorder_for"]

Work = Callable[[], None]


class Recorder(Protocol):
    """What makes work repeatable."""

    rehearsals: int                   # so often work is done before it is recorded: kernels are chosen, memory is taken

    def rehearsing(self) -> AbstractContextManager:
        """Return the context of a rehearsal."""
        ...

    def record(self, work: Work) -> Work:
        """Return what repeats `work`, which may be done meanwhile, or not."""
        ...


class CudaGraphs:
    """A CUDA graph for each kind of step. They are repeated one after another, so they share their memory.

    Steps are recorded on the queue that they are repeated on, so that what cuBLAS keeps for a queue is used there alone. On the default
    queue nothing can be recorded: what is repeated there, by a run that takes no turns, is recorded on the queue of the first place.
    """

    rehearsals = 3                    # as PyTorch's notes on CUDA graphs ask for

    def __init__(self, device: torch.device):
        self.device = device
        current = torch.cuda.current_stream(device)
        self.stream = queue_at(device, 0) if current == torch.cuda.default_stream(device) else current
        self.pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def rehearsing(self):
        """Work goes to the stream that it is recorded on; if that is not the current one, each waits for the other."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")       # of Adam, which sees that this is not recorded
            yield
        current.wait_stream(self.stream)

    def record(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            if isinstance(error.__context__, torch.OutOfMemoryError):    # ending a recording that failed may fail as well
                raise error.__context__ from None
            raise
        return graph.replay


def recorder_for(stage: Stage) -> Recorder | None:
    """Return what records the steps of a stage, whose learners then allow it; None: they are done one by one.

    So they are on CPUs, in stages whose steps cannot be repeated, and where several processes train together: what they say to each
    other was never recorded on several GPUs.
    """
    if stage.device.type != "cuda" or not stage.repeatable or distributed.size() > 1:
        return None
    for learner in stage.learners.values():
        learner.let_record()
    return CudaGraphs(stage.device)
