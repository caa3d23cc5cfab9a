"""Published results as gates see them: tasks, models, and scores joined by sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import StoreError
from kdbench.results.published import Published
from kdbench.results.scores import ScoreColumns, read_columns
from kdbench.results.table import Row, read_csv
from kdbench.run.arrival import END, PROTOCOL, place
from kdbench.tasks.task import Metric

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Answers:
    """A model's scores of one metric: ids, cluster labels and raw scores of the samples that have one.

    `places` are their clusters' places in the random order in which a run that stops early met them, None
    where that does not matter; `share` is how far it went, `largest` the size of its largest cluster.
    """

    ids: npt.NDArray[Any]
    clusters: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    places: npt.NDArray[Any] | None = None
    share: float = 1.0
    largest: int = 1

    def within(self, share: float) -> Answers:
        """The answers in the first `share` of the random order."""
        if self.places is None or share >= 1:
            return self
        keep = self.places < share * END
        return replace(
            self, ids=self.ids[keep], clusters=self.clusters[keep], scores=self.scores[keep],
            places=self.places[keep], share=min(share, self.share),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Board:
    """One task, or a group of tasks pooled, in one protocol: cells by model and by pair."""

    results: Results
    label: str
    protocol: str
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    pairs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def dialect(self) -> str:
        """The protocol without how many of the documents were met: gates join those that both have."""
        parts = self.protocol.split("; ")
        return "; ".join(part for part in parts if part != f"documents={PROTOCOL}")

    def metric(self, name: str) -> Metric | None:
        """What the board's cells declare under `name`."""
        for cell in [*(cells[0] for cells in self.models.values()), *self.pairs.values()]:
            for metric in cell["metrics"]:
                if metric["name"] == name:
                    return Metric(**metric)
        return None

    def concerns(self, pair: dict[str, Any]) -> bool:
        """Whether the task was asked of this pair at all; a suite may list tasks for some pairs."""
        return (pair["teacher"], pair["student"]) in self.pairs or pair["student"] in self.models

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

    def answers(
        self, model: str, metric: str, tag: tuple[str, str] | None, order: int | None = None
    ) -> Answers:
        """Scores of a model; samples of pooled tasks carry their task's name.

        `order` is the seed of the random order that places are wanted in, None for none.
        """
        cells = self.models[model]
        return self._answers(cells, metric, tag, len(cells) > 1, order)

    def pair_answers(
        self,
        pair: tuple[str, str],
        metric: str,
        tag: tuple[str, str] | None,
        order: int | None = None,
    ) -> Answers:
        return self._answers([self.pairs[pair]], metric, tag, False, order)

    def _answers(
        self,
        cells: list[dict[str, Any]],
        metric: str,
        tag: tuple[str, str] | None,
        pooled: bool,
        order: int | None,
    ) -> Answers:
        import numpy as np

        ids, clusters, scores, places = [], [], [], []
        for cell in cells:
            columns = self.results.columns(cell["samples"])
            keep = columns.present(metric)
            if tag is not None:
                keep &= columns.tagged(*tag)
            prefix = f"{cell['label']}:" if pooled else ""
            ids.append(_prefixed(prefix.encode(), columns.ids[keep]))
            clusters.append(_prefixed(prefix, columns.clusters[keep]))
            scores.append(columns.of(metric)[keep])
            if order is not None:
                places.append(_places(order, cell["label"], columns.clusters[keep]))
        found = Answers(np.concatenate(ids), np.concatenate(clusters), np.concatenate(scores))
        if order is None:
            return found
        reaches = [cell.get("reach") or {"share": 1.0, "largest": 1} for cell in cells]
        found = replace(
            found, places=np.concatenate(places), largest=max(r["largest"] for r in reaches)
        )
        return found.within(min(reach["share"] for reach in reaches))


def _places(seed: int, label: str, clusters: npt.NDArray[Any]) -> npt.NDArray[Any]:
    import numpy as np

    names, codes = np.unique(clusters, return_inverse=True)
    places = [place(seed, label, str(name)) for name in names]
    return np.array(places, dtype=np.uint64)[codes]


def _prefixed(prefix: str | bytes, names: npt.NDArray[Any]) -> npt.NDArray[Any]:
    import numpy as np

    return np.char.add(prefix, names) if prefix else names


class Results:
    """The results of a run, as boards; see `published_results` for those in a folder."""

    def __init__(
        self,
        name: str,
        record: dict[str, Any],
        columns: Callable[[str], ScoreColumns],
        rows: Callable[[], list[Row]] = list,
    ) -> None:
        """`name` is what messages call them, `record` holds header and cells, `columns` reads samples by
        name and `rows` the table."""
        self.name = name
        self.record = record
        self.columns = cache(columns)
        self.rows = cache(rows)
        self.boards = self._boards()

    @property
    def order(self) -> int | None:
        """The seed of the random order in which documents were met, None for runs over all of them."""
        early = any(cell.get("reach") for cell in self.record["cells"])
        return int(self.record["header"]["seed"]) if early else None

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


def published_results(folder: Path, name: str = "") -> Results:
    """The results in a folder; `name` is what messages call it. `StoreError` where there are none."""
    published, name = Published(folder), name or str(folder)
    record = published.read_run()
    if record is None:
        raise StoreError(f"{name}: no results here (no run.json); `kdbench run SUITE` makes them")
    return Results(
        name,
        record,
        lambda samples: read_columns(published.samples_path(samples)),
        lambda: read_csv(published.table),
    )
