"""Do the 95 % intervals hold the truth 95 % of the time?

Small tables are enumerated, which is exact; the rest is 2,000 seeded draws, whose own error is
half a point. The bar is 93-97 %. Where a method is known to miss it, a test of its own records
by how much.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import binom, multinomial

from kdbench import stats
from kdbench.stats import Estimate

DRAWS = 2000
SEED = 20_241
Draw = Callable[[np.random.Generator], Sequence[Estimate]]


def coverage(draw: Draw, *truths: float) -> list[float]:
    """Share of the draws in which each estimate's interval holds its truth."""
    rng = np.random.default_rng(SEED)
    held = np.zeros(len(truths))
    for _ in range(DRAWS):
        held += [e.low <= truth <= e.high for e, truth in zip(draw(rng), truths, strict=True)]
    return list(held / DRAWS)


def as_claimed(*shares: float) -> bool:
    return all(0.93 <= share <= 0.97 for share in shares)


# ------------------------------------------------------------------ populations


def labels(rng: np.random.Generator, count: int, size: int, unequal: bool) -> np.ndarray:
    """Cluster labels; unequal sizes vary by half their mean."""
    sizes = np.full(count, size)
    if unequal:
        sizes = np.maximum(1, np.round(size * rng.lognormal(-0.125, 0.5, count))).astype(int)
    return np.repeat(np.arange(count), sizes)


