"""From the features of a whole set to its scores, each with what it is without every fold.

Folds are made of prompts, or of each class alike, and seeded: teacher and student, who are asked the same,
share them and their difference is paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdbench.metrics.blocks import in_chunks
from kdbench.metrics.folded import Folded
from kdbench.tasks.images.feature_store import Features
from kdbench.tasks.images.metrics import Asked
from kdbench.tasks.task import Summary

if TYPE_CHECKING:
    from kdbench.metrics.moments import Moments
    from kdbench.models.reference import Reference

FOLDS, FEWEST_FOLDS = 20, 10
POINTS = 15
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class FeatureSet:
    """Features (N, d) of a set of images, the folds they fall into (N,), and the reference, if any.

    `clusters` (N,) says which images share a prompt.
    """

    features: Features
    labels: NDArray[np.intp]
    clusters: Sequence[Any]
    reference: Reference | None
    confidence: float = 0.95

    @property
    def folds(self) -> int:
        return int(self.labels.max()) + 1

    @cached_property
    def prompts(self) -> int:
        return len(set(self.clusters))

    @cached_property
    def frechet(self) -> Folded:
        """The Frechet distance, which its extrapolation rests on, too."""
        from kdbench.metrics.frechet import frechet_from_features, frechet_of_folds

        mean, covariance = self.gaussian
        count, width = self.features.shape
        if count > width:
            return frechet_of_folds(self.moments(), mean, covariance, self.root, self.prompts)

        def distance(rows: Features) -> float:
            return frechet_from_features(rows, mean, covariance)

        return _leaving_out(distance, self)

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
    return [_folded(given.frechet, given)]


def _infinity(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.frechet import extrapolated, frechet_infinity

    line = frechet_infinity(given.features, *given.gaussian, POINTS, root=given.root)
    return [_folded(extrapolated(line, given.frechet), given, {"slope": line.slope})]


def _kernel(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.kid import kernel_sums

    assert given.reference is not None
    real = given.reference.rows()
    sums = kernel_sums(given.features, real, given.labels, folds_of(range(len(real))))
    return [_folded(sums.folded(given.prompts), given)]


def _subsets(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.kid import kid_subsets

    assert given.reference is not None
    real = given.reference.rows()
    found = kid_subsets(
        given.features, real, groups=given.labels, reference_groups=folds_of(range(len(real))),
        clusters=given.prompts,
    )  # fmt: skip
    return [_folded(found.folded, given, {"deviation": found.deviation})]


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
    rows = given.reference.rows()
    real = Moments(rows.shape[1])
    for _, part in in_chunks(rows):
        real.add(normalised(part))
    return [_folded(cmmd_of_folds(given.moments(normalised=True), real, given.prompts), given)]


def _vendi(given: FeatureSet) -> list[Summary]:
    from kdbench.metrics.moments import Moments
    from kdbench.metrics.vendi import vendi_of_moment, vendi_score

    count, width = given.features.shape
    if count <= width:
        return [_folded(_leaving_out(vendi_score, given), given)]

    def of(moments: Moments) -> float:
        return vendi_of_moment(moments.second_moment, moments.count)

    parts = given.moments(normalised=True)
    whole = Moments.merged(parts)
    without = np.array([of(whole.without(part)) for part in parts])
    return [_folded(Folded(of(whole), without, count, given.prompts), given)]


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
    return Folded(statistic(given.features), np.array(without), count, given.prompts)


def _folded(found: Folded, given: FeatureSet, details: Mapping[str, Any] = _NOTHING) -> Summary:
    return Summary(found.estimate(given.confidence), found, details)


def folds_of(clusters: Sequence[Any], strata: Sequence[Any] | None = None) -> NDArray[np.intp]:
    """The fold of each image; the same prompts (or numbers of images) fall into the same folds.

    Prompts are a sample of what could be asked, so all images of a prompt lie in one fold: leaving out folds
    tells how the number varies with other prompts, too. Classes (`strata`) are all that can be asked, each in
    its share by design, and have many images: every fold has each class in that share, so the number without
    a fold is one of the same classes. There are as many folds, up to `FOLDS`, as divide a class; where none
    from `FEWEST_FOLDS` on does, shares differ by one sample of a class, and intervals are a little too wide.
    """
    from kdbench.stats.jackknife import folds

    count = FOLDS if strata is None else _dividing(clusters, strata)
    return folds(len(clusters), count, clusters, strata=strata)


def _dividing(clusters: Sequence[Any], strata: Sequence[Any]) -> int:
    """The most folds that each class's samples can be dealt to in equal numbers; `FOLDS` where none can."""
    sizes = set(Counter(dict(zip(clusters, strata, strict=True)).values()).values())
    counts = range(FOLDS, FEWEST_FOLDS - 1, -1)
    return next((one for one in counts if not any(size % one for size in sizes)), FOLDS)
