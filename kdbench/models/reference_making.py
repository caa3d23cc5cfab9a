"""A reference from images: every file decoded, resized and encoded once."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import ModelError
from kdbench.models.image_files import ImageFiles
from kdbench.models.reference import write_reference
from kdbench.models.resizing import resized

if TYPE_CHECKING:
    from kdbench.models.encoders.encoder import ImageEncoder

FEWEST = 2


def make_reference(
    images: Path,
    encoder: ImageEncoder,
    out: Path,
    features: bool = False,
    limit: int | None = None,
    batch_size: int = 32,
    device: str = "cpu",
    told: Callable[[int, int], None] | None = None,
) -> int:
    """Write the statistics of a folder or zip to `out`; how many images they are of.

    `features` keeps one row an image, too (KID, precision and recall need them). `limit` takes the first
    in order of names. `told` hears how many of how many are done. Raises `ModelError` for an image that
    can't be read and for fewer than two.
    """
    from kdbench.metrics.moments import Moments

    files = ImageFiles(images)
    names = files.names[:limit]
    if len(names) < FEWEST:
        raise ModelError(
            f"{images}: a reference needs at least {FEWEST} images, found {len(names)}"
        )
    moments, rows, digest = Moments(encoder.dimension), list[NDArray[Any]](), sha256()
    for start in range(0, len(names), batch_size):
        pixels = files.read(names[start : start + batch_size])
        for image in pixels:
            digest.update(repr(image.shape).encode() + image.tobytes())
        found = encoder.encode(resized(pixels, encoder.resize, device)).numpy()
        moments.add(found)
        if features:
            rows.append(found)
        if told is not None:
            told(start + len(pixels), len(names))
    write_reference(
        out,
        moments.mean,
        moments.covariance,
        moments.count,
        encoder.protocol(),
        digest.hexdigest(),
        np.concatenate(rows) if features else None,
    )
    return moments.count
