"""Every shape of task gives lm-eval's own requests, scores and numbers, to the last document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval_parity import HashModel, ask_kdbench, ask_lm_eval, assert_equal, hash_lm

from kdbench.tasks.task import Context

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.slow

WORDS = ["river", "stone", "lamp", "cart", "wind", "bell", "rope", "door", "barn", "kite"]


def documents(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Questions with four choices, a category and a passage shared by three of them."""
    made = []
    for i in range(start, start + count):
        choices = [WORDS[(i * 3 + k) % 10] + ("s" if k % 2 else "") for k in range(4)]
        made.append(
            {
                "id": i,
                "question": f"What lies near the {WORDS[i % 10]} number {i}?",
                "choices": choices,
                "answer": i * 7 % 4,
                "word": choices[i * 7 % 4],
                "passage": f"passage {i // 3}",
                "binary": i % 2,
                "both": [choices[0], choices[1]],
            }
        )
    return made


COMMON = """
dataset_path: json
dataset_kwargs: {data_files: {train: train.jsonl, test: test.jsonl}}
training_split: train
test_split: test
metadata: {version: 2.0}
"""

CHOICE = """
task: choice
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
"""

GENERATE = """
task: generate
output_type: generate_until
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{word}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 16, do_sample: false}
"""

FUNCTIONS = """
import random


def to_text(doc):
    doc["question"] = doc["question"].upper()  # changes the document that it is given
    random.shuffle(doc["choices"])
    return doc["question"] + " " + " or ".join(doc["choices"]) + "?"


def to_target(doc):
    return doc["word"]


def process_docs(dataset):
    def change(doc):
        return {"question": doc["question"] + str(random.randint(0, 9))}

    return dataset.filter(lambda doc: doc["id"] % 3).map(change)


def process_results(doc, results):
    doc["word"] = doc["word"][::-1]
    return {"length": len(results[0]) + doc["id"], "parts": [doc["id"], len(results[0])]}


def ratio(items):
    return sum(b for _, b in items) / (1 + sum(a for a, _ in items))


def exclaim(resps, docs):
    return [[answer + "!" + str(doc["id"]) for answer in some] for some, doc in zip(resps, docs)]
"""

TASKS: dict[str, str] = {
    "choice": CHOICE,
    "choice by name": CHOICE.replace("answer", "'{{word}}'"),
    "first shots": CHOICE
    + "fewshot_split: train\nfewshot_config: {sampler: first_n}\nnum_fewshot: 3\n",
    "shots from the same split": CHOICE + "fewshot_split: test\nnum_fewshot: 2\n",
    "listed shots": GENERATE
    + "num_fewshot: 1\nfewshot_config: {sampler: first_n, samples: "
    + json.dumps(documents(2, start=90))
    + "}\n",
    "all choice metrics": CHOICE
    + """
metric_list:
  - metric: acc
  - metric: acc_norm
  - metric: acc_bytes
  - metric: acc_mutual_info
  - metric: brier_score
  - metric: mcc
  - metric: exact_match
    aggregation: nanmean
    higher_is_better: true
""",
    "binary": """
task: binary
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["no", "yes"]
doc_to_target: binary
metric_list: [{metric: f1}, {metric: mcc}, {metric: acc}]
""",
    "several inputs": """
task: inputs
output_type: multiple_choice
doc_to_text: "{{answer}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{passage}}."
""",
    "several right choices": """
task: several
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{[answer, 0]}}"
""",
    "no context": """
task: minimal_pairs
output_type: multiple_choice
doc_to_text: ""
target_delimiter: ""
doc_to_choice: "{{choices}}"
doc_to_target: 0
""",
    "last word": """
task: last_word
output_type: loglikelihood
doc_to_text: "{{question}} It is the"
doc_to_target: "{{' ' + word}}"
""",
    "rolling": """
task: rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}} {{word}}"
""",
    "generate": GENERATE + "description: 'Answer with one word.\\n\\n'\n",
    "generate with defaults": GENERATE[: GENERATE.index("generation_kwargs")],
    "prefix": GENERATE + "gen_prefix: 'The thing is'\nnum_fewshot: 2\n",
    "two filters": GENERATE
    + """
filter_list:
  - name: strict
    filter:
      - {function: regex, regex_pattern: "#### (-?[0-9]+)"}
      - {function: take_first}
  - name: flexible
    filter:
      - {function: regex, group_select: -1, regex_pattern: "(-?[0-9]+)"}
      - {function: take_first}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}
""",
    "votes": GENERATE
    + """
repeats: 4
filter_list:
  - name: majority
    filter: [{function: lowercase}, {function: majority_vote}, {function: take_first}]
  - name: first two
    filter: [{function: take_first_k, k: 2}, {function: majority_vote}, {function: take_first}]
""",
    "several right answers": GENERATE.replace('"{{word}}"', "both"),
    "translation": GENERATE
    + "metric_list: [{metric: bleu}, {metric: chrf}, {metric: chrf++}, {metric: ter}]\n",
    "python": GENERATE.replace('"Q: {{question}}\\nA:"', "!function code.to_text").replace(
        '"{{word}}"', "!function code.to_target"
    )
    + "process_docs: !function code.process_docs\n",
    "python scores": GENERATE
    + """
process_results: !function code.process_results
metric_list:
  - {metric: length, aggregation: mean, higher_is_better: false}
  - {metric: parts, aggregation: !function code.ratio, higher_is_better: true}
""",
    "python filter": GENERATE
    + """
filter_list:
  - name: exclaim
    filter: [{function: custom, filter_fn: !function code.exclaim}, {function: take_first}]
""",
}


