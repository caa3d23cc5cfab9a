"""Which YAML file defines an lm-eval task, group or tag, without parsing lm-eval's 14,000 of them.

lm-eval's own index parses every file at every start. The names hang on five top-level keys only
(task, group, tag, class, include), which one pass over the raw bytes finds; a file is parsed as
YAML only where one of these keys has a value that is more than a plain name. The result is cached
on disk.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from kdbench.errors import TaskError, did_you_mean
from kdbench.models.file_hash import cache_dir

FORMAT = 1
Kind = Literal["task", "python", "group", "tag"]
_IGNORED_FOLDERS = {"__pycache__", ".ipynb_checkpoints"}
_KEYS = ("task", "group", "tag", "class", "include")
_LINE = re.compile(rb"""^(["']?)(task|group|tag|class|include)\1[ \t]*:(.*)$""", re.MULTILINE)
_NAME = re.compile(r"""(["']?)([A-Za-z_][\w.+-]*)\1""")
_ITEMS = re.compile(rb"(?:\r?\n[ \t]*-[^\r\n]*)+")
_ITEM = re.compile(rb"-[ \t]*([^\r\n]*)")
_NOT_TEXT = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}


@dataclass
class Index:
    """Names of one lm-eval installation. Paths are relative to its task folder.

    `python` tasks are classes, not YAML recipes; a `tag` stands for the tasks that carry it.
    """

    tasks: dict[str, str] = field(default_factory=dict)
    python: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)

    def __contains__(self, name: object) -> bool:
        return any(name in kind for kind in (self.tasks, self.python, self.groups, self.tags))

    def names(self) -> list[str]:
        """Every name that a suite may use."""
        return sorted({*self.tasks, *self.python, *self.groups, *self.tags})


@dataclass(frozen=True, slots=True)
class Entry:
    """What one name stands for: a file, or for a tag the sorted names of its tasks."""

    name: str
    kind: Kind
    path: Path | None
    tasks: tuple[str, ...] = ()


@cache
def lm_eval_version() -> str:
    """Version of the installed lm-eval; `TaskError` where there is none."""
    try:
        return version("lm_eval")
    except PackageNotFoundError:
        raise TaskError(_MISSING) from None


