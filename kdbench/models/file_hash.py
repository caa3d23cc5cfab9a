"""sha256 of files, remembered on disk: gigabytes of weights are read once, not at every run.

A remembered hash counts only while the file's device, inode, size and modification time
(nanoseconds) are what they were. The memory lies in `KDBENCH_CACHE`, else in
`XDG_CACHE_HOME/kdbench`; losing it, or being unable to write it, costs time and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

REMEMBER_FROM = 1 << 20

_log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """kdbench's own folder for things that can be made again."""
    chosen = os.environ.get("KDBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    root = Path(base).expanduser() if base else Path.home() / ".cache"
    return root / "kdbench"


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's content; from memory where the file is large and has not changed."""
    stat = path.stat()
    if stat.st_size < REMEMBER_FROM:
        return _read(path)
    state = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns]
    note = cache_dir() / "hashes" / f"{sha256(repr(state[:2]).encode()).hexdigest()[:32]}.json"
    digest = _recall(note, state)
    if digest is None:
        digest = _read(path)
        _remember(note, {"state": state, "sha256": digest})
    return digest


def digest_of(parts: Mapping[str, str]) -> str:
    """Hex sha256 of named digests, whatever their order."""
    return sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _recall(note: Path, state: list[int]) -> str | None:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(known, dict) and known.get("state") == state
    return str(known["sha256"]) if fits and "sha256" in known else None


def _remember(note: Path, known: dict[str, Any]) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=note.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(known, file)
            Path(name).replace(note)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
    except OSError as error:
        _log.info("the hash of a large file can't be remembered in %s: %s", note.parent, error)
