"""KID: the all-pairs statistic against the formula, its intervals, and the subsets of the field's tools."""

from __future__ import annotations

import numpy as np
import pytest

from kdbench.metrics import blocks
from kdbench.metrics.kid import kernel_sums, kid, kid_difference, kid_subsets


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


def test_prompts_are_left_out_as_wholes() -> None:
    x, y, prompts = drawn(60, 1), drawn(70, 2), np.tile(np.arange(20), 3)
    sums = kernel_sums(x, y, prompts)
    left = sums.without_generated()
    assert left.shape == (20,)
    assert left[4] == pytest.approx(by_formula(x[prompts != 4], y))
    assert kid(sums).method == "jackknife (clustered)"
    assert kid(sums).n_clusters == 20


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_its_interval_covers(scale: float) -> None:
    found = [
        kid(kernel_sums(drawn(80, seed, scale), drawn(90, seed + 10_000))) for seed in range(300)
    ]
    width, c = 8, scale**2
    # E (u.v/d + 1)^3 = 1 + 3 E(u.v)^2 / d^2, and E(u.v)^2 = d var var for independent normals
    truth = 3 / width * (c * c + 1 - 2 * c)
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.02)
    share = np.mean([one.low <= truth <= one.high for one in found])
    assert share > 0.92  # equal distributions: wider than it need be


def test_a_paired_difference_drops_what_is_shared() -> None:
    noise, y = drawn(200, 3), drawn(220, 4)
    student = kernel_sums(noise * 1.1, y)
    teacher = kernel_sums(noise, y)
    paired = kid_difference(student, teacher)
    assert paired.value == pytest.approx(kid(student).value - kid(teacher).value)
    alone = np.hypot(*(one.high - one.low for one in (kid(student), kid(teacher))))
    assert paired.high - paired.low < 0.6 * alone
    with pytest.raises(ValueError, match="same reference"):
        kid_difference(student, kernel_sums(noise, drawn(220, 5)))


def test_subsets_are_clean_fids_and_torch_fidelitys() -> None:
    from cleanfid.fid import kernel_distance
    from torch import tensor
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = drawn(160, 6, 1.2), drawn(150, 7)
    np.random.seed(3)
    assert kid_subsets(x, y, 20, 150, seed=3)[0] == pytest.approx(
        kernel_distance(y, x, num_subsets=20, max_subset_size=150)
    )
    found = kid_features_to_metric(
        tensor(x), tensor(y), kid_subsets=20, kid_subset_size=100, verbose=False, rng_seed=2020
    )
    ours = kid_subsets(x, y, 20, 100)
    assert ours[0] == pytest.approx(found["kernel_inception_distance_mean"])
    assert ours[1] == pytest.approx(found["kernel_inception_distance_std"])


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 50 rows"):
        kernel_sums(drawn(49, 1), drawn(60, 2))
    with pytest.raises(ValueError, match="subsets of 1000 can't be drawn from 160"):
        kid_subsets(drawn(160, 1), drawn(2000, 2))
    with pytest.raises(ValueError, match="8 and 9 dimensions"):
        kernel_sums(drawn(60, 1), drawn(60, 2, width=9))
    with pytest.raises(ValueError, match="two prompts"):
        kernel_sums(drawn(60, 1), drawn(60, 2), np.zeros(60, int))
