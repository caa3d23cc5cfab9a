"""From the features of a whole set to its scores, each with what it is without every fold.

Folds are made of prompts and seeded, so teacher and student, who are asked the same prompts, share them and
their difference is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdbench.metrics.folded import Folded
from kdbench.tasks.images.feature_store import Features, in_chunks
from kdbench.tasks.images.metrics import Asked
from kdbench.tasks.task import Summary

if TYPE_CHECKING:
    from kdbench.metrics.moments import Moments
    from kdbench.models.reference import Reference

FOLDS = 20
POINTS = 15


@dataclass(frozen=True)
class FeatureSet:
    """Features (N, d) of a set of images, the folds they fall into (N,), and the reference, if any."""

    features: Features
    labels: NDArray[np.intp]
    clusters: int
    reference: Reference | None
    confidence: float = 0.95

    @property
    def folds(self) -> int:
        return int(self.labels.max()) + 1

    @cached_property
    def gaussian(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        assert self.reference is not None
        return self.reference.gaussian()

    @cached_property
    def root(self) -> NDArray[np.float64]:
        from kdbench.metrics.frechet import covariance_root

        return covariance_root(self.gaussian[1])

    def moments(self, normalised: bool = False) -> list[Moments]:
        """Of each fold, from one walk over the mapped rows."""
        from kdbench.metrics.cmmd import normalised as unit
        from kdbench.metrics.moments import Moments

        parts = [Moments(self.features.shape[1]) for _ in range(self.folds)]
        for place, rows in in_chunks(self.features):
            ready = unit(rows) if normalised else rows
            for fold in np.unique(self.labels[place]):
                parts[fold].add(ready[self.labels[place] == fold])
        return parts


def score(asked: Asked, given: FeatureSet) -> dict[str, Summary]:
    """The summaries of a score's metrics by their names; too few images give the reason instead."""
    names = [metric.name for metric in asked.metrics]
    count, fewest = len(given.features), asked.kind.fewest
    if count < fewest:
        reason = f"{asked.kind.name} needs at least {fewest} images, here are {count}"
        return {name: Summary(None, reason=reason) for name in names}
    try:
        found = _SCORES[asked.kind.name](given)
    except ValueError as error:
        return {name: Summary(None, reason=str(error)) for name in names}
    return dict(zip(names, found, strict=True))


def _frechet(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.frechet import frechet_from_features, frechet_of_folds

    mean, covariance = given.gaussian
    count, width = given.features.shape
    if count > width:
        parts = given.moments()
        return [
            _folded(frechet_of_folds(parts, mean, covariance, given.root, given.clusters), given)
        ]

    def distance(rows: Features) -> float:
        return frechet_from_features(rows, mean, covariance)

    return [_folded(_leaving_out(distance, given), given)]


def _infinity(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.frechet import frechet_infinity

    mean, covariance = given.gaussian
    fit = frechet_infinity(
        given.features, mean, covariance, POINTS, root=given.root, confidence=given.confidence
    )
    details = {
        "sizes": fit.sizes.tolist(), "distances": fit.distances.tolist(),
        "slope": fit.slope, "error": fit.error,
    }  # fmt: skip
    return [Summary(fit.value, details=details)]


def _kernel(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.kid import kernel_sums

    assert given.reference is not None
    sums = kernel_sums(given.features, given.reference.rows(), given.labels)
    count = len(given.features)
    return [_folded(Folded(sums.value, sums.without_generated(), count, given.clusters), given)]


def _subsets(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.kid import kid_subsets
    from kdbench.stats import Estimate

    assert given.reference is not None
    value, spread = kid_subsets(given.features, given.reference.rows())
    method = f"none: 100 subsets overlap (their deviation {spread:.3g} is no standard error)"
    n = len(given.features)
    return [Summary(Estimate(value, float("nan"), float("nan"), method, n, given.clusters))]


def _prdc(k: int, inclusive: bool) -> Callable[[FeatureSet], list[Summary]]:
    def scored(given: FeatureSet) -> list[Summary]:
        from kdbench.metrics.prdc import prdc

        assert given.reference is not None
        real = given.reference.rows()
        found = prdc(real, given.features, k, inclusive, given.labels, given.clusters)
        four = (found.precision, found.recall, found.density, found.coverage)
        return [_folded(one, given) for one in (four[:2] if inclusive else four)]

    return scored


_NO_EMBEDDINGS = (
    "the reference holds mean and covariance of embeddings as they are, and CMMD needs them at unit length; "
    "make it with `kdbench reference make --features`"
)


def _cmmd(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.cmmd import cmmd_of_folds, normalised
    from kdbench.metrics.moments import Moments

    assert given.reference is not None
    if given.reference.features is None:
        return [Summary(None, reason=_NO_EMBEDDINGS)]
    real = Moments.of(normalised(given.reference.rows()))
    return [_folded(cmmd_of_folds(given.moments(normalised=True), real, given.clusters), given)]


def _vendi(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.vendi import vendi_score

    return [_folded(_leaving_out(vendi_score, given), given)]


_SCORES: Mapping[str, Callable[[FeatureSet], list[Summary]]] = {
    "fid": _frechet, "frechet": _frechet,
    "fid_infinity": _infinity, "frechet_infinity": _infinity,
    "kid": _kernel, "kernel": _kernel, "kid_100x1000": _subsets,
    "prdc": _prdc(5, False), "precision_recall": _prdc(3, True),
    "cmmd": _cmmd, "vendi": _vendi,
}  # fmt: skip


def of_prompt(asked: Asked, rows: Features) -> float:
    """A score of the images of one prompt, features (n, d)."""
    from kdbench.metrics.cmmd import normalised
    from kdbench.metrics.vendi import mean_pairwise_distance, vendi_score

    if asked.kind.name == "vendi_per_prompt":
        return vendi_score(rows)
    # of unit vectors, half the squared distance is one minus the cosine
    return mean_pairwise_distance(normalised(rows), squared=True) / 2


def _leaving_out(statistic: Callable[[Features], float], given: FeatureSet) -> Folded:
    without = [statistic(given.features[given.labels != fold]) for fold in range(given.folds)]
    count = len(given.features)
    return Folded(statistic(given.features), np.array(without), count, given.clusters)


def _folded(found: Folded, given: FeatureSet) -> Summary:
    return Summary(found.estimate(given.confidence), tuple(float(v) for v in found.without))


def labels_of(clusters: Sequence[Any]) -> NDArray[np.intp]:
    """The fold of each image, whole prompts together; the same prompts fall into the same folds."""
    from kdbench.stats.jackknife import folds

    return folds(len(clusters), FOLDS, clusters)
