"""What the harness itself costs, beside lm-eval's own on the same task and machine.

The model answers at once, so that all time is the harness's: reading, prompts, filters, scores.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval_parity import HashModel, ask_kdbench, ask_lm_eval, assert_equal, hash_lm

from kdbench.tasks.aggregate import aggregate

pytest.importorskip("lm_eval")

DOCUMENTS, SHOTS = 500, 5
CHOICE = """
task: overhead_choice
output_type: multiple_choice
doc_to_text: "{{question.strip()}}\\nA. {{choices[0]}}\\nB. {{choices[1]}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{choices.index(word)}}"
"""
GENERATE = """
task: overhead_generate
output_type: generate_until
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{word}}"
generation_kwargs: {until: ["Question:"], max_gen_toks: 64, do_sample: false}
filter_list:
  - name: strict-match
    filter:
      - {function: regex, regex_pattern: "#### (-?[0-9]+)"}
      - {function: take_first}
  - name: flexible-extract
    filter:
      - {function: regex, group_select: -1, regex_pattern: "(-?[0-9]+)"}
      - {function: take_first}
"""
DATA = """
dataset_path: json
dataset_kwargs: {data_files: {train: train.jsonl, test: test.jsonl}}
training_split: train
test_split: test
fewshot_split: train
metadata: {version: 1.0}
"""


def write(folder: Path, recipe: str) -> Path:
    words = ["river", "stone", "lamp", "cart", "wind", "bell", "rope", "door"]
    for split, count in (("train", 1000), ("test", DOCUMENTS)):
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for i in range(count):
                choices = [words[(i + k * k) % 8] for k in range(3)]
                row = {
                    "question": f"{split} {i}: which?",
                    "choices": choices,
                    "word": choices[i % 3],
                }
                file.write(json.dumps(row) + "\n")
    path = folder / "task.yaml"
    path.write_text(recipe + DATA, encoding="utf-8")
    return path


def show(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")


def fastest(work: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """Least seconds of several runs: what the work costs where nothing else disturbs it."""
    seconds, result = [], None
    for _ in range(times):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [CHOICE, GENERATE], ids=["choice", "generate"])
def test_the_harness_costs_at_most_half_of_lm_evals(
    recipe: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, recipe)

    def ours() -> Any:
        task, samples = ask_kdbench(path, HashModel(), block=32, num_fewshot=SHOTS)
        for metric in task.metrics():
            scores = [sample.scores[metric.name] for sample in samples]
            aggregate(metric.aggregation, scores, [sample.cluster for sample in samples])
        return task, samples

    def theirs() -> Any:
        return ask_lm_eval(path, hash_lm(), num_fewshot=SHOTS)

    fastest(ours, 1)  # imports, and the data library's cache, which both then use
    mine, (task, samples) = fastest(ours)
    other, logged = fastest(theirs, 2)
    assert_equal(task, samples, logged)
    show(
        capsys,
        f"{task.label}: {DOCUMENTS} documents, {SHOTS} shots: kdbench {mine:.2f} s, lm-eval "
        f"{other:.2f} s (without its environment report), ratio {mine / other:.2f}",
    )
    assert mine <= other / 2


FIND_OURS = """
import time
began = time.perf_counter()
from pathlib import Path
from kdbench import registry
task = registry.tasks.get("reasoning")
params = task.expand(task.Params(lm_eval="{name}"), Path("."))
found = [task(each, Path(".")) for each in params]
metrics = [each.metrics() for each in found]
protocols = [each.protocol() for each in found]
print(time.perf_counter() - began)
"""
FIND_THEIRS = """
import time
began = time.perf_counter()
from lm_eval.tasks import TaskManager
entry = TaskManager().task_index["{name}"]
print(time.perf_counter() - began)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gsm8k", "mmlu"])
def test_a_named_task_is_found_in_a_tenth_of_lm_evals_time(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).resolve().parents[2]

    def seconds(code: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", code.format(name=name)],
            env={"PYTHONPATH": str(root), "KDBENCH_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout.split()[-1])

    cold = seconds(FIND_OURS)
    warm = min(seconds(FIND_OURS) for _ in range(3))
    theirs = seconds(FIND_THEIRS)
    show(
        capsys,
        f"{name}: kdbench {cold:.2f} s the first time, {warm:.2f} s after that (imports, names, "
        f"metrics and protocol of all its tasks); lm-eval's TaskManager {theirs:.1f} s",
    )
    assert warm <= theirs / 10
