"""The order of a grid's cells: those that say most of the whole come first."""

from __future__ import annotations

import math
from collections.abc import Sequence


def most_informative(cells: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """`cells` with the first one first, and behind it always the one that is farthest (in powers of two)
    from all before: corners, then middles. Of equally far ones the one that is farther on the whole.

    Source: Gonzalez (1985), "Clustering to minimize the maximum intercluster distance", farthest-first.
    """
    left = list(dict.fromkeys(cells))
    chosen = left[:1]
    left = left[1:]
    while left:
        farthest = max(left, key=lambda cell: _far([_distance(cell, one) for one in chosen]))
        left.remove(farthest)
        chosen.append(farthest)
    return chosen


def _far(distances: Sequence[float]) -> tuple[float, float]:
    return min(distances), sum(distances)


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    return math.dist([math.log2(x) for x in one], [math.log2(x) for x in other])
