"""HumanEval's and MBPP's problems: lm-eval's prompts, and programs with their tests made of the answers.

The prompts are those of lm-eval's tasks of these names. Its scorers, which run generated code when they are
imported and without walls, are left out of the recipe.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbench.errors import TaskError
from kdbench.tasks.lmeval import index, yamls
from kdbench.tasks.sandbox.runs import Program

PROBLEMS = ("humaneval", "mbpp")
_NEEDED = {
    "humaneval": ("prompt", "test", "entry_point"),
    "mbpp": ("text", "code", "test_list"),
}
_FENCE = "```"


def recipe(problems: str, instruct: bool, file: str | None) -> dict[str, Any]:
    """lm-eval's recipe for asking, without its scorers; documents from `file` where one is named."""
    path = index.entry(f"{problems}_instruct" if instruct else problems).path
    if path is None:
        raise TaskError(f"this lm-eval has no task {problems}")
    config = yamls.read(path)
    for key in ("unsafe_code", "filter_list", "metadata"):
        config.pop(key, None)
    config["metric_list"] = [
        {"metric": "bypass", "aggregation": "bypass", "higher_is_better": True}
    ]
    config["repeats"] = 1
    shots = config.get("fewshot_config")
    if shots and isinstance(shots.get("samples"), yamls.FunctionReference):
        config["fewshot_config"] = {**shots, "samples": _literal(shots["samples"])}
    if file is not None:
        config.update(
            dataset_path="json", dataset_name=None, dataset_kwargs={"data_files": {"test": file}}
        )
    return config


def program(problems: str, instruct: bool, document: Mapping[str, Any], answer: str) -> Program:
    """The program that an answer stands for, with the problem's tests."""
    if problems == "humaneval":
        entry = document["entry_point"]
        if instruct:
            answer = answer.partition(_FENCE)[0]
        return Program(
            document["prompt"] + answer,
            (document["test"], f"check({entry})"),
            (entry,),
            _complete(document["prompt"]),
        )
    source = _in_fence(answer) if instruct else answer
    tests = [str(test) for test in document["test_list"]]
    setup = document.get("test_setup_code") or "\n".join(document.get("test_imports") or [])
    return Program(source, (setup, *tests), _asked_for(document["code"], tests))


def check_file(problems: str, path: Path) -> None:
    """Raises `TaskError` for the first line of a file that is no problem of the set's own format."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except ValueError as error:
            raise TaskError(f"{path}:{number}: not a line of JSON: {error}") from error
        if not isinstance(document, dict):
            raise TaskError(f"{path}:{number}: no problem, but a {type(document).__name__}")
        check(problems, document, f"{path}:{number}")


def check(problems: str, document: Mapping[str, Any], where: str) -> None:
    """Raises `TaskError` where a document lacks a field, or its own tests don't compile."""
    missing = [name for name in _NEEDED[problems] if name not in document]
    if missing:
        raise TaskError(
            f"{where}: no field {missing[0]!r} (there are {', '.join(map(str, document))}); problems have "
            f"to be in {problems}'s own format: {', '.join(_NEEDED[problems])}"
        )
    try:
        for test in program(problems, False, document, "").tests:
            ast.parse(test)
    except SyntaxError as error:
        raise TaskError(f"{where}: the problem's own tests don't compile: {error}") from error


def _complete(prompt: str) -> str:
    """A prompt that stops within a function, as a text that compiles; empty where none is found."""
    for text in (prompt, f"{prompt.rstrip()}\n    pass\n"):
        try:
            ast.parse(text)
        except SyntaxError:
            continue
        return text
    return ""


def _asked_for(code: str, tests: list[str]) -> tuple[str, ...]:
    """Names that the reference defines and the tests use: what a program has to define."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    defined = {node.name for node in ast.parse(code).body if isinstance(node, kinds)}
    used = [
        node.id
        for test in tests
        for node in ast.walk(ast.parse(test))
        if isinstance(node, ast.Name)
    ]
    return tuple(name for name in dict.fromkeys(used) if name in defined)


def _in_fence(answer: str) -> str:
    """The program in an answer whose prompt has opened a fence: up to its end, or in one of its own.

    lm-eval 0.4.13 takes an answer's first word for the name of a language, so that a program beginning with
    `def` loses it and can't compile; here it does not.
    """
    before, _, after = answer.partition(_FENCE)
    if before.strip():
        return before
    return re.sub(r"\A\w*\n", "", after).partition(_FENCE)[0]


def _literal(reference: yamls.FunctionReference) -> Any:
    """What a function of lm-eval returns, where that is written out: read, not called."""
    source: Path | None = reference.source
    if source is not None:
        for node in ast.walk(ast.parse(source.read_bytes())):
            if isinstance(node, ast.FunctionDef) and node.name == reference.name:
                returned = node.body[-1]
                if isinstance(returned, ast.Return) and returned.value is not None:
                    return ast.literal_eval(returned.value)
    raise TaskError(f"lm-eval's {reference.spec} is not as it was in 0.4.13; install that version")
