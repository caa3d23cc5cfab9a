"""What a check found: claims with their verdicts, as sentences and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kdbench.check.claims import Claim
from kdbench.check.evidence import Evidence, Missing
from kdbench.check.verdicts import Decided
from kdbench.errors import EXIT_FAILED, EXIT_INCONCLUSIVE
from kdbench.results.lines import number
from kdbench.suite.gate import AGAINST

if TYPE_CHECKING:
    from kdbench.stats import Estimate

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "MISSING"]
Inconclusive = Literal["report", "pass", "fail"]
ANYTIME = "betting"
"""How the method of an interval begins that holds however often one looks (`kdbench.stats.sequential`)."""
_WORST: tuple[Outcome, ...] = ("FAIL", "MISSING", "INCONCLUSIVE")
_WORDS: dict[Outcome, str] = {
    "PASS": "passed", "FAIL": "failed", "INCONCLUSIVE": "inconclusive", "MISSING": "missing",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A claim and its verdict; `decided` is None where there is no evidence."""

    claim: Claim
    decided: Decided | None

    @property
    def outcome(self) -> Outcome:
        return self.decided.verdict if self.decided else "MISSING"

    @property
    def breaks(self) -> bool:
        """Whether it makes a check fail: a broken gate, or one without evidence, that is no warning."""
        return self.outcome in ("FAIL", "MISSING") and self.claim.gate.severity == "fail"

    @property
    def name(self) -> str:
        """The gate's sentence, for one task and one pair."""
        gate = self.claim.gate
        changed = {"on": self.claim.task, "pair": None, "model": None}
        words = gate.model_copy(update=changed).sentence.split(f"on {self.claim.task}")
        subject = f" for {self.claim.about}" if self.claim.about and len(words) == 2 else ""
        if len(words) != 2:
            return gate.sentence
        where, rest = words[1], ""
        if gate.where:
            where, rest = f" where {gate.where}", words[1].removeprefix(f" where {gate.where}")
            return f"{words[0]}on {self.claim.task}{where}{subject}{rest}"
        return f"{words[0]}on {self.claim.task}{subject}{where}"

    @property
    def more_samples(self) -> int | None:
        """Further samples expected to decide it; None where it is decided or no number would."""
        if self.decided is None or self.outcome != "INCONCLUSIVE":
            return None
        return self.claim.bounds.samples_to_settle(self.decided.estimate, self.decided.confidence)

    @property
    def detectable(self) -> float | None:
        """The smallest true difference from the bound that so many samples would show, in the unit."""
        if self.decided is None:
            return None
        from kdbench import stats

        return stats.detectable_difference(
            self.decided.estimate, confidence=self.decided.confidence
        )

    def explain(self) -> str:
        """The claim and its evidence as sentences."""
        evidence = self.claim.evidence
        if isinstance(evidence, Missing) or self.decided is None:
            reason = evidence.reason if isinstance(evidence, Missing) else "no evidence"
            return f"{self.name}: MISSING, as {reason}"
        estimate = self.decided.estimate
        return (
            f"{self.name}: {_subject(self.claim, evidence)} is {interval(estimate)}"
            f"{_unit(evidence.unit)}; {self._why(estimate)}, so {self.outcome}"
            f" ({_behind(evidence, estimate, self.decided.confidence)})."
            f"{self._remedy(evidence)}"
        )

    def _why(self, estimate: Estimate) -> str:
        bounds = self.claim.bounds
        words = ("above", "below") if bounds.beyond else ("at least", "at most")
        parts = [
            f"{word} {number(bound)}"
            for word, bound in zip(words, (bounds.least, bounds.most), strict=True)
            if bound is not None
        ]
        bound = " and ".join(parts)
        return {
            "PASS": f"the whole interval is {bound}",
            "FAIL": f"the whole interval is outside of {bound}",
        }.get(self.outcome, f"the interval reaches both sides of {bound}")

    def _remedy(self, evidence: Evidence) -> str:
        if self.outcome != "INCONCLUSIVE":
            return ""
        more = self.more_samples
        detectable = f"{number(self.detectable)}{_unit(evidence.unit)}"
        said = f" Differences from the bound of {detectable} or more would show now;"
        if more is None:
            return f"{said} the number stands on its bound, and no number of samples settles that."
        return f"{said} about {more} further samples are expected to settle it."

    def json(self) -> dict[str, Any]:
        gate, decided = self.claim.gate, self.decided
        evidence = self.claim.evidence if isinstance(self.claim.evidence, Evidence) else None
        return {
            "gate": self.claim.index,
            "sentence": self.name,
            "severity": gate.severity,
            "task": self.claim.task,
            "about": self.claim.about,
            "against": self.claim.against,
            "verdict": self.outcome,
            "value": decided.estimate.value if decided else None,
            "low": decided.estimate.low if decided else None,
            "high": decided.estimate.high if decided else None,
            "confidence": decided.confidence if decided else None,
            "least": self.claim.bounds.least,
            "most": self.claim.bounds.most,
            "unit": evidence.unit if evidence else None,
            "method": decided.estimate.method if decided else None,
            "n": decided.estimate.n if decided else None,
            "clusters": decided.estimate.n_clusters if decided else None,
            "lost": evidence.lost if evidence else None,
            "gained": evidence.gained if evidence else None,
            "unmatched": len(evidence.unmatched) if evidence else None,
            "more_samples": self.more_samples,
            "detectable": self.detectable,
            "explanation": self.explain(),
        }


