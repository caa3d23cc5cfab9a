"""The Frechet distance of the images that are there already, for people who wait for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdbench.tasks.images.feature_store import FeatureStore, in_chunks

if TYPE_CHECKING:
    from kdbench.models.reference import Reference

FEWEST = 500


def frechet_so_far(store: FeatureStore, reference: Reference) -> float | None:
    """Of all stored rows; None below `FEWEST`, where the bias is larger than what it shows."""
    from kdbench.metrics.frechet import frechet_distance, frechet_from_features
    from kdbench.metrics.moments import Moments

    places = store.stored()
    if len(places) < FEWEST:
        return None
    rows = store.read(places)
    mean, covariance = reference.gaussian()
    if len(rows) <= rows.shape[1]:
        return frechet_from_features(rows, mean, covariance)
    moments = Moments(rows.shape[1])
    for _, part in in_chunks(rows):
        moments.add(part)
    return frechet_distance(moments.mean, moments.covariance, mean, covariance)
