"""Token sequences as rows for forward passes in which what they share is computed once.

Sequences that begin alike are branches of a tree. A tree is packed into one row, branch after branch,
with each token at the position that it has in its own sequence and a mask by which it sees its own past
alone. What many rows share is left out of them and stands in a key/value cache (`prefix`). Which of
the two is cheaper is a matter of arithmetic: a token costs as much as attending to `token_cost` others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

Tokens = tuple[int, ...]

LEAST_PREFIX = 32
"""Tokens: a shorter prefix is computed again rather than kept."""

LEAST_SAVING = 1 / 8
"""Share of all tokens: rows that share nothing need no masks, and go into fewer batches."""

EXTRA_PASS = 64
"""What the forward pass of a prefix costs besides its tokens, in tokens."""


@dataclass(frozen=True, slots=True)
class TreeRow:
    """A packed row behind a cached prefix.

    `tokens` are the tree's nodes, depth first, `positions` their places in their own sequences. `paths`
    maps a sequence to its nodes, from the end of the prefix to its last token.
    """

    prefix: Tokens
    tokens: list[int]
    positions: list[int]
    paths: dict[Tokens, list[int]]

    @property
    def branches(self) -> bool:
        """Whether some token does not see all tokens before it."""
        return len(self.paths) > 1 and max(map(len, self.paths.values())) < len(self.tokens)

    def sees(self) -> npt.NDArray[Any]:
        """What each token of the row sees of the row, bool [tokens, tokens]."""
        import numpy as np

        seen = np.zeros((len(self.tokens), len(self.tokens)), dtype=bool)
        done = -1
        for path in self.paths.values():
            new = next((depth for depth, node in enumerate(path) if node > done), len(path))
            rows = path[new:]
            if rows:
                below = np.tril(np.ones((len(rows), len(path)), dtype=bool), k=new)
                seen[np.ix_(rows, path)] = below
                done = rows[-1]
        return seen


@dataclass(frozen=True, slots=True)
class Layout:
    """How sequences become rows; see the module. Where less than the share `least` of all tokens would be
    saved, nothing is shared.

    `most` bounds a packed row's tokens (a single sequence may be longer). Sequences longer than `window`,
    the tokens that the model attends to, stay whole: our masks know of no window.
    """

    token_cost: float
    most: int
    window: float = float("inf")
    share: bool = True
    prefixes: bool = True
    least: float = LEAST_SAVING

    def rows(self, needed: dict[Tokens, int]) -> list[TreeRow]:
        """Rows for sequences; the logits at the last `needed[sequence]` tokens of each are wanted."""
        sequences = sorted(one for one in needed if self.share and len(one) <= self.window)
        found = [_row([one], 0) for one in needed if not (self.share and len(one) <= self.window)]
        if len(sequences) < 2:
            return found + [_row([one], 0) for one in sequences]
        alike = [0, *(common(a, b) for a, b in pairwise(sequences))]
        total = sum(map(len, needed))
        if sum(alike) < self.least * total:
            return [_row([one], 0) for one in needed]
        waiting = [(0, len(sequences), 0)]
        while waiting:
            first, last, base = waiting.pop()
            group = sequences[first:last]
            if len(group) == 1:
                found.append(_row(group, base))
                continue
            depth = min(alike[first + 1 : last])
            borders = [first, *(i for i in range(first + 1, last) if alike[i] == depth), last]
            children = list(pairwise(borders))
            sizes = [_size(sequences, alike, *child) for child in children]
            whole = _size(sequences, alike, first, last)
            packed = self._cost(whole - base, base)
            apart = sum(self._cost(size - base, base) for size in sizes)
            free = min(depth, min(len(one) - needed[one] for one in group))
            behind = float("inf")
            if self.prefixes and free - base >= LEAST_PREFIX:
                behind = self._cost(free - base + EXTRA_PASS, base) + sum(
                    self._cost(size - free, free) for size in sizes
                )
            if packed <= min(apart, behind) and whole - base <= self.most:
                found.append(_row(group, base))
                continue
            base = free if behind < apart else base
            waiting.extend((*child, base) for child in reversed(children))
        computed = sum(len(row.tokens) for row in found)
        computed += sum(map(len, {row.prefix for row in found}))
        if computed > (1 - self.least) * total:
            return [_row([one], 0) for one in needed]
        return found

    def _cost(self, tokens: int, base: int) -> float:
        return tokens * (self.token_cost + base + tokens)


def _size(sequences: Sequence[Tokens], alike: Sequence[int], first: int, last: int) -> int:
    """Nodes of the tree of sequences `first` to `last`, from the very beginning."""
    return len(sequences[first]) + sum(len(sequences[i]) - alike[i] for i in range(first + 1, last))


def _row(group: Sequence[Tokens], base: int) -> TreeRow:
    tokens: list[int] = []
    positions: list[int] = []
    paths: dict[Tokens, list[int]] = {}
    before: Tokens = ()
    path: list[int] = []
    for sequence in group:
        kept = max(base, common(before, sequence)) if paths else base
        new = range(len(tokens), len(tokens) + len(sequence) - kept)
        path = [*path[: kept - base], *new]
        tokens += sequence[kept:]
        positions += range(kept, len(sequence))
        paths[sequence] = path
        before = sequence
    return TreeRow(group[0][:base], tokens, positions, paths)


def common(one: Tokens, other: Tokens) -> int:
    """Length of the common beginning."""
    size = min(len(one), len(other))
    if one[:size] == other[:size]:
        return size
    low, high = 0, size
    while high - low > 1:  # the slices' comparison is C; a loop over tokens is not
        middle = (low + high) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle
    return low
