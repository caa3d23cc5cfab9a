"""Estimates with intervals, paired comparisons and verdicts: pure functions on arrays.

Nothing here knows of models, files or suites; each function names the paper it implements. Samples
that are not independent are named by ``clusters``, one label per sample.
"""

from kdbench.stats.bootstrap import clustered_bootstrap
from kdbench.stats.estimate import Estimate
from kdbench.stats.intervals import mean, proportion, ratio_of_sums
from kdbench.stats.multiplicity import benjamini_hochberg, holm
from kdbench.stats.noninferiority import (
    Better,
    Verdict,
    detectable_difference,
    judge,
    samples_to_settle,
)
from kdbench.stats.paired import (
    Flips,
    difference,
    difference_of_ratios,
    flips,
    mcnemar,
    permutation_test,
    retention,
)
from kdbench.stats.percentiles import observations_needed, quantile, supported
from kdbench.stats.strata import mean_of_strata, retention_of_strata
from kdbench.stats.timing import median_ratio, noise, outliers

__all__ = [
    "Better",
    "Estimate",
    "Flips",
    "Verdict",
    "benjamini_hochberg",
    "clustered_bootstrap",
    "detectable_difference",
    "difference",
    "difference_of_ratios",
    "flips",
    "holm",
    "judge",
    "mcnemar",
    "mean",
    "mean_of_strata",
    "median_ratio",
    "noise",
    "observations_needed",
    "outliers",
    "permutation_test",
    "proportion",
    "quantile",
    "ratio_of_sums",
    "retention",
    "retention_of_strata",
    "samples_to_settle",
    "supported",
]
