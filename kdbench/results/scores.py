"""Scores of published cells by column: what joins, ranks and gates need, without whole samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import StoreError
from kdbench.results.sample import Sample

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class ScoreColumns:
    """Samples of a cell: ids (bytes), clusters, tags and scores as they were stored, one of each a sample.

    `scores` and `tags` map a sample to its place in the distinct values, so that what repeats (a score
    that is right or wrong) is parsed once.
    """

    ids: npt.NDArray[Any]
    clusters: npt.NDArray[Any]
    score_codes: npt.NDArray[Any]
    score_values: list[dict[str, Any]]
    tag_codes: npt.NDArray[Any]
    tag_values: list[dict[str, str]]

    def of(self, metric: str) -> npt.NDArray[Any]:
        """The score of every sample, None where it has none of this metric (dtype object).

        All numbers: the array is float and nowhere None; see `present`.
        """
        import numpy as np

        distinct = [scores.get(metric) for scores in self.score_values]
        if all(isinstance(score, (int, float)) for score in distinct):
            return np.array(distinct, dtype=float)[self.score_codes]  # type: ignore[no-any-return]
        values = np.empty(len(distinct), dtype=object)
        values[:] = distinct
        return values[self.score_codes]  # type: ignore[no-any-return]

    def present(self, metric: str) -> npt.NDArray[Any]:
        """True for samples that have a score of this metric."""
        import numpy as np

        distinct = np.array([s.get(metric) is not None for s in self.score_values], dtype=bool)
        return distinct[self.score_codes]  # type: ignore[no-any-return]

    def tagged(self, tag: str, value: str) -> npt.NDArray[Any]:
        """True for samples that carry this tag."""
        import numpy as np

        distinct = np.array([tags.get(tag) == value for tags in self.tag_values], dtype=bool)
        return distinct[self.tag_codes]  # type: ignore[no-any-return]


def read_columns(path: Path) -> ScoreColumns:
    """Read a file of samples; `StoreError` where it is missing or damaged."""
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    try:
        # not `read_table`, which imports pandas for its data sets
        file = pyarrow.parquet.ParquetFile(path, read_dictionary=["scores", "tags"])
        with file:
            table = file.read(columns=["id", "cluster", "scores", "tags"])
    except (OSError, pyarrow.ArrowException) as error:
        raise StoreError(f"{path}: can't be read: {error}") from error
    score_codes, scores = _distinct(table["scores"])
    tag_codes, tags = _distinct(table["tags"])
    return ScoreColumns(
        np.array(table["id"].to_pylist(), dtype="S"),
        np.array(table["cluster"].to_pylist(), dtype=str),
        score_codes, scores, tag_codes, tags,
    )  # fmt: skip


def columns_of(samples: Sequence[Sample]) -> ScoreColumns:
    """The same of samples in memory."""
    import numpy as np

    places = np.arange(len(samples))
    return ScoreColumns(
        np.array([s.id.encode() for s in samples], dtype="S"),
        np.array([s.cluster for s in samples], dtype=str),
        places, [s.scores for s in samples], places, [s.tags for s in samples],
    )  # fmt: skip


def _distinct(column: Any) -> tuple[npt.NDArray[Any], list[dict[str, Any]]]:
    import numpy as np

    if column.num_chunks == 0 or len(column) == 0:
        return np.empty(0, dtype=int), []
    whole = column.unify_dictionaries().combine_chunks()
    values = [json.loads(text) for text in whole.dictionary.to_pylist()]
    # through the buffer, as `to_numpy` imports pandas; codes are never missing, so it is just numbers
    indices = whole.indices
    end = indices.offset + len(indices)
    codes = np.frombuffer(indices.buffers()[1], dtype=np.int32, count=end)
    return codes[indices.offset :], values
