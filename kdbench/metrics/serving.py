"""Times of a served request, by the formulas that their names stand for here.

The same words mean other things in other tools: vLLM calls the pooled gaps between chunks "inter-token
latency", GenAI-Perf gives that name to what is `time_per_output_token` here.
"""

import random
from collections.abc import Sequence
from itertools import pairwise


def time_per_output_token(end_to_end: float, first: float, tokens: int) -> float | None:
    """TPOT in seconds: (end to end - time to first token) / (tokens - 1); None below two tokens.

    Source: vLLM's serving benchmark.
    """
    return (end_to_end - first) / (tokens - 1) if tokens > 1 else None


def gaps(stamps: Sequence[float]) -> list[float]:
    """Seconds between chunks that follow each other."""
    return [after - before for before, after in pairwise(stamps)]


def poisson_arrivals(rate: float, count: int, seed: str) -> list[float]:
    """Seconds from the beginning at which `count` requests arrive, `rate` of them a second on average.

    Gaps are exponential and independent, the first one included.
    """
    draw = random.Random(seed)
    arrivals: list[float] = []
    now = 0.0
    for _ in range(count):
        now += draw.expovariate(rate)
        arrivals.append(now)
    return arrivals


def meets(
    first: float, per_token: float | None, max_first: float | None, max_per_token: float | None
) -> bool:
    """Whether a request's TTFT and TPOT are within a service level; a limit of None is none.

    A request of one token has no TPOT, and keeps any limit on it. Source: Zhong et al. (2024), "DistServe",
    OSDI: goodput counts requests that keep both.
    """
    return (max_first is None or first <= max_first) and (
        max_per_token is None or per_token is None or per_token <= max_per_token
    )
