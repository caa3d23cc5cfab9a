"""Small lm-eval tasks on disk, for tests of what is read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kdbench.tasks.reasoning import Reasoning

CHOICE = """
task: birds
dataset_path: json
dataset_kwargs:
  data_files:
    test: birds.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metadata:
  version: 1.0
"""

ROWS = [
    {"question": "A wren is a", "choices": ["bird", "fish"], "answer": 0, "page": 1, "kind": "x"},
    {"question": "A carp is a", "choices": ["bird", "fish"], "answer": 1, "page": 1, "kind": "y"},
    {"question": "A tit is a", "choices": ["fish", "bird"], "answer": 1, "page": 2, "kind": "x"},
    {"question": "A wren is a", "choices": ["bird", "tree"], "answer": 0, "page": 3, "kind": "x"},
    {"question": "A wren is a", "choices": ["bird", "fish"], "answer": 0, "page": 1, "kind": "x"},
]


def write(folder: Path, recipe: str = CHOICE, rows: list[dict[str, Any]] | None = None) -> Path:
    """`task.yaml` and its data in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in (ROWS if rows is None else rows)]
    (folder / "birds.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "task.yaml").write_text(recipe, encoding="utf-8")
    return folder


def reasoning(folder: Path, lm_eval: str = "task.yaml", **params: Any) -> Reasoning:
    return Reasoning(Reasoning.Params(lm_eval=lm_eval, **params), folder)
