"""The detectors that GenEval can be scored with, by name: what they rest on, and how they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import ModelError
from kdbench.models.adapter import Download
from kdbench.models.detectors import mmdet_checkpoint
from kdbench.models.weights import Weight, digest_of, download, entry, fetch, path_of

if TYPE_CHECKING:
    from kdbench.models.detectors.detector import Detector

FACEBOOK = "mask2former-swin-small-coco-instance"
ABOUT: Mapping[str, str] = {
    "mmdet": "Mask2Former Swin-S of mmdet, GenEval's own",
    "facebook": "Mask2Former Swin-S of its authors: not GenEval's, scores differ by about a point",
}


def protocol(name: str) -> dict[str, str]:
    """What `Detector.protocol` will say, without loading; weights are `not seen` until they are here."""
    from kdbench.models.detectors.mask2former import HOW

    return {"detector": ABOUT[name].partition(":")[0], "detector weights": _digest(name), **HOW}


def downloads(name: str) -> list[Download]:
    """What a run would have to fetch first."""
    if name == "mmdet" and _converted() is not None:
        return []
    return download(mmdet_checkpoint.CHECKPOINT if name == "mmdet" else FACEBOOK)


def get(name: str) -> None:
    """Fetch what `downloads` lists, and convert what has to be."""
    if name == "facebook":
        fetch(FACEBOOK)
    elif _converted() is None:
        fetch(mmdet_checkpoint.CHECKPOINT)
        _folder(name)


def load(name: str, device: str = "cpu") -> Detector:
    """The detector, not yet tested; `ModelError` where its weights are missing or changed."""
    from kdbench.models.detectors.mask2former import Mask2Former

    folder = _folder(name)
    parts = protocol(name)
    return Mask2Former(folder, parts["detector"], parts["detector weights"], device)


def _folder(name: str) -> Path:
    if name == "facebook":
        return path_of(FACEBOOK)
    folder = _converted()
    if folder is None:
        folder = mmdet_checkpoint.converted_folder()
        mmdet_checkpoint.convert(path_of(mmdet_checkpoint.CHECKPOINT), folder)
    source, begins = mmdet_checkpoint.checked(folder)["from"], _published().begins
    if not source.startswith(begins):
        raise ModelError(
            f"{folder} was converted from another checkpoint than GenEval's (sha256 {source}, "
            f"expected {begins}...); `kdbench weights convert-geneval-detector` makes the right one"
        )
    return folder


def _digest(name: str) -> str:
    if name == "facebook":
        return digest_of(FACEBOOK)
    folder = _converted()
    if folder is not None:
        return str(mmdet_checkpoint.checked(folder)["from"])
    known = digest_of(mmdet_checkpoint.CHECKPOINT)
    return f"{_published().begins}..." if known == "not seen" else known


def _converted() -> Path | None:
    folder = mmdet_checkpoint.converted_folder()
    return folder if (folder / mmdet_checkpoint.NOTE).is_file() else None


def _published() -> Weight:
    return entry(mmdet_checkpoint.CHECKPOINT)
