"""Three-way verdict on "the student is no worse than its teacher, up to a margin".

The margin is fixed beforehand, in the unit of the effect; the whole interval decides. An interval
that straddles the margin is neither a pass nor a failure but a call for more samples. Source:
Piaggio et al. (2012), "Reporting of noninferiority and equivalence randomized trials: extension
of the CONSORT 2010 statement", JAMA 308, figure 1; Walker & Nowacki (2011), "Understanding
equivalence and noninferiority testing", J. General Internal Medicine 26.
"""

import math
from typing import Literal

from kdbench.stats._distributions import normal_quantile, two_sided_z
from kdbench.stats.estimate import Estimate

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Better = Literal["higher", "lower"]


def judge(
    estimate: Estimate, margin: float, better: Better = "higher", reference: float = 0.0
) -> Verdict:
    """Verdict on an effect whose value would be ``reference`` if nothing was lost.

    ``reference`` is 0 for a difference and 1 for a ratio. ``margin`` is the tolerated loss, not
    negative, in the effect's unit: with ``better="higher"`` the effect may fall to reference -
    margin, with "lower" rise to reference + margin. PASS: the whole interval is within the
    margin (a bound exactly on it counts as within). FAIL: the whole interval is beyond it.
    INCONCLUSIVE: otherwise, and always for nan bounds. A 95 % interval lets a student whose loss
    exceeds the margin pass no more than about 2.5 % of the time.

    Raises ValueError for a negative or non-finite margin or an unknown ``better``.
    """
    worst, best = _distances_inside(estimate, margin, better, reference)
    if worst >= 0:
        return "PASS"
    if best < 0:
        return "FAIL"
    return "INCONCLUSIVE"


def samples_to_settle(
    estimate: Estimate,
    margin: float,
    better: Better = "higher",
    reference: float = 0.0,
    power: float = 0.8,
    confidence: float = 0.95,
) -> int | None:
    """Further samples after which ``judge`` settles with probability ``power``.

    Supposes that the observed effect is the true one, that the distance from value to bound
    shrinks with the square root of the samples, and that new samples cluster like the old. 0 for
    a verdict already reached; None where no number settles it: a value on the margin itself, or
    bounds that are nan or infinite. Raises ValueError as ``judge`` does and for a ``power``
    outside [0.5, 1). ``confidence`` is the estimate's.
    """
    if not 0.5 <= power < 1:
        raise ValueError(f"power must lie in [0.5, 1), got {power}")
    if judge(estimate, margin, better, reference) != "INCONCLUSIVE":
        return 0
    worst, best = _distances_inside(estimate, margin, better, reference)
    value = _inside(estimate.value, margin, better, reference)
    reach = value - worst if value > 0 else best - value
    if value == 0 or not math.isfinite(reach):
        return None
    z = two_sided_z(confidence)
    growth = (reach * (1 + normal_quantile(power) / z) / value) ** 2
    return math.ceil(estimate.n * max(growth, 1.0)) - estimate.n


def detectable_difference(
    estimate: Estimate, power: float = 0.8, confidence: float = 0.95
) -> float:
    """Smallest true change, in the effect's unit, that such an interval excludes 0 change for.

    With probability ``power``, from the interval's width: (z + z_power) standard errors. inf
    where the bounds are nan or infinite. Raises ValueError for a ``power`` outside [0.5, 1).
    ``confidence`` is the estimate's.

    Source: Miller (2024), arXiv:2411.00640, power analysis.
    """
    if not 0.5 <= power < 1:
        raise ValueError(f"power must lie in [0.5, 1), got {power}")
    half = (estimate.high - estimate.low) / 2
    if not math.isfinite(half):
        return math.inf
    return half * (1 + normal_quantile(power) / two_sided_z(confidence))


def _distances_inside(
    estimate: Estimate, margin: float, better: Better, reference: float
) -> tuple[float, float]:
    """How far inside the margin the worse and the better bound lie; negative is outside."""
    if not 0 <= margin < math.inf:
        raise ValueError(f"margin must be finite and not negative, got {margin}")
    if better not in ("higher", "lower"):
        raise ValueError(f"better must be 'higher' or 'lower', got {better!r}")
    bounds = (estimate.low, estimate.high)
    worse, best = bounds if better == "higher" else bounds[::-1]
    return _inside(worse, margin, better, reference), _inside(best, margin, better, reference)


def _inside(effect: float, margin: float, better: Better, reference: float) -> float:
    gain = effect - reference if better == "higher" else reference - effect
    return gain + margin
