"""The code task: prompts as lm-eval's, programs as the data sets' authors judge them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from kdbench.errors import TaskError
from kdbench.metrics.sampling import pass_at_k
from kdbench.models.protocols import Generated, Prompt
from kdbench.run.plan import ingredients
from kdbench.tasks import code_problems
from kdbench.tasks.code import Code, CodeParams
from kdbench.tasks.sandbox.runs import Limits, Program, judge
from kdbench.tasks.sandbox.walls import require_walls
from kdbench.tasks.task import Context

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("KDBENCH_SHARED_DATA") or ROOT.parent / "shared" / "data")
HUMANEVAL = SHARED / "humaneval" / "HumanEval.jsonl.gz"
EXAMPLE = SHARED / "humaneval" / "example_problem.jsonl"
MBPP = SHARED / "mbpp" / "mbpp_test.jsonl"
ALLOWED = Context(0, allow_code_execution=True)


def needed(path: Path) -> Path:
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {SHARED}; set KDBENCH_SHARED_DATA to where it is")
    try:
        require_walls()
    except TaskError as error:
        pytest.skip(str(error))
    return path


def lines(path: Path) -> list[dict]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in raw.decode().splitlines() if line.strip()]


class Writer:
    """Answers each prompt with the next of its texts, and remembers what it was asked."""

    def __init__(self, texts: Sequence[str], finish: str = "stop") -> None:
        self.texts, self.finish = list(texts), finish
        self.asked: list[Prompt] = []

    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
        self.asked += prompts
        return [
            Generated(self.texts.pop(0), 10 * (i + 1), self.finish) for i in range(len(prompts))
        ]


def code(path: Path, **given: object) -> Code:
    return Code(CodeParams(file=str(path), **{"problems": "humaneval", **given}), path.parent)


def reference(problems: str, document: dict) -> Program:
    answer = document["canonical_solution"] if problems == "humaneval" else document["code"]
    return code_problems.program(problems, False, document, answer)


def test_the_authors_example_comes_out_at_one_half():
    """The README of HumanEval promises pass@1 of 0.4999999999999999 for these six programs."""
    task = code(needed(EXAMPLE), samples=6, k=[1], temperature=0.8, cpu_seconds=1)
    answers = [one["completion"] for one in lines(EXAMPLE.with_name("example_samples.jsonl"))]
    (sample,) = task.measure(Writer(answers), task.items(None), ALLOWED)
    assert sample.scores["pass@1"] == pytest.approx(0.5)
    kinds = [kind for kind, _ in sample.extra["verdicts"]]
    assert kinds == ["error", "timeout", "error", "passed", "passed", "passed"]
    assert sample.scores["timeout_rate"] == pytest.approx(1 / 6)


def test_reference_solutions_pass_and_those_of_other_problems_fail():
    problems = lines(needed(HUMANEVAL))[::8]
    right = [reference("humaneval", one) for one in problems]
    wrong = [
        code_problems.program("humaneval", False, one, "    return None\n") for one in problems
    ]
    verdicts = judge([*right, *wrong], Limits())
    assert [one.kind for one in verdicts[: len(right)]] == ["passed"] * len(right)
    assert not any(one.passed for one in verdicts[len(right) :])


@pytest.mark.slow
def test_every_canonical_solution_of_humaneval_passes():
    programs = [reference("humaneval", one) for one in lines(needed(HUMANEVAL))]
    verdicts = judge(programs, Limits())
    assert len(verdicts) == 164
    assert [v for v in verdicts if not v.passed] == []


def test_reference_code_of_mbpp_passes_and_that_of_the_next_problem_fails():
    everything = lines(needed(MBPP))
    classes = [one for one in everything if one["test_setup_code"]]  # trees and lists of its own
    assert classes
    chosen = [*everything[::25], *classes]
    right = [reference("mbpp", one) for one in chosen]
    wrong = [
        code_problems.program("mbpp", False, one, other["code"])
        for one, other in pairwise(chosen[:11])
    ]
    verdicts = judge([*right, *wrong], Limits())
    assert [v for v in verdicts[: len(right)] if not v.passed] == []
    assert not any(one.passed for one in verdicts[len(right) :])


def test_prompts_are_lm_evals_and_so_are_the_ends_of_an_answer():
    document = lines(needed(HUMANEVAL))[0]
    writer = Writer([document["canonical_solution"]])
    task = code(HUMANEVAL)
    (sample,) = task.measure(writer, task.items(1), ALLOWED)
    (prompt,) = writer.asked
    assert prompt.text == document["prompt"] and sample.scores["pass@1"] == 1
    assert prompt.stop[:2] == ("\nclass", "\ndef") and prompt.max_new_tokens == 1024

    writer = Writer(["def remove_Occ(s, ch): return s"])
    task = code(MBPP, problems="mbpp")
    (sample,) = task.measure(writer, task.items(1), ALLOWED)
    (prompt,) = writer.asked
    assert prompt.text.count("[BEGIN]") == 4 and prompt.text.count("[DONE]") == 3
    assert prompt.text.endswith('assert remove_Occ("PHP","P") == "H"\n[BEGIN]\n')
    assert prompt.stop[0] == "[DONE]" and sample.extra["verdicts"][0][0] == "failed"


class Chatty(Writer):
    def apply_chat_template(self, messages, add_generation_prompt=True):
        return "".join(f"<{m['role']}>{m['content']}" for m in messages)


def test_in_a_chat_the_program_is_what_stands_in_the_fence():
    document = lines(needed(HUMANEVAL))[0]
    task = code(HUMANEVAL, apply_chat_template=True)
    writer = Chatty(
        [document["canonical_solution"] + "```\nThat is all. def has_close_elements(): 1"]
    )
    (sample,) = task.measure(writer, task.items(1), ALLOWED)
    assert sample.scores["pass@1"] == 1
    assert writer.asked[0].text.endswith(f"```python\n{document['prompt']}\n")

    document = lines(MBPP)[0]
    task = code(MBPP, problems="mbpp", apply_chat_template=True)
    for form in ("{}\n```\nExplained.", "\n```python\n{}\n```\nExplained.", "{}"):
        writer = Chatty([form.format(document["code"])])
        (sample,) = task.measure(writer, task.items(1), ALLOWED)
        assert sample.scores["pass@1"] == 1, form


def test_scores_follow_from_the_programs():
    task = code(needed(EXAMPLE), samples=4, k=[1, 2], temperature=0.8)
    writer = Writer(["    return 1", "    return 2", "    return (", "    return 1"], "length")
    (sample,) = task.measure(writer, task.items(None), ALLOWED)
    assert sample.scores == {
        "pass@1": 0.5, "pass@2": pytest.approx(pass_at_k(4, 2, 2)), "compile_rate": 0.75,
        "timeout_rate": 0.0, "tokens": 25.0, "tokens_right": [50, 2], "truncation_rate": 1.0,
    }  # fmt: skip
    assert [kind for kind, _ in sample.extra["verdicts"]] == [
        "passed",
        "failed",
        "syntax",
        "passed",
    ]
    assert len({prompt.seed for prompt in writer.asked}) == 4


def test_where_no_program_is_right_the_tokens_of_right_ones_are_left_out_with_the_reason():
    task = code(needed(EXAMPLE))
    (sample,) = task.measure(Writer(["    return 2"]), task.items(None), ALLOWED)
    assert "tokens_right" not in sample.scores
    assert sample.extra["skipped"] == {"tokens_right": "no program is right"}


def test_nothing_is_asked_of_a_model_without_permission():
    task = code(needed(EXAMPLE))
    writer = Writer(["    return 1"])
    with pytest.raises(TaskError, match="--allow-code-execution"):
        task.measure(writer, task.items(None), Context(0))
    assert not writer.asked


def test_the_key_knows_limits_and_documents_but_not_permission_or_paths(tmp_path):
    example = needed(EXAMPLE)

    def key(path: Path = example, **given: object) -> str:
        return json.dumps(ingredients(code(path, **given), {}, 0, ""), sort_keys=True)

    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(EXAMPLE.read_bytes())
    assert key() == key(moved) and "allow" not in key()
    moved.write_bytes(EXAMPLE.read_bytes().replace(b"== 1", b"== 2"))
    settings = [
        {"cpu_seconds": 9},
        {"memory_mb": 512},
        {"temperature": 1.0},
        {"k": [1, 2], "samples": 2, "temperature": 1.0},
    ]
    changed = [key(moved), *(key(**one) for one in settings)]
    assert len({key(), *changed}) == 6


def test_lm_evals_own_scorers_which_run_code_on_import_are_not_in_the_recipe():
    for problems in code_problems.PROBLEMS:
        for instruct in (False, True):
            text = repr(code_problems.recipe(problems, instruct, None))
            assert "FunctionReference" not in text and "unsafe" not in text
