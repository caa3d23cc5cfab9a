"""Results in, site out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdbench import __version__
from kdbench.errors import StoreError, UnknownNameError
from kdbench.leaderboard import (
    assets,
    badges,
    claims,
    coverage,
    entries,
    families,
    history,
    pairs,
    panels,
    runs,
    samples,
    values,
)
from kdbench.leaderboard.columns import COLUMNS
from kdbench.leaderboard.data_files import MARKER, DataFiles, new_site
from kdbench.leaderboard.folders import Found, find
from kdbench.leaderboard.lookup import Lookup
from kdbench.leaderboard.merge import merge
from kdbench.registry import tasks
from kdbench.results.table import to_csv, to_json

SCHEMA = 1
"""Version of the site's data files."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build wrote; `faults` name what could not be read and was left out."""

    out: Path
    entries: int
    pairs: int
    rows: int
    claims: int
    size: int
    notices: list[str]
    faults: list[str]


def build(places: Sequence[str], out: Path, title: str = "kdbench") -> Built:
    """Make the site of the results in `places` at `out`; an old site there is replaced at the end.

    Raises `StoreError` where places hold results but none of them can be read.
    """
    with ExitStack() as stack:
        found = find(places, stack)
        if found.faults and not (found.runs or found.claims):
            raise StoreError("\n".join(found.faults))
        with new_site(out) as site:
            assets.write(site)
            return _write(site, found, out, title)


def _write(site: DataFiles, found: Found, out: Path, title: str) -> Built:
    for fault in found.faults:
        site.notice(fault)
    try:
        tasks.names()
    except UnknownNameError as error:  # a broken plugin costs its own tasks' panels and headlines
        site.notice(str(error))
    published = claims.read_all(found.claims, site)
    merged = merge(found.runs)
    for notice in merged.notices:
        site.notice(notice)
    lookups = [Lookup(run) for run in merged.shown]
    everything = [entry for lookup in lookups for entry in entries.entries_of(lookup)]
    entries.rank(everything, site.notice)
    rows = merged.rows

    site.write("data/front.js", entries.frame(everything))
    site.write("data/values.js", values.values(lookups))
    by_pair: dict[str, entries.Entry] = {}
    for entry in everything:
        if entry.numbers.get("retention") is not None:
            by_pair.setdefault(entry.id, entry)
    beside = pairs.claims_by_what(published)
    n_pairs = 0
    for lookup in lookups:
        run = lookup.run
        site.write(f"data/runs/{run.id}.js", runs.details(lookup))
        boards = samples.write(site, run)
        past = history.write(site, [*merged.earlier[run.id], run])
        for pair in run.pairs.values():
            page = pairs.page(lookup, pair, beside)
            if not page["families"]:
                continue
            n_pairs += 1
            page["badge"] = _badge(site, by_pair.get(page["id"]))
            page["samples"] = [
                board.json()
                for board in boards.values()
                if board.has(pair["teacher"], pair["student"])
            ]
            page["panels"] = panels.write(site, run, pair, page["id"])
            page["history"] = past
            site.write(f"data/pairs/{page['id']}.js", page)
    claims.write(site, published, found.claims)
    coverage.write(site, found.claims)
    site.text("metrics.csv", to_csv(rows))
    site.text("metrics.json", to_json(rows) + "\n")
    # last, as a folder is a site once this file is in it
    site.write(MARKER, _description(site, title, lookups, everything, n_pairs, len(rows)))
    return Built(
        out, len(everything), n_pairs, len(rows), len(published), site.size, site.notices,
        found.faults,
    )  # fmt: skip


def _badge(site: DataFiles, entry: entries.Entry | None) -> str | None:
    text = badges.badge_text(entry) if entry else None
    if entry is None or text is None:
        return None
    return site.text(f"badges/{entry.id}.svg", badges.badge(entry.pair["student"], text))


def _description(
    site: DataFiles,
    title: str,
    lookups: Sequence[Lookup],
    everything: Sequence[entries.Entry],
    n_pairs: int,
    n_rows: int,
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "title": title,
        "built": datetime.now(UTC).isoformat(timespec="seconds"),
        "kdbench": __version__,
        "notices": [{"level": "warning", "text": text} for text in site.notices],
        "families": families.described(lookups, everything),
        "columns": COLUMNS,
        "rule": entries.RULE,
        "n_entries": len(everything),
        "n_pairs": n_pairs,
        "n_rows": n_rows,
        "runs": [runs.summary(lookup) for lookup in lookups],
        "empty": not everything,
    }
