"""Sampling that does not depend on what else is in the batch.

Adding Gumbel noise to log-probabilities and taking the largest draws a token from their
distribution (Gumbel-max; Maddison, Tarlow and Minka 2014, A* Sampling, section 2). Here the noise
of a token is a hash of (the sample's seed, the step, the token), so that it is the same in any
batch, in any order, on any device, and for a teacher and a student alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def gumbel_noise(seeds: torch.Tensor, step: int | torch.Tensor, vocabulary: int) -> torch.Tensor:
    """[len(seeds), vocabulary] standard Gumbel noise in float32, for one step of several samples.

    `seeds` is int64, and so is `step` where each sample is at its own; the stream of a sample is
    splitmix64 (Steele, Lea and Flood 2014) from a state that its seed and the step give.
    """
    import torch

    following = step + 1
    start = _scramble(seeds + following * torch.tensor(_signed(_GOLDEN), device=seeds.device))
    tokens = torch.arange(1, vocabulary + 1, device=seeds.device) * _signed(_GOLDEN)
    bits = _scramble(start[:, None] + tokens)
    # Small where the noise is large, so that float32 keeps the upper tail down to 2**-54.
    below = (_shifted(bits, 11).to(torch.float32) + 0.5) * 2.0**-53
    return -torch.log(-torch.log1p(-below.clamp(max=1 - 2.0**-24)))


def _scramble(state: torch.Tensor) -> torch.Tensor:
    """splitmix64's output function on int64, whose products wrap as unsigned ones do."""
    for shift, factor in _MIX:
        state = (state ^ _shifted(state, shift)) * _signed(factor)
    return state ^ _shifted(state, 31)


def _shifted(state: torch.Tensor, by: int) -> torch.Tensor:
    """Logical right shift of int64."""
    return (state >> by) & ((1 << (64 - by)) - 1)


def _signed(number: int) -> int:
    """The int64 with the same 64 bits."""
    number &= _MASK
    return number - (1 << 64) if number >> 63 else number
