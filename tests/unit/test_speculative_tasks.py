"""The speculative tasks: prompts from everywhere, what is refused, and what replay makes of odd texts."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kdbench.errors import ModelError, TaskError
from kdbench.models.adapter import LoadSettings
from kdbench.models.pair_scoring import accepted
from kdbench.models.prompt_lookup import PromptLookup
from kdbench.models.protocols import Generated
from kdbench.models.tokens import TokenRow
from kdbench.models.transformers import TransformersAdapter, TransformersParams
from kdbench.models.warping import Warp
from kdbench.results.sample import Sample
from kdbench.results.store import Store
from kdbench.run.plan import make_plan
from kdbench.suite import load_suite
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.speculative.loop import LoopParams, SpeculativeLoop
from kdbench.tasks.speculative.prompts import PromptParams
from kdbench.tasks.speculative.replay import ReplayParams, SpeculativeReplay
from kdbench.tasks.speculative.text import SpeculativeText
from kdbench.tasks.task import Context

QUICKSTART = Path(__file__).resolve().parents[2] / "suites" / "quickstart"
OPENINGS = str(QUICKSTART / "tasks" / "openings.yaml")
DATA = os.environ.get("KDBENCH_SHARED_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="KDBENCH_SHARED_DATA names no folder with data")


def lines(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name


def texts(folder: Path, **given: Any) -> SpeculativeText:
    (params,) = SpeculativeText.expand(PromptParams(**{"temperature": [0.0], **given}), folder)
    return SpeculativeText(params, folder)


# prompts


@needs_data
def test_spec_bench_has_its_480_questions_in_six_categories() -> None:
    task = texts(Path(DATA), prompts="spec_bench", file="spec_bench/question.jsonl")
    items = task.items(None)
    assert len(items) == 480 and task.label == "speculative.text/spec_bench/greedy"
    counts = Counter(item.payload.category for item in items)
    assert set(counts.values()) == {80} and "mt_bench" in counts and len(counts) == 6


@needs_data
@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"prompts": "mt_bench", "file": "mt_bench/mt_bench_question.jsonl"}, 80),
        ({"prompts": "eagle_questions/humaneval.jsonl"}, 80),
        ({"prompts": "eagle_questions/sum.jsonl"}, 80),
    ],
)
def test_question_files_of_the_field_are_read_as_they_are(given: dict, count: int) -> None:
    items = texts(Path(DATA), **given).items(None)
    assert len(items) == count and all(item.payload.text for item in items)
    assert len({item.id for item in items}) == count


def test_an_lm_eval_task_lends_its_prompts() -> None:
    task = texts(QUICKSTART, lm_eval=OPENINGS, category="category")
    (item,) = task.items(1)
    assert item.payload.text == "On a windy Tuesday" and item.payload.category == "recall_object"
    assert task.label == "speculative.text/quickstart_openings/greedy"


def test_the_same_prompt_again_is_another_sample_of_the_same_cluster(tmp_path: Path) -> None:
    name = lines(tmp_path / "p.jsonl", {"prompt": "a"}, {"question": "b"}, {"turns": ["a", "c"]})
    one, _, again = texts(tmp_path, prompts=name).items(None)
    assert one.id != again.id and one.cluster == again.cluster


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "there is no prompt in"),
        ("\n\n", "there is no prompt in"),
        ('{"prompt": ""}\n', "p.jsonl:1: no prompt in it"),
        ('{"prompt": "a"}\n{oops\n', "p.jsonl:2: not JSON"),
        ('["a"]\n', "p.jsonl:1: no prompt in it"),
    ],
)
def test_files_without_prompts_are_refused_with_their_place(
    tmp_path: Path, content: str, complaint: str
) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(TaskError, match=complaint):
        texts(tmp_path, prompts="p.jsonl").items(None)


def test_a_set_that_nobody_knows_is_told_apart_from_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="did you mean 'spec_bench'"):
        texts(tmp_path, prompts="spec-bench").data_fingerprint()
    task = texts(tmp_path, prompts="spec_bench")
    if task.downloads():
        with pytest.raises(TaskError, match="hf download --repo-type dataset"):
            task.data_fingerprint()


@pytest.mark.parametrize(
    "given",
    [
        {}, {"prompts": "a", "lm_eval": "b"}, {"prompts": "a.jsonl", "file": "b.jsonl"},
        {"prompts": "a", "temperature": [-1.0]}, {"prompts": "a", "top_p": [0.0]},
        {"prompts": "a", "gamma": [0]}, {"prompts": "a", "gamma": []},
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReplayParams(**given)


def test_each_way_to_draw_is_a_task_and_greedy_comes_once() -> None:
    params = ReplayParams(prompts="x.jsonl", temperature=[0.0, 1.0], top_p=[1.0, 0.9], top_k=5)
    tasks = [SpeculativeReplay(one, Path()) for one in SpeculativeReplay.expand(params, Path())]
    assert [task.label.split("/")[-1] for task in tasks] == [
        "greedy", "temperature1-top_k5", "temperature1-top_p0.9-top_k5",
    ]  # fmt: skip
    assert len({task.protocol()["sampling"] for task in tasks}) == 3
    assert [task.basis().warp for task in tasks] == [task.warp for task in tasks]


def test_what_only_the_draft_or_gamma_changes_leaves_the_target_text_alone(tmp_path: Path) -> None:
    name = lines(tmp_path / "p.jsonl", {"prompt": "a"})

    def identity(**given: Any) -> tuple[Any, Any]:
        (params,) = SpeculativeReplay.expand(
            ReplayParams(prompts=name, temperature=[1.0], **given), tmp_path
        )
        task = SpeculativeReplay(params, tmp_path)
        return task.identity(), {**task.basis().identity(), **task.basis().protocol()}

    base = identity()
    other = identity(gamma=[2])
    assert other[0] != base[0] and other[1] == base[1]
    for given in ({"max_new_tokens": 9}, {"stop": ["x"]}, {"top_k": 3}):
        assert identity(**given)[1] != base[1]


def test_an_adapter_that_gives_no_tokens_is_refused(tmp_path: Path) -> None:
    class TextOnly:
        def generate_text(self, prompts: Any) -> list[Generated]:
            return [Generated("words", 2, "stop") for _ in prompts]

    task = texts(tmp_path, prompts=lines(tmp_path / "p.jsonl", {"prompt": "a"}))
    with pytest.raises(TaskError, match="without its tokens"):
        task.measure(TextOnly(), task.items(None), Context(0))


# pairs


@pytest.fixture(scope="module")
def load():
    known: dict[str, Any] = {}

    def loaded(path: Path | str, **given: Any) -> Any:
        name = f"{path}{given}"
        if name not in known:
            params = TransformersParams(path=str(path), **given)
            adapter = TransformersAdapter(params, QUICKSTART, LoadSettings("float32", "cpu", 32))
            known[name] = adapter.load()
        return known[name]

    return loaded


def replay(**given: Any) -> SpeculativeReplay:
    asked = {"lm_eval": OPENINGS, "temperature": [0.0], "max_new_tokens": 48, "gamma": [1, 3]}
    (params,) = SpeculativeReplay.expand(ReplayParams(**{**asked, **given}), QUICKSTART)
    return SpeculativeReplay(params, QUICKSTART)


def told(task: SpeculativeReplay, teacher: Any, count: int) -> tuple[list, Context]:
    basis = task.basis()
    samples = basis.measure(teacher, basis.items(count), Context(0))
    return task.items(count), Context(0, {sample.id: sample for sample in samples})


def number(samples: list[Sample], task: Any, metric: str) -> float:
    kind = next(one.aggregation for one in task.metrics() if one.name == metric)
    scored = [sample.scores[metric] for sample in samples if metric in sample.scores]
    return aggregate(kind, scored).value


def test_a_target_drafts_perfectly_for_itself_and_lookups_for_nobody(load) -> None:
    teacher, task = load("models/teacher"), replay(temperature=[1.0])
    items, context = told(task, teacher, 6)
    own = task.measure(teacher, teacher, items, context)
    assert number(own, task, "alpha") == pytest.approx(1, abs=1e-5)
    assert number(own, task, "iid_approximation@3") == pytest.approx(4, abs=1e-3)
    assert number(own, task, "tau@3") > 3.3  # cycles at the ends of texts are cut short
    assert not any(sample.extra.get("notes") for sample in own)
    looked = task.measure(teacher, PromptLookup(2), items, context)
    assert 1 <= number(looked, task, "tau@3") < number(own, task, "tau@3")
    assert "no distributions" in looked[0].extra["skipped"]["alpha"]
    assert set(looked[0].extra["skipped"]) | set(looked[0].scores) == {
        metric.name for metric in task.metrics()
    }


def test_a_larger_draft_is_allowed_and_said(load) -> None:
    small, large, task = load("models/forward-kl"), load("models/teacher"), replay()
    items, context = told(task, small, 3)
    samples = task.measure(small, large, items, context)
    assert "the draft has more parameters than the target" in samples[0].extra["notes"]["alpha"][0]
    assert number(samples, task, "tau@3") > 1


def test_text_of_another_author_has_alpha_alone_and_says_why(load) -> None:
    teacher, student, task = (
        load("models/teacher"),
        load("models/scratch"),
        replay(text="reference"),
    )
    assert task.basis() is None
    samples = task.measure(teacher, student, task.items(4), Context(0))
    for sample in samples:
        assert {name.partition("@")[0] for name in sample.scores} == {"alpha", "iid_approximation"}
        assert "not the target's own" in sample.extra["skipped"]["tau@3"]
        assert "not the target's own" in sample.extra["skipped"]["alpha_of_text"]


def test_text_that_the_target_did_not_write_shows_in_the_gap_of_the_two_alphas(load) -> None:
    teacher, student, task = (
        load("models/teacher"),
        load("models/scratch"),
        replay(temperature=[1.0]),
    )
    items, own = told(task, teacher, 30)
    _, foreign = told(task, teacher, 30)
    for sample in foreign.basis.values():
        sample.extra["ids"].reverse()
    verdicts = []
    for context in (own, foreign):
        samples = task.measure(teacher, student, items, context)
        scores = [sample.scores["alpha_gap"] for sample in samples]
        gap = aggregate("weighted_mean", scores, confidence=0.999)
        verdicts.append(gap.low <= 0 <= gap.high)
    assert verdicts == [True, False]
    # and greedy text of another model holds tokens that the target would not write
    task = replay()
    items, foreign = told(task, student, 10)
    samples = task.measure(teacher, student, items, foreign)
    assert number(samples, task, "impossible") > 0


def test_texts_that_stop_at_once_count_a_pass_and_empty_ones_nothing(load) -> None:
    teacher, student, task = load("models/teacher"), load("models/scratch"), replay()
    items, context = told(task, teacher, 3)
    end = min(teacher.generator.ends)
    for sample, ids in zip(context.basis.values(), ([end], [], [end]), strict=True):
        sample.extra["ids"] = ids
    stopped, empty, _ = task.measure(teacher, student, items, context)
    assert stopped.scores["tau@3"] == [1.0, 1.0] and stopped.scores["acceptance_at_2@3"] == [0, 0]
    assert not empty.scores and "no tokens" in empty.extra["skipped"]["tau@3"]
    assert task.measure(teacher, PromptLookup(), items, context)[1].scores == {}


def test_prompts_beyond_the_context_are_cut_as_the_target_read_them_and_drafts_must_hold_them(
    load, tmp_path: Path
) -> None:
    long = " ".join(["Sam lost a yellow lamp in Westwick."] * 90)
    name = lines(tmp_path / "p.jsonl", {"prompt": long})
    asked = {"lm_eval": None, "prompts": str(tmp_path / name)}
    teacher, task = load("models/teacher"), replay(**asked)
    items, context = told(task, teacher, 1)
    (sample,) = task.measure(teacher, load("models/scratch"), items, context)
    assert (
        sample.scores["impossible"][0] == 0
    )  # else the draft would be judged behind another prompt
    short = load("models/scratch", max_length=128)
    with pytest.raises(TaskError, match="the draft's context only 128; ask for fewer"):
        task.measure(teacher, short, items, context)


def resized(folder: Path, vocabulary: int) -> Path:
    """A random model of the quickstart's shape and tokenizer with another vocabulary."""
    from transformers import AutoConfig, AutoModelForCausalLM

    source = QUICKSTART / "models" / "scratch"
    config = AutoConfig.from_pretrained(source, vocab_size=vocabulary)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder / name)
    return folder


