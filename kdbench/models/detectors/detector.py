"""What every detector has, and the test that it must pass before it judges anything.

A detector that runs but sees nothing is worse than one that fails: compiled operators built for another
GPU have printed an error, returned noise, and halved published scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import ModelError
from kdbench.models.images import Image

FIXTURE = Path(__file__).with_name("cat.jpg")
"""A photograph of a cat's face, 451 x 300 (scikit-image's `chelsea`, by Stefan van der Walt, CC0)."""


@dataclass(frozen=True, slots=True)
class Found:
    """One object: its class, its score in 0..1, its box (x1, y1, x2, y2) in pixels of the image.

    `mask` has the image's height and width; None where the detector draws boxes only.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_] | None = None


class Detector(Protocol):
    """A network bound to its weights and a device. `certain` is the score of what can't be missed."""

    name: str
    certain: float

    def protocol(self) -> dict[str, str]:
        """What detections depend on: network, weights, size of the input, how scores are made."""
        ...

    def detect(self, images: Sequence[Image]) -> list[list[Found]]:
        """Everything found in each image, whatever its score, in any order."""
        ...


def self_test(detector: Detector) -> None:
    """Raise `ModelError` unless the detector is certain of a cat in a photograph of one.

    The cat must score at least `certain`, above every other class, with a box over the image's middle.
    """
    from PIL import Image as Pictures

    with Pictures.open(FIXTURE) as picture:
        image = np.asarray(picture.convert("RGB"))
    (found,) = detector.detect([image])
    best = max(found, key=lambda one: one.score, default=None)
    if best is not None and best.label == "cat" and best.score >= detector.certain:
        x1, y1, x2, y2 = best.box
        if x1 < image.shape[1] / 2 < x2 and y1 < image.shape[0] / 2 < y2:
            return
        best_seen = f"a cat at {tuple(round(side) for side in best.box)}, not in the middle"
    else:
        best_seen = f"{best.label} at {best.score:.3f}" if best else "nothing"
    raise ModelError(
        f"the detector {detector.name} fails its self-test: a photograph of a cat must give a cat at "
        f"{detector.certain} or more, it gives {best_seen}; its scores would be wrong (see that the "
        "weights are the right ones, and that torch fits this GPU)"
    )
