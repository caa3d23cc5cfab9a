"""One pass over images: each resized once for every dialect, each encoder run once, everything kept.

Networks are loaded when the first image comes and stay for all cells of a worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kdbench.errors import ModelError
from kdbench.models.images import Image
from kdbench.models.resizing import resized
from kdbench.tasks.images.feature_store import Features

if TYPE_CHECKING:
    from kdbench.models.encoders.encoder import ImageEncoder
    from kdbench.models.judges import Judge

BATCH = 32
"""Images resized and encoded at once."""


@dataclass(frozen=True)
class Seen:
    """What a pass makes of images: features by encoder (N, d), and scores by judge (N,)."""

    features: Mapping[str, Features]
    scores: Mapping[str, list[float]]


class OnePass:
    """Encoders and judges that look at the same pixels."""

    def __init__(
        self, encoders: Mapping[str, ImageEncoder], judges: Mapping[str, Judge], device: str = "cpu"
    ) -> None:
        self.encoders = encoders
        self.judges = judges
        self._device = device

    def __call__(self, images: Sequence[Image], prompts: Sequence[str]) -> Seen:
        """Features and scores of images, in their order; their prompts are only read by judges."""
        parts = [
            self._batch(images[start : start + BATCH], prompts[start : start + BATCH])
            for start in range(0, len(images), BATCH)
        ]
        return Seen(
            {
                name: np.concatenate([part.features[name] for part in parts])
                for name in self.encoders
            },
            {name: [s for part in parts for s in part.scores[name]] for name in self.judges},
        )

    def _batch(self, images: Sequence[Image], prompts: Sequence[str]) -> Seen:
        pixels = {how: resized(images, how, self._device) for how in self._dialects}
        features = {
            name: encoder.encode(pixels[encoder.resize]).numpy()
            for name, encoder in self.encoders.items()
        }
        for name, rows in features.items():
            if not np.isfinite(rows).all():
                raise ModelError(f"the encoder {name} gave features that are not finite")
        scores = {
            name: judge.scores(pixels[judge.resize], prompts) for name, judge in self.judges.items()
        }
        return Seen(features, scores)

    @cached_property
    def _dialects(self) -> list[Any]:
        """Every resizing that is asked for, once."""
        users: list[ImageEncoder | Judge] = [*self.encoders.values(), *self.judges.values()]
        return list(dict.fromkeys(user.resize for user in users))
