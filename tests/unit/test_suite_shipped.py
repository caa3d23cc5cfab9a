"""The suites that ship load, and the schema of the built-in tasks and adapters accepts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from kdbench.suite import load_suite, suite_json_schema
from kdbench.suite.yaml_source import parse_yaml

SUITES = sorted((Path(__file__).resolve().parents[2] / "suites").glob("*.yaml"))


def test_some_suite_ships() -> None:
    assert "quickstart" in {file.stem for file in SUITES}


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_a_suite_that_ships_is_right(file: Path) -> None:
    suite = load_suite(file)
    assert suite.name == file.stem
    schema = suite_json_schema()
    Draft202012Validator.check_schema(schema)
    data = parse_yaml(file.read_text(encoding="utf-8"), file.name).data
    assert [e.message for e in Draft202012Validator(schema).iter_errors(data)] == []
