"""JSON lines and numbers of other tools, with their faults named by file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from kdbench.errors import StoreError


def text_of(path: Path) -> str:
    """The text of a file; `StoreError` for one that is missing, empty or not UTF-8."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise StoreError(f"{path}: no such file") from None
    except OSError as error:
        raise StoreError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: can't be read: not UTF-8 text ({error.reason})") from error
    if not text.strip():
        raise StoreError(
            f"{path}: empty; the tool that should have written it has measured nothing"
        )
    return text


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands, and what was found there: `path` leads from the line's object to it."""

    file: Path
    line: int
    path: str = ""

    def refuse(self, message: str) -> NoReturn:
        where = f"{self.file}:{self.line}: "
        raise StoreError(f"{where}{self.path}: {message}" if self.path else f"{where}{message}")

    def at(self, name: str) -> Place:
        return Place(self.file, self.line, f"{self.path}.{name}" if self.path else name)


def objects(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Each line's JSON object; empty lines are passed over. Raises `StoreError`."""
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        place = Place(path, number)
        try:
            found = json.loads(line)
        except ValueError as error:
            place.refuse(
                f"not JSON ({error}); one whole object a line is needed: a run that was cut off leaves half "
                "a line, which can be deleted, and an object over several lines becomes one with jq -c"
            )
        if not isinstance(found, dict):
            place.refuse(f"a JSON object is needed, not {_kind(found)}")
        yield place, found


def field(place: Place, holder: dict[str, Any], name: str) -> Any:
    """What stands under `name`; `StoreError` where nothing does."""
    if holder.get(name) is None:
        place.at(name).refuse("missing")
    return holder[name]


def record(place: Place, holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = field(place, holder, name)
    if not isinstance(found, dict):
        place.at(name).refuse(f"an object is needed, not {_kind(found)}")
    return found


def array(place: Place, holder: dict[str, Any], name: str) -> list[Any]:
    found = field(place, holder, name)
    if not isinstance(found, list):
        place.at(name).refuse(f"a list is needed, not {_kind(found)}")
    return found


def count(place: Place, value: object) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        place.refuse(f"a count is needed, not {value!r}")
    if value < 0:
        place.refuse(f"a count is never negative, but this is {value:g}")
    return int(value)


def duration(place: Place, value: object) -> float:
    """Seconds (or milliseconds), more than 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e12:
        place.refuse(f"a time above 0 is needed, not {value!r}")
    return float(value)


def counts(place: Place, holder: dict[str, Any], name: str) -> list[int]:
    """A list of whole numbers, 0 or more."""
    return [count(place.at(f"{name}[{i}]"), x) for i, x in enumerate(array(place, holder, name))]


def moment(value: object) -> float:
    """Seconds since 1970 of a time stamp, 0 for what can be none."""
    return float(value) if isinstance(value, (int, float)) and 0 < value < 1e11 else 0.0


def _kind(value: object) -> str:
    names = {list: "a list", dict: "an object", str: "a text", type(None): "null"}
    return names.get(type(value), f"{value!r}")
