"""GenEval's prompts: the lines of its `evaluation_metadata.jsonl`, read and checked one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbench.errors import TaskError, did_you_mean
from kdbench.metrics.geneval import COLOURS, RELATIONS, TAGS, Requirement, Wanted
from kdbench.models.detectors.coco import CLASSES


@dataclass(frozen=True, slots=True)
class GenevalPrompt:
    """One line: what a generator is told (`text`), what its images must show, and the line itself."""

    text: str
    requirement: Requirement
    line: Mapping[str, Any]


def read_prompts(file: Path, rewritten: Path | None = None) -> list[GenevalPrompt]:
    """All prompts of a metadata file, in its order; texts from `rewritten`, a line for each, where given.

    Raises `TaskError`, with the line's number, for what is not such a file.
    """
    lines = _lines(file)
    prompts = []
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
        except ValueError as error:
            raise TaskError(f"{file}:{number}: not JSON ({error})") from error
        try:
            prompts.append(GenevalPrompt(_text(line), requirement(line), line))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
            raise TaskError(f"{file}:{number}: {reason}") from error
    if not prompts:
        raise TaskError(f"{file}: has no prompts")
    if rewritten is None:
        return prompts
    texts = _lines(rewritten)
    if len(texts) != len(prompts):
        raise TaskError(f"{rewritten}: {len(texts)} lines for the {len(prompts)} prompts of {file}")
    return [
        GenevalPrompt(text, one.requirement, one.line)
        for text, one in zip(texts, prompts, strict=True)
    ]


def requirement(line: Mapping[str, Any]) -> Requirement:
    """What a line asks of an image. Raises `ValueError`, `KeyError` or `TypeError` where it is malformed."""
    if not isinstance(line, Mapping):
        raise TypeError("not an object with tag, prompt and include")
    tag = _one_of("tag", line["tag"], TAGS)
    include = tuple(_wanted(clause, index) for index, clause in enumerate(line["include"]))
    if not include:
        raise ValueError("include is empty")
    exclude = tuple(_wanted(clause, 0) for clause in line.get("exclude", ()))
    return Requirement(tag, include, exclude)


def _wanted(clause: Mapping[str, Any], index: int) -> Wanted:
    label = _one_of("class", clause["class"], CLASSES)
    count = clause["count"]
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"count {count!r} is no positive whole number")
    colour = clause.get("color", "")
    if colour:
        _one_of("color", colour, COLOURS)
    if not clause.get("position"):
        return Wanted(label, count, colour)
    relation, target = clause["position"]
    _one_of("position", relation, RELATIONS)
    if not isinstance(target, int) or not 0 <= target < index:
        raise ValueError(
            f"position names the clause {target!r}, but only earlier ones can be meant"
        )
    return Wanted(label, count, colour, relation, target)


def _one_of(what: str, value: Any, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{what} {value!r} is not known{did_you_mean(str(value), list(known))}")
    return str(value)


def _text(line: Any) -> str:
    text = line["prompt"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError("prompt is empty")
    return text


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TaskError(f"{file}: can't be read ({reason})") from error
    return [line for line in text.splitlines() if line.strip()]
