"""A suite: one YAML file that names models, pairs, tasks, settings and gates.

`load_suite` reads it, finds everything wrong with it at once, and says where. Nothing is loaded,
fetched or measured here: adapters and tasks are only built, which is cheap.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import PrivateAttr, ValidationError

from kdbench import registry
from kdbench.errors import (
    Problem,
    SettingsConflictError,
    SuiteError,
    UnknownNameError,
    did_you_mean,
)
from kdbench.suite.entries import (
    Frozen,
    LoadSettings,
    ModelSpec,
    PairSpec,
    Settings,
    SuiteFile,
    TaskSpec,
    suite_name,
)
from kdbench.suite.gate import Gate
from kdbench.suite.plain_errors import complaints, shown
from kdbench.suite.schema import suite_json_schema
from kdbench.suite.sections import Reading
from kdbench.suite.yaml_source import Where, YamlSource, in_order, parse_yaml, path_text, read_text

__all__ = [
    "Gate",
    "LoadSettings",
    "ModelSpec",
    "PairSpec",
    "Settings",
    "Suite",
    "TaskSpec",
    "load_suite",
    "shipped_suite",
    "shipped_suites",
    "suite_json_schema",
]

S = TypeVar("S", dict[str, Any], list[Any])


class Suite(Frozen):
    """A suite that can be planned: all names resolved, all defaults filled in.

    `file` is the path as given, `folder` the absolute one where relative paths start, and `text`
    the exact text of the file.
    """

    name: str
    about: str
    file: Path
    folder: Path
    text: str
    models: dict[str, ModelSpec]
    pairs: tuple[PairSpec, ...]
    tasks: tuple[TaskSpec, ...]
    settings: Settings
    gates: tuple[Gate, ...]
    _source: YamlSource = PrivateAttr()

    def adapter(self, model: str) -> Any:
        """The `kdbench.models.adapter.Adapter` of a model, bound to its params and not loaded."""
        if model not in self.models:
            near = did_you_mean(model, list(self.models))
            raise UnknownNameError(f"no model named {model!r}{near} in {self.file}")
        spec = self.models[model]
        return registry.adapters.get(spec.adapter)(spec.params, self.folder, spec.load)

    def used_models(self) -> list[str]:
        """Names of the models that some pair has, in the order of the file."""
        used = {name for pair in self.pairs for name in (pair.teacher, pair.student, pair.baseline)}
        return [name for name in self.models if name in used]

    def with_settings(self, **changes: Any) -> Suite:
        """The suite with other `settings`, as a command line gives them.

        They hold for models and tasks with values of their own too, except that a `limit` only ever
        lowers a task's own. Raises `SettingsConflictError` for values that no suite could have.
        """
        if not changes:
            return self
        written = {**self.settings.model_dump(), **changes}
        try:
            settings = Settings.model_validate(written, strict=True)
        except ValidationError as error:
            found = complaints(error, Settings, written, lambda where: None)
            lines = [f"--{path_text(c.where).replace('_', '-')}: {c.message}" for c in found]
            raise SettingsConflictError("\n".join(lines)) from error
        load: dict[str, Any] = {key: changes[key] for key in ("dtype", "device") if key in changes}
        if "batch_size" in changes:
            load["batch_size"] = settings.rows_per_batch
        models = {
            name: spec.model_copy(update={"load": replace(spec.load, **load)})
            for name, spec in self.models.items()
        }
        tasks = self.tasks
        if "limit" in changes:
            tasks = tuple(task.with_limit(settings.limit) for task in tasks)
        return self.model_copy(update={"settings": settings, "models": models, "tasks": tasks})

    def problem(self, where: Where, message: str) -> Problem:
        """A problem at a place in the file: `("models", "teacher")`, `("tasks", 0)`."""
        return self._source.problem(where, message)


def load_suite(path: str | Path) -> Suite:
    """Read the suite at `path`; raises `SuiteError` with everything that is wrong with it."""
    file, text = Path(path), read_text(path)
    source = parse_yaml(text, str(path))
    data = source.data
    if data is None:
        message = "there is nothing in this file; a suite needs `models`, `pairs` and `tasks`"
        raise SuiteError([source.problem((), message)])
    if not isinstance(data, dict):
        got = shown(data, source.written(()))
        message = f"a suite is a mapping (models: ..., pairs: ..., tasks: ...), got {got}"
        raise SuiteError([source.problem((), message)])
    reading = Reading(source, file.absolute().parent)
    top = reading.parse(SuiteFile, data, ())
    written = _section(data, "settings", dict)
    settings = reading.parse(Settings, written, ("settings",)) or Settings()
    models = reading.models(_section(data, "models", dict), settings)
    pairs = reading.pairs(_section(data, "pairs", list))
    tasks = reading.tasks(_section(data, "tasks", list), settings, pairs)
    gates = reading.gates(_section(data, "gates", list), settings, tasks, pairs)
    if reading.problems or top is None:
        raise SuiteError(in_order(reading.problems))
    suite = Suite(
        name=top.name or suite_name(file.stem),
        about=top.about,
        file=file,
        folder=reading.folder,
        text=text,
        models=models,
        pairs=tuple(pairs),
        tasks=tuple(tasks),
        settings=settings,
        gates=tuple(gates),
    )
    suite._source = source
    return suite


def shipped_suite(name: str) -> Path:
    """The file of a suite that ships with kdbench, by its name ("quickstart").

    Raises `SuiteError` where none is called so.
    """
    found = {file.stem: file for file in shipped_suites()}
    if name not in found:
        near = did_you_mean(name, list(found)) or f" ({', '.join(found) or 'there are none'})"
        message = f"no such file, and none of the suites that ship is called so{near}"
        raise SuiteError([Problem(name, None, None, "", message)])
    return found[name]


def shipped_suites() -> list[Path]:
    """The files of all suites that ship with kdbench."""
    package = Path(__file__).resolve().parent.parent
    folders = [package / "suites", package.parent / "suites"]  # in a wheel; in a checkout
    return [file for folder in folders for file in sorted(folder.glob("*.yaml"))]


def _section(data: dict[str, Any], key: str, kind: type[S]) -> S:
    """A section of the file, or an empty one where it is missing or of the wrong kind."""
    value = data.get(key)
    return value if isinstance(value, kind) else kind()
