"""The Frechet distance between two Gaussians, and what is known of it from samples.

    d^2 = |mu1 - mu2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

Heusel et al. (2017), "GANs trained by a two time-scale update rule", eq. 6. Everything is float64: with
float32 covariances the distance is off by per cents. No matrix root is taken. With S2 = R R^T the
eigenvalues of S1 S2 are those of the symmetric R^T S1 R, so the trace is a sum of real roots.

A distance from N samples is biased upwards by about c/N (a square root is concave): distances of different N
are not compared, and intervals come from leaving out, never from drawing with replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdbench.metrics.blocks import Rows, feature_rows, in_chunks
from kdbench.metrics.folded import Folded
from kdbench.metrics.moments import Moments
from kdbench.stats.line import Line

Floats = NDArray[np.float64]

FEWEST = 50
"""Fewest samples of which a Frechet distance is told at all."""


def frechet_distance(
    mu1: ArrayLike,
    sigma1: ArrayLike,
    mu2: ArrayLike,
    sigma2: ArrayLike,
    root2: Floats | None = None,
) -> float:
    """Squared Frechet distance of N(mu1, sigma1) and N(mu2, sigma2); means (d,), covariances (d, d).

    ``root2`` is ``covariance_root(sigma2)``, for comparing many models with one reference. Never negative
    but for rounding. Raises ValueError for shapes that don't fit and for values that are not finite.
    """
    one, left = _gaussian(mu1, sigma1)
    two, right = _gaussian(mu2, sigma2)
    if one.shape != two.shape:
        raise ValueError(f"Gaussians of {one.size} and {two.size} dimensions can't be compared")
    root = covariance_root(right) if root2 is None else root2
    spectrum = np.linalg.eigvalsh(root.T @ left @ root)
    return _assembled(one, np.trace(left), two, np.trace(right), _roots(spectrum))


def covariance_root(sigma: ArrayLike) -> Floats:
    """R with R R^T = sigma, shape (d, d): Cholesky's where sigma is positive definite, else from eigh."""
    matrix = np.asarray(sigma, dtype=np.float64)
    try:
        return np.asarray(np.linalg.cholesky(matrix))
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(matrix)
        return np.asarray(vectors * np.sqrt(values.clip(min=0)))


def frechet_from_features(
    features: ArrayLike, mu: ArrayLike, sigma: ArrayLike, root: Floats | None = None
) -> float:
    """Distance of samples, shape (N, d), from N(mu, sigma).

    With N < d it works on N x N: the trace is that of the root of X S X^T for the centred samples X over
    sqrt(N - 1). That is faster, and more exact, than the d x d form, where d - N + 1 eigenvalues are 0
    but for rounding. Raises ValueError as ``frechet_distance`` does, and for fewer than 2 samples.
    """
    rows = feature_rows(features, "features", 2)
    count, width = rows.shape
    if count > width:
        moments = Moments.of(rows)
        return frechet_distance(moments.mean, moments.covariance, mu, sigma, root)
    samples = _samples(rows)
    mean, covariance = _gaussian(mu, sigma)
    if mean.size != width:
        raise ValueError(f"Gaussians of {width} and {mean.size} dimensions can't be compared")
    centre, scaled = _scaled(samples)
    spectrum = np.linalg.eigvalsh((scaled @ covariance) @ scaled.T)
    trace = float(np.einsum("ij,ij->", scaled, scaled))
    return _assembled(centre, trace, mean, np.trace(covariance), _roots(spectrum))


def frechet_between(features1: ArrayLike, features2: ArrayLike) -> float:
    """Distance between two sets of samples, shapes (N, d) and (M, d).

    Where both are smaller than d, no d x d matrix is made: the trace is the sum of the singular values of
    X1 X2^T, centred and scaled. Raises ValueError as ``frechet_from_features`` does.
    """
    one, two = _samples(features1), _samples(features2)
    if one.shape[1] != two.shape[1]:
        raise ValueError(
            f"features of {one.shape[1]} and {two.shape[1]} dimensions can't be compared"
        )
    if max(len(one), len(two)) > one.shape[1]:
        small, large = (one, two) if len(one) <= len(two) else (two, one)
        moments = Moments.of(large)
        return frechet_from_features(small, moments.mean, moments.covariance)
    (centre1, scaled1), (centre2, scaled2) = _scaled(one), _scaled(two)
    traces = (float(np.einsum("ij,ij->", part, part)) for part in (scaled1, scaled2))
    cross = float(np.linalg.svd(scaled1 @ scaled2.T, compute_uv=False).sum())
    return _assembled(centre1, next(traces), centre2, next(traces), cross)


