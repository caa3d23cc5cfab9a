"""Which tool wrote a file, and what several files of one measurement must share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbench.errors import SettingsConflictError, StoreError, did_you_mean
from kdbench.results.imports import answers, counters, responses
from kdbench.results.imports.counted import Counted, Imported
from kdbench.results.imports.lines import array, field, objects, text_of

FORMATS = {
    "spec-bench": "Spec-Bench's answer files (decoding_steps, accept_lengths)",
    "eagle": "EAGLE's answer files (idxs)",
    "medusa": "Medusa's answer files (idxs)",
    "llama.cpp": "responses of llama.cpp's server, one a line (timings with draft_n)",
    "vllm": "responses of vLLM, one a line (metrics.speculative_decoding)",
    "vllm-counters": "vLLM's /metrics, before and after (Prometheus text)",
}


def read(
    paths: Sequence[Path],
    form: str | None = None,
    gamma: int | None = None,
    bonus: answers.Bonus | None = None,
    questions: Path | None = None,
    failed: answers.Failed = "leave-out",
) -> Imported:
    """Read the files of one measurement; the first tells their format where `form` is None.

    `questions` is a file of {question_id, category, turns} that gives answers their category and prompt.
    See `answers.read` for `bonus` and `failed`. Raises `StoreError` for files that can't be read, or that
    answer different questions.
    """
    if form is not None and form not in FORMATS:
        raise SettingsConflictError(
            f"no format named {form!r}{did_you_mean(form, list(FORMATS))}; choose {', '.join(FORMATS)}"
        )
    twice = next((path for path in paths if list(paths).count(path) > 1), None)
    if twice is not None:
        raise SettingsConflictError(f"{twice}: named twice; a repetition is a file of its own")
    form = form or _shared_format(paths)
    if (bonus is not None or failed != "leave-out") and form not in answers.TOOLS:
        option = "--failed-turns" if bonus is None else "--bonus"
        raise SettingsConflictError(f"{option} is for answer files, and these are of {form}")
    if form == "vllm-counters":
        found = counters.read(paths, gamma)
    elif form == "vllm":
        found = responses.read_vllm(paths, gamma)
    elif form == "llama.cpp":
        found = responses.read_llama_cpp(paths, gamma)
    else:
        found = answers.read(paths, form, gamma, bonus, failed)
    if not sum(answer.passes for own in found.files for answer in own):
        raise StoreError(f"{paths[0]}: no pass of the target verified a draft")
    if found.per_prompt:
        _same_questions(paths, found.files)
    if questions is not None:
        found = _described(found, questions)
    return found


def _shared_format(paths: Sequence[Path]) -> str:
    forms = [_guessed(path) for path in paths]
    for path, form in zip(paths, forms, strict=True):
        if form != forms[0]:
            raise StoreError(
                f"{path}: looks like {form}, but {paths[0]} like {forms[0]}; one import is one measurement "
                "by one tool (where it is, name its --format)"
            )
    return forms[0]


def _guessed(path: Path) -> str:
    text = text_of(path)
    if counters.looks_like(text):
        return "vllm-counters"
    unknown = (
        f"{path}: of no known format; name it with --format: "
        + "; ".join(f"{name}, {about}" for name, about in FORMATS.items())
    )  # fmt: skip
    if not text.lstrip().startswith("{"):
        raise StoreError(unknown)
    _, line = next(objects(path))
    form = answers.looks_like(line) or responses.looks_like(line)
    if not form:
        raise StoreError(unknown)
    return form


def _same_questions(paths: Sequence[Path], files: Sequence[Sequence[Counted]]) -> None:
    first = {answer.question for answer in files[0]}
    for path, own in zip(paths[1:], files[1:], strict=True):
        other = {answer.question for answer in own}
        if other != first:
            apart = sorted(first ^ other)
            raise StoreError(
                f"{path}: is no repetition of {paths[0]}: only one of them answers "
                f"{', '.join(apart[:3])}{' ...' if len(apart) > 3 else ''} ({len(apart)} questions); "
                "import them apart"
            )


def _described(found: Imported, path: Path) -> Imported:
    known: dict[str, dict[str, Any]] = {}
    for place, line in objects(path):
        array(place, line, "turns")
        known[str(field(place, line, "question_id"))] = line

    def described(answer: Counted) -> Counted:
        if answer.question not in known:
            raise StoreError(f"{path}: no question {answer.question}, which was answered")
        line = known[answer.question]
        turns = line["turns"]
        prompt = turns[0] if len(turns) == 1 else json.dumps(turns, ensure_ascii=False)
        category = answer.category or str(line.get("category") or "")
        return replace(answer, category=category, prompt=str(prompt))

    return replace(found, files=[[described(answer) for answer in own] for own in found.files])
