"""KID: the all-pairs statistic against the formula, its intervals, and the subsets of the field's tools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kdbench.metrics import blocks
from kdbench.metrics.kid import kernel_sums, kid_subsets
from kdbench.stats.jackknife import folds


def drawn(count: int, seed: int, scale: float = 1.0, width: int = 8) -> np.ndarray:
    return scale * np.random.default_rng(seed).normal(size=(count, width))


def by_formula(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    m, n = len(x), len(y)
    own = [
        (k.sum() - np.trace(k)) / (c * (c - 1)) for k, c in ((kernel(x, x), m), (kernel(y, y), n))
    ]
    return float(sum(own) - 2 * kernel(x, y).mean())


def test_a_case_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # d = 1, x in {0, 1}, y all 0: pairs of x give 1, of y 1, and across 1
    monkeypatch.setattr("kdbench.metrics.kid.FEWEST", 2)
    x, y = np.array([[0.0], [1.0]]), np.zeros((2, 1))
    assert kernel_sums(x, y).value == pytest.approx(0)
    x = np.array([[1.0], [1.0]])
    assert kernel_sums(x, y).value == pytest.approx(8 + 1 - 2)


@pytest.mark.parametrize("strip", [1 << 24, 700])
def test_it_is_the_formula_whatever_the_strips(monkeypatch: pytest.MonkeyPatch, strip: int) -> None:
    monkeypatch.setattr(blocks, "_STRIP", strip)
    x, y = drawn(60, 1), drawn(75, 2, 1.1)
    sums = kernel_sums(x, y)
    assert sums.value == pytest.approx(by_formula(x, y))
    assert sums.without_generated()[7] == pytest.approx(by_formula(np.delete(x, 7, 0), y))
    assert sums.without_reference()[74] == pytest.approx(by_formula(x, y[:-1]))


def test_groups_of_either_side_are_left_out_as_wholes() -> None:
    x, y = drawn(60, 1), drawn(70, 2)
    prompts, real = np.tile(np.arange(20), 3), np.arange(70) % 7
    sums = kernel_sums(x, y, prompts, real)
    left, other = sums.without_generated(), sums.without_reference()
    assert (left.shape, other.shape) == ((20,), (7,))
    assert left[4] == pytest.approx(by_formula(x[prompts != 4], y))
    assert other[3] == pytest.approx(by_formula(x, y[real != 3]))
    found = sums.folded().estimate()
    assert found.method == "grouped jackknife (20, and 7 of the reference)"
    assert (found.n, found.n_clusters) == (60, 20)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_its_interval_covers(scale: float) -> None:
    found = [
        kernel_sums(
            drawn(80, seed, scale), drawn(90, seed + 10_000), folds(80, 20), folds(90, 20)
        ).folded().estimate()
        for seed in range(300)
    ]  # fmt: skip
    width, c = 8, scale**2
    # E (u.v/d + 1)^3 = 1 + 3 E(u.v)^2 / d^2, and E(u.v)^2 = d var var for independent normals
    truth = 3 / width * (c * c + 1 - 2 * c)
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.02)
    share = np.mean([one.low <= truth <= one.high for one in found])
    assert share > 0.92  # equal distributions: wider than it need be
    assert scale == 1 or share < 0.985


def test_with_few_real_images_the_interval_covers_only_with_their_part() -> None:
    truth, whole, given = 3 / 8 * 0.96**2, [], []
    for seed in range(200):
        x, y = drawn(400, seed, 1.4), drawn(60, seed + 10_000)
        found = kernel_sums(x, y, folds(400, 20), folds(60, 20)).folded()
        alone = replace(found, reference=np.empty(0)).estimate()
        both = found.estimate()
        whole.append(both.low <= truth <= both.high)
        given.append(alone.low <= truth <= alone.high)
    assert 0.91 <= np.mean(whole) <= 0.99
    assert np.mean(given) < np.mean(whole) - 0.05


def test_a_paired_difference_drops_what_is_shared() -> None:
    noise, y = drawn(200, 3), drawn(220, 4)
    student = kernel_sums(noise * 1.1, y)
    teacher = kernel_sums(noise, y)
    paired = student.folded().minus(teacher.folded()).estimate()
    assert paired.value == pytest.approx(student.value - teacher.value)
    alone = [one.folded().estimate() for one in (student, teacher)]
    assert paired.high - paired.low < 0.6 * np.hypot(*(one.high - one.low for one in alone))
    with pytest.raises(ValueError, match="can't be paired"):
        student.folded().minus(kernel_sums(noise, drawn(210, 5)).folded())


def test_subsets_are_clean_fids_and_torch_fidelitys() -> None:
    from cleanfid.fid import kernel_distance
    from torch import tensor
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = drawn(160, 6, 1.2), drawn(150, 7)
    np.random.seed(3)
    assert kid_subsets(x, y, 20, 150, seed=3).folded.value == pytest.approx(
        kernel_distance(y, x, num_subsets=20, max_subset_size=150)
    )
    found = kid_features_to_metric(
        tensor(x), tensor(y), kid_subsets=20, kid_subset_size=100, verbose=False, rng_seed=2020
    )
    ours = kid_subsets(x, y, 20, 100)
    assert ours.folded.value == pytest.approx(found["kernel_inception_distance_mean"])
    assert ours.deviation == pytest.approx(found["kernel_inception_distance_std"])


def test_subsets_are_told_without_each_fold_from_the_same_draws() -> None:
    x, y = drawn(90, 6, 1.2), drawn(80, 7)
    own, real = folds(90, 6), folds(80, 5)
    found = kid_subsets(x, y, 4, 60, 3, own, real).folded
    rng, without, other = np.random.RandomState(3), [], []
    for _ in range(4):
        mine, theirs = rng.choice(90, 60, replace=False), rng.choice(80, 60, replace=False)
        without.append([by_formula(x[mine[own[mine] != f]], y[theirs]) for f in range(6)])
        other.append([by_formula(x[mine], y[theirs[real[theirs] != f]]) for f in range(5)])
    assert found.without == pytest.approx(np.mean(without, axis=0))
    assert found.reference == pytest.approx(np.mean(other, axis=0))


@pytest.mark.slow
def test_the_interval_of_subsets_covers_their_own_noise_too() -> None:
    truth, found = 3 / 8 * 0.96**2, []
    for seed in range(200):
        x, y = drawn(150, seed, 1.4), drawn(160, seed + 10_000)
        told = kid_subsets(x, y, 5, 60, seed, folds(150, 20), folds(160, 20)).folded.estimate()
        found.append(told.low <= truth <= told.high)
    assert 0.92 < np.mean(found) < 0.995


def test_the_difference_of_subsets_is_paired_on_their_draws() -> None:
    noise, y = drawn(200, 3), drawn(220, 4)
    student, teacher = (
        kid_subsets(x, y, 10, 80, groups=folds(200, 20), reference_groups=folds(220, 20)).folded
        for x in (noise * 1.1, noise)
    )
    paired = student.minus(teacher).estimate()
    alone = [one.estimate() for one in (student, teacher)]
    assert paired.high - paired.low < 0.6 * np.hypot(*(one.high - one.low for one in alone))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 50 rows"):
        kernel_sums(drawn(49, 1), drawn(60, 2))
    with pytest.raises(ValueError, match="subsets of 1000 can't be drawn from 160"):
        kid_subsets(drawn(160, 1), drawn(2000, 2))
    with pytest.raises(ValueError, match="8 and 9 dimensions"):
        kernel_sums(drawn(60, 1), drawn(60, 2, width=9))
    with pytest.raises(ValueError, match="two prompts"):
        kernel_sums(drawn(60, 1), drawn(60, 2), np.zeros(60, int))
