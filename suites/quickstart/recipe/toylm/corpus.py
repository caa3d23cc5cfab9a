"""The training stream and the test files, both functions of a seed alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from .document import Document, Kind
from .passages import PEOPLE, make_passage
from .problems import CATEGORIES, make_problem
from .stories import STORY_TYPES, make_story

TEST_SEED = 20240
PROBLEMS = 402
PASSAGES = 100
COMPLETIONS = 300
ROLLING = 100

TEACHER_DATA_SEED = 1
TEACHER_DOCUMENTS: dict[Kind, int] = {
    "recital": 28_800,
    "problem": 28_800,
    "passage": 14_400,
    "story": 21_600,
}
STUDENT_DOCUMENTS: dict[Kind, int] = {
    "recital": 6_000,
    "problem": 4_800,
    "passage": 2_800,
    "story": 3_000,
}

Row = dict[str, Any]


def student_data_seed(seed: int) -> int:
    """Return the seed of the document set that all students of one seed share."""
    return 1000 + seed


def train_stream(kind: Kind, seed: int) -> Iterator[Document]:
    """Yield train documents of one kind for ever; the n-th depends on nothing but seed and n."""
    index = 0
    while True:
        rng = Random(f"train {kind} {seed} {index}")
        if kind == "problem":
            yield make_problem(rng, "train").document()
        elif kind == "passage":
            # Shorter passages with more questions are cheaper and easier to learn looking up from.
            people = rng.randint(2, PEOPLE)
            yield make_passage(rng, "train", people, rounds=2).document(rng)
        elif kind == "story":
            yield make_story(rng, "train").document()
        else:
            yield make_story(rng, "train", "recital").document("recital")
        index += 1


def word_problem_rows() -> list[Row]:
    """Return the test documents of ``word_problems``, each with content of its own."""
    rng = Random(f"test problems {TEST_SEED}")
    seen: set[str] = set()
    rows: list[Row] = []
    while len(rows) < PROBLEMS:
        problem = make_problem(rng, "test", CATEGORIES[len(rows) % len(CATEGORIES)])
        if problem.key in seen:
            continue
        seen.add(problem.key)
        rows.append(
            {
                "id": f"wp-{len(rows):04d}",
                "category": problem.category,
                "question": problem.question,
                "answer": problem.answer,
            }
        )
    return rows


def reading_rows() -> list[Row]:
    """Return the test documents of ``reading``: every question repeats its passage."""
    rows: list[Row] = []
    for number in range(PASSAGES):
        rng = Random(f"test passages {TEST_SEED} {number}")
        passage = make_passage(rng, "test", PEOPLE, rounds=2)
        for question in passage.questions:
            rows.append(
                {
                    "id": f"rd-{len(rows):04d}",
                    "passage_id": f"passage-{number:03d}",
                    "question_type": question.type,
                    "passage": passage.text,
                    "stem": question.stem,
                    "choices": list(question.choices),
                    "answer": question.answer,
                }
            )
    return rows


def story_rows() -> tuple[list[Row], list[Row]]:
    """Return the test documents of ``completion`` and of ``rolling``; no story is in both."""
    rng = Random(f"test stories {TEST_SEED}")
    seen: set[str] = set()
    completion: list[Row] = []
    rolling: list[Row] = []
    while len(rolling) < ROLLING:
        done = len(completion) + len(rolling)
        story = make_story(rng, "test", STORY_TYPES[done % len(STORY_TYPES)])
        if story.key in seen:
            continue
        seen.add(story.key)
        if len(completion) < COMPLETIONS:
            completion.append(
                {
                    "id": f"cp-{len(completion):04d}",
                    "category": story.type,
                    "context": story.context,
                    "last_word": story.last_word,
                }
            )
        else:
            rolling.append(
                {"id": f"rl-{len(rolling):04d}", "category": story.type, "text": story.text}
            )
    return completion, rolling


def write_test_files(folder: Path) -> None:
    """Write the four test files as JSON lines, byte for byte the same on every run."""
    folder.mkdir(parents=True, exist_ok=True)
    completion, rolling = story_rows()
    files = {
        "word_problems.jsonl": word_problem_rows(),
        "reading.jsonl": reading_rows(),
        "completion.jsonl": completion,
        "rolling.jsonl": rolling,
    }
    for name, rows in files.items():
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / name).write_bytes("".join(lines).encode("utf-8"))
