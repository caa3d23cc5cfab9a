"""Intervals from leaving out groups, and the folds that they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.stats import mean
from kdbench.stats.jackknife import folds, interval_of_parts, jackknife


def test_for_a_mean_left_out_one_by_one_it_is_the_t_interval() -> None:
    values = np.random.default_rng(0).normal(size=40)
    without = (values.sum() - values) / 39
    found, plain = jackknife(float(values.mean()), without, 40), mean(values)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))
    assert found.method == "grouped jackknife (40)"


def test_one_group_has_no_interval() -> None:
    found = jackknife(1.0, [1.0], 5)
    assert np.isnan(found.low) and np.isnan(found.high)
    assert found.method == "undefined (one group)"


@given(st.integers(2, 60), st.integers(2, 12), st.integers(0, 5))
def test_folds_keep_prompts_together_and_differ_by_one_prompt_at_most(
    prompts: int, count: int, seed: int
) -> None:
    labels = np.repeat(np.arange(prompts), 3)
    found = folds(labels.size, count, labels, seed)
    of_prompt = found.reshape(prompts, 3)
    assert (of_prompt == of_prompt[:, :1]).all()
    sizes = np.bincount(of_prompt[:, 0])
    assert sizes.size == min(count, prompts)
    assert sizes.max() - sizes.min() <= 1
    assert (folds(labels.size, count, labels, seed) == found).all()


def test_independent_errors_add_with_welchs_degrees_of_freedom() -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(3)
    one, two = rng.normal(size=9), 3 * rng.normal(size=14)
    errors = [(float(v.std(ddof=1) / np.sqrt(v.size)), v.size - 1) for v in (one, two)]
    value = float(one.mean() - two.mean())
    found = interval_of_parts(value, errors, "m", 23, 23)
    peer = ttest_ind(one, two, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high))
    still = interval_of_parts(1.0, [(0.0, 3), (0.0, 4)], "m", 5, 5)
    assert (still.low, still.high) == (1, 1)


@given(st.integers(1, 7), st.integers(1, 9), st.integers(2, 12), st.integers(0, 5))
def test_stratified_folds_hold_every_class_in_the_same_share(
    classes: int, each: int, count: int, seed: int
) -> None:
    strata = np.tile(np.arange(classes), each)
    found = folds(strata.size, count, None, seed, strata)
    used = min(count, strata.size)
    table = np.zeros((classes, used), int)
    np.add.at(table, (strata, found), 1)
    assert (table.max(axis=1) - table.min(axis=1)).max() <= 1
    sizes = table.sum(axis=0)
    assert sizes.max() - sizes.min() <= 1 and sizes.min() >= 1
    assert (folds(strata.size, count, None, seed, strata) == found).all()


def test_stratified_folds_keep_clusters_together_and_refuse_one_in_two_strata() -> None:
    clusters, strata = np.repeat(np.arange(24), 2), np.repeat(np.arange(24) % 3, 2)
    found = folds(48, 4, clusters, strata=strata)
    assert (found.reshape(24, 2)[:, 0] == found.reshape(24, 2)[:, 1]).all()
    for kind in range(3):
        assert np.bincount(found[strata == kind]).tolist() == [4, 4, 4, 4]
    with pytest.raises(ValueError, match="lies in one stratum"):
        folds(4, 2, [0, 0, 1, 1], strata=["a", "b", "a", "a"])


@pytest.mark.slow
def test_stratified_folds_leave_the_spread_between_classes_out_of_the_interval() -> None:
    strata, offsets = np.tile(np.arange(10), 40), 5.0 * np.arange(10)
    stratified, plain = folds(400, 20, strata=strata), folds(400, 20)
    hits, widths = [], []
    for seed in range(300):
        values = offsets[strata] + np.random.default_rng(seed).normal(size=400)
        for own in (stratified, plain):
            without = [values[own != fold].mean() for fold in range(20)]
            told = jackknife(float(values.mean()), without, 400)
            hits.append(told.low <= offsets.mean() <= told.high)
            widths.append(told.high - told.low)
    assert 0.92 < np.mean(hits[::2]) < 0.98
    assert np.mean(hits[1::2]) == 1 and np.mean(widths[1::2]) > 5 * np.mean(widths[::2])
