"""The Frechet distance of the images that are there already, for people who wait for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdbench.tasks.images.feature_store import FeatureStore

if TYPE_CHECKING:
    from kdbench.models.reference import Reference

FEWEST = 500


def frechet_so_far(store: FeatureStore, reference: Reference) -> float | None:
    """Of all stored rows; None below `FEWEST`, where the bias is larger than what it shows."""
    from kdbench.metrics.frechet import frechet_from_features

    places = store.stored()
    if len(places) < FEWEST:
        return None
    return frechet_from_features(store.read(places), *reference.gaussian())
