"""Every sample of a run, in files small enough to load one by one.

For each task and protocol: the documents in chunks, and for each model its outputs in the same chunks
and its scores as one list. Models are matched by the samples' ids; all of them answer to the documents'
order, which is the teacher's with what only others have at its end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.leaderboard.data_files import DataFiles
from kdbench.leaderboard.folders import RunFolder
from kdbench.results.addresses import identifier

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CHUNK = 100
"""Documents in one file."""

_IMAGES = {
    b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg", b"GIF87a": "gif", b"GIF89a": "gif",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SampleBoard:
    """The samples of one task in one protocol; `models` are the names that have some."""

    task: str
    protocol: str
    index: str
    metrics: list[str]
    n: int
    models: frozenset[str]

    def has(self, *models: str) -> bool:
        return self.models.issuperset(models)

    def json(self) -> dict[str, Any]:
        return {
            "task": self.task, "protocol": self.protocol, "index": self.index,
            "metrics": self.metrics, "n": self.n,
        }  # fmt: skip


def write(site: DataFiles, run: RunFolder) -> dict[tuple[str, str], SampleBoard]:
    """Write the samples of all finished cells of models; cells without their file are noticed."""
    teachers = {pair["teacher"] for pair in run.pairs.values()}
    tasks: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in run.cells:
        if cell["status"] == "done" and cell["model"]:
            tasks.setdefault((cell["label"], cell["protocol"]), []).append(cell)
    boards = {}
    for key, cells in tasks.items():
        cells.sort(key=lambda cell: cell["model"] not in teachers)
        readable = [cell for cell in cells if _readable(site, run, cell)]
        if readable:
            boards[key] = _write_board(site, run, *key, readable)
    return boards


def _readable(site: DataFiles, run: RunFolder, cell: dict[str, Any]) -> bool:
    import pyarrow
    import pyarrow.parquet

    path = run.published.samples_path(cell["samples"])
    try:
        columns = pyarrow.parquet.read_schema(path).names
    except (OSError, pyarrow.ArrowException):
        site.notice(
            f"{run.label}: the samples of {cell['label']} on {cell['model']} are missing or damaged "
            f"(samples/{path.name}); the table's numbers are shown without them"
        )
        return False
    return {"id", "prompt", "target", "output", "scores", "tags", "extra"} <= set(columns)


def _write_board(
    site: DataFiles, run: RunFolder, task: str, protocol: str, cells: list[dict[str, Any]]
) -> SampleBoard:
    folder = f"data/samples/{identifier(run.id, task, protocol)}"
    own_ids = [_ids(run, cell) for cell in cells]
    documents, places = _documents(own_ids)
    writer = _Board(site, run, folder, len(documents))
    models = [
        writer.write_model(number, cell, place)
        for number, (cell, place) in enumerate(zip(cells, places, strict=True))
    ]
    writer.write_documents([run.published.samples_path(cell["samples"]) for cell in cells], places)
    site.write(
        f"{folder}/index.js",
        {
            "n": len(documents), "chunk": CHUNK, "task": task, "protocol": protocol,
            "tags": writer.tags, "models": models, "images": writer.images,
        },
    )  # fmt: skip
    metrics = [metric["name"] for metric in cells[0]["metrics"]]
    names = frozenset(cell["model"] for cell in cells)
    return SampleBoard(task, protocol, f"{folder}/index.js", metrics, len(documents), names)


def _ids(run: RunFolder, cell: dict[str, Any]) -> npt.NDArray[Any]:
    import numpy as np
    import pyarrow.parquet

    path = run.published.samples_path(cell["samples"])
    column = pyarrow.parquet.read_table(path, columns=["id"])["id"]
    return np.concatenate(
        [np.asarray(part, dtype="S") for part in column.chunks] or [np.empty(0, "S1")]
    )


def _documents(
    own: list[npt.NDArray[Any]],
) -> tuple[npt.NDArray[Any], list[npt.NDArray[np.int64]]]:
    """All ids, the first model's order first, and where each model's samples stand among them."""
    import numpy as np

    documents = own[0]
    places = [np.arange(len(documents))]
    for ids in own[1:]:
        if len(ids) == len(documents) and np.array_equal(ids, documents):
            places.append(np.arange(len(ids)))
            continue
        new = ids[~np.isin(ids, documents)]
        documents = np.concatenate([documents, new])
        order = np.argsort(documents, kind="stable")
        places.append(order[np.searchsorted(documents, ids, sorter=order)])
    return documents, places


class _Board:
    def __init__(self, site: DataFiles, run: RunFolder, folder: str, count: int) -> None:
        self.site, self.run, self.folder, self.count = site, run, folder, count
        self.tags: dict[str, Any] = {}
        self.images = False

    def write_model(
        self, number: int, cell: dict[str, Any], place: npt.NDArray[np.int64]
    ) -> dict[str, Any]:
        """Outputs and scores of one model; its line of the index."""
        metrics = cell["metrics"]
        scores: dict[str, list[float | None]] = {m["name"]: [None] * self.count for m in metrics}
        present = bytearray(self.count)
        path = self.run.published.samples_path(cell["samples"])
        for chunk, rows in _chunks(path, place, ["output", "scores", "extra"]):
            output: list[str | None] = []
            image: list[str | None] = []
            details: list[dict[str, Any] | None] = []
            for document, row in rows:
                if row is None:
                    output.append(None)
                    image.append(None)
                    details.append(None)
                    continue
                present[document] = 1
                given = json.loads(row["scores"])
                for metric in metrics:
                    scores[metric["name"]][document] = score_of_one(
                        metric["aggregation"], given.get(metric["name"])
                    )
                extra = json.loads(row["extra"])
                picture = extra.pop("image", None)
                image.append(self._picture(picture) if isinstance(picture, str) else None)
                output.append(row["output"])
                details.append(_plain(extra) or None)
            data: dict[str, Any] = {"output": output, "details": details}
            if any(image):
                self.images = True
                data["image"] = image
            self.site.write(f"{self.folder}/out-{number}-{chunk}.js", data)
        self.site.write(f"{self.folder}/scores-{number}.js", scores)
        return {
            "name": cell["model"],
            "key": cell["key"],
            "metrics": [{key: m[key] for key in ("name", "unit", "better")} for m in metrics],
            "present": None if all(present) else list(present),
        }

    def write_documents(self, paths: list[Path], places: list[npt.NDArray[np.int64]]) -> None:
        """Prompts, targets and tags, each from the first model that has the document."""
        import numpy as np

        columns = ["id", "prompt", "target", "tags"]
        first = len(places[0])
        extra: dict[int, dict[str, Any]] = {}
        for path, place in zip(paths[1:], places[1:], strict=True):
            wanted = np.flatnonzero(place >= first)
            if len(wanted):
                import pyarrow.parquet

                taken = pyarrow.parquet.read_table(path, columns=columns).take(wanted)
                for document, row in zip(place[wanted].tolist(), taken.to_pylist(), strict=True):
                    extra.setdefault(document, row)
        tags: dict[str, tuple[list[int], dict[str, int]]] = {}
        for chunk, rows in _chunks(paths[0], places[0], columns, self.count):
            found = [row if row is not None else extra[document] for document, row in rows]
            self.site.write(
                f"{self.folder}/docs-{chunk}.js",
                {key: [row[key] for row in found] for key in ("id", "prompt", "target")},
            )
            for (document, _), row in zip(rows, found, strict=True):
                for name, text in json.loads(row["tags"]).items():
                    if name not in tags:
                        tags[name] = ([-1] * self.count, {})
                    codes, values = tags[name]
                    codes[document] = values.setdefault(str(text), len(values))
        self.tags = {
            name: {"codes": codes, "values": list(values)} for name, (codes, values) in tags.items()
        }

    def _picture(self, name: str) -> str | None:
        """Copy an image of the results folder into the site; nothing from outside that folder."""
        root = self.run.published.folder.resolve()
        source = (root / name).resolve()
        if not (source.is_relative_to(root) and source.is_file()):
            self.site.notice(f"{self.run.label}: no image {name!r} in the results folder")
            return None
        with source.open("rb") as file:
            head = file.read(12)
        ending = next((e for magic, e in _IMAGES.items() if head.startswith(magic)), None)
        if head[:4] == b"RIFF" and head[8:] == b"WEBP":
            ending = "webp"
        if ending is None:
            self.site.notice(f"{self.run.label}: {name!r} is not a PNG, JPEG, WebP or GIF image")
            return None
        path = f"data/images/{sha256(source.read_bytes()).hexdigest()[:16]}.{ending}"
        return path if (self.site.root / path).exists() else self.site.copy(path, source)


Rows = list[tuple[int, dict[str, Any] | None]]


def _chunks(
    path: Path, place: npt.NDArray[np.int64], columns: list[str], count: int | None = None
) -> Iterator[tuple[int, Rows]]:
    """(chunk number, [(document, row or None)]) over all documents, in order.

    Where the file has the documents' order it is streamed; otherwise it is read and put in order.
    """
    import numpy as np
    import pyarrow.parquet

    total = max(count or 0, int(place.max()) + 1 if len(place) else 0)
    if np.array_equal(place, np.arange(len(place))):
        file = pyarrow.parquet.ParquetFile(path)
        rows = (row for b in file.iter_batches(4096, columns=columns) for row in b.to_pylist())
    else:
        table = pyarrow.parquet.read_table(path, columns=columns)
        where = np.full(total, -1)
        where[place] = np.arange(len(place))
        rows = (None if row < 0 else table.slice(row, 1).to_pylist()[0] for row in where.tolist())
    for start in range(0, total, CHUNK):
        documents = range(start, min(start + CHUNK, total))
        yield start // CHUNK, [(document, next(rows, None)) for document in documents]


def score_of_one(aggregation: str, score: Any) -> float | None:
    """One sample's score as a number in its metric's unit.

    Log-likelihoods become what they would be if the sample stood alone: perplexities and bits per byte;
    other lists (a truth with a prediction, say) have no number of their own.
    """
    if isinstance(score, (list, tuple)) and len(score) == 2 and aggregation in _PER_WEIGHT:
        logprob, weight = score
        score = _PER_WEIGHT[aggregation](-logprob / weight) if weight else None
    elif isinstance(score, (int, float)) and aggregation == "perplexity":
        score = _exp(-score)
    if not isinstance(score, (int, float)) or not math.isfinite(score):
        return None
    return round(float(score), 6)


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


_PER_WEIGHT = {"bits_per_byte": lambda nats: nats / math.log(2), "weighted_perplexity": _exp}


def _plain(value: Any) -> Any:
    """JSON without NaN and infinities."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
