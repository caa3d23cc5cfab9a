"""Names of lm-eval: found, cached, expanded into members, or refused with the nearest one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reasoning_tasks import CHOICE, reasoning, write

from kdbench.errors import TaskError
from kdbench.tasks.lmeval import index
from kdbench.tasks.reasoning import Reasoning


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small installation of lm-eval's tasks, and an empty cache."""
    tasks = tmp_path / "tasks"
    files = {
        "birds/birds.yaml": "task: birds\ntag: animals\ninclude: _base\n",
        "birds/_base": "output_type: multiple_choice\ntag: ignored\n",
        "birds/wrens.yaml": '"task": "wrens"\n"include": "_base2"\n',
        "birds/_base2": "tag:\n  - animals\n  - small\n",
        "birds/all.yaml": (
            "group: all_birds\ntask: [wrens, birds]\n"
            "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
        ),
        "zoo.yaml": (
            "group: zoo\ntask:\n  - all_birds\n"
            "  - group: fishes\n    task: [{task: carp, num_fewshot: 2}]\n"
            "aggregate_metric_list: {metric: acc, weight_by_size: false}\ntarget_delimiter: '-'\n"
        ),
        "carp.yaml": "task: carp\noutput_type: multiple_choice\n",
        "again.yaml": "task: birds\n",
        "python.yaml": "task: coded\nclass: !function code.Coded\n",
        "loop.yaml": "group: loop\ntask: [loop]\n",
        "inline.yaml": "group: made\ntask: [{task: pond, output_type: loglikelihood}]\n",
        "broken.yaml": "task: [\n",
        "__pycache__/hidden.yaml": "task: hidden\n",
    }
    for name, text in files.items():
        path = tasks / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "tasks_folder", lambda: tasks)
    forget()
    yield tasks
    forget()


def forget() -> None:
    index.installed.cache_clear()
    index._look_again.cache_clear()


def expanded(which: str, folder: Path, **params: object) -> list[Reasoning]:
    found = Reasoning.expand(Reasoning.Params(lm_eval=which, **params), folder)
    # as an order takes them to a worker
    return [
        Reasoning(Reasoning.Params(**json.loads(each.model_dump_json())), folder) for each in found
    ]


def test_names_come_from_the_file_and_from_what_it_includes(tree: Path) -> None:
    found = index.scan(tree)
    assert found.tasks == {"birds": "again.yaml", "wrens": "birds/wrens.yaml", "carp": "carp.yaml"}
    assert found.python == {"coded": "python.yaml"}
    assert found.groups.keys() == {"all_birds", "zoo", "loop", "made"}
    assert found.tags == {"animals": ["wrens"], "small": ["wrens"]}


def test_of_two_files_with_one_name_the_first_by_path_wins(tree: Path) -> None:
    (tree / "again.yaml").unlink()
    found = index.scan(tree)
    assert found.tasks["birds"] == "birds/birds.yaml"
    assert found.tags["animals"] == ["birds", "wrens"]


def test_the_names_are_kept_on_disk_and_read_from_there(tree: Path) -> None:
    first = index.installed()
    forget()
    (
        tree / "birds" / "wrens.yaml"
    ).unlink()  # its folder is one deeper than the one that is stamped
    assert index.installed() == first


def test_an_unknown_name_is_looked_for_again_before_it_is_refused(tree: Path) -> None:
    index.installed()
    (tree / "birds" / "tits.yaml").write_text("task: tits\n", encoding="utf-8")
    forget()
    assert index.entry("tits").kind == "task"


def test_a_damaged_cache_is_made_anew(tree: Path) -> None:
    first = index.installed()
    (kept,) = index.cache_dir().glob("lm-eval-names-*.json")
    kept.write_text('{"tasks": {', encoding="utf-8")
    forget()
    assert index.installed() == first
    assert json.loads(kept.read_text("utf-8"))["tasks"] == first.tasks