def interval(estimate: Estimate) -> str:
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def _subject(claim: Claim, evidence: Evidence) -> str:
    gate, where = claim.gate, f" where {claim.gate.where}" if claim.gate.where else ""
    what = f"{gate.metric} on {claim.task}{where}"
    if gate.kind == "retention":
        return f"what {claim.about} keeps of {claim.against}'s {what}"
    if gate.kind == "gap" or gate.kind in AGAINST:
        return f"{claim.about} minus {claim.against} in {what}"
    return f"{what} of {claim.about}"


def _unit(unit: str) -> str:
    return "" if unit in ("", "ratio", "fraction") else f" {unit}"


def _behind(evidence: Evidence, estimate: Estimate, confidence: float) -> str:
    parts = [f"{estimate.n} samples"]
    if estimate.n_clusters != estimate.n:
        parts.append(f"{estimate.n_clusters} clusters")
    if evidence.lost is not None:
        parts.append(f"{evidence.lost} lost, {evidence.gained} gained")
    if evidence.unmatched:
        parts.append(f"{len(evidence.unmatched)} unmatched ({', '.join(evidence.unmatched[:3])})")
    held = ", valid at any time" if estimate.method.startswith(ANYTIME) else ""
    parts.append(f"{100 * confidence:.4g} % interval{held}")
    return ", ".join(parts)


@dataclass(frozen=True)
class Report:
    """All findings of one check. `notices` are what a reader should know besides."""

    suite: str
    file: str
    findings: list[Finding]
    notices: list[str] = field(default_factory=list)
    inconclusive: Inconclusive = "report"

    @property
    def verdict(self) -> Outcome:
        outcomes = [f.outcome for f in self.findings if f.claim.gate.severity == "fail"]
        return next((outcome for outcome in _WORST if outcome in outcomes), "PASS")

    @property
    def exit_code(self) -> int:
        """0 all gates pass, 1 one fails or is missing, 2 one can't be told yet."""
        if self.verdict in ("FAIL", "MISSING"):
            return EXIT_FAILED
        if self.verdict == "INCONCLUSIVE":
            return {"pass": 0, "fail": EXIT_FAILED}.get(self.inconclusive, EXIT_INCONCLUSIVE)
        return 0

    def count(self, outcome: Outcome) -> int:
        return sum(finding.outcome == outcome for finding in self.findings)

    def json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "suite": self.suite,
            "verdict": self.verdict,
            "exit_code": self.exit_code,
            "notices": self.notices,
            "claims": [finding.json() for finding in self.findings],
        }


def headline(report: Report) -> str:
    """One line: the verdict and how many claims have which."""
    counts = [
        f"{report.count(outcome)} {word}"
        for outcome, word in _WORDS.items()
        if report.count(outcome)
    ]
    return f"{report.verdict}: {', '.join(counts)}"


def worst(findings: Sequence[Finding]) -> list[Finding]:
    """Findings with the broken ones first."""
    return sorted(findings, key=lambda finding: [*_WORST, "PASS"].index(finding.outcome))
