"""Documents on which a claim's subject did worse, to show beside a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from kdbench.check.report import Finding
from kdbench.results.addresses import lost_samples, pair_id
from kdbench.results.differences import differences
from kdbench.results.published import Published
from kdbench.results.table import read_csv


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
    metric = _metric(finding)
    teacher = results.read_samples(claim.teacher_samples)
    student = results.read_samples(claim.student_samples)
    return [
        Flip(d.teacher.id, d.teacher.prompt, d.teacher.target, d.teacher.output, d.student.output)
        for d in differences(teacher, student, metric, "lost")
    ]


def address(finding: Finding, site: str, suite: str, results: Published) -> str:
    """Where the site shows these documents; empty for a claim that is about no pair."""
    claim = finding.claim
    if not (claim.teacher_samples and claim.student_samples):
        return ""
    hardware = " + ".join(sorted({row.hardware for row in read_csv(results.table) if row.hardware}))
    return lost_samples(site, pair_id(suite, claim.about, hardware), claim.task, _metric(finding))


def _metric(finding: Finding) -> str:
    """The models' metric behind a gate on what a pair derives from it ("acc.lost")."""
    base, _, derived = finding.claim.gate.metric.rpartition(".")
    return base if derived in ("lost", "gained") else finding.claim.gate.metric
