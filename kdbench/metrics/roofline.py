"""How far a timing is from what the machine allows.

Source: Williams, Waterman & Patterson (2009), "Roofline: an insightful visual performance model", CACM 52.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a machine was measured to do: matrix products in FLOP/s (a multiply-add is two), and copies in
    bytes/s, read and written bytes both counted."""

    flops: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Work:
    """What has to be done: operations (a multiply-add is two), and bytes that must move at least once."""

    flops: float
    moved: float


def lower_bound(work: Work, ceilings: Ceilings) -> float:
    """Seconds that `work` takes at the least: at full arithmetic or full bandwidth, whichever is slower."""
    return max(work.flops / ceilings.flops, work.moved / ceilings.bandwidth)


def flops_utilization(work: Work, seconds: float, ceilings: Ceilings) -> float:
    """MFU: achieved FLOP/s over the measured peak of matrix products.

    Source: Chowdhery et al. (2022), "PaLM", appendix B, with a measured peak for the data sheet's.
    """
    return work.flops / seconds / ceilings.flops


def bandwidth_utilization(work: Work, seconds: float, ceilings: Ceilings) -> float:
    """MBU: bytes that must move, per second, over the measured bandwidth of copies. It exceeds 1 where
    weights stay in a cache that is faster than memory."""
    return work.moved / seconds / ceilings.bandwidth
