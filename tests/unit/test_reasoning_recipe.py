"""What the reasoning family says of a task before anything is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from reasoning_tasks import CHOICE, reasoning, write

from kdbench.errors import TaskError
from kdbench.tasks.lmeval.metrics import metrics
from kdbench.tasks.lmeval.yamls import FunctionReference

WITH_CODE = CHOICE + "process_docs: !function code.change\n"
CODE = "from words import VOWELS\n\n\ndef change(dataset):\n    return dataset\n"


def names(config: dict[str, object]) -> dict[str, tuple[str, str, str]]:
    return {m.name: (m.aggregation, m.better, m.unit) for m in metrics(config)}


def test_a_task_without_a_metric_list_has_lm_evals_defaults() -> None:
    assert names({"output_type": "multiple_choice"}) == {
        "acc": ("mean", "higher", "fraction"),
        "acc_norm": ("mean", "higher", "fraction"),
    }
    assert names({"output_type": "loglikelihood"}) == {
        "perplexity": ("perplexity", "lower", "perplexity"),
        "acc": ("mean", "higher", "fraction"),
    }
    assert names({"output_type": "loglikelihood_rolling"}) == {
        "word_perplexity": ("weighted_perplexity", "lower", "perplexity"),
        "byte_perplexity": ("weighted_perplexity", "lower", "perplexity"),
        "bits_per_byte": ("bits_per_byte", "lower", "bits/byte"),
    }
    assert names({}) == {"exact_match": ("mean", "higher", "fraction")}


def test_each_filter_pipeline_gives_each_metric_its_own_score() -> None:
    config = {
        "metric_list": [{"metric": "exact_match"}, {"metric": "bleu"}],
        "filter_list": [{"name": "none", "filter": []}, {"name": "strict-match", "filter": []}],
    }
    assert list(names(config)) == [
        "exact_match",
        "bleu",
        "exact_match[strict-match]",
        "bleu[strict-match]",
    ]


def test_a_metric_entry_states_its_direction_and_aggregation() -> None:
    entry = {"metric": "edits", "aggregation": "median", "higher_is_better": False}
    assert names({"metric_list": [entry]}) == {"edits": ("median", "lower", "score")}


def test_metrics_computed_by_functions_are_named_after_them() -> None:
    where = Path("somewhere")
    config = {
        "metric_list": [
            {"metric": FunctionReference("code.recall", where), "aggregation": "mean"},
            {"metric": FunctionReference("code.pass_at_k", where), "k": [1, 10]},
            {"metric": "joint", "aggregation": FunctionReference("code.joint", where)},
            {"metric": "bypass"},
        ]
    }
    assert {name: found[0] for name, found in names(config).items()} == {
        "recall": "mean",
        "pass@1": "mean",
        "pass@10": "mean",
        "joint": "own",
    }


@pytest.mark.parametrize(
    "broken", [{"metric_list": [{}]}, {"metric_list": ["acc"]}, {"output_type": "x"}]
)
def test_a_task_that_lm_eval_would_refuse_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(TaskError, match=r"metric_list|output_type"):
        metrics(broken)


def test_a_label_is_the_tasks_own_name_unless_the_suite_gives_one(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert reasoning(folder).label == "reasoning/birds"
    assert reasoning(folder, name="wings").label == "reasoning/wings"
    assert reasoning(folder, "gsm8k").label == "reasoning/gsm8k"


@pytest.mark.parametrize(
    ("kind", "verb"),
    [
        ("multiple_choice", "score_text"),
        ("loglikelihood", "score_text"),
        ("loglikelihood_rolling", "score_rolling"),
        ("generate_until", "generate_text"),
    ],
)
def test_the_verb_follows_from_the_output_type(kind: str, verb: str, tmp_path: Path) -> None:
    folder = write(tmp_path, CHOICE.replace("multiple_choice", kind))
    assert reasoning(folder).verbs() == {verb}
    assert reasoning(folder, apply_chat_template=True).verbs() == {verb, "chat_template"}


def test_a_moved_folder_keeps_protocol_and_fingerprint(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one", WITH_CODE), write(tmp_path / "two" / "deep", WITH_CODE)
    for folder in (first, second):
        (folder / "code.py").write_text(CODE, encoding="utf-8")
        (folder / "words.py").write_text("VOWELS = 'aeiou'\n", encoding="utf-8")
    assert reasoning(first).protocol() == reasoning(second).protocol()
    assert reasoning(first).data_fingerprint() == reasoning(second).data_fingerprint()
    assert str(tmp_path) not in str(reasoning(first).protocol())
    assert reasoning(first).identity() == reasoning(second).identity()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("task.yaml", "{{question}}", "Question: {{question}}"),
        ("task.yaml", "doc_to_target: answer", "doc_to_target: page"),
        ("task.yaml", "version: 1.0", "version: 2.0"),
        ("task.yaml", "task: birds", "task: fishes"),
        ("task.yaml", "include: base.yaml", "include: other.yaml"),
        ("base.yaml", "target_delimiter: ' '", "target_delimiter: '-'"),
        ("code.py", "return dataset", "return dataset.select([0])"),
        ("words.py", "aeiou", "aeiouy"),
    ],
)
def test_whatever_changes_a_prompt_or_a_score_changes_the_protocol(
    file: str, old: str, new: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, WITH_CODE + "include: base.yaml\n")
    (folder / "base.yaml").write_text("target_delimiter: ' '\n", encoding="utf-8")
    (folder / "other.yaml").write_text("target_delimiter: ''\n", encoding="utf-8")
    (folder / "code.py").write_text(CODE, encoding="utf-8")
    (folder / "words.py").write_text("VOWELS = 'aeiou'\n", encoding="utf-8")
    before = reasoning(folder).protocol()
    text = (folder / file).read_text("utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    assert reasoning(folder).protocol() != before


@pytest.mark.parametrize(
    ("params", "part", "value"),
    [
        ({"num_fewshot": 3}, "shots", "3"),
        ({"num_fewshot": 3, "fewshot_seed": 5}, "fewshot_seed", "5"),
        ({"apply_chat_template": True}, "chat", "turns"),
        ({"apply_chat_template": True, "fewshot_as_multiturn": False}, "chat", "one turn"),
        ({"overrides": {"doc_to_text": "{{question}}!"}}, "recipe", None),
        ({"system_instruction": "Be brief."}, "system", None),
    ],
)
def test_an_option_of_the_suite_is_a_part_of_the_protocol(
    params: dict[str, object], part: str, value: str | None, tmp_path: Path
) -> None:
    folder = write(tmp_path)
    found = reasoning(folder, **params).protocol()[part]
    assert found != reasoning(folder).protocol().get(part)
    assert value in (None, found)


def test_generation_settings_are_a_part_of_the_protocol(tmp_path: Path) -> None:
    folder = write(tmp_path, CHOICE.replace("multiple_choice", "generate_until"))
    default = reasoning(folder).protocol()["generation"]
    assert (
        default
        == '{"do_sample": false, "max_gen_toks": 256, "temperature": 0.0, "until": ["\\n\\n"]}'
    )
    longer = reasoning(folder, gen_kwargs={"max_gen_toks": 512, "until": ["; "]})
    assert longer.protocol()["generation"].count("512") == 1
    assert "; " not in longer.protocol()["generation"]


def test_a_task_of_its_own_zero_shots_keeps_them(tmp_path: Path) -> None:
    folder = write(tmp_path, CHOICE + "num_fewshot: 0\n")
    assert reasoning(folder, num_fewshot=5).protocol()["shots"] == "0"


def test_a_yaml_that_is_none_says_where_and_why(tmp_path: Path) -> None:
    folder = write(tmp_path, "task: [unclosed")
    with pytest.raises(TaskError, match=r"task\.yaml: not a task's YAML: .*line 1"):
        reasoning(folder).metrics()
    with pytest.raises(TaskError, match=r"no task file other\.yaml in "):
        reasoning(folder, "other.yaml").metrics()


def test_a_missing_or_repeated_include_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, CHOICE + "include: nowhere.yaml\n")
    with pytest.raises(TaskError, match=r"nowhere\.yaml: no such task file"):
        reasoning(folder).metrics()
    write(tmp_path, CHOICE + "include: task.yaml\n")
    with pytest.raises(TaskError, match=r"task\.yaml: included twice"):
        reasoning(folder).metrics()


def test_what_kdbench_cannot_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    images = write(tmp_path / "images", CHOICE + "doc_to_image: picture\n")
    with pytest.raises(TaskError, match="images or sound"):
        reasoning(images).data_fingerprint()
    python = write(tmp_path / "python", "task: coded\nclass: !function code.Coded\n")
    with pytest.raises(TaskError, match="Python class"):
        reasoning(python).verbs()
    assert reasoning(python).metrics() == []


def test_a_task_that_runs_generated_code_unprotected_is_refused_for_the_one_with_a_sandbox(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, CHOICE + "unsafe_code: true\n")
    with pytest.raises(TaskError, match=r"`task: code` .* --allow-code-execution"):
        reasoning(folder).data_fingerprint()


def test_describing_a_task_imports_neither_lm_eval_nor_torch(tmp_path: Path) -> None:
    write(tmp_path, WITH_CODE)
    (tmp_path / "code.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    code = (
        "import sys; from pathlib import Path; from kdbench import registry\n"
        "Task = registry.tasks.get('reasoning'); folder = Path(sys.argv[1])\n"
        "for name in ('task.yaml', 'hellaswag'):\n"
        "    for params in Task.expand(Task.Params(lm_eval=name), folder):\n"
        "        task = Task(params, folder)\n"
        "        task.label, task.group, task.metrics(), task.protocol(), task.verbs()\n"
        "Task(Task.Params(lm_eval='task.yaml'), folder).data_fingerprint()\n"
        "heavy = {'torch', 'lm_eval', 'datasets', 'pandas', 'scipy', 'numpy', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
