"""The JSON Schema of suite files, for editors, with the keys of tasks and adapters."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

from kdbench import registry
from kdbench.errors import KdbenchError
from kdbench.suite.entries import (
    DEFAULT_ADAPTER,
    NAME_PATTERN,
    MatrixEntry,
    ModelEntry,
    PairEntry,
    Settings,
    SuiteFile,
    TaskEntry,
)
from kdbench.suite.gate import Gate

Schema = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Without the titles that pydantic makes of field names, which say nothing in an editor."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def suite_json_schema() -> Schema:
    """JSON Schema (2020-12) of a suite file.

    Tasks and adapters of installed plugins are included, so the schema belongs to an installation.
    Raises `KdbenchError` for params that no JSON Schema can describe.
    """
    shared: Schema = {}
    top = _schema_of(SuiteFile, "suite", shared)
    sections = top["properties"]
    sections["models"] |= {
        "propertyNames": {"pattern": NAME_PATTERN, "not": {"const": "all"}},
        "additionalProperties": {"$ref": "#/$defs/model"},
    }
    sections["pairs"]["items"] = {"$ref": "#/$defs/pair"}
    sections["tasks"]["items"] = {"$ref": "#/$defs/task"}
    sections["settings"] = _or_null(sections["settings"], _schema_of(Settings, "settings", shared))
    sections["gates"] = _or_null(
        sections["gates"], {"type": "array", "items": {"$ref": "#/$defs/gate"}}
    )
    shared["model"] = _model(shared)
    shared["task"] = _task(shared)
    pairs = [_schema_of(PairEntry, "pair", shared), _schema_of(MatrixEntry, "pairs", shared)]
    shared["pair"] = {"oneOf": pairs}
    shared["gate"] = {"oneOf": [_GATE_SENTENCE, _gate(shared)]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kdbench suite",
        **top,
        "description": "Models, the pairs they form, and the tasks that measure them.",
        "$defs": dict(sorted(shared.items())),
    }


_GATE_SENTENCE: Schema = {
    "type": "string",
    "minLength": 1,
    "description": "A sentence: [retention of | gap of] METRIC [on TASKS] [for PAIR] >= NUMBER.",
    "examples": ["retention of acc on reasoning/* >= 0.97"],
}


def _model(shared: Schema) -> Schema:
    forms: list[Schema] = [
        {
            "type": "string",
            "minLength": 1,
            "description": "A path relative to the suite, or hf:org/name@revision.",
        }
    ]
    for name in registry.adapters.names():
        adapter = registry.adapters.get(name)
        form = _schema_of(adapter.Params, f"adapter.{name}", shared)
        common = _schema_of(ModelEntry, "model-entry", shared)["properties"]
        common["adapter"] = {"const": name, "description": common["adapter"]["description"]}
        form["properties"] = {**common, **_without(form.get("properties", {}), common)}
        form["description"] = adapter.about
        if name != DEFAULT_ADAPTER:
            form["required"] = ["adapter", *form.get("required", [])]
        forms.append(form)
    return {"oneOf": forms}


def _task(shared: Schema) -> Schema:
    common = _schema_of(TaskEntry, "task-entry", shared)["properties"]
    forms: list[Schema] = []
    for name in registry.tasks.names():
        task = registry.tasks.get(name)
        form = _schema_of(task.Params, f"task.{name}", shared)
        own = _without(form.get("properties", {}), [*common, "task"])
        required = [key for key in form.get("required", []) if key in own]
        if not required:
            forms.append({"const": name, "description": task.about})
        word: Schema = {"const": name, "description": "A registered task."}
        forms.append(_task_form(form, task.about, word, {**common, **own}, required))
        if task.shorthand is None:
            continue
        left = [key for key in required if key != task.shorthand]
        word = {"type": "string", "pattern": f"^{re.escape(name)}/.+$", "examples": [f"{name}/..."]}
        if not left:
            forms.append({**word, "description": task.about})
        own = _without(own, [task.shorthand])
        forms.append(_task_form(form, task.about, word, {**common, **own}, left))
    return {"anyOf": forms}


def _task_form(form: Schema, about: str, word: Schema, keys: Schema, required: list[str]) -> Schema:
    return {
        **form,
        "description": about,
        "properties": {"task": word, **keys},
        "required": ["task", *required],
    }


def _gate(shared: Schema) -> Schema:
    """The mapping form; a metric's name may stand as the `kind`."""
    form = _schema_of(Gate, "gate-mapping", shared)
    kind = form["properties"]["kind"]
    form["properties"]["kind"] = {
        "description": kind["description"],
        "default": kind["default"],
        "anyOf": [{"enum": kind["enum"]}, {"type": "string"}],
    }
    form["required"] = []
    form["anyOf"] = [{"required": ["metric"]}, {"required": ["kind"]}]
    return form


def _or_null(section: Schema, filled: Schema) -> Schema:
    """An optional section: its keys may all be commented out."""
    return {"description": section["description"], "anyOf": [filled, {"type": "null"}]}


def _without(properties: Schema, names: Any) -> Schema:
    return {key: value for key, value in properties.items() if key not in names}


def _schema_of(model: type[BaseModel], prefix: str, shared: Schema) -> Schema:
    """The model's schema; definitions that it needs go to `shared` under names of its own."""
    prefix = re.sub(r"[^A-Za-z0-9._-]", "-", prefix)
    try:
        schema = model.model_json_schema(
            ref_template=f"#/$defs/{prefix}.{{model}}", schema_generator=_Untitled
        )
    except PydanticInvalidForJsonSchema as error:
        raise KdbenchError(
            f"the params of {prefix} can't be described by a JSON Schema: {error.message}; "
            "give them types that JSON has"
        ) from error
    for name, definition in schema.pop("$defs", {}).items():
        shared[f"{prefix}.{name}"] = definition
    schema.pop("title", None)
    return schema