def test_a_padded_vocabulary_is_used_and_named(load, tmp_path: Path) -> None:
    teacher, padded = load("models/teacher"), load(resized(tmp_path, 1024))
    task = replay(temperature=[1.0])
    items, context = told(task, teacher, 3)
    samples = task.measure(teacher, padded, items, context)
    assert (
        "has 950 rows and the draft's 1024; the first 950 are shared"
        in samples[0].extra["notes"]["alpha"][0]
    )
    assert 0 < number(samples, task, "alpha") < 1
    reverse = task.measure(padded, teacher, items, context)
    assert number(reverse, task, "alpha") == pytest.approx(number(samples, task, "alpha"), abs=1e-5)


def test_tokens_that_the_draft_can_not_say_are_rejected_and_those_it_can_not_read_refused(
    load, tmp_path: Path
) -> None:
    teacher, draft = load("models/teacher"), load("models/forward-kl")
    row = TokenRow((0, 5, 900, 6, 949), 4)
    whole = accepted(teacher, draft, [row], Warp(1.0))[0]
    head = draft.model.lm_head
    draft.model.lm_head = torch.nn.Linear(head.in_features, 900, bias=False)
    draft.model.lm_head.weight.data = head.weight.data[:900].clone()
    draft.scorer._selects = None
    try:
        fewer = accepted(teacher, draft, [row], Warp(1.0))[0]
    finally:
        draft.model.lm_head = head
        draft.scorer._selects = None
    assert fewer.chance[1] == fewer.chance[3] == 0 and fewer.chance[0] > 0
    assert whole.chance[0] > 0
    with pytest.raises(ModelError, match="has only 950 rows"):
        accepted(load(resized(tmp_path, 1024)), draft, [TokenRow((0, 1000), 1)], Warp(1.0))