def frechet_of_folds(
    parts: Sequence[Moments],
    mu: ArrayLike,
    sigma: ArrayLike,
    root: Floats | None = None,
    clusters: int | None = None,
) -> Folded:
    """Distance of all folds together from N(mu, sigma), and without each of them.

    ``parts`` are the moments of disjoint folds (see ``kdbench.stats.jackknife.folds``). A student's minus
    a teacher's (``Folded.minus``) is paired where a fold holds the same prompts and noise for both. The
    reference counts as given. Raises ValueError for fewer than ``FEWEST`` samples in all.
    """
    whole = Moments.merged(parts)
    if whole.count < FEWEST:
        raise ValueError(f"a Frechet distance needs at least {FEWEST} samples, got {whole.count}")
    root = covariance_root(sigma) if root is None else root

    def distance(moments: Moments) -> float:
        return frechet_distance(moments.mean, moments.covariance, mu, sigma, root)

    without = [distance(whole.without(part)) for part in parts] if len(parts) > 1 else []
    return Folded(distance(whole), np.array(without), whole.count, clusters)


def frechet_infinity(
    features: ArrayLike,
    mu: ArrayLike,
    sigma: ArrayLike,
    points: int = 15,
    seed: int = 0,
    root: Floats | None = None,
) -> Line:
    """The line whose height is the distance that infinitely many samples would have.

    Sizes go in equal steps from min(5000, N/10) to N; each point is a draw without replacement, seeded, so
    two sets of N samples have the same draws and their lines a difference. Only the samples' side is
    extrapolated, so a bias of the reference stays. The line's error speaks of the points' scatter and, as
    the draws overlap, not of another sample of images; ``extrapolated`` adds that. Raises ValueError for
    fewer than 3 points or fewer than 10 * ``FEWEST`` samples.

    Source: Chong & Forsyth (2020), "Effectively unbiased FID and Inception score and where to find them",
    CVPR; sizes as in dgm-eval's compute_FD_infinity, which is not seeded and gives no error.
    """
    samples = feature_rows(features, "features", 2)
    count = len(samples)
    if count < 10 * FEWEST:
        raise ValueError(
            f"an extrapolated Frechet distance needs at least {10 * FEWEST} samples, got {count}"
        )
    covariance = np.asarray(sigma, dtype=np.float64)
    root = covariance_root(covariance) if root is None else root
    sizes = np.linspace(min(5000, count // 10), count, points).astype(np.intp)
    rng = np.random.default_rng(seed)
    draws = (rng.choice(count, size, replace=False) for size in sizes)
    distances = np.array([_of_draw(samples, draw, mu, covariance, root) for draw in draws])
    return Line(sizes, distances)


def _of_draw(
    samples: Rows, draw: NDArray[np.intp], mu: ArrayLike, covariance: Floats, root: Floats
) -> float:
    """``frechet_from_features`` of some rows, read a few at a time where they are many."""
    if draw.size <= samples.shape[1]:
        return frechet_from_features(samples[draw], mu, covariance, root)
    moments = Moments(samples.shape[1])
    for _, part in in_chunks(draw):
        moments.add(samples[part])
    return frechet_distance(moments.mean, moments.covariance, mu, covariance, root)


def extrapolated(line: Line, plain: Folded) -> Folded:
    """The height of ``line`` with the spread of the ``plain`` distance over its folds, and the line's error.

    What is left without a fold differs from fold to fold by the fold's own images, to first order alike at
    N and at infinity: bias depends on the number left, which is one for all. The two errors are taken as
    independent, as draws are made without a look at the folds.
    """
    without = (
        line.height + plain.without - plain.without.mean() if plain.without.size else plain.without
    )
    return replace(plain, value=line.height, without=without, line=line)


def _assembled(mu1: Floats, trace1: float, mu2: Floats, trace2: float, cross: float) -> float:
    apart = mu1 - mu2
    return float(apart @ apart + trace1 + trace2 - 2 * cross)


def _roots(spectrum: NDArray[np.floating]) -> float:
    return float(np.sqrt(spectrum.clip(min=0)).sum())


def _gaussian(mu: ArrayLike, sigma: ArrayLike) -> tuple[Floats, Floats]:
    mean = np.atleast_1d(np.asarray(mu, dtype=np.float64))
    covariance = np.atleast_2d(np.asarray(sigma, dtype=np.float64))
    if mean.ndim != 1 or covariance.shape != (mean.size, mean.size):
        raise ValueError(
            f"a Gaussian has a mean (d,) and a covariance (d, d), got {mean.shape}, {covariance.shape}"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ValueError("a Gaussian's mean and covariance are finite")
    return mean, covariance


def _samples(features: ArrayLike) -> Floats:
    samples = np.asarray(features, dtype=np.float64)
    if samples.ndim != 2 or len(samples) < 2:
        raise ValueError(f"features are (N, d) with at least 2 rows, got shape {samples.shape}")
    return samples


def _scaled(samples: Floats) -> tuple[Floats, Floats]:
    """The mean, and the centred samples over sqrt(N - 1): their Gram matrix is the covariance."""
    centre = samples.mean(axis=0)
    return centre, (samples - centre) / np.sqrt(len(samples) - 1)