@cache
def tasks_folder() -> Path:
    """Where the installed lm-eval keeps its task files, found without importing it."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise TaskError(_MISSING)
    return Path(spec.submodule_search_locations[0]) / "tasks"


@cache
def installed() -> Index:
    """The index of the installed lm-eval, from the cache where there is one."""
    try:
        return Index(**json.loads(_cache_file().read_bytes()))
    except (OSError, ValueError, TypeError):
        return _scan_and_keep()


@cache
def _look_again() -> Index:
    """The cache may be older than a file added to an editable installation of lm-eval."""
    installed.cache_clear()
    return _scan_and_keep()


def _scan_and_keep() -> Index:
    index = scan(tasks_folder())
    _keep(index, _cache_file())
    return index


def _cache_file() -> Path:
    folder = tasks_folder()
    stamp = [FORMAT, lm_eval_version(), str(folder), folder.stat().st_mtime_ns]
    digest = sha256(json.dumps(stamp).encode()).hexdigest()[:16]
    return cache_dir() / f"lm-eval-names-{digest}.json"


def entry(name: str) -> Entry:
    """What `name` stands for in the installed lm-eval; else `TaskError` with the nearest name."""
    index = installed()
    if name not in index:
        index = _look_again()
    if name in index.tags:
        return Entry(name, "tag", None, tuple(sorted(index.tags[name])))
    kinds: tuple[tuple[Kind, dict[str, str]], ...] = (
        ("task", index.tasks),
        ("python", index.python),
        ("group", index.groups),
    )
    for kind, paths in kinds:
        if name in paths:
            return Entry(name, kind, tasks_folder() / paths[name])
    raise TaskError(
        f"lm-eval {lm_eval_version()} has no task, group or tag named {name!r}"
        f"{did_you_mean(name, index.names())}; for a task of your own give the path of its YAML "
        "file (ending in .yaml), relative to the suite"
    )


def scan(folder: Path) -> Index:
    """Read the names of every YAML file under `folder`.

    Of two files with one name the first by path wins, as in lm-eval.
    """
    index = Index()
    known: dict[str, dict[str, Any]] = {}
    for path in sorted(_yaml_files(str(folder))):
        try:
            keys = _keys_of(path, known)
        except (OSError, ValueError):
            continue  # lm-eval skips what it can't read; the name is then unknown, with an error
        _register(keys, os.path.relpath(path, folder).replace(os.sep, "/"), index)
    return index


def _register(keys: dict[str, Any], path: str, index: Index) -> None:
    if "class" in keys or "group" not in keys:
        name, kind = keys.get("task"), index.python if "class" in keys else index.tasks
    else:
        name, kind = keys["group"], index.groups
    if not isinstance(name, str) or name in index:
        return
    kind[name] = path
    if kind is index.groups:
        return
    tags = keys.get("tag") or []
    for tag in [tags] if isinstance(tags, str) else tags:
        if tag not in index or tag in index.tags:
            index.tags.setdefault(tag, []).append(name)


def _yaml_files(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _IGNORED_FOLDERS:
                    yield from _yaml_files(entry.path)
            elif entry.name.endswith(".yaml"):
                yield entry.path


def _keys_of(path: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The five keys of a file after its includes. `known` remembers included files."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - 14,000 times
        raw = file.read()
    found = _plain_keys(raw)
    if found is None:
        found = _parsed_keys(raw)
    include = found.pop("include", None)
    if include is None:
        return found
    merged: dict[str, Any] = {}
    for name in [include] if isinstance(include, str) else include:
        target = os.path.normpath(os.path.join(os.path.dirname(path), name))  # noqa: PTH118, PTH120
        if target not in known:
            known[target] = {}  # a file that includes itself adds nothing
            known[target] = _keys_of(target, known)
        merged.update(known[target])
    return {**merged, **found}


def _plain_keys(raw: bytes) -> dict[str, Any] | None:
    """The keys where all are plain names or lists of them; None where YAML has to decide."""
    found: dict[str, Any] = {}
    for match in _LINE.finditer(raw):
        key, text = match[2].decode(), match[3].strip()
        if text.startswith(b"!function"):
            found[key] = True
            continue
        value: Any = _plain_name(text, path=key == "include") if text else _plain_list(raw, match)
        if value is None:
            return None
        found[key] = value
    return found


def _plain_list(raw: bytes, match: re.Match[bytes]) -> list[str] | None:
    items = _ITEMS.match(raw, match.end())
    if items is None:
        return None
    if match[2] == b"task":
        return []  # a group's members: read when the group is asked for
    names = [_plain_name(item.strip()) for item in _ITEM.findall(items[0])]
    return None if None in names else names  # type: ignore[return-value]


def _plain_name(text: bytes, path: bool = False) -> str | None:
    name = text.decode("utf-8", "replace")
    if path and re.fullmatch(r"[\w./-]+", name):
        return name
    match = _NAME.fullmatch(name)
    return match[2] if match and match[2].lower() not in _NOT_TEXT else None


def _parsed_keys(raw: bytes) -> dict[str, Any]:
    from kdbench.tasks.lmeval.yamls import parse

    values = parse(raw)
    return {key: values[key] for key in _KEYS if key in values}


def _keep(index: Index, path: Path) -> None:
    """Write the cache in one step, so that processes that start together never read half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=path.name, suffix=".new", delete=False, encoding="utf-8"
        ) as file:
            json.dump(asdict(index), file, separators=(",", ":"))
        Path(file.name).replace(path)
    except OSError:
        return  # a read-only home costs a scan at each start, nothing else


_MISSING = (
    "lm-eval is not installed, and the reasoning tasks are its own; "
    "install it with: pip install 'kdbench[lm]'"
)
