"""Task families as tabs of the first page: what they are called, and the numbers that speak for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.leaderboard.columns import PAIR_METRICS, matches
from kdbench.leaderboard.entries import Entry
from kdbench.leaderboard.lookup import Lookup
from kdbench.leaderboard.values import measure_key

_WORDS = {
    "reasoning": ("Language", "Accuracy, exact match and perplexity on lm-eval's tasks"),
    "sampled": ("Sampled answers", "pass@k, majority vote and tokens spent"),
    "code": ("Code", "Generated programs that pass their tests"),
    "fidelity": ("Fidelity", "How near the student's distributions are to its teacher's, token by token"),
    "speculative.replay": (
        "Drafts: acceptance", "The student as its teacher's draft model, from one pass over the text",
    ),
    "speculative.loop": (
        "Drafts: speed-up", "The student as its teacher's draft model, in the real loop and by the clock",
    ),
    "speculative.imported": ("Drafts: other tools", "Acceptance that other tools measured"),
    "efficiency": ("Speed and memory", "Time in turns with the teacher, size and memory"),
    "images": ("Images", "Quality and diversity of generated images"),
    "equal_noise": (
        "Images at equal noise", "How near the student's images are to its teacher's from the same noise",
    ),
    "geneval": ("GenEval", "Objects, counts, colours and positions in images"),
}  # fmt: skip

MOST = 6
"""Columns that a family adds for its own metrics."""


def described(lookups: Sequence[Lookup], entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The families of the entries in their order, with title, what they are about and their own columns."""
    found = []
    for name in dict.fromkeys(entry.family for entry in entries):
        title, about = _WORDS.get(name, (name[:1].upper() + name[1:], f"Tasks named {name}/…"))
        own = [entry for entry in entries if entry.family == name]
        found.append({
            "name": name, "title": title, "about": about, "columns": _own_columns(name, lookups, own),
        })  # fmt: skip
    return found


def _own_columns(family: str, lookups: Sequence[Lookup], entries: Sequence[Entry]) -> list[str]:
    """Keys of the headlines (`m:` and the measure's) of a family that no column of the page speaks for."""
    if any(entry.numbers["quality"] is not None for entry in entries):
        return []
    shared = tuple(pattern for patterns in PAIR_METRICS.values() for pattern in patterns)
    keys: dict[str, None] = {}
    for lookup in lookups:
        for board in lookup.boards.values():
            if board.family != family:
                continue
            of_pairs = dict.fromkeys(metric for rows in board.own.values() for metric in rows)
            if any(matches(metric, shared) for metric in of_pairs):
                return []
            for metric in lookup.headlines.of(board.task, of_pairs):
                keys[f"m:{measure_key(board.task, metric, 'pair')}"] = None
    return list(keys)[:MOST]
