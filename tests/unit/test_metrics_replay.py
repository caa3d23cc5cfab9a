"""Replay of speculative decoding: against analytic values of Markov chains, a loop by hand, and itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench import stats
from kdbench.metrics.replay import block_efficiency, iid_approximation, replays

STATES = 40
Chain = tuple[np.ndarray, np.ndarray]


def normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(axis=1, keepdims=True)


def mixed(p: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """A draft that follows the target but for a share of each state's mass."""
    return (1 - share[:, None]) * p + share[:, None] * other


def iid(draw: np.random.Generator) -> Chain:
    p, q = np.zeros((2, STATES, STATES))
    p[:, :4] = 0.25
    q[:, 1:5] = 0.25
    return p, q


def random_chain(draw: np.random.Generator) -> Chain:
    p, q = (normalised(draw.exponential(size=(STATES, STATES)) ** 1.5) for _ in range(2))
    return p, q


def heterogeneous(draw: np.random.Generator) -> Chain:
    p, other = (normalised(draw.exponential(size=(STATES, STATES))) for _ in range(2))
    return p, mixed(p, other, np.linspace(0, 1, STATES))


def sticky(draw: np.random.Generator) -> Chain:
    """Easy states follow easy ones and hard follow hard; the draft knows the easy half alone."""
    half = STATES // 2
    inside, across = 0.98 / half, 0.02 / half
    p = np.full((STATES, STATES), across)
    p[:half, :half] = p[half:, half:] = inside
    p = normalised(p * draw.uniform(0.5, 1.5, size=p.shape))
    other = normalised(draw.exponential(size=p.shape) ** 3)
    share = np.where(np.arange(STATES) < half, 0.02, 0.98)
    return p, mixed(p, other, share)


CHAINS: dict[str, Callable[[np.random.Generator], Chain]] = {
    "iid": iid, "random": random_chain, "heterogeneous": heterogeneous, "sticky": sticky,
}  # fmt: skip


def analytic(p: np.ndarray, q: np.ndarray, gamma: int) -> float:
    """tau of an endless loop, from the stationary law of the states in which cycles begin."""
    m = np.minimum(p, q)
    powers = [np.linalg.matrix_power(m, j) for j in range(gamma + 1)]
    onward = sum(powers[j] @ (p - m) for j in range(gamma)) + powers[gamma] @ p
    values, vectors = np.linalg.eig(onward.T)
    start = np.real(vectors[:, np.argmax(np.real(values))])
    start /= start.sum()
    return 1 + float(sum((start @ powers[k]).sum() for k in range(1, gamma + 1)))


def written(p: np.ndarray, count: int, length: int, draw: np.random.Generator) -> np.ndarray:
    """[count, length + 1] states; the first is where a text begins."""
    edges = p.cumsum(axis=1)
    states = np.empty((count, length + 1), dtype=np.int64)
    states[:, 0] = draw.integers(0, len(p), count)
    for t in range(length):
        states[:, t + 1] = (draw.random(count)[:, None] > edges[states[:, t]]).sum(axis=1)
    return states.clip(max=len(p) - 1)


def chances(p: np.ndarray, q: np.ndarray, states: np.ndarray) -> np.ndarray:
    before, after = states[:, :-1], states[:, 1:]
    return np.minimum(1, q[before, after] / p[before, after])


@pytest.mark.parametrize("name", CHAINS)
def test_replay_meets_the_analytic_loop_and_is_not_biased_by_clusters(name: str) -> None:
    draw = np.random.default_rng(11)
    p, q = CHAINS[name](draw)
    # the texts' first hundred states only make the start stationary
    m = chances(p, q, written(p, 80, 4100, draw)[:, 100:])
    for gamma, found in replays(list(m), [1, 3, 5, 8]).items():
        exact = analytic(p, q, gamma)
        estimate = stats.ratio_of_sums(found.tokens, found.passes, confidence=0.999)
        slack = 3 / 4000 * exact  # the ends of texts
        assert estimate.low - slack <= exact <= estimate.high + slack, (name, gamma)
        if name == "iid":
            assert exact == pytest.approx(float(iid_approximation(0.75, gamma)))


