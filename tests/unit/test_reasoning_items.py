"""Items and samples of the reasoning family: their ids, clusters, tags and refusals."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from lm_eval_parity import HashModel
from reasoning_tasks import CHOICE, ROWS, reasoning, write

from kdbench.errors import ModelError, TaskError
from kdbench.models.protocols import Generated, Prompt
from kdbench.tasks.lmeval.generation import decoding
from kdbench.tasks.lmeval.scoring import plain
from kdbench.tasks.reasoning import Reasoning
from kdbench.tasks.task import Context

pytest.importorskip("lm_eval")

GENERATE = (
    CHOICE.replace("multiple_choice", "generate_until")
    .replace('doc_to_choice: "{{choices}}"\n', "")
    .replace("doc_to_target: answer", 'doc_to_target: "{{choices[answer]}}"')
)
SAMPLED = (
    GENERATE + "repeats: 3\ngeneration_kwargs: {do_sample: true, temperature: 0.7, until: []}\n"
)


@pytest.fixture(autouse=True)
def own_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))


class Recorder(HashModel):
    """Keeps the prompts that it is sent."""

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []

    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
        self.prompts.extend(prompts)
        return [Generated(f"{prompt.seed}", 1, "stop") for prompt in prompts]


def test_an_id_is_of_the_question_and_the_same_question_again_is_told_apart(tmp_path: Path) -> None:
    items = reasoning(write(tmp_path)).items(None)
    ids = [item.id for item in items]
    assert len(set(ids)) == len(ROWS)
    assert ids[4] == f"{ids[0]}#1"
    assert [item.index for item in items] == list(range(len(ROWS)))
    moved = [{**row, "page": 9} if i == 2 else row for i, row in enumerate(ROWS)]
    again = [item.id for item in reasoning(write(tmp_path / "moved", rows=moved)).items(None)]
    assert [one == other for one, other in zip(ids, again, strict=True)] == [
        True,
        True,
        False,
        True,
        True,
    ]


def test_a_limit_takes_the_first_items_and_more_can_be_asked_for_later(tmp_path: Path) -> None:
    task = reasoning(write(tmp_path))
    first = task.items(2)
    assert [item.index for item in first] == [0, 1]
    assert task.items(None)[:2] == first
    assert len(task.items(99)) == len(ROWS)


def test_documents_with_one_question_share_a_cluster(tmp_path: Path) -> None:
    clusters = [item.cluster for item in reasoning(write(tmp_path)).items(None)]
    assert clusters[0] == clusters[3] == clusters[4]
    assert len(set(clusters)) == 3


def test_an_instruction_that_all_documents_share_makes_no_cluster(tmp_path: Path) -> None:
    folder = write(tmp_path, CHOICE.replace("{{question}}", "Which one?"))
    clusters = [item.cluster for item in reasoning(folder).items(None)]
    assert len(set(clusters)) == 3  # by their choices


def test_a_suite_can_name_the_field_that_makes_clusters(tmp_path: Path) -> None:
    items = reasoning(write(tmp_path), cluster_by="page").items(None)
    assert [item.cluster for item in items] == ["1", "1", "2", "3", "1"]


def test_a_cluster_field_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(
        TaskError, match=r"document 0 has no field 'pages' \(it has question, choices"
    ):
        reasoning(write(tmp_path), cluster_by="pages").items(None)


def test_a_category_goes_into_the_samples_tags(tmp_path: Path) -> None:
    task = reasoning(write(tmp_path), category="kind")
    samples = task.measure(HashModel(), task.items(None), Context(0))
    assert [sample.tags for sample in samples] == [{"category": row["kind"]} for row in ROWS]


def test_a_choice_sample_says_what_was_chosen_and_what_was_right(tmp_path: Path) -> None:
    task = reasoning(write(tmp_path))
    samples = task.measure(HashModel(), task.items(3), Context(0))
    for sample, row in zip(samples, ROWS, strict=False):
        assert sample.prompt == row["question"]
        assert sample.target == row["choices"][row["answer"]]
        assert sample.extra["choices"] == [f" {choice}" for choice in row["choices"]]
        assert sample.extra["gold"] == row["answer"]
        best = max(sample.extra["logprobs"])
        assert sample.extra["logprobs"][sample.extra["choice"]] == best
        assert sample.output == row["choices"][sample.extra["choice"]]
        assert sample.scores["acc"] == float(sample.extra["choice"] == row["answer"])
        assert json.loads(json.dumps(sample.to_json())) == sample.to_json()


@pytest.mark.parametrize("rows", [[], None], ids=["empty file", "all filtered out"])
def test_a_task_without_documents_is_an_error(
    rows: list[dict[str, object]] | None, tmp_path: Path
) -> None:
    recipe = CHOICE if rows == [] else CHOICE + "process_docs: !function code.none\n"
    folder = write(tmp_path, recipe, rows)
    code = "def none(dataset):\n    return dataset.filter(lambda doc: False)\n"
    (folder / "code.py").write_text(code, encoding="utf-8")
    with pytest.raises(TaskError, match="'birds' has no documents"):
        reasoning(folder).items(None)


def test_a_task_that_a_group_defines_in_place_can_be_asked(tmp_path: Path) -> None:
    folder = write(tmp_path)
    group = {"group": "mine", "task": [yaml.safe_load(CHOICE)]}
    (folder / "mine.yaml").write_text(json.dumps(group), encoding="utf-8")
    params = Reasoning.Params(lm_eval="mine.yaml", num_fewshot=0)
    (member,) = Reasoning.expand(params, folder)
    task = Reasoning(member, folder)
    assert task.label == "reasoning/mine::birds"
    samples = task.measure(HashModel(), task.items(None), Context(0))
    plain_task = reasoning(folder)
    assert samples == plain_task.measure(HashModel(), plain_task.items(None), Context(0))


def test_a_task_that_lm_eval_cannot_build_says_which_and_why(tmp_path: Path) -> None:
    folder = write(tmp_path, CHOICE.replace("{{question}}", "{{nothing}}"))
    with pytest.raises(TaskError, match=r"'birds' \(.*task\.yaml\) can't be built: .*nothing"):
        reasoning(folder).items(None)


def test_sampled_repeats_have_seeds_of_their_own_that_blocks_do_not_change(tmp_path: Path) -> None:
    task = reasoning(write(tmp_path, SAMPLED))
    items = task.items(None)
    whole, parts = Recorder(), Recorder()
    together = task.measure(whole, items, Context(seed=1))
    apart = [task.measure(parts, [item], Context(seed=1))[0] for item in items]
    assert together == apart
    assert whole.prompts == parts.prompts
    seeds = [prompt.seed for prompt in whole.prompts]
    assert len(set(seeds)) == len(seeds) == 3 * len(ROWS)
    assert seeds[0] == Context(seed=1).sample_seed(items[0].id)
    assert together[0].extra["outputs"] == [str(seed) for seed in seeds[:3]]
    other = Recorder()
    task.measure(other, items, Context(seed=2))
    assert not set(seeds) & {prompt.seed for prompt in other.prompts}


def test_greedy_repeats_are_asked_once(tmp_path: Path) -> None:
    model = Recorder()
    task = reasoning(write(tmp_path, GENERATE + "repeats: 5\n"))
    task.measure(model, task.items(2), Context(0))
    assert len(model.prompts) == 2


def test_a_filter_that_looks_at_all_answers_together_is_refused(tmp_path: Path) -> None:
    pipeline = (
        "filter: [{function: custom, filter_fn: !function code.rank}, {function: take_first}]"
    )
    folder = write(tmp_path, GENERATE + "filter_list:\n  - name: rank\n    " + pipeline + "\n")
    code = "def rank(resps, docs):\n    return [[str(i)] for i, _ in enumerate(resps)]\n"
    (folder / "code.py").write_text(code, encoding="utf-8")
    task = reasoning(folder)
    with pytest.raises(TaskError, match="a filter of its own"):
        task.measure(HashModel(), task.items(None), Context(0))


def test_code_that_scores_at_random_draws_the_same_for_a_question_in_any_company(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path, GENERATE + "process_results: !function code.score\n")
    code = (
        "import random\nimport numpy as np\n\n\n"
        "def score(doc, results):\n"
        "    return {'exact_match': random.random() + np.random.random()}\n"
    )
    (folder / "code.py").write_text(code, encoding="utf-8")
    task = reasoning(folder)
    items = task.items(None)
    random.seed(5)
    state = random.getstate()
    whole = task.measure(HashModel(), items, Context(0))
    assert random.getstate() == state
    random.seed(6)
    assert task.measure(HashModel(), items[3:], Context(0)) == whole[3:]
    assert len({sample.scores["exact_match"] for sample in whole}) == len(ROWS)


def test_scores_that_the_task_did_not_announce_are_kept_apart(tmp_path: Path) -> None:
    folder = write(tmp_path, GENERATE + "process_results: !function code.score\n")
    code = "def score(doc, results):\n    return {'exact_match': 1, 'extra': len(results[0])}\n"
    (folder / "code.py").write_text(code, encoding="utf-8")
    task = reasoning(folder)
    (sample,) = task.measure(HashModel(), task.items(1), Context(0))
    assert sample.scores == {"exact_match": 1}
    assert sample.extra["other_scores"] == {"extra": len(sample.output)}


def test_a_model_that_loses_an_answer_is_caught(tmp_path: Path) -> None:
    class Forgetful(HashModel):
        def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
            return super().generate_text(prompts)[1:]

    task = reasoning(write(tmp_path, GENERATE))
    with pytest.raises(ModelError, match="generate_text answered 4 of 5"):
        task.measure(Forgetful(), task.items(None), Context(0))


def test_numpy_values_become_plain_json() -> None:
    import numpy as np

    value = {"a": np.float64(0.5), "b": (np.int64(3), [np.array([1.0, 2.0])]), "c": np.bool_(True)}
    assert json.dumps(plain(value)) == '{"a": 0.5, "b": [3, [[1.0, 2.0]]], "c": 1}'


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({}, ((), 256, 0.0, 1.0, 0, {})),
        ({"until": "\n", "max_gen_toks": 9}, (("\n",), 9, 0.0, 1.0, 0, {})),
        ({"until": ["", "a", "a"], "max_new_tokens": "7"}, (("a",), 7, 0.0, 1.0, 0, {})),
        ({"max_tokens": 3, "max_gen_toks": 2}, ((), 2, 0.0, 1.0, 0, {})),
        ({"temperature": 0.7, "top_p": 0.9, "top_k": 5}, ((), 256, 0.7, 0.9, 5, {})),
        ({"temperature": 0.7, "top_p": 0.9, "do_sample": False}, ((), 256, 0.0, 1.0, 0, {})),
        (
            {"do_sample": True, "temperature": "0.2", "min_p": 0.1},
            ((), 256, 0.2, 1.0, 0, {"min_p": 0.1}),
        ),
    ],
)
def test_generation_settings_follow_lm_evals_rules(
    kwargs: dict[str, object], expected: tuple[object, ...]
) -> None:
    found = decoding(kwargs)
    assert (
        found.stop, found.max_new_tokens, found.temperature, found.top_p, found.top_k, found.options
    ) == expected  # fmt: skip


def test_sampling_at_temperature_zero_is_refused() -> None:
    with pytest.raises(TaskError, match="temperature 0"):
        decoding({"do_sample": True})
