"""GenEval from the command line: a detector that sees nothing scores nothing, and says so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import tiny_clip
import tiny_mask2former
import torch

from kdbench.models.detectors import mmdet_checkpoint

Run = Callable[..., CompletedProcess[str]]

SUITE = """\
name: painted
about: A generator that paints nothing
models:
  many: {adapter: callable, target: "painter:Painter", verbs: [generate_images], options: {steps: 8}}
  few: {adapter: callable, target: "painter:Painter", verbs: [generate_images], options: {steps: 1}}
pairs:
  - {teacher: many, student: few, method: none}
tasks:
  - task: geneval
    prompts: prompts.jsonl
    images_per_prompt: 1
"""
PAINTER = """\
import numpy as np

class Painter:
    def __init__(self, steps):
        self.steps = steps

    def generate_images(self, requests):
        return [np.zeros((32, 32, 3), np.uint8) for _ in requests]
"""
LINE = {
    "tag": "single_object",
    "include": [{"class": "cat", "count": 1}],
    "prompt": "a photo of a cat",
}


def place(folder: Path) -> Path:
    """A suite, and beside it untrained weights of the right form under the right names."""
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "painter.py").write_text(PAINTER)
    (folder / "prompts.jsonl").write_text(json.dumps(LINE))
    weights = folder / "weights"
    tiny_clip.save_hugging_face(weights / "clip-vit-large-patch14")
    made = tiny_mask2former.save(folder / "made")
    torch.save({"state_dict": tiny_mask2former.as_mmdet(made)}, folder / "mmdet.pth")
    converted = weights / f"{mmdet_checkpoint.CHECKPOINT}-converted"
    mmdet_checkpoint.convert(
        folder / "mmdet.pth", converted, tiny_mask2former.SWIN, **tiny_mask2former.SIZES
    )
    return converted / mmdet_checkpoint.NOTE


def test_a_detector_that_does_not_see_the_cat_fails_every_cell(
    tmp_path: Path, kdbench: Run
) -> None:
    note = place(tmp_path)
    changes = {
        "KDBENCH_WEIGHTS": str(tmp_path / "weights"),
        "KDBENCH_CACHE": str(tmp_path / "cache"),
    }
    told_of = json.loads(note.read_text())
    note.write_text(json.dumps({**told_of, "from": "743b7d99" + "0" * 56}))
    done = kdbench("run", "suite.yaml", code=1, **changes)
    told = done.stdout + done.stderr
    assert "fails its self-test" in told and "Traceback" not in told
    table = (tmp_path / "results" / "painted" / "metrics.csv").read_text()
    assert table.count("failed") > 10 and os.sep + "weights" not in table.split("\n", 1)[0]


def test_what_is_missing_is_named_before_anything_loads(tmp_path: Path, kdbench: Run) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "painter.py").write_text(PAINTER)
    (tmp_path / "prompts.jsonl").write_text(json.dumps(LINE))
    changes = {"KDBENCH_WEIGHTS": str(tmp_path), "HF_HUB_CACHE": str(tmp_path)}
    told = kdbench("validate", "suite.yaml", KDBENCH_CACHE=str(tmp_path), **changes).stdout
    assert "weights mask2former-swin-s-mmdet" in told and "weights clip-vit-large-patch14" in told
    assert "1711 MB" in told and str(tmp_path / "clip-vit-large-patch14") in told