def test_no_probability_under_the_draft_is_no_acceptance(load) -> None:
    teacher, draft = load("models/teacher"), load("models/scratch")
    row = TokenRow((0, *range(100, 140)), 40)
    wide, narrow = (accepted(teacher, draft, [row], Warp(1.0, top_k=k))[0] for k in (0, 2))
    assert all(np.isfinite(narrow.chance)) and narrow.impossible > 0 == wide.impossible
    assert min(narrow.chance) == 0


def test_a_pair_of_different_tokenizers_is_skipped_with_the_reason(tmp_path: Path) -> None:
    student = tmp_path / "student"
    shutil.copytree(QUICKSTART / "models" / "scratch", student)
    tokenizer = json.loads((student / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    one, other = list(words)[500:502]
    words[one], words[other] = words[other], words[one]
    (student / "tokenizer.json").write_text(json.dumps(tokenizer))
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"""\
models: {{teacher: {QUICKSTART / "models" / "teacher"}, student: student, lookup: {{adapter: prompt_lookup}}}}
pairs: [{{teacher: teacher, students: [student, lookup]}}]
tasks:
  - {{task: speculative.replay, lm_eval: {OPENINGS}, temperature: [0]}}
  - {{task: reasoning, lm_eval: {OPENINGS}}}
settings: {{dtype: float32, device: cpu}}
"""
    )
    plan = make_plan(load_suite(path), Store(tmp_path / "results"))
    cells = {(cell.label.split("/")[0], str(cell.subject)): cell for cell in plan.cells}
    refused = cells["speculative.replay", "student of teacher"]
    assert refused.skipped and "don't share a tokenizer" in refused.problem
    drafted = cells["speculative.replay", "lookup of teacher"]
    assert not drafted.problem and drafted.basis == cells["speculative.text", "teacher"].key
    assert cells["reasoning", "lookup"].skipped  # a lookup answers no questions


# the loop


def loop(**given: Any) -> SpeculativeLoop:
    asked = {
        "lm_eval": OPENINGS,
        "temperature": [0.0],
        "max_new_tokens": 24,
        "gamma": [2],
        "rounds": 1,
    }
    (params,) = SpeculativeLoop.expand(LoopParams(**{**asked, **given}), QUICKSTART)
    return SpeculativeLoop(params, QUICKSTART)


def test_the_loop_conforms_is_lossless_and_timed_beside_plain(load) -> None:
    teacher, student, task = load("models/teacher"), load("models/forward-kl"), loop()
    items, context = told(task, teacher, 2)
    samples = task.measure(teacher, student, items, context)
    assert number(samples, task, "conformance@2") == 0
    assert number(samples, task, "lossless@2") == 1
    assert number(samples, task, "tau@2") == number(samples, task, "assisted_tau@2")
    step, draft = (number(samples, task, name) for name in ("target_step", "draft_step"))
    cost, look = number(samples, task, "draft_cost"), number(samples, task, "verify_cost@2")
    assert cost == pytest.approx(draft / step)
    predicted = number(samples, task, "replayed_tau@2") / (2 * cost + look)
    assert number(samples, task, "predicted_speedup@2") == pytest.approx(predicted)
    assert number(samples, task, "best_gamma_measured") == 2
    assert number(samples, task, "speedup@2") > 0
    assert samples[0].extra["skipped"] == {"divergence_margin@2": "no text differs"}
    assert set(samples[0].scores) | set(samples[0].extra["skipped"]) == {
        metric.name for metric in task.metrics()
    }


def test_a_text_that_differs_tells_where_and_by_what_margin(load) -> None:
    teacher, student, task = load("models/teacher"), load("models/scratch"), loop()
    items, context = told(task, teacher, 1)
    (plain,) = context.basis.values()
    plain.extra["ids"] = [*plain.extra["ids"][:5], 7, *plain.extra["ids"][6:]]
    (sample,) = task.measure(teacher, student, items, context)
    assert sample.scores["lossless@2"] == 0
    place, margin = sample.extra["diverged"]["2"]
    assert place == 5 and margin == sample.scores["divergence_margin@2"] > 0


def test_a_loop_that_does_not_do_what_replay_says_is_an_error_with_its_place() -> None:
    agreeing = [[40, 10 + k % 3, 11.0, -1] for k in range(30)]
    assert abs(aggregate("conformance", agreeing).value) < 0.2
    with pytest.raises(TaskError, match="errors; the first contradiction is at token 17 of text 4"):
        aggregate("conformance", [[40, 10 + k % 3, 16.0, 17 if k >= 4 else -1] for k in range(30)])


def test_a_vocabulary_of_another_size_leaves_out_what_transformers_can_not_do(
    load, tmp_path: Path
) -> None:
    teacher, padded, task = load("models/teacher"), load(resized(tmp_path, 1024)), loop()
    items, context = told(task, teacher, 1)
    (sample,) = task.measure(teacher, padded, items, context)
    assert "vocabulary has another size" in sample.extra["skipped"]["speedup@2"]
    assert "predicted_speedup@2" in sample.scores and sample.scores["lossless@2"] == 1
