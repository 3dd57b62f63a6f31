"""timm for tests, without touching what the other tests import.

In:  timm and torchvision as packages, or in the folder `timm` of the virtual environment, where `make install` puts them.
Out: use_timm, after which `import timm` works in this process.
"""

import sys
from importlib import import_module
from pathlib import Path

import torch

__all__ = ["use_timm"]

_LIBRARY: list[torch.library.Library] = []       # kept: its operators go with it


def use_timm() -> None:
    """Put timm on the path, and define two operators that timm's networks do not use where torchvision was made for another torch."""
    aside = Path(sys.prefix) / "timm"
    if aside.is_dir() and str(aside) not in sys.path:
        sys.path.append(str(aside))
    if _LIBRARY:
        return
    try:
        import_module("timm")
    except RuntimeError:                         # operator torchvision::nms does not exist
        for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
            del sys.modules[name]
        _LIBRARY.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            _LIBRARY[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_module("timm")
