"""The quickstart's test data: reproducible, well-formed, and disjoint from the training stream."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

SUITE = Path(__file__).resolve().parents[2] / "suites" / "quickstart"
TASKS = ("word_problems", "reading", "completion", "rolling")
KINDS = ("recital", "problem", "passage", "story")


@pytest.fixture(scope="module")
def toylm() -> SimpleNamespace:
    """Import the recipe's modules, which live outside any installed package."""
    sys.path.insert(0, str(SUITE / "recipe"))
    try:
        names = ("corpus", "document", "passages", "problems", "stories")
        return SimpleNamespace(**{name: importlib.import_module(f"toylm.{name}") for name in names})
    finally:
        sys.path.remove(str(SUITE / "recipe"))


def rows(task: str) -> list[dict[str, Any]]:
    """Read the shipped test documents of a task."""
    text = (SUITE / "data" / f"{task}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_shipped_files_are_what_the_recipe_writes(toylm: SimpleNamespace, tmp_path: Path) -> None:
    toylm.corpus.write_test_files(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(written) == {f"{task}.jsonl" for task in TASKS}
    for name, content in written.items():
        assert (SUITE / "data" / name).read_bytes() == content


def test_train_stream_depends_on_its_seed_alone(toylm: SimpleNamespace) -> None:
    for kind in KINDS:
        first = list(islice(toylm.corpus.train_stream(kind, 7), 20))
        again = list(islice(toylm.corpus.train_stream(kind, 7), 20))
        other = list(islice(toylm.corpus.train_stream(kind, 8), 20))
        assert first == again
        assert first != other


@pytest.mark.parametrize("model", ["teacher", "student"])
def test_no_test_content_occurs_in_the_train_stream(toylm: SimpleNamespace, model: str) -> None:
    """Check both the content keys and the very text of the test documents."""
    corpus = toylm.corpus
    seed, sizes = corpus.TEACHER_DATA_SEED, corpus.TEACHER_DOCUMENTS
    if model == "student":
        seed, sizes = corpus.student_data_seed(1), corpus.STUDENT_DOCUMENTS
    keys: set[str] = set()
    texts: set[str] = set()
    for kind, size in sizes.items():
        for document in islice(toylm.corpus.train_stream(kind, seed), size):
            keys.update(document.keys)
            if kind == "problem":
                texts.add(document.prompts[0])
            elif kind == "passage":
                texts.update(document.prompts[0].split("\n")[0].removesuffix(".").split(". ")[1:])
            else:
                texts.add(document.text())
    assert {toylm.document.side_of(key) for key in keys} == {"train"}
    for row in rows("word_problems"):
        assert f"Question: {row['question']}\nAnswer:" not in texts
    for row in rows("reading"):
        assert texts.isdisjoint(row["passage"].removesuffix(".").split(". ")[1:])
    for row in rows("completion"):
        assert f"{row['context']} {row['last_word']}." not in texts
    for row in rows("rolling"):
        assert row["text"] not in texts


def test_test_documents_are_made_of_test_content(toylm: SimpleNamespace) -> None:
    rng = Random("any seed")
    for _ in range(50):
        passage = toylm.passages.make_passage(rng, "test", toylm.passages.PEOPLE, rounds=1)
        keys = [*passage.keys]
        keys.append(toylm.problems.make_problem(rng, "test").key)
        keys.append(toylm.stories.make_story(rng, "test").key)
        assert {toylm.document.side_of(key) for key in keys} == {"test"}


def test_sizes_and_fields() -> None:
    assert {task: len(rows(task)) for task in TASKS} == {
        "word_problems": 402,
        "reading": 400,
        "completion": 300,
        "rolling": 100,
    }
    for task in TASKS:
        ids = [row["id"] for row in rows(task)]
        assert len(set(ids)) == len(ids)
    passages = Counter(row["passage_id"] for row in rows("reading"))
    assert set(passages.values()) == {4}
    assert set(Counter(row["category"] for row in rows("word_problems")).values()) == {67}


def test_reading_choices_are_distinct_and_the_answer_stands_in_the_passage() -> None:
    for row in rows("reading"):
        assert len(set(row["choices"])) == 4
        assert row["choices"][row["answer"]] in row["passage"]


def test_right_answers_follow_no_pattern_of_position() -> None:
    counts = Counter(row["answer"] for row in rows("reading"))
    assert all(70 <= counts[position] <= 130 for position in range(4))


def test_texts_survive_the_tokenizer_and_contexts_tokenize_alike_alone_and_continued() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SUITE / "models" / "teacher")
    for row in rows("reading")[:40]:
        context, answer = f"{row['passage']}\nRecall: {row['stem']}", f" {row['choices'][0]}"
        whole = tokenizer.encode(context + answer)
        assert tokenizer.decode(whole) == context + answer
        assert tokenizer.encode(context) + tokenizer.encode(answer) == whole


def test_all_models_together_stay_under_twelve_megabytes() -> None:
    sizes = {
        folder.name: sum(file.stat().st_size for file in folder.iterdir())
        for folder in (SUITE / "models").iterdir()
        if (folder / "model.safetensors").is_file()
    }
    assert set(sizes) == {"teacher", "scratch", "forward-kl", "on-policy"}
    assert sum(sizes.values()) < 12e6


@pytest.mark.slow
def test_the_recipe_trains_every_model_from_one_command(tmp_path: Path) -> None:
    """A trial of a few steps; whether they suffice is what the shipped results show."""
    out = tmp_path / "models"
    subprocess.run(
        [sys.executable, str(SUITE / "recipe" / "train.py"), "--scale", "0.005",
         "--out", str(out), "--data", str(tmp_path / "data")],
        check=True,
    )  # fmt: skip
    report = json.loads((out / "training.json").read_text())
    assert set(report["models"]) == {"teacher", "scratch", "forward-kl", "on-policy"}
    for name, record in report["models"].items():
        assert (out / name / "model.safetensors").is_file()
        assert record["tokens"] > 0
        assert all(loss > 0 for loss in record["final_loss"].values())
