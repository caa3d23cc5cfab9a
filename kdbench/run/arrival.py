"""The random order in which a run that stops early meets documents.

A cluster's place follows from the seed, the task and the cluster's name alone, so teacher, student and
earlier results meet the same documents in the same order, and anyone can tell from stored samples in
which order they came. How far a run went is a share of that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from kdbench.tasks.task import Item

END = 1 << 64
"""Places are whole numbers below this."""

PROTOCOL = "until decided, in random order"
"""The part `documents` of the protocol id of numbers that were measured no further than gates needed."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a cell went: the share of the order, and the samples in the largest of all its clusters."""

    share: float
    largest: int = 1


def place(seed: int, label: str, cluster: str) -> int:
    """Where a cluster of the task `label` stands, from 0 to END."""
    return int.from_bytes(sha256(f"{seed}\n{label}\n{cluster}".encode()).digest()[:8], "big")


def within(share: float, where: int) -> bool:
    """Whether a place lies in the first `share` of the order."""
    return where < share * END


def arranged(items: Sequence[Item], seed: int, label: str) -> list[tuple[int, Item]]:
    """Items by their clusters' places, those of one cluster together in their own order."""
    places = {item.cluster: 0 for item in items}
    places = {cluster: place(seed, label, cluster) for cluster in places}
    return sorted(
        ((places[item.cluster], item) for item in items), key=lambda pair: (pair[0], pair[1].index)
    )
