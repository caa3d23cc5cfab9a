"""Documents on which a claim's subject did worse, to show beside a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from kdbench.check.report import Finding
from kdbench.results.differences import differences
from kdbench.results.published import Published


@dataclass(frozen=True, slots=True)
class Flip:
    """One document with both outputs, the better one first."""

    id: str
    prompt: str
    target: str
    first: str
    second: str


def flips(finding: Finding, results: Published) -> list[Flip]:
    """Documents that the teacher has right and the student wrong; none where a claim has no such two."""
    claim = finding.claim
    if not (claim.teacher_samples and claim.student_samples):
        return []
    metric = claim.gate.metric
    if metric.rpartition(".")[2] in ("lost", "gained"):
        metric = metric.rpartition(".")[0]
    teacher = results.read_samples(claim.teacher_samples)
    student = results.read_samples(claim.student_samples)
    return [
        Flip(d.teacher.id, d.teacher.prompt, d.teacher.target, d.teacher.output, d.student.output)
        for d in differences(teacher, student, metric, "lost")
    ]
