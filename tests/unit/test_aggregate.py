"""One number with an interval from per-sample scores, for every aggregation of lm-eval."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from kdbench import stats
from kdbench.errors import TaskError
from kdbench.tasks.aggregate import OWN, aggregate, known, resampled

N = 300
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "slept", "well", "today"]


def sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(4, 12))) + "."


def near(text: str, draw: random.Random) -> str:
    words = [draw.choice(WORDS) if draw.random() < 0.3 else word for word in text.split()]
    return " ".join(words)


def translations(references: int) -> list[Any]:
    draw = random.Random(3)
    made = []
    for _ in range(60):
        truths = [sentence(draw) for _ in range(references)]
        made.append([truths if references > 1 else truths[0], near(truths[0], draw)])
    return made


def scores() -> dict[str, list[Any]]:
    draw = random.Random(1)
    classes = [(draw.randint(0, 1), draw.randint(0, 1)) for _ in range(N)]
    many = [
        (k := draw.randint(0, 3), k if draw.random() < 0.5 else draw.randint(0, 3))
        for _ in range(N)
    ]
    chances = [np.array([draw.random() for _ in range(4)]) for _ in range(N)]
    weighted = [(-draw.random() * 40, draw.randint(1, 30)) for _ in range(N)]
    return {
        "mean": [draw.random() for _ in range(N)],
        "nanmean": [math.nan if i % 5 == 0 else draw.random() for i in range(N)],
        "median": [draw.random() for _ in range(N)],
        "perplexity": [-draw.random() * 9 for _ in range(N)],
        "weighted_perplexity": weighted,
        "bits_per_byte": weighted,
        "f1": classes,
        "matthews_corrcoef": many,
        "brier_score": [(i % 4, list(p / p.sum())) for i, p in enumerate(chances)],
        "bleu": translations(1),
        "chrf": translations(1),
        "chrf++": translations(2),
        "ter": translations(2),
    }


def calibrated(n: int, too_sure: float = 0.2, seed: int = 5) -> list[Any]:
    """Confidences, and answers that are right less often by `too_sure`."""
    draw = random.Random(seed)
    sure = [draw.uniform(0.4, 1) for _ in range(n)]
    return [[share, float(draw.random() < share - too_sure)] for share in sure]


SCORES = scores()
OURS = {
    "weighted_mean": [[random.Random(i).random() * 9, i % 7 + 1] for i in range(N)],
    "calibration_error": calibrated(N),
    "mean_of_strata": [["ab"[i % 3 == 0], random.Random(i).random()] for i in range(N)],
    "any_of_cluster": [float(random.Random(i).random() < 0.3) for i in range(N)],
}
CALLS = [[1 + random.Random(i).random() / 10, 1 + random.Random(-i).random()] for i in range(N)]
OURS |= dict.fromkeys(("median_ratio", "p50", "p90", "p95", "p99", "noise", "outliers"), CALLS)
LONG = [[*call] * 4 for call in CALLS]
OURS |= dict.fromkeys(("pooled_p90", "pooled_p95", "pooled_p99"), LONG)
OURS["share"] = [[i % 4, 4] for i in range(N)]
OURS["exact"] = [7] * N
LOOPS = [[20 + i % 9, 6 + i % 4, 0.01 + i % 3 / 1000, 0.02 + i % 5 / 1000] for i in range(N)]
OURS |= {
    "iid_block_efficiency": [[16.0 + i % 3, 20, 5] for i in range(N)],
    "product_of_ratios": LOOPS,
    "best_gamma": [[[1, *row], [3, row[0] * 1.5, *row[1:]], [5, *row]] for row in LOOPS],
    "conformance": [[20, 6 + i % 3, 7.0, -1] for i in range(N)],
}


def test_every_aggregation_that_is_known_is_tested_here() -> None:
    assert sorted([*SCORES, *OURS]) == known()
    assert OWN not in known()


@pytest.mark.parametrize("name", sorted(SCORES))
def test_the_value_is_lm_evals(name: str) -> None:
    registry = pytest.importorskip("lm_eval.api.registry")
    theirs = registry.get_aggregation(name)(
        [tuple(s) if isinstance(s, list) else s for s in SCORES[name]]
    )
    assert aggregate(name, SCORES[name]).value == pytest.approx(float(theirs), rel=1e-12)


def test_lm_eval_has_no_aggregation_that_is_missing_here() -> None:
    registry = pytest.importorskip("lm_eval.api.registry")
    registry.get_aggregation("mean")  # fills the registry
    assert set(registry.aggregation_registry) - set(known()) == {"bypass"}


@pytest.mark.parametrize("name", sorted(SCORES))
def test_the_interval_holds_the_value_and_is_the_same_each_time(name: str) -> None:
    first = aggregate(name, SCORES[name])
    assert first.low < first.value < first.high
    assert first.n_clusters == first.n <= len(SCORES[name])
    assert aggregate(name, SCORES[name]) == first


@pytest.mark.parametrize("name", sorted(SCORES))
def test_samples_that_repeat_each_other_do_not_narrow_the_interval(name: str) -> None:
    some = SCORES[name][:40]
    labels = [index for index in range(len(some)) for _ in range(4)]
    once, four_times = aggregate(name, some), [score for score in some for _ in range(4)]
    clustered = aggregate(name, four_times, labels)
    careless = aggregate(name, four_times)
    assert clustered.n_clusters < clustered.n
    assert clustered.value == pytest.approx(once.value)
    assert clustered.high - clustered.low > 1.5 * (careless.high - careless.low)
    assert clustered.high - clustered.low == pytest.approx(once.high - once.low, rel=0.25)


def test_a_weighted_mean_is_the_ratio_of_sums() -> None:
    tops, weights = zip(*OURS["weighted_mean"], strict=True)
    assert aggregate("weighted_mean", OURS["weighted_mean"]) == stats.ratio_of_sums(tops, weights)


def test_the_interval_of_a_calibration_error_covers_the_truth_and_is_no_wider_than_it_must() -> (
    None
):
    """Answers that change their bin make it conservative: it covers 99 % of the time, not 95 %."""
    held, widths = 0, []
    for seed in range(200):
        found = aggregate("calibration_error", calibrated(300, seed=seed))
        held += found.low <= 0.2 <= found.high
        widths.append(found.high - found.low)
        assert found.low <= found.value <= found.high
    assert held / 200 >= 0.95
    values = [aggregate("calibration_error", calibrated(300, seed=s)).value for s in range(200)]
    assert np.mean(widths) < 2 * 3.92 * np.std(values)


def test_documents_that_repeat_each_other_do_not_narrow_it() -> None:
    some = OURS["calibration_error"][:60]
    labels = [index for index in range(len(some)) for _ in range(4)]
    repeated = [score for score in some for _ in range(4)]
    clustered = aggregate("calibration_error", repeated, labels)
    careless = aggregate("calibration_error", repeated)
    assert clustered.high - clustered.low > 1.4 * (careless.high - careless.low)
    assert (clustered.n, clustered.n_clusters) == (240, 60)


def test_numbers_of_a_speculative_loop_follow_from_sums_over_texts() -> None:
    a, b, c, d = (sum(column) for column in zip(*LOOPS, strict=True))
    product = aggregate("product_of_ratios", LOOPS)
    assert product.value == pytest.approx(a / b * c / d)
    assert product.low < product.value < product.high
    formula = aggregate("iid_block_efficiency", OURS["iid_block_efficiency"])
    tops, tokens, _ = zip(*OURS["iid_block_efficiency"], strict=True)
    alpha = stats.ratio_of_sums(tops, tokens)
    assert formula.value == pytest.approx((1 - alpha.value**6) / (1 - alpha.value))
    assert formula.low == pytest.approx((1 - alpha.low**6) / (1 - alpha.low))
    best = aggregate("best_gamma", OURS["best_gamma"])
    assert (best.value, best.low, best.high) == (3, 3, 3)
    tokens, passes, expected, _ = (sum(column) for column in zip(*OURS["conformance"], strict=True))
    found = aggregate("conformance", OURS["conformance"])
    assert found.value == pytest.approx(tokens / passes - tokens / expected)


def test_timings_are_medians_and_percentiles_of_single_calls() -> None:
    tops, bottoms = zip(*CALLS, strict=True)
    assert aggregate("median_ratio", CALLS) == stats.median_ratio(tops, bottoms)
    calls = [one for round_ in CALLS for one in round_]
    for q in (50, 90, 95, 99):
        assert aggregate(f"p{q}", CALLS) == stats.quantile(calls, q / 100)
    assert aggregate("noise", CALLS).value == stats.noise(calls)


def test_outliers_are_counted_and_stay_in_the_data() -> None:
    calls = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 40.0]
    assert aggregate("outliers", calls).value == 1
    assert aggregate("p50", calls).n == 8


def test_a_count_is_exact_and_must_not_change() -> None:
    found = aggregate("exact", [7, 7.0])
    assert (found.low, found.value, found.high) == (7, 7, 7)
    with pytest.raises(TaskError, match="must be the same in every sample"):
        aggregate("exact", [7, 8])


def test_a_mean_of_zeros_and_ones_is_a_proportion() -> None:
    found = aggregate("mean", [1, 0.0, True, 1, 0])
    assert found == stats.proportion(3, 5)


def test_an_interval_of_a_perplexity_is_the_transformed_one_of_the_log_likelihood() -> None:
    nats = stats.mean(SCORES["perplexity"])
    found = aggregate("perplexity", SCORES["perplexity"])
    assert (found.low, found.high) == (math.exp(-nats.high), math.exp(-nats.low))
    rate = aggregate("bits_per_byte", SCORES["bits_per_byte"])
    words = aggregate("weighted_perplexity", SCORES["weighted_perplexity"])
    assert 2**rate.low == pytest.approx(words.low)
    assert 2**rate.high == pytest.approx(words.high)


def test_confidence_widens_the_interval() -> None:
    for name, values in SCORES.items():
        wide, narrow = (aggregate(name, values, None, level) for level in (0.99, 0.8))
        assert wide.low < narrow.low < narrow.high < wide.high, name


@pytest.mark.parametrize(
    ("name", "values", "value"),
    [
        ("mean", [-1.0, -math.inf], -math.inf),
        ("perplexity", [-1.0, -math.inf], math.inf),
        ("perplexity", [-1e6, -1e6], math.inf),
        ("weighted_perplexity", [(-math.inf, 3), (-1.0, 2)], math.inf),
        ("f1", [(0, 0), (0, 0)], 0.0),
    ],
)
def test_scores_at_the_edge_have_a_value_and_no_made_up_interval(
    name: str, values: list[Any], value: float
) -> None:
    found = aggregate(name, values)
    assert found.value == value
    assert math.isnan(found.low) or found.low == value
    assert found.n == 2


def test_a_nanmean_of_nothing_is_nan() -> None:
    assert math.isnan(aggregate("nanmean", [math.nan, math.nan]).value)


def test_one_sample_or_one_cluster_has_no_interval() -> None:
    for found in (aggregate("median", [0.5]), aggregate("bleu", SCORES["bleu"], ["all"] * 60)):
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert found.method.startswith("undefined")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("meen", [1.0], r"no aggregation named 'meen' \(did you mean 'mean'\?\); known: "),
        ("mean", [], "has no scores"),
        ("mean", [("a", "b")], r"can't use these scores \(the first is \('a', 'b'\)\)"),
        ("f1", [(0, 2)], "F1 needs classes 0 and 1"),
        ("bits_per_byte", [1.0], "can't use these scores"),
    ],
)
def test_unusable_scores_are_refused_with_the_reason(
    name: str, values: list[Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        aggregate(name, values)


def test_resampling_any_statistic_agrees_with_the_closed_form() -> None:
    values = SCORES["mean"]
    found = resampled(lambda some: sum(some) / len(some), values, replicates=2000)
    exact = stats.mean(values)
    assert found.value == pytest.approx(exact.value)
    assert found.low == pytest.approx(exact.low, abs=0.005)
    assert found.high == pytest.approx(exact.high, abs=0.005)


def test_a_share_that_is_the_same_in_every_sample_still_has_an_interval() -> None:
    none = aggregate("share", [[0, 16]] * 8)
    assert (none.value, none.low, none.n) == (0, 0, 128) and 0 < none.high < 0.5
    some = aggregate("share", [[i % 2, 4] for i in range(40)])
    assert some.value == 0.125 and some.low < 0.125 < some.high


def test_a_pooled_percentile_is_that_of_all_calls_with_rounds_as_its_units() -> None:
    rounds = [[random.Random(10 * i + j).random() + i % 2 for j in range(12)] for i in range(10)]
    found = aggregate("pooled_p90", rounds)
    alone = aggregate("p90", rounds)
    assert found.value == pytest.approx(alone.value) and found.n == 120
    assert found.low < found.value < found.high
    with pytest.raises(TaskError, match="needs 36 calls, and there are 24"):
        aggregate("pooled_p90", rounds[:2])
