"""What a CUDA graph does, on a CPU: every operation of some work is recorded with its tensors, and done again on the same tensors.

What Python does in between is done once, while it is recorded: a number that it computes from the step, a tensor that it makes anew or
puts in the place of another one stays what it was then, as in a graph.
"""

from contextlib import nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Emulator"]

VALUES = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.is_nonzero.default)


class Emulator:
    """A Recorder."""

    rehearsals = 1

    def __init__(self):
        self.operations: list[int] = []          # of each recording

    def rehearsing(self):
        return nullcontext()

    def record(self, work):
        with _Recording() as recording:
            work()
        self.operations.append(len(recording.calls))
        return recording.repeat


class _Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        assert function not in VALUES, f"{function} asks for a value"
        assert torch.Tag.nondeterministic_seeded not in function.tags, f"{function} draws"
        out = function(*args, **kwargs)
        if function.namespace != "profiler":
            given = {tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs))}
            self.calls.append((function, args, kwargs, [(one.untyped_storage()._cdata in given, one) for one in _tensors(out)]))
        return out

    @torch.no_grad()
    def repeat(self):
        for function, args, kwargs, before in self.calls:
            found = _tensors(function(*args, **kwargs))
            for (of_given, one), now in zip(before, found, strict=True):
                if not of_given:                                         # else it was written, or is a view of what was
                    one.copy_(now)


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
