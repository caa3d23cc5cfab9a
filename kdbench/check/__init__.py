"""`kdbench check`: gates, judged on paired samples: worse, not worse, or not to be told yet."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from kdbench.check.claims import Setting, claims_of
from kdbench.check.earlier import earlier_results
from kdbench.check.identity import check_names, check_pairs
from kdbench.check.judge import judged
from kdbench.check.published import Results, published_results
from kdbench.check.report import Finding, Inconclusive, Report
from kdbench.suite import Suite

__all__ = ["Finding", "Report", "check_suite"]


def check_suite(
    suite: Suite,
    root: Path,
    baseline: str | None = None,
    inconclusive: Inconclusive = "report",
) -> Report:
    """Judge the gates of `suite` on its results under `root`.

    `baseline` names earlier results (a folder, `git:REV:PATH`, a zip or an address) that stand in for
    those that gates name. Raises `SettingsConflictError` where there is nothing to gate or numbers can't
    be compared, `StoreError` where results can't be read.
    """
    results = published_results(root / suite.name)
    with earlier_results(suite, baseline) as (before, replacement):
        check_pairs(results)
        for earlier in (*before.values(), *filter(None, [replacement])):
            check_names(earlier, results)
        claims = claims_of(suite.gates, Setting(results, before, replacement))
    return Report(
        suite.name, str(suite.file), judged(claims), _notices(suite, results), inconclusive
    )


def _notices(suite: Suite, results: Results) -> list[str]:
    found = []
    if results.record["suite"]["sha256"] != sha256(suite.text.encode()).hexdigest():
        found.append(
            f"the suite has changed since {results.name} was measured; `kdbench run` brings it up "
            "to date"
        )
    failed = [cell for cell in results.record["cells"] if cell["status"] == "failed"]
    if failed:
        found.append(f"{len(failed)} cells of the results failed; gates on them are MISSING")
    return found
