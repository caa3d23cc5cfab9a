"""The Frechet distance: closed forms, its two routes, streams, intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kdbench.metrics.folded import Folded
from kdbench.metrics.frechet import (
    FEWEST,
    covariance_root,
    extrapolated,
    frechet_between,
    frechet_distance,
    frechet_from_features,
    frechet_infinity,
    frechet_of_folds,
)
from kdbench.metrics.moments import Moments
from kdbench.stats import Estimate
from kdbench.stats.jackknife import folds

WIDTH = 64


def normal(count: int, width: int = WIDTH, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=(count, width))


def by_sqrtm(x: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> float:
    from scipy.linalg import sqrtm

    own = np.cov(x, rowvar=False)
    apart = x.mean(axis=0) - mu
    return float(apart @ apart + np.trace(own + sigma) - 2 * np.trace(sqrtm(own @ sigma)).real)


def test_a_shift_by_one_in_every_direction_is_the_dimension() -> None:
    eye, zero = np.eye(2048), np.zeros(2048)
    assert frechet_distance(zero, eye, zero + 1, eye, root2=eye) == pytest.approx(2048, rel=1e-12)


def test_twice_the_deviation_is_the_dimension() -> None:
    zero, eye = np.zeros(WIDTH), np.eye(WIDTH)
    assert frechet_distance(zero, eye, zero, 4 * eye) == pytest.approx(WIDTH, rel=1e-12)


def test_diagonal_covariances_add_the_squared_differences_of_deviations() -> None:
    a, b = np.random.default_rng(1).uniform(0, 3, (2, WIDTH))
    turn = np.linalg.qr(normal(WIDTH))[0]
    zero = np.zeros(WIDTH)
    expected = float(np.square(np.sqrt(a) - np.sqrt(b)).sum())
    assert frechet_distance(zero, np.diag(a), zero, np.diag(b)) == pytest.approx(expected)
    turned = [turn @ np.diag(values) @ turn.T for values in (a, b)]
    assert frechet_distance(zero, turned[0], zero, turned[1]) == pytest.approx(expected)


def test_a_single_direction_against_the_identity() -> None:
    u = normal(1)[0]
    zero, length = np.zeros(WIDTH), float(np.linalg.norm(u))
    expected = length**2 + WIDTH - 2 * length
    one = np.outer(u, u)
    assert frechet_distance(zero, one, zero, np.eye(WIDTH)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(zero, np.eye(WIDTH), zero, one) == pytest.approx(expected, rel=1e-6)


def test_a_case_in_which_real_eigenvalue_routines_give_nan() -> None:
    # torch-fidelity's test: four samples in four dimensions, so both covariances are singular
    x, y = normal(4, 4, 1), normal(4, 4, 2)
    found = frechet_between(x, y)
    assert np.isfinite(found) and found == pytest.approx(frechet_between(y, x))


@given(arrays(np.float64, (7, 3), elements=st.floats(-5, 5)), st.floats(-3, 3))
def test_it_is_symmetric_zero_for_equals_and_never_negative(x: np.ndarray, shift: float) -> None:
    y = x[::-1] * 0.5 + shift
    scale = 1 + float(np.trace(np.cov(x, rowvar=False)))
    forward, backward = frechet_between(x, y), frechet_between(y, x)
    assert forward == pytest.approx(backward, abs=1e-6 * scale)
    assert forward > -1e-6 * scale
    assert frechet_between(x, x) == pytest.approx(0, abs=1e-6 * scale)


@pytest.mark.parametrize("count", [2, 20, 64, 65, 500])
def test_all_routes_agree_with_the_matrix_root(count: int) -> None:
    x, y = normal(count, seed=1, scale=1.3), normal(300, seed=2) + 0.1
    mu, sigma = y.mean(axis=0), np.cov(y, rowvar=False)
    expected = by_sqrtm(x, mu, sigma)
    root = covariance_root(sigma)
    own = Moments.of(x)
    for found in (
        frechet_from_features(x, mu, sigma),
        frechet_from_features(x, mu, sigma, root),
        frechet_between(x, y),
        frechet_between(y, x),
        frechet_distance(own.mean, own.covariance, mu, sigma, root),
    ):
        assert found == pytest.approx(expected, rel=1e-6)


def test_a_root_of_a_singular_covariance_gives_it_back() -> None:
    sigma = np.cov(normal(10), rowvar=False)
    root = covariance_root(sigma)
    np.testing.assert_allclose(root @ root.T, sigma, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((np.zeros(3), np.eye(2), np.zeros(3), np.eye(3)), "covariance"),
        ((np.zeros(2), np.eye(2), np.zeros(3), np.eye(3)), "2 and 3 dimensions"),
        ((np.zeros(2), np.full((2, 2), np.nan), np.zeros(2), np.eye(2)), "finite"),
    ],
)
def test_what_is_no_gaussian_is_refused(arguments: tuple[np.ndarray, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        frechet_distance(*arguments)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_moments_do_not_depend_on_the_batches(sizes: list[int]) -> None:
    x = normal(sum(sizes) + 2, 5) + 1e3  # far from 0, where naive sums lose digits
    moments = Moments(5)
    for part in np.split(x, np.cumsum(sizes)):
        moments.add(part.astype(np.float32))
    exact = x.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(moments.mean, exact.mean(axis=0))
    np.testing.assert_allclose(moments.covariance, np.cov(exact, rowvar=False), rtol=1e-9)


def test_moments_are_merged_taken_apart_and_stored() -> None:
    x = normal(50, 6)
    whole, first = Moments.of(x), Moments.of(x[:20])
    rest = whole.without(first)
    np.testing.assert_allclose(rest.covariance, np.cov(x[20:], rowvar=False))
    back = Moments.merged([rest, first, Moments(6)])
    np.testing.assert_allclose(back.covariance, whole.covariance)
    np.testing.assert_allclose(whole.second_moment, x.T @ x / 50)
    stored = Moments.from_arrays(whole.arrays())
    assert stored.count == 50 and (stored.scatter == whole.scatter).all()
    with pytest.raises(ValueError, match="finite"):
        whole.add(np.full((1, 6), np.inf))


def parts(x: np.ndarray, count: int = 10, seed: int = 0) -> list[Moments]:
    own = folds(len(x), count, seed=seed)
    return [Moments.of(x[own == fold]) for fold in range(count)]


def test_without_a_fold_it_is_the_distance_of_the_others() -> None:
    x, zero, eye = normal(300, 8), np.zeros(8), np.eye(8)
    found = frechet_of_folds(parts(x), zero, eye)
    own = folds(300, 10)
    assert found.value == pytest.approx(frechet_from_features(x, zero, eye))
    assert found.without[3] == pytest.approx(frechet_from_features(x[own != 3], zero, eye))


@pytest.mark.slow
def test_its_interval_covers_the_mean_distance_at_that_n_nineteen_times_in_twenty() -> None:
    width, count, zero = 6, 200, np.zeros(6)
    sigma = np.diag(np.linspace(0.5, 2, width))
    many = [
        frechet_of_folds(parts(normal(count, width, seed)), zero, sigma).estimate()
        for seed in range(400)
    ]
    truth = float(np.mean([one.value for one in many]))
    share = np.mean([one.low <= truth <= one.high for one in many])
    assert 0.92 < share < 0.985


@pytest.mark.slow
def test_of_images_of_fixed_classes_stratified_folds_alone_tell_the_distances_spread() -> None:
    classes, zero, eye = np.tile(np.arange(10), 30), np.zeros(4), 4 * np.eye(4)
    centres = 3 * normal(10, 4, 1)
    told: dict[str, list[Estimate]] = {"stratified": [], "plain": []}
    labels = {"stratified": folds(300, 15, strata=classes), "plain": folds(300, 15)}
    for seed in range(300):
        x = centres[classes] + normal(300, 4, seed + 10)
        for name, own in labels.items():
            moments = [Moments.of(x[own == fold]) for fold in range(15)]
            told[name].append(frechet_of_folds(moments, zero, eye).estimate())
    truth = np.mean([one.value for one in told["plain"]])
    covered = {
        name: np.mean([one.low <= truth <= one.high for one in found])
        for name, found in told.items()
    }
    assert 0.92 <= covered["stratified"] <= 0.98 < covered["plain"]
    widths = {n: np.mean([one.high - one.low for one in f]) for n, f in told.items()}
    assert widths["plain"] > 1.5 * widths["stratified"]


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    noise = normal(400, 8, 3)
    teacher, student = noise, noise * 1.05 + 0.02 * normal(400, 8, 4)
    zero, eye = np.zeros(8), np.eye(8)
    one, two = (frechet_of_folds(parts(x), zero, eye) for x in (student, teacher))
    paired = one.minus(two).estimate()
    assert paired.value == pytest.approx(one.value - two.value)
    widths = [e.high - e.low for e in (one.estimate(), two.estimate())]
    assert paired.high - paired.low < 0.75 * np.hypot(*widths)
    with pytest.raises(ValueError, match="can't be paired"):
        one.minus(frechet_of_folds(parts(teacher, 5), zero, eye))


def test_extrapolation_takes_the_bias_of_finite_samples_away() -> None:
    width, zero, eye = 64, np.zeros(64), np.eye(64)
    x = normal(4000, width, 5) * 1.06
    truth = width * 0.06**2
    plain = frechet_from_features(x, zero, eye)
    fit = frechet_infinity(x, zero, eye)
    assert plain > 1.5 * truth
    assert fit.height == pytest.approx(truth, rel=0.1)
    assert fit.slope > 0 and fit.error > 0
    assert list(fit.sizes[[0, -1]]) == [400, 4000]
    again = frechet_infinity(x, zero, eye)
    assert (again.values == fit.values).all()
    assert (frechet_infinity(x, zero, eye, seed=1).values != fit.values)[:-1].all()


def test_the_line_is_least_squares_with_its_textbook_error() -> None:
    x, zero, eye = normal(600, 4, 6), np.zeros(4), np.eye(4)
    import statsmodels.api as sm

    fit = frechet_infinity(x, zero, eye)
    peer = sm.OLS(fit.values, sm.add_constant(1 / fit.sizes)).fit()
    assert (fit.height, fit.slope) == pytest.approx(tuple(peer.params))
    assert (fit.error, fit.degrees) == pytest.approx((peer.bse[0], peer.df_resid))


def _extrapolated(x: np.ndarray, count: int = 20) -> Folded:
    zero, eye = np.zeros(x.shape[1]), np.eye(x.shape[1])
    plain = frechet_of_folds(parts(x, count), zero, eye)
    return extrapolated(frechet_infinity(x, zero, eye), plain)


@pytest.mark.slow
def test_the_extrapolated_distance_covers_another_sample_of_images() -> None:
    width, found, narrow = 8, [], []
    truth = width * 0.3**2
    for seed in range(150):
        folded = _extrapolated(normal(600, width, seed) * 1.3)
        whole, line = folded.estimate(), folded.line
        assert line is not None and whole.value == pytest.approx(line.height)
        found.append(whole.low <= truth <= whole.high)
        narrow.append(abs(line.height - truth) <= 2.16 * line.error)
    assert 0.9 <= np.mean(found) <= 0.99
    assert np.mean(narrow) < np.mean(found)  # the line's error alone knows of no other images


def test_two_extrapolated_distances_are_paired_on_folds_and_draws() -> None:
    noise = normal(600, 8, 3)
    student, teacher = _extrapolated(noise * 1.3), _extrapolated(noise * 1.25)
    apart = student.minus(teacher)
    paired, alone = apart.estimate(), [one.estimate() for one in (student, teacher)]
    assert paired.value == pytest.approx(alone[0].value - alone[1].value)
    assert paired.high - paired.low < 0.6 * np.hypot(*(one.high - one.low for one in alone))
    assert paired.method == "grouped jackknife (20) and regression in 1/N (15 points)"
    assert apart.line is not None and apart.line.height == pytest.approx(paired.value)
    with pytest.raises(ValueError, match="no ratio"):
        student.over(teacher)
    with pytest.raises(ValueError, match="can't be paired"):
        student.minus(_extrapolated(noise[:590]))


def test_too_few_samples_are_refused_by_number() -> None:
    zero, eye = np.zeros(4), np.eye(4)
    with pytest.raises(ValueError, match=f"at least {FEWEST} samples, got 49"):
        frechet_of_folds(parts(normal(49, 4)), zero, eye)
    with pytest.raises(ValueError, match=f"at least {10 * FEWEST} samples, got 499"):
        frechet_infinity(normal(499, 4), zero, eye)
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet_from_features(normal(1, 4), zero, eye)
