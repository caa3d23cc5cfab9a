"""Calibration errors against scikit-learn, a plain loop and simulated models that know what they know."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.metrics.calibration import (
    brier_score,
    debiased_calibration_error,
    expected_calibration_error,
)


def by_hand(confidence, right, bins):
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            i for i, c in enumerate(confidence) if low < c <= high or (number == 0 and c == 0)
        ]
        if inside:
            gap = np.mean([confidence[i] for i in inside]) - np.mean([right[i] for i in inside])
            total += len(inside) / len(confidence) * abs(gap)
    return total


ANSWERS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(ANSWERS)
def test_the_expected_error_is_that_of_a_plain_loop(answers):
    confidence, right = zip(*((c, float(r)) for c, r in answers), strict=True)
    assert expected_calibration_error(confidence, right, 15) == pytest.approx(
        by_hand(confidence, right, 15), abs=1e-9
    )


def test_the_expected_error_is_that_of_torchmetrics():
    torch = pytest.importorskip("torch")
    torchmetrics = pytest.importorskip("torchmetrics")
    rng = np.random.default_rng(3)
    confidence = rng.uniform(0.51, 0.999, 400).astype(np.float32)
    right = (rng.random(400) < confidence).astype(float)
    peer = torchmetrics.functional.classification.binary_calibration_error(
        torch.tensor(confidence), torch.tensor(right).long(), n_bins=15
    )
    assert expected_calibration_error(confidence, right, 15) == pytest.approx(float(peer), abs=1e-6)


def test_the_curve_behind_it_is_that_of_scikit_learn():
    calibration = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.01, 0.99, 500)
    right = (rng.random(500) < confidence**2).astype(float)
    accuracy, mean = calibration.calibration_curve(right, confidence, n_bins=10)
    counts = np.histogram(confidence, np.linspace(0, 1, 11))[0]
    reference = (counts * np.abs(mean - accuracy)).sum() / 500
    assert expected_calibration_error(confidence, right, 10) == pytest.approx(reference)


def test_the_brier_score_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    for share in (0.0, 0.3, 0.8, 1.0):
        ours = brier_score([1 - share, share], 1)
        assert ours == pytest.approx(2 * metrics.brier_score_loss([1], [share], pos_label=1))


def test_a_model_that_knows_what_it_knows_has_no_error_but_the_biased_one_says_so():
    rng = np.random.default_rng(1)
    biased, debiased = [], []
    for _ in range(200):
        confidence = rng.uniform(0.25, 1, 200)
        right = (rng.random(200) < confidence).astype(float)
        biased.append(expected_calibration_error(confidence, right) ** 2)
        debiased.append(debiased_calibration_error(confidence, right) ** 2)
    assert np.mean(biased) > 0.005
    assert np.median(debiased) < 0.002


def test_a_model_that_is_always_too_sure_by_a_fifth_has_that_error():
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.3, 1, 20_000)
    right = (rng.random(20_000) < confidence - 0.2).astype(float)
    assert expected_calibration_error(confidence, right) == pytest.approx(0.2, abs=0.01)
    assert debiased_calibration_error(confidence, right) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("bad", [([], []), ([0.5], [0, 1]), ([1.2], [1]), ([float("nan")], [1])])
def test_columns_that_are_no_probabilities_are_refused(bad):
    with pytest.raises(ValueError):
        expected_calibration_error(*bad)