def test_an_unwritable_cache_costs_only_the_scan(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tree.parent / "a file"
    file.touch()
    monkeypatch.setenv("KDBENCH_CACHE", str(file / "below"))
    assert "birds" in index.installed()


def test_an_unknown_name_is_refused_with_the_nearest_one(tree: Path) -> None:
    with pytest.raises(
        TaskError, match=r"no task, group or tag named 'brids' \(did you mean 'birds'"
    ):
        Reasoning.expand(Reasoning.Params(lm_eval="brids"), tree)


def test_a_task_stands_for_itself(tree: Path) -> None:
    (only,) = expanded("birds", tree, num_fewshot=1)
    assert (only.label, only.group, only.params.num_fewshot) == ("reasoning/birds", None, 1)


def test_a_group_that_averages_over_samples_pools_its_members(tree: Path) -> None:
    found = expanded("all_birds", tree, num_fewshot=1)
    assert [task.label for task in found] == ["reasoning/wrens", "reasoning/birds"]
    assert {task.group for task in found} == {"reasoning/all_birds"}
    assert {task.params.num_fewshot for task in found} == {1}


def test_a_group_that_averages_over_tasks_is_not_pooled_but_its_parts_are(tree: Path) -> None:
    found = expanded("zoo", tree)
    assert [(task.label, task.group) for task in found] == [
        ("reasoning/wrens", "reasoning/all_birds"),
        ("reasoning/birds", "reasoning/all_birds"),
        ("reasoning/carp", None),
    ]


def test_what_a_group_sets_for_its_members_reaches_them(tree: Path) -> None:
    carp = expanded("zoo", tree)[2]
    assert carp.params.overrides == {"target_delimiter": "-", "num_fewshot": 2}
    assert carp.protocol()["shots"] == "2"
    assert carp.protocol()["recipe"] != expanded("carp", tree)[0].protocol()["recipe"]


def test_the_suite_wins_over_the_group(tree: Path) -> None:
    carp = expanded("zoo", tree, overrides={"target_delimiter": "+"})[2]
    assert carp.params.overrides["target_delimiter"] == "+"


def test_functions_that_a_group_sets_survive_the_way_to_the_worker(tree: Path) -> None:
    text = "group: own\ntask: [carp]\nprocess_docs: !function code.change\n"
    (tree / "own.yaml").write_text(text, encoding="utf-8")
    (tree / "code.py").write_text("def change(dataset):\n    return dataset\n", encoding="utf-8")
    (carp,) = expanded("own", tree)
    before = carp.protocol()["recipe"]
    (tree / "code.py").write_text("def change(dataset):\n    return None\n", encoding="utf-8")
    assert expanded("own", tree)[0].protocol()["recipe"] != before


def test_a_tag_stands_for_the_tasks_that_carry_it(tree: Path) -> None:
    (tree / "again.yaml").unlink()
    found = expanded("animals", tree, name="beasts")
    assert [task.label for task in found] == ["reasoning/beasts/birds", "reasoning/beasts/wrens"]
    assert {task.group for task in found} == {None}


def test_a_task_that_a_group_defines_in_place_is_one(tree: Path) -> None:
    (pond,) = expanded("made", tree)
    assert pond.label == "reasoning/made::pond"
    assert pond.verbs() == {"score_text"}


def test_a_group_within_itself_is_refused(tree: Path) -> None:
    with pytest.raises(TaskError, match="group 'loop' contains itself"):
        Reasoning.expand(Reasoning.Params(lm_eval="loop"), tree)


def test_a_group_of_the_suites_own_may_name_lm_evals_tasks(tree: Path, tmp_path: Path) -> None:
    text = "group: mine\ntask: [carp, all_birds]\naggregate_metric_list: [{metric: acc}]\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    found = expanded("mine.yaml", tmp_path)
    assert [task.label.rpartition("/")[2] for task in found] == ["carp", "wrens", "birds"]
    assert {task.group for task in found} == {"reasoning/mine"}


def test_a_local_task_is_found_beside_the_suite_without_reading_any_other(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "scan", lambda folder: pytest.fail("the index was read"))
    folder = write(tmp_path / "suite", CHOICE)
    (only,) = Reasoning.expand(Reasoning.Params(lm_eval="task.yaml"), folder)
    assert reasoning(folder).label == "reasoning/birds"
    assert only.lm_eval == "task.yaml"
