"""Adjusted p-values against statsmodels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from kdbench.stats import benjamini_hochberg, holm

some = settings(max_examples=40, deadline=None, derandomize=True)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@some
@given(p_values)
def test_holm_agrees_with_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@some
@given(p_values)
def test_benjamini_hochberg_agrees_with_statsmodels(p: list[float]) -> None:
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_one_comparison_is_left_as_it_is_and_none_stay_none() -> None:
    for adjust in (holm, benjamini_hochberg):
        assert adjust([0.03]) == pytest.approx([0.03])
        assert adjust([]).size == 0


@pytest.mark.parametrize("p", [[-0.1], [1.2], [np.nan], [[0.1]]])
def test_what_is_no_vector_of_p_values_is_refused(p: list[float]) -> None:
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="p_values"):
            adjust(p)
