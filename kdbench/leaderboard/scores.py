"""Per-sample scores of published cells, read by column."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdbench.leaderboard.lookup import Lookup
from kdbench.leaderboard.ranks import Scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


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
        column = read_scores(lookup, cell, metric)
        if column is None:
            return None
        columns.append(column)
    ids = columns[0][0]
    for other, _, _ in columns[1:]:
        ids = np.intersect1d(ids, other)
    if len(ids) < 2:
        return None
    values = np.empty((len(columns), len(ids)))
    for row, (own, _, scores) in enumerate(columns):
        order = np.argsort(own)
        values[row] = scores[order][np.searchsorted(own[order], ids)]
    own, clusters, _ = columns[0]
    order = np.argsort(own)
    names = clusters[order][np.searchsorted(own[order], ids)]
    return Scores(values, np.unique(names, return_inverse=True)[1])


def read_scores(
    lookup: Lookup, cell: dict[str, Any], metric: str
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.float64]] | None:
    """Ids, clusters and scores of a cell's samples that have a number for `metric`."""
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    path = lookup.run.published.samples_path(cell["samples"])
    try:
        table = pyarrow.parquet.read_table(path, columns=["id", "cluster", "scores"])
    except (OSError, pyarrow.ArrowException):
        return None
    scores = [json.loads(text).get(metric) for text in table["scores"].to_pylist()]
    there = np.array([isinstance(s, (int, float)) and np.isfinite(s) for s in scores], dtype=bool)
    if not there.any():
        return None
    ids = np.array(table["id"].to_pylist())[there]
    clusters = np.array(table["cluster"].to_pylist())[there]
    return (
        ids,
        clusters,
        np.array([s for s, keep in zip(scores, there, strict=True) if keep], float),
    )
