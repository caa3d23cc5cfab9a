"""vLLM's counters at `/metrics`: totals of a server, before a benchmark and after it.

Totals carry no interval: requests can't be told apart in them, and long answers weigh most. Of several
engines the sum counts. Source: vllm/v1/spec_decode/metrics.py; the text is Prometheus' exposition format, in
which a counter's name ends in _total (older servers leave that out).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kdbench.errors import StoreError
from kdbench.results.imports.counted import Counted, Imported, Positions
from kdbench.results.imports.lines import Place, text_of

PREFIX = "vllm:spec_decode_num_"
_COUNTER = re.compile(
    rf"{PREFIX}(drafts|draft_tokens|accepted_tokens|accepted_tokens_per_pos)(?:_total)?"
    r"(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*"
)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Scrape = dict[tuple[str, int | None], float]
"""Counter and place in the draft (None for the others) -> its value."""


def looks_like(text: str) -> bool:
    return PREFIX in text


def read(paths: Sequence[Path], gamma: int | None = None) -> Imported:
    """Differences between scrapes, before and after in pairs; one alone counts from the server's start.

    Raises `StoreError` for files that hold no such counters, an odd number of several, or counters that went
    down.
    """
    scrapes = [_scrape(path) for path in paths]
    if len(paths) == 1:
        pairs: list[tuple[Scrape, Scrape, Path]] = [({}, scrapes[0], paths[0])]
    elif len(paths) % 2:
        raise StoreError(
            f"{paths[-1]}: {len(paths)} scrapes of counters; give them in pairs, before and after each run"
        )
    else:
        pairs = [(scrapes[i], scrapes[i + 1], paths[i + 1]) for i in range(0, len(paths), 2)]
    lengths = {_length(after, path) for _, after, path in pairs}
    if len(lengths) > 1:
        raise StoreError(
            f"{paths[0]}: drafts of {sorted(lengths)} tokens; import each setting apart"
        )
    length = lengths.pop()
    if gamma not in (None, length):
        raise StoreError(f"{paths[0]}: counts {length} places of a draft, but --gamma says {gamma}")
    protocol = {
        "tokens": "num_accepted_tokens + num_drafts",
        "bonus token": "added to the source's",
        "passes": "num_drafts (those with drafts)",
        "counted": "from the server's start" if len(paths) == 1 else "between two scrapes",
        "interval": "none, as only totals are known",
    }
    return Imported(
        "vLLM counters", protocol, length,
        [[_counted(*pair, length)] for pair in pairs], per_prompt=False,
    )  # fmt: skip


def _scrape(path: Path) -> Scrape:
    found: Scrape = {}
    models: set[str] = set()
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if not line.startswith(PREFIX) or re.match(r"\w+:\w+_created\b", line):
            continue
        match, place = _COUNTER.fullmatch(line), Place(path, number)
        try:
            value = float(match["value"]) if match else -1.0
        except ValueError:
            value = -1.0
        if match is None or not 0 <= value < 1e18:
            place.refuse(f"no counter of speculative decoding can be read from {line!r}")
        labels = dict(_LABEL.findall(match["labels"] or ""))
        position = labels.get("position")
        per_place = match[1] == "accepted_tokens_per_pos"
        if per_place != (position is not None and position.isdecimal()):
            place.refuse("accepted_tokens_per_pos, and it alone, has a label position")
        models.add(labels.get("model_name", ""))
        key = (match[1], int(position) if position is not None else None)
        found[key] = found.get(key, 0.0) + value
    if len(models) > 1:
        raise StoreError(
            f"{path}: counters of {len(models)} models ({', '.join(sorted(models))}); keep the lines of one"
        )
    for name in ("drafts", "draft_tokens", "accepted_tokens"):
        if (name, None) not in found:
            raise StoreError(
                f"{path}: no counter {PREFIX}{name}; is it the /metrics of a vLLM server that drafts?"
            )
    return found


def _length(scrape: Scrape, path: Path) -> int:
    places = sorted(place for _, place in scrape if place is not None)
    if not places or places != list(range(len(places))):
        raise StoreError(
            f"{path}: accepted_tokens_per_pos has the positions {places}, not 0, 1, ..."
        )
    return len(places)


def _counted(before: Scrape, after: Scrape, path: Path, length: int) -> Counted:
    def grown(name: str, place: int | None = None) -> int:
        own = after[name, place] - before.get((name, place), 0.0)
        if own < 0:
            raise StoreError(
                f"{path}: {PREFIX}{name} is lower than in the scrape before it: the server was started "
                "again in between, or the scrapes are in the wrong order"
            )
        return round(own)

    passes, drafted, accepted = grown("drafts"), grown("draft_tokens"), grown("accepted_tokens")
    at = tuple(grown("accepted_tokens_per_pos", place) for place in range(length))
    if not passes:
        raise StoreError(f"{path}: nothing was drafted between the scrapes")
    if accepted > drafted:
        raise StoreError(f"{path}: {accepted} draft tokens accepted of {drafted} drafted")
    if sum(at) != accepted or list(at) != sorted(at, reverse=True) or at[0] > passes:
        raise StoreError(
            f"{path}: {accepted} accepted tokens in {passes} passes, but by position {list(at)}"
        )
    if drafted > length * passes:
        raise StoreError(f"{path}: {drafted} tokens drafted in {passes} passes of {length} at most")
    tested = (passes, *at[:-1]) if drafted == length * passes else None
    return Counted(
        "all", passes + accepted, passes, positions=Positions(at, tested), accepted=accepted,
        drafted=drafted,
    )  # fmt: skip
