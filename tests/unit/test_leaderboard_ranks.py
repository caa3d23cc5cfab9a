"""Ranges of ranks: closed forms, and a simulation of what they promise."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from made_results import publish
from scipy.stats import norm

from kdbench.leaderboard.entries import entries_of, mean_of, rank
from kdbench.leaderboard.folders import find
from kdbench.leaderboard.lookup import Lookup
from kdbench.leaderboard.ranks import Scores, macro_average, mean_covariance, rank_ranges
from kdbench.results.table import Row


def test_without_clusters_the_covariance_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(size=(3, 50))
    means, covariance = mean_covariance(Scores(values, np.arange(50)))
    assert means == pytest.approx(values.mean(axis=1))
    assert covariance == pytest.approx(np.cov(values) / 50)


def test_samples_of_one_cluster_that_agree_count_as_one() -> None:
    values = np.random.default_rng(1).normal(size=(2, 40))
    repeated = Scores(np.repeat(values, 5, axis=1), np.repeat(np.arange(40), 5))
    once = mean_covariance(Scores(values, np.arange(40)))[1]
    assert mean_covariance(repeated)[1] == pytest.approx(once)


def test_one_cluster_alone_leaves_every_place_open() -> None:
    means, covariance = mean_covariance(Scores(np.eye(2, 4), np.zeros(4, dtype=int)))
    assert np.isnan(covariance).all()
    assert rank_ranges(means, covariance, 0.95) == [(1, 2), (1, 2)]


def test_the_variance_of_a_mean_over_tasks_is_a_quarter_of_the_sum_of_two() -> None:
    draws = np.random.default_rng(2)
    tasks = [Scores(draws.normal(size=(2, 30)), np.arange(30)) for _ in range(2)]
    covariance = macro_average(tasks)[1]
    parts = [mean_covariance(task)[1] for task in tasks]
    assert covariance == pytest.approx((parts[0] + parts[1]) / 4)


def test_a_difference_just_beyond_its_interval_separates_and_one_within_does_not() -> None:
    z = norm.ppf(0.975)
    covariance = np.diag([0.5, 0.5])  # the difference has variance 1
    assert rank_ranges(np.array([0, z + 1e-6]), covariance, 0.95) == [(2, 2), (1, 1)]
    assert rank_ranges(np.array([0, z - 1e-6]), covariance, 0.95) == [(1, 2), (1, 2)]
    assert rank_ranges(np.array([0, z + 1e-6]), covariance, 0.95, "lower") == [(1, 1), (2, 2)]


def test_pairing_separates_what_the_models_own_intervals_do_not() -> None:
    shared = np.random.default_rng(3).normal(size=400)
    values = np.stack([shared, shared + 0.05])
    values[1] += np.random.default_rng(4).normal(scale=0.05, size=400)
    means, covariance = mean_covariance(Scores(values, np.arange(400)))
    assert rank_ranges(means, covariance, 0.95) == [(2, 2), (1, 1)]
    unpaired = np.diag(np.diag(covariance))
    assert rank_ranges(means, unpaired, 0.95) == [(1, 2), (1, 2)]


def test_models_that_answer_alike_share_their_places() -> None:
    row = (np.arange(50) % 3 == 0).astype(float)
    means, covariance = mean_covariance(Scores(np.stack([row, row]), np.arange(50)))
    assert rank_ranges(means, covariance, 0.95) == [(1, 2), (1, 2)]


@pytest.mark.parametrize("cluster", [1, 4])
def test_the_range_holds_the_true_rank_as_often_as_it_says(cluster: int) -> None:
    draws = np.random.default_rng(5)
    truth = np.array([0.60, 0.55, 0.55, 0.45, 0.30])
    # students that are equal in truth may stand in any order among themselves
    best = np.array([1 + int((truth > t).sum()) for t in truth])
    worst = np.array([int((truth >= t).sum()) for t in truth])
    trials, held = 400, np.zeros(5)
    for _ in range(trials):
        groups = 200 // cluster
        hard = np.repeat(draws.normal(size=groups), cluster)
        own = draws.normal(size=(5, 200))
        scores = (0.8 * hard + 0.6 * own < norm.ppf(truth)[:, None]).astype(float)
        clusters = np.repeat(np.arange(groups), cluster)
        ranges = rank_ranges(*mean_covariance(Scores(scores, clusters)), 0.95)
        for i, (low, high) in enumerate(ranges):
            held[i] += low <= best[i] and worst[i] <= high
    assert (held / trials >= 0.95 - 2 * math.sqrt(0.05 * 0.95 / trials)).all()


def row(value: float | None, low: float | None = None, high: float | None = None) -> Row:
    return Row(
        "s", "t", "p", "acc", "fraction", "higher", "x", "m", "student", "x", value, low, high, "",
        1, 1, 0, "ok", "", None, "", "", "",
    )  # fmt: skip


def test_a_mean_over_tasks_has_the_interval_of_independent_tasks() -> None:
    found = mean_of([row(0.4, 0.3, 0.5), row(0.8, 0.7, 0.9)], 2, 1.96)
    assert found is not None
    assert found.value == pytest.approx(0.6)
    half = 0.1 * math.sqrt(2) / 2
    assert (found.low, found.high) == (pytest.approx(0.6 - half), pytest.approx(0.6 + half))


def test_a_mean_over_fewer_tasks_than_asked_for_is_none() -> None:
    assert mean_of([row(0.4, 0.3, 0.5)], 2, 1.96) is None
    assert mean_of([row(None), row(0.4)], 2, 1.96) is None
    without_bounds = mean_of([row(0.4), row(0.8, 0.7, 0.9)], 2, 1.96)
    assert without_bounds is not None and without_bounds.low is None


def test_students_of_different_documents_are_not_ranked_against_each_other(tmp_path: Path) -> None:
    from contextlib import ExitStack

    publish(tmp_path / "a", suite="a", tasks=["reasoning/one"])
    publish(tmp_path / "b", suite="b", tasks=["reasoning/two"])
    with ExitStack() as stack:
        found = find([str(tmp_path)], stack)
    entries = [entry for run in found.runs for entry in entries_of(Lookup(run))]
    rank(entries, pytest.fail)
    assert len({entry.group for entry in entries}) == 2
    assert {entry.rank_of for entry in entries} == {2}


def test_students_of_two_suites_on_the_same_documents_are_ranked_together(tmp_path: Path) -> None:
    from contextlib import ExitStack

    publish(tmp_path / "a", suite="a", students={"good": 0.8}, n=200)
    publish(tmp_path / "b", suite="b", students={"poor": 0.3}, n=200)
    with ExitStack() as stack:
        found = find([str(tmp_path)], stack)
    entries = [entry for run in found.runs for entry in entries_of(Lookup(run))]
    rank(entries, pytest.fail)
    assert {e.pair["student"]: e.ranks for e in entries} == {"good": (1, 1), "poor": (2, 2)}


def test_without_samples_the_ranks_rest_on_own_intervals_and_that_is_said(tmp_path: Path) -> None:
    from contextlib import ExitStack

    published = publish(tmp_path / "a", n=200)
    for file in (published.folder / "samples").iterdir():
        file.unlink()
    with ExitStack() as stack:
        found = find([str(tmp_path)], stack)
    entries = entries_of(Lookup(found.runs[0]))
    said: list[str] = []
    rank(entries, said.append)
    assert {e.pair["student"]: e.ranks for e in entries} == {"good": (1, 1), "poor": (2, 2)}
    assert len(said) == 1 and "can't be paired" in said[0]
