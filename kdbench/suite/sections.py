"""From a suite file's sections to specs: names looked up, defaults filled in, problems placed."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from kdbench import registry
from kdbench.errors import KdbenchError, Problem, UnknownNameError, did_you_mean
from kdbench.suite.entries import (
    DEFAULT_ADAPTER,
    LoadSettings,
    MatrixEntry,
    ModelEntry,
    ModelSpec,
    PairEntry,
    PairSpec,
    Settings,
    TaskEntry,
    TaskSpec,
    check_name,
)
from kdbench.suite.gate import Gate, faults, parse_sentence
from kdbench.suite.plain_errors import complaints, shown
from kdbench.suite.yaml_source import Where, YamlSource

M = TypeVar("M", bound=BaseModel)


class Reading:
    """One pass over a suite's data that collects every problem.

    What is wrong in one section raises no further problems in the others: names that can't be known
    are not looked up.
    """

    def __init__(self, source: YamlSource, folder: Path) -> None:
        self.source = source
        self.folder = folder
        self.problems: list[Problem] = list(source.problems)
        self.wrong_sections: set[str | int] = set()
        models = source.data.get("models")
        self.model_names = list(models) if isinstance(models, dict) else None

    def _wrong(self, where: Where, message: str, at_key: bool = False) -> None:
        self.problems.append(self.source.problem(where, message, at_key=at_key))
        self.wrong_sections.update(where[:1])

    def parse(self, model: type[M], data: Any, where: Where, also: Sequence[str] = ()) -> M | None:
        """`data` as `model` (strict: no text is taken for a number), or None and its problems.

        `also` are keys that stand beside it in the file.
        """

        def written(inner: Where) -> str | None:
            return self.source.written((*where, *inner))

        try:
            return model.model_validate_json(json.dumps(data), strict=True)
        except ValidationError as error:
            for found in complaints(error, model, data, written, also):
                self._wrong((*where, *found.where), found.message, found.at_key)
        except KdbenchError as error:
            self._wrong(where, str(error))
        return None

    def _expected(self, what: str, where: Where, value: Any) -> None:
        self._wrong(where, f"expected {what}, got {shown(value, self.source.written(where))}")

    # models

    def models(self, entries: dict[str, Any], settings: Settings) -> dict[str, ModelSpec]:
        found = {}
        for name, entry in entries.items():
            where = ("models", name)
            try:
                check_name(name)
            except ValueError as error:
                self._wrong(where, str(error), at_key=True)
            if name == "all":
                message = "a model can't be named 'all': `students: all` means every model"
                self._wrong(where, message, at_key=True)
            if isinstance(entry, str) and entry:
                entry = {"path": entry}
            if not isinstance(entry, dict):
                self._expected("a path, hf:org/name@revision or a mapping", where, entry)
                continue
            spec = self._model(name, entry, where, settings)
            if spec is not None:
                found[name] = spec
        return found

    def _model(
        self, name: str, entry: dict[str, Any], where: Where, settings: Settings
    ) -> ModelSpec | None:
        shared = {key: entry[key] for key in entry if key in ModelEntry.model_fields}
        own = {key: entry[key] for key in entry if key not in ModelEntry.model_fields}
        options = self.parse(ModelEntry, shared, where)
        adapter = shared.get("adapter", DEFAULT_ADAPTER)
        if not isinstance(adapter, str):
            return None
        try:
            params_class = registry.adapters.get(adapter).Params
        except UnknownNameError as error:
            self._wrong((*where, "adapter"), str(error))
            return None
        unknown = own.keys() - params_class.model_fields.keys()
        if "adapter" not in shared and (key := _misspelt("adapter", unknown)):
            self._wrong((*where, key), _unknown(key, "adapter"), at_key=True)
            return None
        also = [key for key in ModelEntry.model_fields if key not in shared]
        params = self.parse(params_class, own, where, also)
        if options is None or params is None:
            return None
        rows = settings.rows_per_batch
        if options.batch_size is not None:
            rows = None if options.batch_size == "auto" else options.batch_size
        load = LoadSettings(
            dtype=options.dtype or settings.dtype,
            device=options.device or settings.device,
            batch_size=rows,
            trust_remote_code=options.trust_remote_code,
        )
        return ModelSpec(name=name, adapter=adapter, params=params, load=load)

    # pairs

    def pairs(self, entries: list[Any]) -> list[PairSpec]:
        found: dict[str, tuple[PairSpec, Where]] = {}
        for index, entry in enumerate(entries):
            where = ("pairs", index)
            if not isinstance(entry, dict):
                self._expected("a mapping with `teacher` and `student`", where, entry)
                continue
            for pair, place, at_key in self._pairs_of(entry, where):
                if pair.name not in found:
                    found[pair.name] = (pair, place)
                    continue
                first, line = found[pair.name][0], self.source.line(found[pair.name][1])
                self._wrong(
                    place,
                    f"two pairs are named {pair.name!r} (the other, {first.student} of "
                    f"{first.teacher}, on line {line}); give one a `name`, such as "
                    f"'{pair.student}-vs-{pair.teacher}'",
                    at_key,
                )
        return [pair for pair, _ in found.values()]

    def _pairs_of(
        self, entry: dict[str, Any], where: Where
    ) -> Iterator[tuple[PairSpec, Where, bool]]:
        """The pairs of one entry, each with its place, and whether that is a key."""
        if "student" in entry and "students" in entry:
            self._wrong((*where, "students"), "give `student` or `students`, not both", at_key=True)
            return
        near = [k for key in entry for k in get_close_matches(key, ["student", "students"], n=1)]
        if "students" not in entry and ("student" in entry or near[:1] != ["students"]):
            one = self.parse(PairEntry, entry, where)
            if one is None or not self._known(one.student, (*where, "student")):
                return
            students = [(one.student, one.method, (*where, "student"), False)]
            base: PairEntry | MatrixEntry = one
            if one.baseline == one.student:
                self._wrong((*where, "baseline"), "a student can't be its own baseline")
        else:
            many = self.parse(MatrixEntry, entry, where)
            if many is None:
                return
            students = list(self._students(many, where))
            base = many
            if len(students) > 1 and base.name is not None and "{student}" not in base.name:
                message = "a name for several pairs needs {student} in it"
                self._wrong((*where, "name"), f"{message}, such as '{{student}}-vs-{{teacher}}'")
                return
        if not self._known(base.teacher, (*where, "teacher")):
            return
        if base.baseline == base.teacher:
            self._wrong((*where, "baseline"), "the teacher can't be the baseline as well")
        elif base.baseline is not None:
            self._known(base.baseline, (*where, "baseline"))
        for student, method, place, at_key in students:
            if student == base.teacher:
                self._wrong(place, f"{student!r} can't be its own teacher", at_key)
                continue
            name = base.name or "{student}"
            name = name.replace("{student}", student).replace("{teacher}", base.teacher)
            try:
                check_name(name)
            except ValueError as error:
                if base.name is not None:
                    self._wrong((*where, "name"), str(error))
                continue
            pair = PairSpec(
                name=name,
                teacher=base.teacher,
                student=student,
                method=method,
                baseline=base.baseline if base.baseline != student else None,
            )
            yield (pair, place, at_key) if base.name is None else (pair, (*where, "name"), False)

    def _students(self, entry: MatrixEntry, where: Where) -> Iterator[tuple[str, str, Where, bool]]:
        """Student, method and place (of a key?) of each pair that the entry stands for."""
        place = (*where, "students")
        if entry.students == "all":
            others = [name for name in self.model_names or [] if name != entry.teacher]
            if not others and self.model_names is not None:
                self._wrong(place, "there is no other model than the teacher")
            yield from ((name, entry.method, place, False) for name in others)
            return
        for index, student in enumerate(entry.students):
            mapped = isinstance(entry.students, dict)
            own = (*place, student if mapped else index)
            if not self._known(student, own, at_key=mapped):
                continue
            method = entry.students[student] if isinstance(entry.students, dict) else None
            yield student, entry.method if method is None else method, own, mapped

    def _known(self, model: str, where: Where, at_key: bool = False) -> bool:
        if self.model_names is None or model in self.model_names:
            return True
        near = did_you_mean(model, self.model_names) or f"; there are {', '.join(self.model_names)}"
        self._wrong(where, f"no model named {model!r}{near}", at_key)
        return False

    # tasks

    def tasks(
        self, entries: list[Any], settings: Settings, pairs: Sequence[PairSpec]
    ) -> list[TaskSpec]:
        found: dict[tuple[str, str, str], tuple[TaskSpec, int]] = {}
        for index, entry in enumerate(entries):
            for spec in self._tasks_of(entry, ("tasks", index), settings, pairs):
                params = json.dumps(spec.params.model_dump(mode="json"), sort_keys=True)
                key = (spec.task, spec.label, params)
                if key in found:
                    line = self.source.line(("tasks", found[key][1]))
                    message = f"{spec.label!r} is already listed on line {line}; remove one of them"
                    self._wrong(("tasks", index), message)
                else:
                    found[key] = (spec, index)
        return [spec for spec, _ in found.values()]

    def _tasks_of(
        self, entry: Any, where: Where, settings: Settings, pairs: Sequence[PairSpec]
    ) -> Iterator[TaskSpec]:
        """The tasks of one entry: several where it names a group."""
        mapping = entry if isinstance(entry, dict) else {"task": entry}
        at = (*where, "task") if isinstance(entry, dict) else where
        if "task" not in mapping:
            key = _misspelt("task", mapping)
            if key:
                self._wrong((*where, key), _unknown(key, "task"), at_key=True)
            else:
                self._wrong(where, "missing key 'task'")
            return
        word = mapping["task"]
        if not isinstance(word, str) or not word:
            self._expected("a task such as reasoning/gsm8k, or a mapping with `task`", at, word)
            return
        shared = {key: mapping[key] for key in mapping if key in TaskEntry.model_fields}
        own = {k: v for k, v in mapping.items() if k != "task" and k not in TaskEntry.model_fields}
        options = self.parse(TaskEntry, shared, where)
        try:
            name = word if word in registry.tasks.names() else word.split("/")[0]
            task_class = registry.tasks.get(name)
        except UnknownNameError as error:
            self._wrong(at, str(error))
            return
        if not self._take_shorthand(task_class, name, word, own, at):
            return
        missing = [key for key in _required(task_class.Params) if key not in own]
        if missing and isinstance(entry, str):
            how = f"write {name}/..., or " if task_class.shorthand in missing else "write "
            keys = ", ".join(f"{key}: ..." for key in missing)
            self._wrong(where, f"the task {name!r} needs more: {how}{{task: {name}, {keys}}}")
            return
        also = [key for key in TaskEntry.model_fields if key not in shared]
        params = self.parse(task_class.Params, own, where, also)
        if params is None or options is None:
            return
        limit = options.limit if "limit" in shared else settings.limit
        chosen = self._chosen(options, where, pairs)
        given = {"limit": limit, "own_limit": options.limit, "pairs": chosen}
        try:
            members = task_class.expand(params, self.folder)
            specs = [_task_spec(name, task_class, each, self.folder, given) for each in members]
        except (KdbenchError, OSError) as error:
            self._wrong(where, str(error))
            return
        if not specs:
            self._wrong(where, f"{word!r} names no task")
        yield from specs

    def _chosen(
        self, options: TaskEntry, where: Where, pairs: Sequence[PairSpec]
    ) -> tuple[str, ...]:
        """The patterns of a task's pairs, each of which must mean one."""
        names = [pair.name for pair in pairs]
        for place, pattern in enumerate(options.pairs or ()):
            if names and "pairs" not in self.wrong_sections and not fnmatch.filter(names, pattern):
                message = f"no pair named {pattern!r}{did_you_mean(pattern, names)}"
                self._wrong((*where, "pairs", place), message)
        return tuple(options.pairs or ("*",))

    def _take_shorthand(
        self, task_class: Any, name: str, word: str, own: dict[str, Any], at: Where
    ) -> bool:
        """Put the value of `name/value` into the task's own keys; False where it can't be."""
        if word == name:
            return True
        value, key = word[len(name) + 1 :], task_class.shorthand
        if key is None:
            message = f"the task {name!r} takes nothing after a '/'"
            self._wrong(at, f"{message}; write {{task: {name}, ...}}")
        elif not value:
            self._wrong(at, f"nothing stands after the '/' of {word!r}; write {name}/{key.upper()}")
        elif key in own:
            self._wrong(at, f"{key!r} is here twice: after the '/' of {word!r}, and as a key")
        else:
            own[key] = value
            return True
        return False

    # gates

    def gates(
        self,
        entries: list[Any],
        settings: Settings,
        tasks: Sequence[TaskSpec],
        pairs: Sequence[PairSpec],
    ) -> list[Gate]:
        emitted: dict[str, set[str]] = {}
        for task in tasks:
            for label in filter(None, (task.label, task.group)):
                emitted.setdefault(label, set()).update(task.metrics)
        known_tasks = emitted if tasks and "tasks" not in self.wrong_sections else None
        known_pairs, students = None, None
        if pairs and "pairs" not in self.wrong_sections:
            known_pairs = {pair.name: pair.baseline for pair in pairs}
            students = {pair.student for pair in pairs}
        found: list[Gate] = []
        for index, entry in enumerate(entries):
            where = ("gates", index)
            gate = self._gate(entry, where, settings, known_pairs)
            if gate is None:
                continue
            for key, message in faults(gate, known_tasks, known_pairs, self.model_names, students):
                if key == "metric" and isinstance(entry, dict) and key not in entry:
                    key = "kind"
                self._wrong((*where, key), message)
            if gate in found:
                self._wrong(where, f"the same gate as gates[{found.index(gate)}]; remove one")
            against = next((i for i, other in enumerate(found) if gate.contradicts(other)), None)
            if against is not None:
                self._wrong(
                    where, f"no number can keep this and gates[{against}]; mend one of them"
                )
            found.append(gate)
        return found

    def _gate(
        self, entry: Any, where: Where, settings: Settings, pairs: dict[str, str | None] | None
    ) -> Gate | None:
        data = entry
        if isinstance(entry, str):
            try:
                data = parse_sentence(entry)
            except ValueError as error:
                self._wrong(where, str(error))
                return None
            named = data.get("pair")
            if pairs is not None and named not in pairs and named in (self.model_names or ()):
                data["model"] = data.pop("pair")
        if not isinstance(data, dict):
            self._expected("a sentence or a mapping", where, entry)
            return None
        if "metric" not in data and "kind" not in data:
            unknown = data.keys() - Gate.model_fields.keys()
            for meant in ("metric", "kind"):
                if key := _misspelt(meant, unknown):
                    self._wrong((*where, key), _unknown(key, meant), at_key=True)
                    return None
        return self.parse(Gate, {"confidence": settings.confidence, **data}, where)


def _required(params: type[BaseModel]) -> list[str]:
    return [f.alias or name for name, f in params.model_fields.items() if f.is_required()]


def _task_spec(
    name: str, task_class: Any, params: Any, folder: Path, given: dict[str, Any]
) -> TaskSpec:
    task = task_class(params, folder)
    return TaskSpec(
        task=name,
        params=params,
        **given,
        label=task.label,
        group=task.group,
        metrics=tuple(metric.name for metric in [*task.metrics(), *task.model_metrics()]),
        folder=folder,
    )


def _misspelt(key: str, found: Collection[str]) -> str | None:
    """The unknown key that was most probably meant to be `key`."""
    near = get_close_matches(key, list(found), n=1, cutoff=0.7)
    return near[0] if near else None


def _unknown(key: str, meant: str) -> str:
    return f"unknown key {key!r} (did you mean {meant!r}?)"
