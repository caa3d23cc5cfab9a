"""A suite's published results: the table, every sample as Parquet, and the record of the run.

    results/<suite>/metrics.csv                the tidy table
    results/<suite>/samples/<cell>.parquet     the samples that it was computed from
    results/<suite>/run.json                   plan, suite text, provenance

The table can be computed again from the other two without a model, torch or the network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.errors import StoreError
from kdbench.results.files import publish
from kdbench.results.sample import Sample
from kdbench.results.store import check_schema

_JSON_COLUMNS = ("scores", "tags", "extra")
_TEXT_COLUMNS = ("id", "cluster", "prompt", "target", "output")


@dataclass(frozen=True, slots=True)
class Published:
    """A folder written by `kdbench run`."""

    folder: Path

    @property
    def table(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def run(self) -> Path:
        return self.folder / "run.json"

    def samples_path(self, name: str) -> Path:
        return self.folder / "samples" / f"{name}.parquet"

    def read_run(self) -> dict[str, Any] | None:
        """The run's record; None where nothing was published here."""
        try:
            data = json.loads(self.run.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.run}: can't be read: {error}") from error
        check_schema(data.get("schema"), self.run)
        assert isinstance(data, dict)
        return data

    def write_run(self, record: dict[str, Any]) -> None:
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        publish(self.run, text.encode("utf-8", "surrogatepass"))

    def write_table(self, text: str) -> None:
        publish(self.table, text.encode())

    def write_samples(self, name: str, samples: Sequence[Sample]) -> None:
        """Samples as one Parquet file; nested fields as JSON text, so that any reader can open them."""
        import pyarrow
        import pyarrow.parquet

        columns: dict[str, Any] = {
            "index": pyarrow.array([s.index for s in samples], pyarrow.int64())
        }
        for column in _TEXT_COLUMNS:
            texts = [_clean(getattr(s, column)) for s in samples]
            columns[column] = pyarrow.array(texts, pyarrow.string())
        for column in _JSON_COLUMNS:
            texts = [
                _clean(json.dumps(getattr(s, column), ensure_ascii=False, sort_keys=True))
                for s in samples
            ]
            columns[column] = pyarrow.array(texts, pyarrow.string())
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table(columns), sink, compression="zstd")
        publish(self.samples_path(name), sink.getvalue().to_pybytes())

    def read_samples(self, name: str) -> list[Sample]:
        """Samples of one cell, in the order of their index."""
        import pyarrow.parquet

        path = self.samples_path(name)
        try:
            records = pyarrow.parquet.read_table(path).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise StoreError(f"{path}: can't be read: {error}") from error
        for record in records:
            for column in _JSON_COLUMNS:
                record[column] = json.loads(record[column])
        return [Sample.from_json(record) for record in records]


def _clean(text: str) -> str:
    """Parquet holds UTF-8 only; a lone surrogate that a tokenizer left becomes a replacement mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