def test_the_formula_and_the_mean_of_products_are_far_off_where_difficulty_clusters() -> None:
    draw = np.random.default_rng(12)
    p, q = sticky(draw)
    states = written(p, 80, 4100, draw)
    m = chances(p, q, states[:, 100:])
    exact = analytic(p, q, 5)
    products = np.lib.stride_tricks.sliding_window_view(m, 5, axis=1).cumprod(axis=-1)
    uniform = 1 + products.mean(axis=(0, 1)).sum()
    alpha = float(np.minimum(p, q).sum(axis=1)[states[:, 100:-1]].mean())
    assert uniform / exact > 1.2
    assert float(iid_approximation(alpha, 5)) / exact > 1.05
    assert block_efficiency(list(m), 5) == pytest.approx(exact, rel=0.05)


def by_hand(m: np.ndarray, gamma: int) -> float:
    """Expected passes, following every course of the loop that stops at the end of the text."""

    def passes(t: int) -> float:
        if t >= len(m):
            return 0.0
        total, chance = 1.0, 1.0
        for j in range(gamma):
            if t + j >= len(m):
                return total
            total += chance * (1 - m[t + j]) * passes(t + j + 1)
            chance *= m[t + j]
        return total + chance * passes(t + gamma + 1)

    return passes(0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), max_size=9), min_size=1, max_size=5), st.integers(1, 6))
def test_passes_are_those_of_every_course_weighted_by_its_chance(
    texts: list[list[float]], gamma: int
) -> None:
    found = replays(texts, [gamma])[gamma]
    expected = [by_hand(np.array(m), gamma) for m in texts]
    assert found.passes == pytest.approx(expected)
    assert (found.accepted <= found.tested + 1e-12).all()
    assert (found.tested <= found.drafted + 1e-12).all()


def thinned(m: np.ndarray, gamma: int, draw: np.random.Generator) -> tuple[int, np.ndarray]:
    """One course of the loop: its passes, and drafts [drafted, tested, accepted] by position."""
    passes, counts, t = 0, np.zeros((3, gamma)), 0
    while t < len(m):
        passes += 1
        inside = min(gamma, len(m) - t)
        counts[0, :inside] += 1
        kept = 0
        while kept < inside:
            counts[1, kept] += 1
            if draw.random() >= m[t + kept]:
                break
            counts[2, kept] += 1
            kept += 1
        t += kept + 1
    return passes, counts


def test_a_loop_of_coin_flips_that_stops_at_the_end_of_the_text_agrees_in_every_count() -> None:
    draw = np.random.default_rng(3)
    m = draw.random(23) ** 0.5
    found = replays([m], [4])[4]
    courses = [thinned(m, 4, draw) for _ in range(4000)]
    passes = np.array([one for one, _ in courses], float)
    assert abs(passes.mean() - found.passes[0]) < 4 * passes.std() / 4000**0.5
    counts = np.array([one for _, one in courses])
    for row, name in enumerate(("drafted", "tested", "accepted")):
        error = counts[:, row].std(axis=0) / 4000**0.5
        assert (abs(counts[:, row].mean(axis=0) - getattr(found, name)[0]) < 4 * error + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(1, 8))
def test_greedy_text_replays_the_loop_exactly(hits: list[bool], gamma: int) -> None:
    m = np.array(hits, float)
    passes, counts = thinned(m, gamma, np.random.default_rng(0))
    found = replays([m], [gamma])[gamma]
    assert found.passes[0] == passes
    assert np.array_equal(found.accepted[0], counts[2])
    assert np.array_equal(found.tested[0], counts[1])


