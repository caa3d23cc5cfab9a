"""An lm-eval task's YAML with its includes, read without importing the code that it names."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdbench.errors import TaskError

_NOT_IN_HASH = frozenset(
    {
        "task", "task_alias", "tag", "group", "task_list", "metadata", "num_fewshot",
        "generation_kwargs", "should_decontaminate", "doc_to_decontamination_query",
    }
)  # fmt: skip
"""Keys that name or describe a task, or that the protocol states in parts of their own."""

_DRAWS = re.compile(rb"random|shuffle|train_test_split")
_DATA_PATHS = ("data_files", "data_dir", "cache_dir")


@dataclass(frozen=True, slots=True)
class FunctionReference:
    """`!function module.name` in a YAML file: `spec` as written, `folder` that of the file."""

    spec: str
    folder: Path | None

    @property
    def name(self) -> str:
        return self.spec.rpartition(".")[2]

    @property
    def source(self) -> Path | None:
        """The Python file beside the YAML, None where the module comes from the environment."""
        if self.folder is None:
            return None
        path = self.folder / (self.spec.rpartition(".")[0].replace(".", "/") + ".py")
        return path if path.is_file() else None


def read(path: Path) -> dict[str, Any]:
    """The mapping in `path` over those that it includes, `!function` values as references.

    As in lm-eval the file's own keys win over included ones, and later includes over earlier.
    Raises `TaskError`.
    """
    return _read(path.resolve(), set())


def parse(raw: bytes, folder: Path | None = None) -> dict[str, Any]:
    """One YAML mapping by the safe loader; ValueError for anything else."""
    import yaml

    try:
        values = yaml.load(raw, _loader(folder))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(values, dict):
        raise ValueError(f"expected a mapping, found {type(values).__name__}")
    return values


def _read(path: Path, seen: set[Path]) -> dict[str, Any]:
    if path in seen:
        raise TaskError(f"{path}: included twice; an lm-eval task may include a file only once")
    seen.add(path)
    try:
        own = parse(path.read_bytes(), path.parent)
    except FileNotFoundError:
        raise TaskError(f"{path}: no such task file") from None
    except (OSError, ValueError) as error:
        raise TaskError(f"{path}: not a task's YAML: {error}") from error
    include = own.pop("include", None)
    merged: dict[str, Any] = {}
    for name in include if isinstance(include, list) else [include] if include else []:
        included = _read((path.parent / name).resolve(), seen)
        included.pop("task_list", None)
        merged.update(included)
    return {**merged, **own}


@cache
def _loader(folder: Path | None) -> Any:
    import yaml

    base: Any = yaml.CSafeLoader if getattr(yaml, "__with_libyaml__", False) else yaml.SafeLoader

    class Loader(base):  # type: ignore[misc]
        pass

    def function(loader: Any, node: Any) -> FunctionReference:
        return FunctionReference(str(loader.construct_scalar(node)), folder)

    Loader.add_constructor("!function", function)
    return Loader


def to_json(value: Any) -> Any:
    """A configuration as JSON can hold it; `from_json` turns it back."""
    if isinstance(value, FunctionReference):
        return {"!function": value.spec, "in": str(value.folder or "")}
    if isinstance(value, Mapping):
        return {str(key): to_json(part) for key, part in value.items()}
    return [to_json(part) for part in value] if isinstance(value, list) else value


def from_json(value: Any) -> Any:
    """The configuration that `to_json` wrote."""
    if isinstance(value, Mapping):
        if value.keys() == {"!function", "in"}:
            return FunctionReference(value["!function"], Path(value["in"]) if value["in"] else None)
        return {key: from_json(part) for key, part in value.items()}
    return [from_json(part) for part in value] if isinstance(value, (list, tuple)) else value


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash of all that can change a prompt or a score: the recipe and the source of its functions.

    The data's whereabouts are left out (its content has a fingerprint of its own), and so are the
    task's name and shots (the protocol states them), so a moved folder keeps its hash.
    """
    recipe = {key: value for key, value in config.items() if key not in _NOT_IN_HASH}
    if is_local_data(config):
        recipe.pop("dataset_path", None)
        if isinstance(options := recipe.get("dataset_kwargs"), dict):
            recipe["dataset_kwargs"] = {k: v for k, v in options.items() if k not in _DATA_PATHS}
    sources = {name: sha256(text).hexdigest() for name, text in sorted(function_sources(config))}
    text = json.dumps([_plain(recipe), sources], sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).hexdigest()[:16]


def is_local_data(config: Mapping[str, Any]) -> bool:
    """True where the documents come from files that the task names, not from a data set hub."""
    options = config.get("dataset_kwargs")
    options = options if isinstance(options, dict) else {}
    has_files = bool(options.get("data_files") or options.get("data_dir"))
    path = str(config.get("dataset_path") or "")
    return (has_files and "/" not in path) or path.startswith((".", "/", "~"))


def references(value: Any) -> Iterator[FunctionReference]:
    """Every `!function` in a configuration."""
    if isinstance(value, FunctionReference):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def function_sources(config: Mapping[str, Any]) -> set[tuple[str, bytes]]:
    """Names and contents of the Python files beside the YAML that its functions need."""
    waiting = [path for reference in references(config) if (path := reference.source)]
    found: dict[Path, bytes] = {}
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = path.read_bytes()
            waiting.extend(_siblings(path, found[path]))
    return {(path.name, text) for path, text in found.items()}


def may_draw(config: Mapping[str, Any]) -> bool:
    """Whether a function of the task may use random numbers, by the look of its source."""
    if any(reference.source is None for reference in references(config)):
        return True
    return any(_DRAWS.search(text) for _, text in function_sources(config))


def _siblings(path: Path, text: bytes) -> Iterator[Path]:
    """Files of the same folder that a module imports."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise TaskError(
            f"{path}:{error.lineno}: {error.msg}; the task's functions are in it"
        ) from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or "", *(alias.name for alias in node.names)]
        else:
            continue
        for module in modules:
            sibling = path.parent / f"{module.rpartition('.')[2]}.py"
            if module and sibling.is_file():
                yield sibling


def _plain(value: Any) -> Any:
    if isinstance(value, FunctionReference):
        return {"!function": value.spec}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