def right_or_wrong(
    rng: np.random.Generator,
    groups: np.ndarray,
    teacher: float,
    student: float,
    shared: float = 0.8,
    within: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Binary outcomes of a pair of models with the given accuracies.

    ``shared`` is the correlation of the two models' hidden difficulties, ``within`` that of two
    samples of a cluster.
    """
    count, n = int(groups[-1]) + 1, groups.size

    def difficulty() -> np.ndarray:
        by_cluster = rng.standard_normal(count)[groups]
        return np.sqrt(within) * by_cluster + np.sqrt(1 - within) * rng.standard_normal(n)

    common = np.sqrt(shared) * difficulty()
    return tuple(  # type: ignore[return-value]
        (common + np.sqrt(1 - shared) * difficulty() < ndtri(accuracy)).astype(float)
        for accuracy in (student, teacher)
    )


KEPT, QUALITY = 0.9, 4 / 6


def scores(
    rng: np.random.Generator, groups: np.ndarray, within: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Graded outcomes: the teacher's average QUALITY, the student's KEPT times as much."""
    quality = rng.beta(4, 2, groups.size)
    if within:
        by_cluster = rng.beta(4, 2, int(groups[-1]) + 1)[groups]
        quality = within * by_cluster + (1 - within) * quality
    noise = rng.normal(0, 0.08, (2, groups.size))
    return KEPT * quality + noise[0], quality + noise[1]


# ------------------------------------------------------------------ exact, small tables


@pytest.mark.parametrize("n", [15, 20, 50, 300])
def test_wilson_covers_as_claimed_on_average_over_the_rates(n: int) -> None:
    rates = np.linspace(0.5 / n, 1 - 0.5 / n, 501)
    assert as_claimed(wilson_coverage(n, rates).mean())


@pytest.mark.parametrize("n", [50, 300])
def test_wilson_covers_close_to_the_claim_with_three_samples_of_each_kind(n: int) -> None:
    held = wilson_coverage(n, np.linspace(3.01 / n, 1 - 3.01 / n, 501))
    assert held.min() >= 0.93
    assert held.max() <= 0.98


def test_wilson_dips_for_a_rate_that_hardly_ever_shows() -> None:
    assert 0.83 < wilson_coverage(50, np.array([0.175 / 50]))[0] < 0.85


def wilson_coverage(n: int, rates: np.ndarray) -> np.ndarray:
    estimates = [stats.proportion(k, n) for k in range(n + 1)]
    low, high = (np.array([getattr(e, side) for e in estimates]) for side in ("low", "high"))
    held = (low <= rates[:, None]) & (rates[:, None] <= high)
    return (held * binom.pmf(np.arange(n + 1), n, rates[:, None])).sum(axis=1)


CELLS = {  # both right, lost, gained, both wrong
    "student slightly worse": (0.60, 0.18, 0.12, 0.10),
    "student much worse": (0.45, 0.35, 0.08, 0.12),
    "no difference": (0.50, 0.15, 0.15, 0.20),
    "strong teacher": (0.66, 0.25, 0.04, 0.05),
}


@pytest.mark.parametrize("kind", CELLS)
def test_fifteen_binary_pairs_cover_the_difference_and_the_retention(kind: str) -> None:
    assert as_claimed(*paired_coverage(15, CELLS[kind]))


@pytest.mark.parametrize("kind", ["student slightly worse", "strong teacher"])
def test_twenty_binary_pairs_cover_the_difference_and_the_retention(kind: str) -> None:
    assert as_claimed(*paired_coverage(20, CELLS[kind]))


def test_pairs_that_hardly_ever_flip_are_covered_more_often_than_claimed() -> None:
    difference, retention = paired_coverage(15, (0.85, 0.04, 0.01, 0.10))
    assert difference > 0.97
    assert retention > 0.97


def paired_coverage(n: int, cells: tuple[float, ...]) -> tuple[float, float]:
    """Exact coverage over every table of n pairs, leaving out those with no teacher success."""
    both, lost, gained, _ = cells
    truth = (gained - lost, (both + gained) / (both + lost))
    tables = [(*t, n - sum(t)) for t in product(range(n + 1), repeat=3) if sum(t) <= n]
    chances = multinomial.pmf(tables, n, cells)
    held, mass = np.zeros(2), 0.0
    for table, chance in zip(tables, chances, strict=True):
        if chance < 1e-7 or table[0] + table[1] == 0:
            continue
        student = np.repeat([1.0, 0.0, 1.0, 0.0], table)
        teacher = np.repeat([1.0, 1.0, 0.0, 0.0], table)
        for index, of in enumerate((stats.difference, stats.retention)):
            estimate = of(student, teacher)
            held[index] += chance * (estimate.low - 1e-9 <= truth[index] <= estimate.high + 1e-9)
        mass += chance
    return tuple(held / mass)


# ------------------------------------------------------------------ simulated


def all_three(
    student: np.ndarray, teacher: np.ndarray, groups: np.ndarray | None = None
) -> tuple[Estimate, Estimate, Estimate]:
    return (
        stats.mean(student, groups),
        stats.difference(student, teacher, groups),
        stats.retention(student, teacher, groups),
    )


@pytest.mark.parametrize("n", [15, 50, 300])
def test_graded_samples_cover_mean_difference_and_retention(n: int) -> None:
    samples = np.arange(n)
    shares = coverage(
        lambda rng: all_three(*scores(rng, samples)), KEPT * QUALITY, (KEPT - 1) * QUALITY, KEPT
    )
    assert as_claimed(*shares)


@pytest.mark.parametrize("n", [50, 300])
@pytest.mark.parametrize(("teacher", "student"), [(0.9, 0.8), (0.65, 0.6)])
def test_binary_samples_cover_mean_difference_and_retention(
    n: int, teacher: float, student: float
) -> None:
    samples = np.arange(n)
    shares = coverage(
        lambda rng: all_three(*right_or_wrong(rng, samples, teacher, student)),
        student,
        student - teacher,
        student / teacher,
    )
    assert as_claimed(*shares)


DESIGNS = [(12, 10, False), (12, 10, True), (40, 5, True)]  # clusters, samples in each, unequal


@pytest.mark.parametrize(("count", "size", "unequal"), DESIGNS)
def test_clustered_graded_samples_cover_mean_difference_and_retention(
    count: int, size: int, unequal: bool
) -> None:
    def draw(rng: np.random.Generator) -> Sequence[Estimate]:
        groups = labels(rng, count, size, unequal)
        return all_three(*scores(rng, groups, within=0.4), groups)

    assert as_claimed(*coverage(draw, KEPT * QUALITY, (KEPT - 1) * QUALITY, KEPT))


@pytest.mark.parametrize(("count", "size", "unequal"), DESIGNS)
def test_clustered_binary_samples_cover_mean_difference_and_retention(
    count: int, size: int, unequal: bool
) -> None:
    teacher, student = 0.85, 0.75

    def draw(rng: np.random.Generator) -> Sequence[Estimate]:
        groups = labels(rng, count, size, unequal)
        return all_three(*right_or_wrong(rng, groups, teacher, student, within=0.25), groups)

    assert as_claimed(*coverage(draw, student, student - teacher, student / teacher))


@pytest.mark.parametrize(("count", "size"), [(12, 10), (40, 5)])
def test_the_bootstrap_covers_a_ratio_of_sums(count: int, size: int) -> None:
    def draw(rng: np.random.Generator) -> Sequence[Estimate]:
        groups = labels(rng, count, size, unequal=True)
        student, teacher = scores(rng, groups, within=0.4)
        seed = int(rng.integers(1 << 31))
        return [
            stats.clustered_bootstrap(
                lambda top, bottom: top / bottom, [student, teacher], groups, seed, replicates=500
            )
        ]

    assert as_claimed(*coverage(draw, KEPT))


@pytest.mark.parametrize(("n", "q"), [(50, 0.5), (300, 0.5), (400, 0.95), (1000, 0.99)])
def test_a_percentile_is_covered_at_least_as_often_as_claimed(n: int, q: float) -> None:
    (share,) = coverage(lambda rng: [stats.quantile(rng.exponential(size=n), q)], -np.log1p(-q))
    assert 0.945 <= share < 0.985


# ------------------------------------------------------------------ known to miss


def test_few_samples_of_a_long_tail_are_covered_less_often_than_claimed() -> None:
    (share,) = coverage(lambda rng: [stats.mean(rng.lognormal(0, 1, 15))], np.exp(0.5))
    assert 0.83 < share < 0.93


def test_rare_failures_that_cluster_strongly_are_covered_less_often_than_claimed() -> None:
    groups = np.repeat(np.arange(12), 25)

    def draw(rng: np.random.Generator) -> Sequence[Estimate]:
        return [stats.mean(right_or_wrong(rng, groups, 0.97, 0.95, within=0.5)[0], groups)]

    (share,) = coverage(draw, 0.95)
    assert 0.87 < share < 0.93


# ------------------------------------------------------------------ verdicts


@pytest.mark.parametrize(
    "groups", [np.arange(200), np.repeat(np.arange(40), 5)], ids=["", "clusters"]
)
def test_a_student_on_the_margin_passes_and_fails_about_one_time_in_forty(
    groups: np.ndarray,
) -> None:
    teacher, margin = 0.85, 0.05
    rng = np.random.default_rng(SEED)
    within = 0.25 if groups[-1] == 39 else 0.0
    verdicts = Counter(
        stats.judge(
            stats.difference(
                *right_or_wrong(rng, groups, teacher, teacher - margin, within=within), groups
            ),
            margin,
        )
        for _ in range(DRAWS)
    )
    assert 0.01 < verdicts["PASS"] / DRAWS < 0.04
    assert 0.01 < verdicts["FAIL"] / DRAWS < 0.04


# ------------------------------------------------------------------ timings


def _jittery(rng: np.random.Generator, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Teacher 2 s, student 1 s, a drift that rounds share, long-tailed noise, and a jump now and then."""
    drift = 1 + 0.3 * rng.random(rounds)
    jumps = 1 + 4 * (rng.random((2, rounds)) < 0.05)
    calls = np.exp(0.05 * rng.standard_normal((2, rounds))) * jumps * drift
    return 2 * calls[0], calls[1]


@pytest.mark.parametrize("rounds", [10, 16, 32])
def test_the_interval_of_a_speed_up_covers_at_least_as_claimed(rounds: int) -> None:
    (share,) = coverage(lambda rng: [stats.median_ratio(*_jittery(rng, rounds))], 2.0)
    assert 0.94 <= share <= 0.99  # ranks are whole numbers, so it covers a little more


def test_swapping_teacher_and_student_inverts_a_speed_up_and_its_bounds() -> None:
    one, other = _jittery(np.random.default_rng(SEED), 16)
    there, back = stats.median_ratio(one, other), stats.median_ratio(other, one)
    assert [there.value, there.low, there.high] == pytest.approx(
        [1 / back.value, 1 / back.high, 1 / back.low]
    )
