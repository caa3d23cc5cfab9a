"""The real images that generated ones are compared with, in every encoder's features.

A reference is a file of statistics (`kdbench reference make`, or one of the field's), or the images
themselves: a folder or a zip, which is encoded once and kept in kdbench's cache by the images' and the
encoder's hashes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import TaskError
from kdbench.models import weights
from kdbench.models.adapter import Download
from kdbench.models.file_hash import cache_dir, sha256_of
from kdbench.tasks.images.conditions import WEIGHTS

if TYPE_CHECKING:
    from kdbench.models.encoders.encoder import ImageEncoder
    from kdbench.models.image_files import ImageFiles
    from kdbench.models.reference import Reference


class References:
    """The references of a suite by encoder; `shared` is the one of all encoders that have none."""

    def __init__(
        self, shared: str | None, own: Mapping[str, str], told: str | None, folder: Path
    ) -> None:
        self._shared, self._own, self._told, self._folder = shared, own, told, folder

    def names(self) -> list[str]:
        return list(dict.fromkeys([*filter(None, [self._shared]), *self._own.values()]))

    def named(self, encoder: str) -> str:
        """What the suite names for an encoder; `TaskError` where it names nothing."""
        found = self._own.get(encoder, self._shared)
        if found is None:
            raise TaskError(
                f"the features of {encoder} need a reference: name a file or a folder of real images "
                "with `reference`"
            )
        return found

    def fingerprint(self) -> dict[str, str]:
        """A hash of each reference by its encoder or "shared"; `TaskError` where one is missing."""
        parts = {"shared": self._shared} if self._shared else {}
        return {name: self._digest(text) for name, text in (parts | dict(self._own)).items()}

    def downloads(self) -> list[Download]:
        found: list[Download] = []
        for text in self.names():
            if text.startswith(WEIGHTS):
                found += weights.download(text.removeprefix(WEIGHTS))
            elif self._told is not None and not (self._folder / text).exists():
                found.append(Download(f"reference {text}", None, self._told))
        return found

    def fetch(self) -> None:
        for text in self.names():
            if text.startswith(WEIGHTS):
                weights.fetch(text.removeprefix(WEIGHTS))
            elif self.downloads():
                self._path(text)

    def of(self, name: str, encoder: ImageEncoder) -> Reference:
        """The reference in an encoder's features; `ModelError` for one of another protocol."""
        from kdbench.models.reference import read_reference

        path = self._path(self.named(name))
        if path.is_dir() or path.suffix == ".zip":
            return _encoded(path, encoder)
        found = read_reference(path, "fd_dinov2" if name == "dinov2" else "fid")
        found.check(encoder.protocol(), encoder.dimension)
        return found

    def _digest(self, text: str) -> str:
        path = self._path(text)
        return _images(path).digest() if path.is_dir() else sha256_of(path)

    def _path(self, text: str) -> Path:
        if text.startswith(WEIGHTS):
            return weights.path_of(text.removeprefix(WEIGHTS))
        path = self._folder / text
        if not path.exists():
            more = self._told or "name a file of statistics, or a folder or zip of real images"
            raise TaskError(f"{path}: no such reference; {more}")
        return path


def _images(path: Path) -> ImageFiles:
    from kdbench.models.image_files import ImageFiles

    return ImageFiles(path)


def _encoded(path: Path, encoder: ImageEncoder) -> Reference:
    """Features of a folder or zip of images, from the cache where they were made before."""
    import numpy as np

    from kdbench.models.reference import Reference
    from kdbench.tasks.images.one_pass import BATCH, OnePass

    images = _images(path)
    digest = images.digest()
    text = json.dumps([digest, encoder.protocol()], sort_keys=True)
    kept = cache_dir() / "references" / f"{sha256(text.encode()).hexdigest()[:32]}.npy"
    if not kept.is_file():
        look = OnePass({"": encoder}, {})
        names = images.names
        parts = [
            look(images.read(names[start : start + BATCH]), []).features[""]
            for start in range(0, len(names), BATCH)
        ]
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = kept.with_suffix(".part.npy")
        np.save(temporary, np.concatenate(parts))
        temporary.replace(kept)
    rows = np.load(kept, mmap_mode="r")
    return Reference(path, digest, None, None, rows, len(rows), encoder.protocol(), digest)
