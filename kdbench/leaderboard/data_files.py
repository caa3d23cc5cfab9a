"""The files of a site: written beside the old site and swapped in whole.

A data file is a script that hands one JSON value to the page, because a page opened from `file://` may
run the scripts beside it but not read other files.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdbench.errors import SettingsConflictError
from kdbench.results.files import writing

MARKER = "data/site.js"
"""The file by which a folder is known to be a site."""

_UNSAFE = {"<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def coded(texts: Sequence[str | None]) -> dict[str, Any]:
    """A text column with each distinct text once; code -1 stands for None."""
    codes: dict[str, int] = {}
    return {
        "codes": [-1 if text is None else codes.setdefault(text, len(codes)) for text in texts],
        "values": list(codes),
    }


def finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity; the page shows neither."""
    return value if value is not None and math.isfinite(value) else None


def script(path: str, data: Any) -> str:
    """Text of a data file. Raises ValueError for NaN and infinities."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _UNSAFE.items():
        if character in text:
            text = text.replace(character, escape)
    return f"kdbench.receive({json.dumps(path)},{text});\n"


class DataFiles:
    """Writes into the folder of a site; `size` counts the bytes written, `notices` what went wrong."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.size = 0
        self.notices: list[str] = []

    def write(self, path: str, data: Any) -> str:
        """Write a data file at `path` (POSIX, relative to the site) and return the path."""
        return self.text(path, script(path, data))

    def text(self, path: str, text: str) -> str:
        content = text.encode("utf-8", "replace")
        target = self._place(path)
        with writing(target):
            target.write_bytes(content)
        self.size += len(content)
        return path

    def copy(self, path: str, source: Path) -> str:
        target = self._place(path)
        with writing(target):
            shutil.copyfile(source, target)
        self.size += target.stat().st_size
        return path

    def notice(self, text: str) -> None:
        """Something that a visitor should know; said once."""
        if text not in self.notices:
            self.notices.append(text)

    def _place(self, path: str) -> Path:
        target = self.root / path
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        return target


@contextmanager
def new_site(out: Path) -> Iterator[DataFiles]:
    """A folder to write a site into; it becomes `out` when the block ends well, else it vanishes.

    Raises `SettingsConflictError` where `out` holds something that is not a site.
    """
    if out.exists() and not (out / MARKER).is_file() and (out.is_file() or any(out.iterdir())):
        raise SettingsConflictError(
            f"{out}: there is something here that is not a kdbench site; choose another folder "
            "with --out, or remove it"
        )
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        folder.chmod(0o755)
        yield DataFiles(folder)
        with writing(out):
            _swap(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(new: Path, out: Path) -> None:
    if not out.exists():
        new.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    out.rename(old / "site")
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)