@pytest.fixture(autouse=True)
def own_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def write(folder: Path, recipe: str, train: int = 20, test: int = 23) -> Path:
    """A task's folder: its YAML, its data and its Python file."""
    for name, rows in (("train", documents(train, start=1000)), ("test", documents(test))):
        lines = [json.dumps(row) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "code.py").write_text(FUNCTIONS, encoding="utf-8")
    path = folder / "task.yaml"
    path.write_text(recipe + COMMON, encoding="utf-8")
    return path


@pytest.mark.parametrize("recipe", TASKS.values(), ids=list(TASKS))
def test_a_task_scores_as_in_lm_eval(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, recipe)
    monkeypatch.chdir(tmp_path)
    assert_equal(*ask_kdbench(path, HashModel()), ask_lm_eval(path, hash_lm()))


OPTIONS: dict[str, dict[str, Any]] = {
    "shots": {"num_fewshot": 5},
    "other shots": {"num_fewshot": 5, "fewshot_seed": 7},
    "limit": {"num_fewshot": 2, "limit": 9},
    "system": {"system_instruction": "Be brief."},
    "chat": {"apply_chat_template": True, "num_fewshot": 2},
    "chat in one turn": {
        "apply_chat_template": True,
        "num_fewshot": 2,
        "fewshot_as_multiturn": False,
        "system_instruction": "Be brief.",
    },
}
RENAMED = {"fewshot_seed": "fewshot_random_seed"}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("shape", ["choice", "several inputs", "prefix"])
def test_an_option_means_what_it_means_in_lm_eval(
    shape: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, TASKS[shape])
    monkeypatch.chdir(tmp_path)
    theirs = ask_lm_eval(path, hash_lm(), **{RENAMED.get(k, k): v for k, v in options.items()})
    assert_equal(*ask_kdbench(path, HashModel(), **options), theirs)


def test_a_task_that_says_zero_shots_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, CHOICE + "num_fewshot: 0\n")
    monkeypatch.chdir(tmp_path)
    task, samples = ask_kdbench(path, HashModel(), num_fewshot=3)
    assert_equal(task, samples, ask_lm_eval(path, hash_lm(), num_fewshot=3))
    assert task.protocol()["shots"] == "0"


def test_generation_settings_of_the_suite_go_over_the_tasks_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, GENERATE)
    monkeypatch.chdir(tmp_path)
    changed = {"max_gen_toks": 3, "temperature": 0.5, "do_sample": True}
    task, _ = ask_kdbench(path, HashModel(), gen_kwargs=changed)
    theirs = ask_lm_eval(path, hash_lm(), gen_kwargs=dict(changed))
    for item, other in zip(task.items(None), theirs["samples"], strict=True):
        assert item.payload.requests[0].args == tuple(other["arguments"][0])


@pytest.mark.parametrize("shape", ["choice", "python"])
def test_prompts_do_not_depend_on_how_many_were_built_before(shape: str, tmp_path: Path) -> None:
    path = write(tmp_path, TASKS[shape])
    whole, _ = ask_kdbench(path, HashModel(), num_fewshot=3)
    pieces, _ = ask_kdbench(path, HashModel(), limit=4, num_fewshot=3)
    pieces.items(9)
    assert [item.id for item in pieces.items(None)] == [item.id for item in whole.items(None)]
    assert [i.payload.contexts for i in pieces.items(None)] == [
        i.payload.contexts for i in whole.items(None)
    ]


def test_a_second_model_gets_the_same_questions_untouched(tmp_path: Path) -> None:
    task, first = ask_kdbench(write(tmp_path, TASKS["python scores"]), HashModel())
    again = task.measure(HashModel(), task.items(None), Context(seed=0))
    assert again == first
