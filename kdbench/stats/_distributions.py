"""The few distribution functions the package needs, on plain floats.

scipy.special takes a third of a second to import, so it is loaded on the first use that needs it.
"""

from functools import lru_cache
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()


@lru_cache(maxsize=64)
def two_sided_z(confidence: float) -> float:
    """Normal quantile that leaves ``confidence`` between its two signs."""
    _check_confidence(confidence)
    return _STANDARD_NORMAL.inv_cdf((1 + confidence) / 2)


@lru_cache(maxsize=1024)
def two_sided_t(confidence: float, degrees: float) -> float:
    """Student t quantile that leaves ``confidence`` between its two signs."""
    from scipy.special import stdtrit

    _check_confidence(confidence)
    return float(stdtrit(degrees, (1 + confidence) / 2))


def normal_quantile(probability: float) -> float:
    return _STANDARD_NORMAL.inv_cdf(probability)


def normal_cdf(value: float) -> float:
    return _STANDARD_NORMAL.cdf(value)


def tails(confidence: float) -> float:
    """Probability left in each tail."""
    _check_confidence(confidence)
    return (1 - confidence) / 2


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X binomial(n, p)."""
    from scipy.special import bdtr

    return float(bdtr(k, n, p))
