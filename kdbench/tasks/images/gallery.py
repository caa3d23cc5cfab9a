"""Images that are kept: small ones in the samples for contact sheets, whole ones beside the cell if asked."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from kdbench.errors import ModelError
from kdbench.models.image_files import decoded, png
from kdbench.models.images import Image
from kdbench.results.files import writing

_FOLDER = "images"
SIDE = 128
"""Pixels of a small image's longer side, at most."""


def thumbnail(image: Image) -> str:
    """The image as base64 of a PNG, shrunk where it is larger than `SIDE`; never enlarged."""
    import numpy as np
    from PIL import Image as Pictures

    picture = Pictures.fromarray(image)
    if max(picture.size) > SIDE:
        picture.thumbnail((SIDE, SIDE), Pictures.Resampling.LANCZOS)
        image = np.asarray(picture)
    return base64.b64encode(png(image)).decode("ascii")


def digest(image: Image) -> str:
    """A short hash of the pixels: equal images are seen to be equal."""
    return sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:16]


def spill(folder: Path, places: Sequence[int], images: Sequence[Image]) -> None:
    """Write images as PNG files, lossless, named by their places in the task."""
    target = folder / _FOLDER
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for place, image in zip(places, images, strict=True):
            with _file(folder, place).open("wb") as file:
                file.write(png(image))
                file.flush()
                os.fsync(file.fileno())


def spilled(folder: Path, places: Sequence[int]) -> list[Image]:
    """Images that `spill` wrote; `ModelError` names one that is missing or damaged."""
    found = []
    for place in places:
        path = _file(folder, place)
        try:
            found.append(decoded(path.read_bytes(), str(path)))
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}; put it back") from error
    return found


def _file(folder: Path, place: int) -> Path:
    return folder / _FOLDER / f"{place:06d}.png"
