"""Adjusted p-values against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from kdbench.stats import benjamini_hochberg, holm


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_adjusted_p_values_agree_with_statsmodels(count: int) -> None:
    rng = np.random.default_rng(count)
    for p in (rng.uniform(size=count), rng.uniform(size=count) ** 4, rng.integers(0, 3, count) / 2):
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
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
