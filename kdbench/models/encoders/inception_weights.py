"""The files in which the Inception of 2015-12-05 is published.

NVIDIA's TorchScript and the .pth of pytorch-fid and torch-fidelity hold the same 94 convolutions under
other names. A file is known by its names, not by its ending, and every tensor's shape is checked.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.file_hash import sha256_of

if TYPE_CHECKING:
    import torch

    from kdbench.models.encoders.inception_network import InceptionNetwork

_KINDS = {
    "a": (
        "branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 branch_pool",
        "conv tower.conv tower.conv_1 tower_1.conv tower_1.conv_1 tower_1.conv_2 tower_2.conv",
    ),
    "b": (
        "branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
        "conv tower.conv tower.conv_1 tower.conv_2",
    ),
    "c": (
        "branch1x1 branch7x7_1 branch7x7_2 branch7x7_3 branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 "
        "branch7x7dbl_4 branch7x7dbl_5 branch_pool",
        "conv tower.conv tower.conv_1 tower.conv_2 tower_1.conv tower_1.conv_1 tower_1.conv_2 "
        "tower_1.conv_3 tower_1.conv_4 tower_2.conv",
    ),
    "d": (
        "branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4",
        "tower.conv tower.conv_1 tower_1.conv tower_1.conv_1 tower_1.conv_2 tower_1.conv_3",
    ),
    "e": (
        "branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b branch3x3dbl_1 branch3x3dbl_2 "
        "branch3x3dbl_3a branch3x3dbl_3b branch_pool",
        "conv tower_conv tower_mixed_conv tower_mixed_conv_1 tower_1_conv tower_1_conv_1 "
        "tower_1_mixed_conv tower_1_mixed_conv_1 tower_2_conv",
    ),
}
_BLOCKS = (
    ("5b", "a"), ("5c", "a"), ("5d", "a"), ("6a", "b"), ("6b", "c"), ("6c", "c"), ("6d", "c"),
    ("6e", "c"), ("7a", "d"), ("7b", "e"), ("7c", "e"),
)  # fmt: skip
_STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")


def _names() -> tuple[tuple[str, str], ...]:
    found = [
        (f"Conv2d_{name}", f"layers.conv_{index}" if index else "layers.conv")
        for index, name in enumerate(_STEM)
    ]
    for index, (block, kind) in enumerate(_BLOCKS):
        scope = f"layers.mixed_{index}" if index else "layers.mixed"
        for ours, theirs in zip(*(names.split() for names in _KINDS[kind]), strict=True):
            found.append((f"Mixed_{block}.{ours}", f"{scope}.{theirs}"))
    return tuple(found)


NAMES = _names()
"""Each convolution's name in a .pth and in the TorchScript, in the network's order."""

_PTH = {
    "weight": "conv.weight",
    "scale": "bn.weight",
    "shift": "bn.bias",
    "mean": "bn.running_mean",
    "variance": "bn.running_var",
}
_SCRIPT = {"weight": "weight", "shift": "beta", "mean": "mean", "variance": "var"}


_SAME = {
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": (
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
    )
}
"""The published .pth holds what the published TorchScript holds."""


def digest(path: Path) -> str:
    """sha256 of a file, the same for both of the published ones; `ModelError` where it is missing."""
    if not path.is_file():
        raise ModelError(f"{path}: no such file; it should hold the Inception of 2015-12-05")
    found = sha256_of(path)
    return _SAME.get(found, found)


def load(network: InceptionNetwork, path: Path) -> None:
    """Fill a network from either file.

    Raises `ModelError` for a file that is neither, that lacks a tensor, or holds one of another shape: so
    for torchvision's own Inception v3, whose classifier has 1000 classes and which scores nonsense here.
    """

    tensors = _tensors(path)
    head = tensors.get("fc.bias")
    if head is not None and head.shape != (1008,):
        raise ModelError(
            f"{path}: an Inception v3 of {head.shape[0]} classes; the network of the Frechet "
            "Inception Distance has 1008, and other weights give other distances"
        )
    wanted = network.convolutions()
    weights: dict[int, Mapping[str, torch.Tensor]] = {}
    for index, (conv, names) in enumerate(zip(wanted, NAMES, strict=False)):
        part = _part(tensors, names)
        if part is None or part["weight"].shape != conv.weight.shape:
            have = "no" if part is None else f"shape {tuple(part['weight'].shape)} for"
            raise ModelError(
                f"{path}: {have} {names[0]} ({names[1]}), expected {tuple(conv.weight.shape)}; this is "
                "not the Inception of 2015-12-05"
            )
        weights[index] = part
    network.fill(weights)


def _part(
    tensors: Mapping[str, torch.Tensor], names: tuple[str, str]
) -> Mapping[str, torch.Tensor] | None:
    import torch

    for scope, parts in zip(names, (_PTH, _SCRIPT), strict=True):
        found = {
            kind: tensors[f"{scope}.{name}"]
            for kind, name in parts.items()
            if f"{scope}.{name}" in tensors
        }
        if len(found) == len(parts):
            return {"scale": torch.ones_like(found["shift"]), **found}
    return None


def _tensors(path: Path) -> Mapping[str, torch.Tensor]:
    import torch

    read: Any
    try:
        if _is_script(path):
            script: Any = torch.jit
            read = script.load(str(path), map_location="cpu").state_dict()
        else:
            read = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parsers raise
        raise ModelError(
            f"{path}: neither named weights nor TorchScript ({error}); fetch the file again"
        ) from error
    if not isinstance(read, Mapping):
        raise ModelError(f"{path}: expected named tensors, found {type(read).__name__}")
    # a wrapper around the published module puts its own name in front
    return {
        name[name.index("layers.") :] if ".layers." in name else name: v for name, v in read.items()
    }


def _is_script(path: Path) -> bool:
    """Whether a file is a TorchScript archive, which has a member for its constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
