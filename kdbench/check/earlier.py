"""Results of earlier runs that gates compare with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kdbench.check.published import Results, published_results
from kdbench.errors import SettingsConflictError
from kdbench.results.origins import fetch
from kdbench.suite import Suite


@contextmanager
def earlier_results(
    suite: Suite, baseline: str | None = None
) -> Iterator[tuple[dict[str, Results], Results | None]]:
    """What the gates of `suite` name, by its name, and what stands in for all of it (`baseline`).

    Raises `SettingsConflictError` where the suite has no gates, `StoreError` where there are no results.
    """
    if not suite.gates:
        raise SettingsConflictError(
            f"{suite.file}: nothing to gate: the suite has no `gates`; one reads like "
            "'retention of acc on reasoning/* >= 0.97'"
        )
    with ExitStack() as stack:

        def results(name: str, base: Path | None) -> Results:
            return published_results(stack.enter_context(fetch(name, base)), name)

        if baseline is not None:
            yield {}, results(baseline, None)
            return
        named = {g.baseline for g in suite.gates if g.baseline is not None and "/" in g.baseline}
        yield {name: results(name, suite.folder) for name in sorted(named)}, None
