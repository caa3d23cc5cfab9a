"""Findings from claims: all of a check together, so that they share its error rate."""

from __future__ import annotations

from collections.abc import Sequence

from kdbench.check.claims import Claim
from kdbench.check.evidence import Evidence
from kdbench.check.report import Finding
from kdbench.check.verdicts import holm


def judged(claims: Sequence[Claim]) -> list[Finding]:
    """A finding for each claim, in their order."""
    known = [
        (i, claim.evidence.estimate, claim.bounds, claim.gate.confidence)
        for i, claim in enumerate(claims)
        if isinstance(claim.evidence, Evidence)
    ]
    verdicts = holm([(estimate, bounds, level) for _, estimate, bounds, level in known])
    decided = {i: verdict for (i, *_), verdict in zip(known, verdicts, strict=True)}
    return [Finding(claim, decided.get(i)) for i, claim in enumerate(claims)]
