"""Scores of several models on the samples that all of them share."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.errors import StoreError
from kdbench.leaderboard.lookup import Lookup
from kdbench.leaderboard.ranks import Scores
from kdbench.results.scores import read_columns


def shared_scores(
    where: Sequence[tuple[Lookup, str]], task: str, protocol: str, metric: str
) -> Scores | None:
    """Scores of several models (each in its run) on the samples that all share.

    None where a model has no samples, the metric is not a mean of numbers, or nothing is shared.
    """
    import numpy as np

    columns = []
    for lookup, model in where:
        cell = lookup.cells.get((task, protocol, model))
        if cell is None or cell["status"] != "done":
            return None
        declared = {m["name"]: m for m in cell["metrics"]}
        if declared.get(metric, {}).get("aggregation") != "mean":
            return None
        try:
            read = read_columns(lookup.run.published.samples_path(cell["samples"]))
        except StoreError:  # said where the samples themselves are written
            return None
        raw = read.of(metric)
        values = raw if raw.dtype != object else np.array([_number(score) for score in raw])
        there = np.isfinite(values)
        order = np.argsort(read.ids[there])
        columns.append((read.ids[there][order], read.clusters[there][order], values[there][order]))
    ids = columns[0][0]
    for other, _, _ in columns[1:]:
        ids = np.intersect1d(ids, other)
    if len(ids) < 2:
        return None
    values = np.stack([scores[np.searchsorted(own, ids)] for own, _, scores in columns])
    own, clusters, _ = columns[0]
    names = clusters[np.searchsorted(own, ids)]
    return Scores(values, np.unique(names, return_inverse=True)[1])


def _number(score: object) -> float:
    return float(score) if isinstance(score, (int, float)) else float("nan")
