"""A torchvision built for CUDA beside a torch built for the CPU, as an index with CPU builds gives them.

Its compiled part can't be loaded then, and `import torchvision` fails because two operators are unknown;
transformers, open_clip and torchmetrics fail with it. `mend` makes that import work: non-maximum suppression
gets an implementation in plain torch, everything else of torchvision that is compiled stays away.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

_KEPT: list[Any] = []
"""Operators live as long as the library object that defined them."""


def mend() -> None:
    """From now on torchvision imports; where it does so by itself, nothing is changed.

    Costs nothing until torchvision is imported, and can be called again.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds torchvision where Python does, and lends it a loader that looks before it loads."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Mending(spec.loader)
        return spec


class _Mending(Loader):
    def __init__(self, own: Loader) -> None:
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        loads = _loads(Path(str(module.__file__)).parent)
        if not loads:
            _define()
        self.own.exec_module(module)
        if not loads:
            from torchvision import extension

            extension._has_ops = lambda: True


def _loads(folder: Path) -> bool:
    """Whether this torch can load the compiled part of the torchvision in `folder`."""
    import torch

    compiled = next(folder.glob("_C*.so"), None) or next(folder.glob("_C*.pyd"), None)
    if compiled is None:
        return True
    try:
        torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True


def _define() -> None:
    import torch

    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.impl(name, non_maximum_suppression, "CPU")
    _KEPT.append(library)


def non_maximum_suppression(
    dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Indices of the boxes that stay, best first: each drops those of a larger overlap behind it.

    `dets` is [N, 4] (x1, y1, x2, y2), `scores` [N]; what torchvision.ops.nms computes.
    """
    import torch

    order = scores.argsort(descending=True, stable=True)
    areas = (dets[:, 2] - dets[:, 0]) * (dets[:, 3] - dets[:, 1])
    kept = []
    while order.numel():
        first, rest = order[0], order[1:]
        kept.append(first)
        corner = torch.maximum(dets[first, :2], dets[rest, :2])
        other = torch.minimum(dets[first, 2:], dets[rest, 2:])
        common = (other - corner).clamp(min=0).prod(-1)
        overlap = common / (areas[first] + areas[rest] - common)
        order = rest[~(overlap > iou_threshold)]
    return torch.stack(kept) if kept else order
