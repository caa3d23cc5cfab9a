"""What a pair's rows say, against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from kdbench.metrics.calibration import debiased_calibration_error
from kdbench.results.sample import Sample
from kdbench.tasks.compare import against_baseline, against_teacher, join
from kdbench.tasks.task import Metric

ACC = Metric("acc", "fraction", "higher", "")
PERPLEXITY = Metric("perplexity", "perplexity", "lower", "", "perplexity")
BITS = Metric("bits_per_byte", "bits/byte", "lower", "", "bits_per_byte")
WORDS = Metric("word_perplexity", "perplexity", "lower", "", "weighted_perplexity")


def samples(metric, scores, clusters=None, first=0):
    clusters = clusters if clusters is not None else range(len(scores))
    return [
        Sample(f"i{first + k}", first + k, f"c{cluster}", {metric.name: score})
        for k, (score, cluster) in enumerate(zip(scores, clusters, strict=True))
    ]


def compared(metric, teacher, student, clusters=None):
    pair = join(samples(metric, teacher, clusters), samples(metric, student, clusters))
    return {m.metric: m for m in against_teacher(metric, pair, 0.95)}


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_the_exact_mcnemar_test_is_a_binomial_test_on_the_flips(answers):
    teacher, student = [[float(x) for x in column] for column in zip(*answers, strict=True)]
    found = compared(ACC, teacher, student)
    lost = sum(t > s for t, s in zip(teacher, student, strict=True))
    gained = sum(s > t for t, s in zip(teacher, student, strict=True))
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert found["acc.p"].estimate.value == pytest.approx(expected)
    assert found["acc.lost"].estimate.value == pytest.approx(lost / len(teacher))
    assert found["acc.gained"].estimate.value == pytest.approx(gained / len(teacher))


def test_retention_is_student_over_teacher_and_the_gap_is_their_difference():
    found = compared(ACC, [1, 1, 1, 1, 0] * 20, [1, 1, 1, 0, 0] * 20)
    retention, gap = found["acc.retention"].estimate, found["acc.gap"].estimate
    assert retention.value == pytest.approx(0.75)
    assert retention.low < 0.75 < retention.high < 1
    assert gap.value == pytest.approx(-0.2)
    assert gap.low < -0.2 < gap.high < 0


def test_pairing_makes_the_interval_of_the_gap_narrower_than_that_of_two_models():
    rng = np.random.default_rng(0)
    teacher = (rng.random(400) < 0.7).astype(float)
    student = np.where(rng.random(400) < 0.05, 1 - teacher, teacher)
    gap = compared(ACC, list(teacher), list(student))["acc.gap"].estimate
    unpaired = 1.96 * math.sqrt(2 * 0.7 * 0.3 / 400)
    assert (gap.high - gap.low) / 2 < 0.6 * unpaired


def test_samples_that_share_a_prompt_are_tested_by_cluster():
    teacher, student = [1, 1, 1, 1] * 12, [0, 0, 1, 1] * 12
    found = compared(ACC, teacher, student, [k // 4 for k in range(48)])
    assert found["acc.p"].estimate.method == "sign-flip permutation over clusters"
    assert found["acc.gap"].estimate.n_clusters == 12


def test_samples_are_joined_by_what_was_asked_and_the_rest_is_counted():
    teacher, student = samples(ACC, [1, 0, 1]), samples(ACC, [1, 1], first=1)
    pair = join(teacher, student)
    assert [s.id for s in pair.first] == [s.id for s in pair.second] == ["i1", "i2"]
    notes = {m.reason for m in against_teacher(ACC, pair, 0.95)}
    assert notes == {"unmatched samples: 1 of the first, 0 of the second"}


def test_without_shared_samples_the_pair_is_skipped_with_the_reason():
    [gap] = against_teacher(ACC, join(samples(ACC, [1]), samples(ACC, [1], first=5)), 0.95)
    assert gap.estimate is None
    assert "share no sample" in gap.reason


def test_perplexities_are_compared_as_their_ratio():
    teacher, student = [-1.0, -2.0, -1.5], [-1.5, -2.25, -2.0]
    ratio = compared(PERPLEXITY, teacher, student)["perplexity.ratio"].estimate
    expected = math.exp(-np.mean(student)) / math.exp(-np.mean(teacher))
    assert ratio.value == pytest.approx(expected)
    assert 1 < ratio.low < ratio.value < ratio.high


def test_weighted_perplexities_and_bits_per_byte_weigh_documents_by_length():
    teacher, student = [(-10.0, 20), (-30.0, 40), (-5.0, 9)], [(-12.0, 20), (-33.0, 40), (-7.0, 9)]
    nats = (52 - 45) / 69
    gap = compared(BITS, teacher, student)["bits_per_byte.gap"].estimate
    assert gap.value == pytest.approx(nats / math.log(2))
    ratio = compared(WORDS, teacher, student)["word_perplexity.ratio"].estimate
    assert ratio.value == pytest.approx(math.exp(nats))


def test_an_aggregation_without_a_paired_form_says_so():
    f1 = Metric("f1", "fraction", "higher", "", "f1")
    [gap] = compared(f1, [(1, 1)], [(1, 0)]).values()
    assert gap.estimate is None
    assert "'f1' has no paired form" in gap.reason


def test_the_gain_over_the_baseline_is_paired_too():
    pair = join(samples(ACC, [0, 0, 1, 0] * 20), samples(ACC, [1, 0, 1, 0] * 20))
    gain, p_value = against_baseline(ACC, pair, 0.95)
    assert gain.metric == "acc.gain_over_baseline"
    assert gain.estimate.value == pytest.approx(0.25)
    assert gain.estimate.low > 0
    assert p_value.estimate.value < 0.001


def test_metrics_where_lower_is_better_have_a_gap_and_no_retention():
    length = Metric("length", "tokens", "lower", "")
    found = compared(length, [3.0, 4.0, 5.0, 6.0], [4.0, 6.0, 6.0, 7.0])
    assert set(found) == {"length.gap", "length.p"}
    assert found["length.gap"].estimate.value == pytest.approx(1.25)


@pytest.mark.parametrize("score", [math.inf, -math.inf, math.nan])
def test_scores_that_are_not_finite_give_no_comparison_and_the_reason(score):
    [gap] = compared(PERPLEXITY, [-1.0, -2.0], [-1.0, score]).values()
    assert gap.estimate is None
    assert "not finite" in gap.reason
    pair = join(samples(ACC, [0.5, score]), samples(ACC, [0.5, 0.5]))
    assert against_baseline(ACC, pair, 0.95) == []


def test_the_gap_of_calibration_errors_leaves_the_same_samples_out_of_both():
    metric = Metric("ece", "probability", "lower", "", "calibration_error")
    draw = np.random.default_rng(0)
    sure = draw.uniform(0.5, 1, 800)
    right = (draw.uniform(size=800) < sure).astype(float)
    teacher = np.stack([sure, right], axis=1).tolist()
    student = np.stack([np.sqrt(sure), right], axis=1).tolist()  # surer than it is right
    (gap,) = compared(metric, teacher, student).values()
    alone = [debiased_calibration_error(*zip(*pairs, strict=True)) for pairs in (teacher, student)]
    assert gap.metric == "ece.gap" and gap.estimate.method.endswith("paired")
    assert gap.estimate.value == pytest.approx(alone[1] - alone[0])
    assert 0 < gap.estimate.low < gap.estimate.value < gap.estimate.high
    (same,) = compared(metric, teacher, teacher).values()
    assert (same.estimate.value, same.estimate.low, same.estimate.high) == (0, 0, 0)
