"""What several answers to one problem say: solved at least once in k, on average, by vote."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

Answer = TypeVar("Answer")


def pass_at_k(n: int, right: int, k: int) -> float:
    """Probability that at least one of k answers is right, from n of which `right` are.

    Unbiased: 1 - C(n - right, k) / C(n, k), the share of the k-subsets that hold a right one. Raises
    ValueError unless 0 <= right <= n and 1 <= k <= n.

    Source: Chen et al. (2021), "Evaluating large language models trained on code", eq. 1.
    """
    if not (0 <= right <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} can't be told from {right} right answers of {n}")
    return 1.0 - math.comb(n - right, k) / math.comb(n, k)


def majority(
    answers: Sequence[Answer | None], same: Callable[[Answer, Answer], bool]
) -> Answer | None:
    """The answer given most often, by `same`; of equals the one given first. None is no answer.

    Source: Wang et al. (2023), "Self-consistency improves chain of thought reasoning".
    """
    groups: list[tuple[Answer, int]] = []
    for answer in answers:
        if answer is None:
            continue
        for place, (first, count) in enumerate(groups):
            if same(first, answer):
                groups[place] = (first, count + 1)
                break
        else:
            groups.append((answer, 1))
    if not groups:
        return None
    return max(groups, key=lambda group: group[1])[0]
