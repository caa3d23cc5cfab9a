"""Intervals from leaving out groups, and the folds that they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.stats import mean
from kdbench.stats.jackknife import folds, jackknife


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
