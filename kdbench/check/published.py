"""Published results as gates see them: tasks, models, and scores joined by sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import StoreError
from kdbench.results.published import Published
from kdbench.results.scores import ScoreColumns, read_columns
from kdbench.tasks.task import Metric

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Answers:
    """A model's scores of one metric: ids, cluster labels and raw scores of the samples that have one."""

    ids: npt.NDArray[Any]
    clusters: npt.NDArray[Any]
    scores: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Board:
    """One task, or a group of tasks pooled, in one protocol: cells by model and by pair."""

    results: Results
    label: str
    protocol: str
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    def metric(self, name: str) -> Metric | None:
        """What the board's cells declare under `name`."""
        for cell in [*(cells[0] for cells in self.models.values()), *self.pairs.values()]:
            for metric in cell["metrics"]:
                if metric["name"] == name:
                    return Metric(**metric)
        return None

    def trouble(self, model: str) -> str:
        """Why a model has no answers here; empty where it has."""
        cells = self.models.get(model)
        if cells is None:
            return f"{model} was not measured on {self.label}"
        broken = next((cell for cell in cells if cell["status"] != "done"), None)
        return f"{broken['label']} on {model}: {broken['reason']}" if broken else ""

    def keys(self, model: str) -> list[str]:
        """Keys of a model's cells: equal for two runs where everything that could change an answer is."""
        return [cell["key"] for cell in self.models[model]]

    def answers(self, model: str, metric: str, tag: tuple[str, str] | None) -> Answers:
        """Scores of a model; samples of pooled tasks carry their task's name."""
        return self._answers(self.models[model], metric, tag, len(self.models[model]) > 1)

    def pair_answers(
        self, pair: tuple[str, str], metric: str, tag: tuple[str, str] | None
    ) -> Answers:
        return self._answers([self.pairs[pair]], metric, tag, pooled=False)

    def _answers(
        self, cells: list[dict[str, Any]], metric: str, tag: tuple[str, str] | None, pooled: bool
    ) -> Answers:
        import numpy as np

        ids, clusters, scores = [], [], []
        for cell in cells:
            columns = self.results.columns(cell["samples"])
            keep = columns.present(metric)
            if tag is not None:
                keep &= columns.tagged(*tag)
            prefix = f"{cell['label']}:" if pooled else ""
            ids.append(_prefixed(prefix.encode(), columns.ids[keep]))
            clusters.append(_prefixed(prefix, columns.clusters[keep]))
            scores.append(columns.of(metric)[keep])
        return Answers(np.concatenate(ids), np.concatenate(clusters), np.concatenate(scores))


def _prefixed(prefix: str | bytes, names: npt.NDArray[Any]) -> npt.NDArray[Any]:
    import numpy as np

    return np.char.add(prefix, names) if prefix else names


class Results:
    """One published run."""

    def __init__(self, folder: Path, name: str = "") -> None:
        """`name` is what messages call the folder. Raises `StoreError` where there are no results."""
        self.published = Published(folder)
        self.name = name or str(folder)
        record = self.published.read_run()
        if record is None:
            raise StoreError(
                f"{self.name}: no results here (no run.json); `kdbench run SUITE` makes them"
            )
        self.record: dict[str, Any] = record
        self.columns = cache(self._columns)
        self.boards = self._boards()

    @property
    def confidence(self) -> float:
        return float(self.record["header"]["confidence"])

    @property
    def pairs(self) -> list[dict[str, Any]]:
        pairs: list[dict[str, Any]] = self.record["header"]["pairs"]
        return pairs

    def on(self, label: str) -> list[Board]:
        """Boards of a task; more than one where models were measured in different protocols."""
        return [board for board in self.boards if board.label == label]

    def _columns(self, samples: str) -> ScoreColumns:
        return read_columns(self.published.samples_path(samples))

    def _boards(self) -> list[Board]:
        found: dict[tuple[str, str], Board] = {}

        def put(label: str, protocol: str, cell: dict[str, Any]) -> None:
            board = found.setdefault((label, protocol), Board(self, label, protocol))
            if cell["model"]:
                board.models.setdefault(cell["model"], []).append(cell)
            else:
                board.pairs[cell["teacher"], cell["student"]] = cell

        groups: dict[str, list[dict[str, Any]]] = {}
        for cell in self.record["cells"]:
            put(cell["label"], cell["protocol"], cell)
            if cell["group"] and cell["model"]:
                groups.setdefault(cell["group"], []).append(cell)
        for label, cells in groups.items():
            parts = [set(cell["protocol"].split("; ")) for cell in cells]
            common = set.intersection(*parts)
            shared = "; ".join(p for p in cells[0]["protocol"].split("; ") if p in common)
            for cell in cells:
                put(label, shared, cell)
        return list(found.values())
