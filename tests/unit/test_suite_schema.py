"""The JSON Schema for editors accepts what the loader accepts and refuses unknown keys."""

# ruff: noqa: F401, F811 - fixtures are imported

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import GetJsonSchemaHandler
from suite_fakes import GOOD, FakeTask, Load, load, only_fakes, told

from kdbench import registry
from kdbench.errors import KdbenchError
from kdbench.suite import suite_json_schema
from kdbench.suite.yaml_source import parse_yaml
from kdbench.tasks.task import TaskParams

Told = Callable[[str | bytes], list[str]]


def errors_of(text: str) -> list[str]:
    data = parse_yaml(text, "s.yaml").data
    return [
        error.json_path for error in Draft202012Validator(suite_json_schema()).iter_errors(data)
    ]


def test_the_schema_is_a_schema_of_2020_12() -> None:
    schema = suite_json_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_reference_leads_to_a_definition() -> None:
    schema = suite_json_schema()
    refs = set(references(schema))
    assert refs <= {f"#/$defs/{name}" for name in schema["$defs"]}
    assert "#/$defs/task.quiz.Scale" in refs


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_a_suite_with_every_form_is_accepted() -> None:
    assert errors_of(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("students: {scratch: none, served: sft}", "students: all"),
        ("students: {scratch: none, served: sft}", "students: [scratch]"),
        ("- speed\n", "- {task: speed, tokens: 5}\n"),
        ("num_fewshot: 5", "scale: {low: 0}"),
        ("num_fewshot: 5", "steps: {a: 1}"),
        ("limit: 100", "limit: null"),
        ("batch_size: 16", "batch_size: auto"),
        ("device: cpu", "timeout: 5"),
    ],
)
def test_the_loader_and_the_schema_agree_on_other_forms(told: Told, old: str, new: str) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD
    assert told(text) == []
    assert errors_of(text) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("name: good", "nam: good", "$"),
        ("models:\n", "modls:\n", "$"),
        ("seed: 7", "sed: 7", "$.settings"),
        ("limit: 100", "limit: ten", "$.settings"),
        ("limit: 100", 'limit: "10"', "$.settings"),
        ("device: cuda:1", "device: GPU", "$.settings"),
        ("confidence: 0.9\n", "confidence: 1\n", "$.settings"),
        ("path: weights/small", "pth: weights/small", "$.models.small"),
        ("base_url:", "bas_url:", "$.models.served"),
        ("adapter: server", "adapter: sever", "$.models.served"),
        ("trust_remote_code: true", "trust_remote_code: yes", "$.models.small"),
        ("  big: weights/big", "  all: weights/big", "$.models"),
        ("student: small", "studet: small", "$.pairs[0]"),
        ("student: small", "student: small, students: all", "$.pairs[0]"),
        ("- quiz/gsm8k", "- quizz/gsm8k", "$.tasks[0]"),
        ("- quiz/gsm8k", "- quiz", "$.tasks[0]"),
        ("- quiz/gsm8k", "- speed/x", "$.tasks[0]"),
        ("num_fewshot: 5", "num_fewshots: 5", "$.tasks[1]"),
        ("num_fewshot: 5", "scale: {lw: 5}", "$.tasks[1]"),
        ("task: quiz/mmlu", "task: quiz/mmlu, lm_eval: arc", "$.tasks[2]"),
        ("limit: 200", "limit: 0", "$.tasks[1]"),
        ("severity: warn", "severity: wran", "$.gates"),
        ("min: -0.02", "mn: -0.02", "$.gates"),
    ],
)
def test_the_loader_and_the_schema_refuse_the_same(
    told: Told, old: str, new: str, path: str
) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD
    assert told(text)
    assert path in errors_of(text)


def test_keys_and_alternatives_are_described() -> None:
    schema = suite_json_schema()
    form, quiz = schema["$defs"]["model"]["oneOf"][2], schema["$defs"]["task"]["anyOf"][0]
    assert form["properties"]["adapter"]["const"] == "transformers"
    assert form["properties"]["path"]["description"] == "Where the weights are."
    assert quiz["description"] == "questions with answers"
    assert "title" not in form["properties"]["path"]


def test_a_task_that_is_registered_later_is_in_the_schema() -> None:
    class Extra(FakeTask):
        about = "from a plugin"

        class Params(TaskParams):
            depth: int

    registry.tasks.register("extra")(Extra)
    assert errors_of(GOOD.replace("- speed\n", "- {task: extra, depth: 1}\n")) == []
    assert "$.tasks[3]" in errors_of(GOOD.replace("- speed\n", "- {task: extra, deth: 1}\n"))


def test_params_that_no_schema_can_describe_are_told() -> None:
    class Odd(FakeTask):
        about = "odd"

        class Params(TaskParams):
            call: Callable[[], int] | None = None

    registry.tasks.register("odd")(Odd)
    with pytest.raises(
        KdbenchError, match=r"the params of task\.odd can't be described by a JSON Schema"
    ):
        suite_json_schema()
