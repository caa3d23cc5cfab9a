"""Models that can't answer: found before loading where files show it, one failed cell where not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from suites import rows

SUITES = Path(__file__).resolve().parents[2] / "suites"
MODEL = SUITES / "quickstart" / "models" / "scratch"
TASK = SUITES / "quickstart" / "tasks" / "rolling.yaml"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of the shipped model and a copy of it that tests may spoil."""
    shutil.copytree(MODEL, tmp_path / "spoilt")
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"models: {{sound: {MODEL}, spoilt: spoilt}}\n"
        "pairs: [{teacher: sound, student: spoilt, method: vandalism}]\n"
        f"tasks: [{{task: reasoning, lm_eval: {TASK}}}]\n"
        "settings: {limit: 3, device: cpu, dtype: float32}\n"
    )
    return path


def stored(folder: Path) -> dict[Path, bytes]:
    logs = (folder / "results" / "cells").glob("*/samples.jsonl")
    return {log: log.read_bytes() for log in logs}


@pytest.mark.slow
def test_nan_logits_fail_their_cell_and_name_dtype_and_remedy(kdbench, suite, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    weights = tmp_path / "spoilt" / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("mlp.down_proj.weight"))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, weights, metadata={"format": "pt"})
    done = kdbench("run", suite, code=1)
    assert "NaN or infinite in dtype float32" in done.stdout
    found = rows(tmp_path / "results" / "suite" / "metrics.csv")
    own = {(r["model"], r["status"]) for r in found if r["role"] != "pair"}
    assert own == {("sound", "ok"), ("spoilt", "failed")}
    kept = stored(tmp_path)
    assert any(kept.values())

    shutil.copy(MODEL / "model.safetensors", weights)
    kdbench("run", suite)
    assert all(log.read_bytes() == content for log, content in kept.items() if content)


def test_a_tokenizer_with_more_tokens_than_the_model_is_a_mismatch(kdbench, suite, tmp_path):
    file = tmp_path / "spoilt" / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    size = json.loads((MODEL / "config.json").read_text())["vocab_size"]
    tokenizer["added_tokens"].append(
        {"id": size + 7, "content": "<extra>", "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": True}
    )  # fmt: skip
    file.write_text(json.dumps(tokenizer))
    done = kdbench("run", suite, code=3)
    assert re.search(r"suite\.yaml:1:\d+: models\.spoilt: .*tokenizer mismatch", done.stderr)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "spoilt"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (lambda folder: (folder / "config.json").write_text("{"), "not JSON"),
        (
            lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
            "pickle",
        ),
    ],
    ids=["folder", "config", "weights", "tokenizer", "damaged config", "pickle"],
)
def test_a_missing_or_damaged_file_is_found_before_anything_loads(
    kdbench, suite, tmp_path, spoil, message
):
    spoil(tmp_path / "spoilt")
    done = kdbench("run", suite, code=3)
    assert re.search(r"suite\.yaml:1:\d+: models\.spoilt: ", done.stderr), done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_damaged_weights_fail_their_cell_alone(kdbench, suite, tmp_path):
    weights = tmp_path / "spoilt" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    done = kdbench("run", suite, code=1)
    assert "can't load the model" in done.stdout
    found = rows(tmp_path / "results" / "suite" / "metrics.csv")
    assert {r["status"] for r in found if r["model"] == "sound"} == {"ok"}


def test_a_task_file_that_is_missing_is_a_mistake_of_the_suite(kdbench, suite, tmp_path):
    suite.write_text(suite.read_text().replace("rolling.yaml", "roling.yaml"))
    done = kdbench("validate", suite, code=3)
    assert re.search(r"suite\.yaml:3:\d+: tasks\[0\]", done.stderr), done.stderr
    assert "roling.yaml" in done.stderr


@pytest.mark.slow
def test_a_task_without_documents_fails_with_the_name_of_its_file(kdbench, suite, tmp_path):
    task = tmp_path / "empty.yaml"
    text = TASK.read_text().replace("../data/rolling.jsonl", "empty.jsonl")
    task.write_text(text)
    (tmp_path / "empty.jsonl").touch()
    suite.write_text(suite.read_text().replace(str(TASK), "empty.yaml"))
    done = kdbench("run", suite, code=1)
    assert "empty.jsonl" in done.stdout


def test_a_model_that_is_not_here_is_named_with_the_way_to_get_it(kdbench, suite, tmp_path):
    suite.write_text(suite.read_text().replace("spoilt: spoilt", "spoilt: 'hf:org/nothing'"))
    cache = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    done = kdbench("run", suite, code=3, **cache)
    assert "org/nothing" in done.stderr
    assert "HF_HUB_OFFLINE" in done.stderr
    shown = kdbench("validate", suite, code=None, **cache)
    assert "download for models.spoilt" in shown.stdout