def test_conventions_are_tied_to_each_other() -> None:
    m = [np.full(30_000, 0.75)]
    found = replays(m, [5])[5]
    assert found.block_efficiency == pytest.approx(1 + found.acceptance_at.sum(), rel=1e-3)
    assert found.conditional_acceptance_at == pytest.approx(np.full(5, 0.75))
    assert found.acceptance == pytest.approx(0.75)
    assert found.acceptance_at == pytest.approx(0.75 ** np.arange(1, 6), rel=1e-3)


def test_drafts_that_depend_on_the_cycles_start_have_a_row_for_each_start() -> None:
    same = np.array([0.5, 0.25, 1.0, 0.0, 0.75])
    by_start = np.zeros((5, 3))
    for t in range(5):
        by_start[t, : len(same[t:])] = same[t : t + 3]
    one, other = replays([same], [3])[3], replays([by_start], [3])[3]
    assert one.passes == pytest.approx(other.passes)
    assert one.accepted == pytest.approx(other.accepted)
    nothing = replays([np.full((7, 2), np.nan)], [2])[2]
    assert nothing.passes[0] == 7 and nothing.drafted.sum() == 0 and np.isnan(nothing.acceptance)


def test_a_text_that_stops_at_once_costs_one_pass_and_none_costs_nothing() -> None:
    assert block_efficiency([[0.3]], 5) == 1.0
    assert np.isnan(block_efficiency([[]], 5)) and np.isnan(block_efficiency([], 5))
    assert block_efficiency([[], [0.3]], 5) == 1.0


@pytest.mark.parametrize(
    ("accept", "gamma", "complaint"),
    [
        ([[0.5, 1.5]], 3, "1.5, which is no probability"),
        ([[0.5], [float("nan")]], 3, r"accept\[1\] holds nan"),
        ([[0.5]], 0, "gamma must be at least 1"),
        ([np.zeros((4, 2))], 3, "depth of at least gamma"),
    ],
)
def test_what_is_no_acceptance_is_refused(accept: list, gamma: int, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        block_efficiency(accept, gamma)


def expected_passes(p: np.ndarray, q: np.ndarray, gamma: int, longest: int) -> np.ndarray:
    """[longest + 1] expected passes of a text of so many tokens from a uniform first state."""
    m = np.minimum(p, q)
    begun = np.zeros((longest + gamma + 2, len(p)))
    begun[0] = 1 / len(p)
    for t in range(longest):
        ahead = begun[t]
        for j in range(gamma):
            begun[t + j + 1] += ahead @ (p - m)
            ahead = ahead @ m
        begun[t + gamma + 1] += ahead @ p
    return np.concatenate([[0], begun[:longest].sum(axis=1).cumsum()])


def test_intervals_of_tau_and_of_a_paired_difference_cover_as_they_say() -> None:
    """1,000 suites of 80 prompts; 93 to 97 % is within four standard errors of 95 %."""
    draw = np.random.default_rng(20)
    suites, prompts, gamma = 1000, 80, 5
    p, q = heterogeneous(draw)
    rival = mixed(p, normalised(draw.exponential(size=p.shape)), np.linspace(0.2, 0.9, STATES))
    lengths = draw.integers(16, 64, suites * prompts)
    states = written(p, suites * prompts, 64, draw)
    passes, exact = [], []
    for draft in (q, rival):
        m = chances(p, draft, states)
        texts = [row[:length] for row, length in zip(m, lengths, strict=True)]
        passes.append(replays(texts, [gamma])[gamma].passes.reshape(suites, prompts))
        exact.append(np.arange(16, 64).mean() / expected_passes(p, draft, gamma, 64)[16:64].mean())
    tokens = lengths.reshape(suites, prompts).astype(float)
    hits, paired = 0, 0
    for suite in range(suites):
        own, other = ((tokens[suite], one[suite]) for one in passes)
        tau = stats.ratio_of_sums(*own)
        gain = stats.difference_of_ratios(own, other)
        hits += tau.low <= exact[0] <= tau.high
        paired += gain.low <= exact[0] - exact[1] <= gain.high
    assert 930 <= hits <= 970 and 930 <= paired <= 970, (hits, paired)
