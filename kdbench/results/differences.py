"""Documents on which teacher and student differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kdbench.results.sample import Sample

Kind = Literal["lost", "gained", "both"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One document with both answers; `lost` where the teacher scored better, else `gained`."""

    kind: Literal["lost", "gained"]
    metric: str
    teacher_score: float
    student_score: float
    teacher: Sample
    student: Sample

    def to_json(self) -> dict[str, Any]:
        shared = {
            "id": self.teacher.id,
            "prompt": self.teacher.prompt,
            "target": self.teacher.target,
        }
        return {
            **shared,
            "kind": self.kind,
            "metric": self.metric,
            "tags": self.teacher.tags,
            "teacher": {"score": self.teacher_score, "output": self.teacher.output},
            "student": {"score": self.student_score, "output": self.student.output},
        }


def differences(
    teacher: Sequence[Sample], student: Sequence[Sample], metric: str, kind: Kind = "both"
) -> Iterator[Difference]:
    """Samples, joined by what was asked, whose scores differ in `metric`."""
    answers = {sample.id: sample for sample in student}
    for ours in teacher:
        theirs = answers.get(ours.id)
        if theirs is None or metric not in ours.scores or metric not in theirs.scores:
            continue
        scores = ours.scores[metric], theirs.scores[metric]
        if not all(isinstance(score, (int, float)) for score in scores) or scores[0] == scores[1]:
            continue
        found: Literal["lost", "gained"] = "lost" if scores[0] > scores[1] else "gained"
        if kind in ("both", found):
            yield Difference(found, metric, float(scores[0]), float(scores[1]), ours, theirs)
