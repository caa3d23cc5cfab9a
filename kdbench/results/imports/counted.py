"""What speculative decoding did on one prompt, as every reader of this package tells it.

A *pass* is one forward pass of the target that verifies drafts; it writes the drafts that it accepts and one
token more, the bonus token or the one that replaces the first rejected draft. tau is tokens per pass, that
one included. The k-th draft of a pass is *tested* where those before it were accepted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Chains = Mapping[int, Sequence[int]]
"""Draft length -> histogram: at index j, the passes that accepted j of so many drafts."""


@dataclass(frozen=True, slots=True)
class Positions:
    """By place in the draft, the first at index 0: passes that `accepted` at least so many drafts, and
    passes that `tested` that one; `tested` is None where nobody counted how much was drafted."""

    accepted: tuple[int, ...]
    tested: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """One answer to one prompt.

    `question` names the prompt, so that its repetitions are known; `tokens` are those that `passes` wrote.
    `written` tokens took `seconds`, where the tool timed them; `turns_failed` in that tool.
    """

    question: str
    tokens: int
    passes: int
    choice: int = 0
    category: str = ""
    prompt: str = ""
    output: str = ""
    positions: Positions | None = None
    accepted: int | None = None
    drafted: int | None = None
    written: int = 0
    seconds: float | None = None
    turns_failed: int = 0
    finished: float = 0.0
    """Seconds since 1970 when the tool wrote it down; 0 where it does not say."""


@dataclass(frozen=True, slots=True)
class Imported:
    """The answers of each file, and how they were made.

    `gamma` is the length of the chains, None for trees and where nobody knows. `per_prompt` is False where a
    file holds nothing but totals, which carry no interval.
    """

    tool: str
    protocol: dict[str, str]
    gamma: int | None
    files: list[list[Counted]]
    per_prompt: bool = True
    notices: list[str] = field(default_factory=list)


def histogram(accepted: Iterable[int], length: int | None = None) -> list[int]:
    """Passes by the drafts that they accepted, 0 first; up to `length`, else to the most."""
    counts = Counter(accepted)
    longest = max(counts, default=0) if length is None else length
    return [counts[j] for j in range(longest + 1)]


def block_efficiency(passes_by_accepted: Sequence[int]) -> float:
    """tau from a histogram: 1 + accepted drafts / passes; nan without a pass."""
    passes = sum(passes_by_accepted)
    accepted = sum(j * count for j, count in enumerate(passes_by_accepted))
    return 1 + accepted / passes if passes else float("nan")


def positions_of_chains(chains: Chains) -> Positions:
    """Counts by place, where the length of every draft is known."""
    depth = max(chains, default=0)
    places = range(1, depth + 1)
    return Positions(
        tuple(sum(sum(passes[k:]) for passes in chains.values()) for k in places),
        tuple(sum(sum(p[k - 1 :]) for length, p in chains.items() if length >= k) for k in places),
    )


def positions_of_lengths(passes_by_accepted: Sequence[int]) -> Positions:
    """Counts by place, where it is not known how much was drafted."""
    return Positions(tuple(sum(passes_by_accepted[k:]) for k in range(1, len(passes_by_accepted))))
