"""The sample store: one folder per cell, named by what the cell's answers depend on.

    results/cells/<key>/cell.json       what the cell is and how far it got
    results/cells/<key>/samples.jsonl   samples, block after block, each closed by a commit line

A block counts only once its commit line has reached the disk, so a crash loses the block in flight and
nothing else. Cells are shared by all suites that write to the same results folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from kdbench.errors import StoreError
from kdbench.results.files import publish, writing
from kdbench.results.sample import Sample

SCHEMA = 1
"""Version of the store and of the tidy table; a reader of version k reads every version before it."""

Status = Literal["running", "done", "failed", "skipped"]


def cell_key(ingredients: dict[str, Any]) -> str:
    """Name of a cell: a hash of everything that can change its answers."""
    text = json.dumps(ingredients, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:32]


def check_schema(version: object, path: Path) -> None:
    """Refuse what a newer kdbench wrote, before anything is read wrongly or overwritten."""
    if not isinstance(version, int) or version < 1:
        raise StoreError(
            f"{path}: no schema version in it; it was not written by kdbench, or is damaged"
        )
    if version > SCHEMA:
        raise StoreError(
            f"{path}: written in schema {version} by a newer kdbench; this one reads up to schema "
            f"{SCHEMA}. Upgrade kdbench, or choose another folder with --results"
        )


@dataclass(frozen=True, slots=True)
class CellRecord:
    """How far a cell got.

    `covered` counts leading items that are stored; `total` is all that the task has, None until a run
    without a limit (or with one beyond the end) has seen them. A cell is a growing set of samples and its
    rows are views of the first `limit` of them, so `summaries` holds what the task summarised of every number
    of leading items (as text, for JSON) that was ever asked for.
    """

    key: str
    ingredients: dict[str, Any]
    status: Status = "running"
    reason: str = ""
    total: int | None = None
    covered: int = 0
    hardware: str = ""
    finished: str = ""
    kdbench: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    summaries: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    schema: int = SCHEMA

    def holds(self, limit: int | None) -> bool:
        """True where the samples of the first `limit` items are all there."""
        needed = self._extent(limit)
        return self.status == "done" and needed is not None and self.covered >= needed

    def covers(self, limit: int | None) -> bool:
        """True where nothing is left to measure or to summarise for the first `limit` items."""
        if not self.holds(limit):
            return False
        return not self.summaries or str(self._extent(limit)) in self.summaries

    def summary(self, limit: int | None) -> dict[str, dict[str, Any]]:
        """What the task summarised of the first `limit` items; empty where it summarises nothing."""
        return self.summaries.get(str(self._extent(limit)), {})

    def _extent(self, limit: int | None) -> int | None:
        """How many items the first `limit` are; None while that is not known."""
        return min((one for one in (limit, self.total) if one is not None), default=None)


class CellStore:
    """One cell's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record_path = folder / "cell.json"
        self._samples_path = folder / "samples.jsonl"

    def record(self) -> CellRecord | None:
        """What is known of the cell; None where it was never begun."""
        try:
            data = json.loads(self._record_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._record_path}: {error.strerror}") from error
        except ValueError as error:
            raise StoreError(
                f"{self._record_path}: not JSON ({error}); delete {self.folder}"
            ) from error
        check_schema(data.get("schema"), self._record_path)
        if "summary" in data:  # written when a cell kept that of its last run alone
            last = data.pop("summary")
            data["summaries"] = {str(data["covered"]): last} if last else {}
        return CellRecord(**data)

    def write_record(self, record: CellRecord) -> None:
        publish(
            self._record_path,
            (
                json.dumps(asdict(record), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            ).encode(),
        )

    def fail(self, record: CellRecord, reason: str) -> CellRecord:
        """Mark the cell as failed; its samples stay and are used when it is run again."""
        failed = replace(record, status="failed", reason=reason)
        self.write_record(failed)
        return failed

    def samples(self, limit: int | None = None) -> list[Sample]:
        """Committed samples with `index < limit`, in the order of their index."""
        committed, _ = self._read()
        found = [s for s in committed if limit is None or s.index < limit]
        return sorted(found, key=lambda s: s.index)

    @contextmanager
    def appending(self) -> Iterator[SampleLog]:
        """The cell's log, open for writing and locked against other processes."""
        from filelock import FileLock

        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock")
            lock.acquire()
        try:
            committed, end = self._read()
            with writing(self._samples_path):
                file = self._samples_path.open("ab")
            with file:
                log = SampleLog(file, self._samples_path, end, {s.index for s in committed})
                log.cut_torn_tail()
                yield log
        finally:
            lock.release()

    def _read(self) -> tuple[list[Sample], int]:
        """Committed samples, and the offset in bytes just behind the last commit."""
        try:
            content = self._samples_path.read_bytes() if self._samples_path.is_file() else b""
        except OSError as error:
            raise StoreError(f"{self._samples_path}: {error.strerror}") from error
        committed: list[Sample] = []
        block: list[Sample] = []
        end = offset = 0
        for number, line in enumerate(content.splitlines(keepends=True), 1):
            offset += len(line)
            if not line.endswith(b"\n"):
                break
            try:
                data = json.loads(line)
                if "commit" in data:
                    if data["commit"] != len(block):
                        raise ValueError(f"a block of {data['commit']} samples has {len(block)}")
                    committed.extend(block)
                    block = []
                    end = offset
                else:
                    block.append(Sample.from_json(data))
            except (ValueError, TypeError) as error:
                if b'"commit"' not in content[offset:]:
                    break
                raise StoreError(
                    f"{self._samples_path}:{number}: damaged ({error}); delete {self.folder} and run "
                    "again: only this cell is measured anew"
                ) from error
        return committed, end


class SampleLog:
    """Appends blocks of samples, each durable once `append` returns."""

    def __init__(self, file: Any, path: Path, end: int, stored: set[int]) -> None:
        self._file = file
        self._path = path
        self._end = end
        self.stored = stored
        """Indices of the samples that are already there."""

    def cut_torn_tail(self) -> None:
        if self._path.stat().st_size > self._end and self._path.is_file():
            self._file.truncate(self._end)

    def append(self, block: Sequence[Sample]) -> None:
        lines = [json.dumps(s.to_json(), ensure_ascii=False, separators=(",", ":")) for s in block]
        lines.append(json.dumps({"commit": len(block)}))
        content = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
        try:
            with writing(self._path):
                self._file.write(content)
                self._file.flush()
                os.fsync(self._file.fileno())
        except StoreError:
            self.cut_torn_tail()
            raise
        self._end += len(content)
        self.stored.update(sample.index for sample in block)


class Store:
    """A results folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def cell(self, key: str) -> CellStore:
        return CellStore(self.root / "cells" / key)

    def check_writable(self) -> None:
        """Raise `StoreError` now rather than after an hour of work."""
        probe = self.root / "cells" / f".probe-{os.getpid()}"
        with writing(self.root):
            probe.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"kdbench")
            probe.unlink()
