"""Every shape of task with a real model: kdbench's engine against lm-eval's own, document by document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
from lm_eval_parity import ask_kdbench, ask_lm_eval, assert_equal
from test_prompts_against_lm_eval import TASKS, write
from test_scores_against_lm_eval import NATS, load

pytest.importorskip("lm_eval")
pytest.importorskip("torch")

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "long choices": ("choice", {}),
    "mutual information": ("all choice metrics", {}),
    "few-shot": ("choice", {"num_fewshot": 3}),
    "chat template": ("choice", {"apply_chat_template": True, "num_fewshot": 1}),
    "binary": ("binary", {}),
    "several inputs": ("several inputs", {}),
    "one continuation": ("last word", {}),
    "rolling perplexity": ("rolling", {}),
    "generation with filters": ("two filters", {}),
    "generation in a chat": ("generate with defaults", {"apply_chat_template": True}),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tiny_models.save_model(tmp_path_factory.mktemp("random"), context=512))


@pytest.fixture(autouse=True)
def own_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))


@pytest.mark.parametrize("name", list(CASES))
def test_a_shape_of_task_scores_as_in_lm_eval_with_the_same_weights(
    name: str, models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape, options = CASES[name]
    path = write(tmp_path, TASKS[shape], test=12)
    monkeypatch.chdir(tmp_path)
    ours, theirs = models
    task, samples = ask_kdbench(path, ours, block=12, **options)
    assert_equal(task, samples, ask_lm_eval(path, theirs, **options), NATS, relative=2 * NATS)


def test_a_group_scores_as_in_lm_eval(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mean over all documents of its tasks, which here differ in size."""
    from unittest import mock

    import lm_eval.evaluator
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(tmp_path)
    ours, theirs = models
    correct: list[float] = []
    names = []
    for number, size in enumerate((5, 12)):
        folder = tmp_path / f"part{number}"
        folder.mkdir()
        path = write(folder, TASKS["choice"], test=size)
        names.append(f"part_{number}")
        text = path.read_text(encoding="utf-8").replace(": test.jsonl", f": {folder}/test.jsonl")
        text = text.replace(": train.jsonl", f": {folder}/train.jsonl")
        lines = [line for line in text.splitlines() if not line.startswith("task:")]
        path.write_text("\n".join([f"task: {names[-1]}", *lines]) + "\n", encoding="utf-8")
        _, samples = ask_kdbench(path, ours, block=12)
        correct += [float(sample.scores["acc"]) for sample in samples]
    (tmp_path / "group.yaml").write_text(
        "group: both\ntask: [part_0, part_1]\n"
        "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n",
        encoding="utf-8",
    )
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    with mock.patch.object(lm_eval.evaluator, "add_env_info"):
        found = lm_eval.evaluator.simple_evaluate(
            model=theirs, tasks=["both"], task_manager=manager, bootstrap_iters=0
        )
    assert found is not None
    assert found["groups"]["both"]["acc,none"] == pytest.approx(sum(correct) / len(correct))
