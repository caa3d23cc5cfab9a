"""Which needs of papers are measured today, asked of the registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kdbench import registry
from kdbench.errors import StoreError
from kdbench.leaderboard.coverage import Measurable, papers_of, read_needs, shipped_suites
from kdbench.tasks.task import Metric

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"


@pytest.fixture(scope="module")
def papers() -> list[dict[str, Any]]:
    return papers_of(FOLDER, Measurable(), shipped_suites())


def test_every_paper_has_a_line_with_all_its_needs(papers: list[dict[str, Any]]) -> None:
    stored = [
        json.loads(line) for line in (FOLDER / "papers.jsonl").read_text("utf-8").splitlines()
    ]
    assert len(stored) == 194
    assert [(p["title"], [n["text"] for n in p["needs"]]) for p in papers] == [
        (p["title"], p["eval_needs"]) for p in stored
    ]


def test_what_is_not_measured_says_why(papers: list[dict[str, Any]]) -> None:
    needs = [need for paper in papers for need in paper["needs"]]
    assert all(bool(need["why"]) != need["measured"] for need in needs)
    assert all(bool(need["tasks"]) == need["measured"] for need in needs)


def test_benchmarks_of_lm_eval_and_image_scores_are_measured_and_image_labels_are_not(
    papers: list[dict[str, Any]],
) -> None:
    needs = {need["text"]: need for paper in papers for need in paper["needs"]}
    assert needs["GSM8K"]["tasks"] == ["reasoning/gsm8k"]
    assert needs["AIME24"]["measured"]
    assert needs["FID (COCO-30k)"]["tasks"] == ["images"]
    assert not needs["top-1 accuracy (ImageNet-1k)"]["measured"]


def test_a_task_that_is_registered_later_covers_what_it_emits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Classification:
        @staticmethod
        def known_metrics() -> list[Metric]:
            return [Metric("top1_accuracy", "", "higher", "")]

    registry.tasks.names()
    monkeypatch.setitem(registry.tasks._classes, "classification", Classification)
    found = papers_of(FOLDER, Measurable(), {})
    needs = {need["text"]: need for paper in found for need in paper["needs"]}
    assert needs["top-1 accuracy (ImageNet-1k)"]["tasks"] == ["classification"]


def test_the_suite_to_run_is_one_whose_tasks_measure_a_need() -> None:
    found = papers_of(FOLDER, Measurable(), {"suites/math.yaml": {"reasoning/gsm8k"}})
    with_suite = [paper for paper in found if paper["suite"]]
    assert with_suite
    for paper in with_suite:
        assert any("reasoning/gsm8k" in need["tasks"] for need in paper["needs"])


def test_without_lm_eval_its_tasks_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from kdbench.errors import TaskError
    from kdbench.tasks.lmeval import index

    def gone() -> Any:
        raise TaskError("lm-eval is not installed")

    monkeypatch.setattr(index, "installed", gone)
    assert not Measurable().knows("reasoning/gsm8k")


def test_a_line_that_is_no_pattern_is_named(tmp_path: Path) -> None:
    (tmp_path / "needs.csv").write_text("pattern,metrics,tasks,kinds,note\n(,,,,\n")
    with pytest.raises(StoreError, match=r"needs\.csv:2: not a pattern"):
        read_needs(tmp_path / "needs.csv")
    (tmp_path / "needs.csv").write_text("pattern\n")
    with pytest.raises(StoreError, match="the columns must be"):
        read_needs(tmp_path / "needs.csv")
