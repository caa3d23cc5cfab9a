"""Which papers' claims could be measured today: asked of the registry, never typed by hand.

`needs.csv` beside the papers says what a need means in kdbench's words: the metrics that would answer it
(`|` between alternatives; a trailing `*` matches any ending), where it names a data set the tasks that hold
it, and the kinds of papers that it is about. Whether anything emits those metrics, or knows those tasks, is
looked up when the site is built.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from kdbench.errors import KdbenchError, StoreError, TaskError
from kdbench.leaderboard.data_files import DataFiles
from kdbench.registry import tasks
from kdbench.results.claims import read_papers

COLUMNS = ("pattern", "metrics", "tasks", "kinds", "note")


@dataclass(frozen=True, slots=True)
class Need:
    """A line of needs.csv: what a need of a paper means in kdbench's words."""

    pattern: re.Pattern[str]
    metrics: list[str]
    tasks: list[str]
    kinds: re.Pattern[str] | None
    note: str

    def about(self, text: str, kind: str) -> bool:
        return bool(self.pattern.search(text)) and (not self.kinds or bool(self.kinds.search(kind)))


def read_needs(path: Path) -> list[Need]:
    """Lines of needs.csv, the first that fits a need wins. `StoreError` names a line at fault."""
    if not path.is_file():
        return []
    needs = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise StoreError(f"{path}:1: the columns must be {', '.join(COLUMNS)}")
        for line in reader:
            try:
                needs.append(Need(
                    re.compile(line["pattern"], re.IGNORECASE),
                    [name for name in line["metrics"].split("|") if name],
                    [name for name in line["tasks"].split("|") if name],
                    re.compile(line["kinds"]) if line["kinds"] else None,
                    line["note"],
                ))  # fmt: skip
            except re.error as error:
                raise StoreError(f"{path}:{reader.line_num}: not a pattern: {error}") from error
    return needs


class Measurable:
    """What this installation can measure."""

    @cached_property
    def emitted(self) -> dict[str, list[str]]:
        """Tasks by the metrics that they emit."""
        found: dict[str, list[str]] = {}
        for name in tasks.names():
            for metric in tasks.get(name).known_metrics():
                found.setdefault(metric.name, []).append(name)
        return found

    def emitting(self, pattern: str) -> list[str]:
        return sorted({
            task
            for metric, names in self.emitted.items()
            if fnmatchcase(metric, pattern)
            for task in names
        })  # fmt: skip

    def knows(self, label: str) -> bool:
        """True for a registered task, or one of lm-eval's recipes under `reasoning/`."""
        name, _, what = label.partition("/")
        if name not in tasks.names():
            return False
        return name != "reasoning" or self._recipe(what)

    def _recipe(self, name: str) -> bool:
        from kdbench.tasks.lmeval.index import installed

        try:
            index = installed()
        except (KdbenchError, TaskError):
            return False
        # recipes that are Python classes don't say beforehand what they score, and are refused
        return name in index and name not in index.python


def answer(need: Need | None, measurable: Measurable) -> tuple[list[str], str]:
    """The tasks that measure a need today, and, where there are none, why."""
    if need is None:
        return [], "kdbench has no metric for it"
    if need.tasks:
        known = [label for label in need.tasks if measurable.knows(label)]
        return known, "" if known else f"no task {' or '.join(need.tasks)} yet"
    if need.metrics:
        found = sorted({t for pattern in need.metrics for t in measurable.emitting(pattern)})
        return found, "" if found else f"no task emits {' or '.join(need.metrics)} yet"
    return [], need.note


def papers_of(
    folder: Path, measurable: Measurable, suites: dict[str, set[str]]
) -> list[dict[str, Any]]:
    """A line for every paper of `folder`: its needs, what measures them, and the suite to run."""
    needs = read_needs(folder / "needs.csv")
    lines = []
    for paper in read_papers(folder):
        asked = []
        for text in paper["eval_needs"]:
            need = next((n for n in needs if n.about(text, paper["kind"])), None)
            found, why = answer(need, measurable)
            asked.append({
                "text": text, "metrics": need.metrics if need else [],
                "measured": bool(found), "tasks": found, "why": why,
            })  # fmt: skip
        measured = sum(entry["measured"] for entry in asked)
        wanted = {task for entry in asked for task in entry["tasks"]}
        lines.append({
            **{key: paper.get(key) for key in ("id", "title", "method", "kind", "one_line")},
            "needs": asked,
            "measured": "all" if asked and measured == len(asked) else "some" if measured else "none",
            "suite": next((file for file, labels in suites.items() if labels & wanted), None),
        })  # fmt: skip
    return lines


def shipped_suites() -> dict[str, set[str]]:
    """Labels of the tasks of every suite that ships, by its file."""
    from kdbench.suite import load_suite, shipped_suites

    return {
        f"suites/{path.name}": {spec.label for spec in load_suite(path).tasks}
        for path in shipped_suites()
    }


def write(site: DataFiles, folders: Sequence[Path]) -> None:
    """Write data/coverage.js; a folder that can't be read is noticed and left out."""
    measurable, suites = Measurable(), shipped_suites()
    lines: list[dict[str, Any]] = []
    for folder in folders:
        try:
            lines += papers_of(folder, measurable, suites)
        except StoreError as error:
            site.notice(str(error))
    counts = {
        kind: sum(line["measured"] == kind for line in lines) for kind in ("all", "some", "none")
    }
    site.write("data/coverage.js", {"papers": lines, "counts": counts})
