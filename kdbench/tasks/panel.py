"""A panel: a drawing of a pair that a task adds to the leaderboard.

A task says in `Task.panels()` what there is to draw: a function that makes JSON from the samples of
teacher and student, and a script that draws it. The script is plain JavaScript and calls
`kdbench.panel(name, draw)` once, where `draw(element, data, context)` fills `element`; `context` has
`el`, `svg`, `format`, `theme`, `measured(v)` for a table's cell of a value with its interval, `intervalBar`,
`chart(target, traces, {x, y, ...layout})` for a plot in the page's colours (`plotText` for names in it),
`plotly` (a promise of the plot library itself) and `pair`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdbench.results.sample import Sample
from kdbench.tasks.task import Metric


@dataclass(frozen=True, slots=True)
class PanelInput:
    """What a panel is made from.

    `pairs` starts a new walk over the samples that teacher and student share, in the teacher's order;
    `samples` over the student's, or for a task on pairs over the pair's own (and then `pairs` is empty).
    Samples are read while the walk goes on and carry no texts (no prompt, target or output).
    For a task on pairs, `siblings` has the same of the teacher's other students, by their names.
    `summaries` holds what the task computed itself (`Summary.to_json` by metric), for teacher and student.
    """

    task: str
    metrics: list[Metric]
    confidence: float
    pairs: Callable[[], Iterator[tuple[Sample, Sample]]]
    samples: Callable[[], Iterator[Sample]]
    student: str = ""
    siblings: Mapping[str, Callable[[], Iterator[Sample]]] = field(default_factory=dict)
    summaries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Panel:
    """`data` returns what the script draws, or None where there is nothing to draw.

    `name` is the script's name on the site: letters, digits, dashes and underscores. With `whole`, one
    drawing is made of all tasks of that name together, and `data` takes a list of inputs.
    """

    name: str
    title: str
    about: str
    script: Path
    data: Callable[[Any], Any]
    whole: bool = False


def scored(given: PanelInput, metric: str) -> Iterable[tuple[Sample, Sample, float, float]]:
    """Samples on which both models have a number for `metric`, with the two numbers."""
    for teacher, student in given.pairs():
        one, other = teacher.scores.get(metric), student.scores.get(metric)
        if isinstance(one, (int, float)) and isinstance(other, (int, float)):
            yield teacher, student, float(one), float(other)
