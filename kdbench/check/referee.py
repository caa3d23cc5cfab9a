"""The referee of runs that stop early: the gates of a check, judged on what is measured so far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kdbench.check.claims import Setting, claims_of
from kdbench.check.earlier import earlier_results
from kdbench.check.evidence import Missing
from kdbench.check.judge import judged
from kdbench.check.published import Results
from kdbench.check.report import Finding, interval
from kdbench.results.scores import columns_of
from kdbench.results.store import Store
from kdbench.run.plan import Plan, PlannedCell
from kdbench.run.publish import described, sample_file, views_of
from kdbench.run.until_decided import Referee, Ruling
from kdbench.suite import Suite


@contextmanager
def referee(suite: Suite) -> Iterator[Referee]:
    """Judges the gates of `suite` as `kdbench check` will, while documents come in.

    Earlier results that gates name are read once. The claims share their error rate by Holm's method on
    anytime-valid intervals: what is decided at one look stays decided, and among the claims that stand on
    their bounds none is decided with more than the gates' error, however often one looks (Holm's argument
    holds at the first wrong decision, whenever that is).
    """
    with earlier_results(suite) as (before, replacement):

        def judge(plan: Plan, store: Store) -> Ruling:
            findings = judged(
                claims_of(suite.gates, Setting(live(plan, store), before, replacement))
            )
            failed = {cell.key for cell in plan.cells if _has_failed(cell, store)}
            left = [finding for finding in findings if _open(finding, failed)]
            return Ruling(
                undecided=_cells(finding for finding in left if finding.claim.at_any_time),
                whole=_cells(finding for finding in left if not finding.claim.at_any_time),
                bound=_pools(plan),
                open=len(left),
                gates=len(findings),
                standing=[_standing(finding) for finding in left],
            )

        yield judge


def live(plan: Plan, store: Store) -> Results:
    """Results as they would be published now."""
    cells = views_of(plan, store)
    views = {sample_file(view): view for _, view in cells}
    record = described(plan, store, cells)
    return Results(plan.suite.name, record, lambda name: columns_of(views[name].read()))


def _has_failed(cell: PlannedCell, store: Store) -> bool:
    """Whether a cell failed in this run; one that failed before is tried again."""
    if not cell.key or cell.reach is None or cell.reach.share == 0:
        return False
    record = store.cell(cell.key).record()
    return record is not None and record.status == "failed"


def _open(finding: Finding, failed: set[str]) -> bool:
    return finding.outcome in ("INCONCLUSIVE", "MISSING") and not failed & set(finding.claim.cells)


def _cells(findings: Iterable[Finding]) -> frozenset[str]:
    return frozenset(key for finding in findings for key in finding.claim.cells if key)


def _pools(plan: Plan) -> list[frozenset[str]]:
    """Cells of one model whose tasks are pooled: a random part of the pool takes as much of each."""
    pools: dict[tuple[str, str], set[str]] = {}
    for cell in plan.cells:
        if cell.group and cell.key and cell.subject.model:
            pools.setdefault((cell.group, cell.subject.model), set()).add(cell.key)
    return [frozenset(keys) for keys in pools.values()]


def _standing(finding: Finding) -> str:
    evidence = finding.claim.evidence
    if isinstance(evidence, Missing) or finding.decided is None:
        return f"{finding.name}: nothing to judge yet"
    return f"{finding.name}: {interval(finding.decided.estimate)}"
