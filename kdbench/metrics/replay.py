"""Speculative decoding replayed on text of the target: what the loop would have done, without running it.

Given text x that the target p wrote, a loop with the draft q is an independent thinning of it: the token
at t is accepted with probability m_t = min(1, q_t(x_t) / p_t(x_t)), since a cycle that accepts k tokens and
then emits x_{t+k} in place of a rejected one has probability prod(min(p, q)) (p - min(p, q)), which is
prod(p) times prod(m) (1 - m). A cycle ends with its first rejection, or after `gamma` accepted tokens and the
bonus token. The expected number of cycles that start at t follows by a forward recursion,

    pi[0] = 1
    pi[t+j+1] += pi[t] m[t] ... m[t+j-1] (1 - m[t+j])    for j < gamma
    pi[t+gamma+1] += pi[t] m[t] ... m[t+gamma-1]

and everything else is a sum weighted by it. That weight matters: easy stretches are crossed in few cycles and
hard ones in many, so a mean over all positions is too high (the inspection paradox).

Exact for chains whose draft depends on the accepted prefix alone, under the rejection rule of Leviathan et
al. (2023), "Fast inference from transformers via speculative decoding", algorithm 1, and Chen et al. (2023),
"Accelerating large language model decoding with speculative sampling". Text of another author gives other
numbers: there m is no acceptance probability.

The end of a text. The loop starts at the first token and stops at the last: a cycle that starts inside the
text is a target pass, however far its drafts reach; what it emits behind the last token is thrown away. So
passes are the sum of pi within the text, tokens are those of the text, and a draft behind the text is neither
drafted, nor tested, nor accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_CHUNK = 1 << 15
"""Tokens worked on at once, so that their products stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The loop with chains of `gamma` drafts, in expectation over its coin flips, prompt by prompt.

    `tokens` and `passes` (of the target) have the shape [prompts]; `drafted`, `tested` and `accepted` have
    [prompts, gamma] and count the k-th drafts of all cycles: a draft is tested when those before it in its
    cycle were accepted.
    """

    gamma: int
    tokens: Floats
    passes: Floats
    drafted: Floats
    tested: Floats
    accepted: Floats

    @property
    def block_efficiency(self) -> float:
        """Tokens per target pass, the bonus or correcting token included; nan without a token."""
        return _ratio(self.tokens.sum(), self.passes.sum())

    @property
    def acceptance_at(self) -> Floats:
        """[gamma]: share of cycles that accept at least k drafts (unconditional)."""
        return _ratios(self.accepted.sum(axis=0), self.drafted.sum(axis=0))

    @property
    def conditional_acceptance_at(self) -> Floats:
        """[gamma]: share of k-th drafts accepted, where those before were."""
        return _ratios(self.accepted.sum(axis=0), self.tested.sum(axis=0))

    @property
    def acceptance(self) -> float:
        """Accepted drafts per tested draft."""
        return _ratio(self.accepted.sum(), self.tested.sum())


def block_efficiency(accept: Sequence[npt.ArrayLike], gamma: int) -> float:
    """tau: tokens per target pass of the loop with chains of `gamma` drafts, bonus token included.

    `accept` has an array of m_t for each prompt (see `replays`). nan where no prompt has a token.
    """
    return replays(accept, [gamma])[gamma].block_efficiency


def replays(accept: Sequence[npt.ArrayLike], gammas: Iterable[int]) -> dict[int, Replay]:
    """The loop at each of `gammas`, from one array a prompt.

    An array [tokens] holds m_t, the probability that a draft for token t is accepted. Where that depends
    on the cycle's start, the array is [tokens, depth]: in row t, column i the probability for the i-th draft
    of a cycle that starts at t, for token t + i; nan where nothing is drafted, and `depth` reaches the
    largest of `gammas`.

    Raises ValueError for a gamma below 1, arrays of another shape, or numbers outside of 0 to 1.
    """
    wanted = sorted(set(gammas))
    if not wanted or wanted[0] < 1:
        raise ValueError(f"gamma must be at least 1, got {wanted}")
    arrays = [_checked(one, index, wanted[-1]) for index, one in enumerate(accept)]
    lengths = np.array([len(one) for one in arrays], dtype=np.int64)
    found = {gamma: _nothing(gamma, lengths) for gamma in wanted}
    for members in _groups(lengths):
        _fill(found, members, [arrays[index] for index in members])
    return found


def iid_approximation(alpha: npt.ArrayLike, gamma: int) -> npt.NDArray[np.float64]:
    """(1 - alpha^(gamma+1)) / (1 - alpha): block efficiency if every draft were accepted with the same
    probability, independently of its place. Wrong where easy and hard tokens cluster.

    Source: Leviathan et al. (2023), equation 1.
    """
    rates = np.asarray(alpha, dtype=np.float64)
    powers = rates[..., None] ** np.arange(gamma + 1)
    return np.asarray(powers.sum(axis=-1))


def _checked(values: npt.ArrayLike, index: int, depth: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] < depth):
        raise ValueError(
            f"accept[{index}] has the shape {array.shape}; it must be [tokens], or [tokens, depth] with a "
            f"depth of at least gamma ({depth})"
        )
    outside = ~((array >= 0) & (array <= 1))
    if (outside & ~np.isnan(array)).any() or (array.ndim == 1 and outside.any()):
        worst = array[outside][0]
        raise ValueError(f"accept[{index}] holds {worst}, which is no probability")
    return array


def _nothing(gamma: int, lengths: npt.NDArray[np.int64]) -> Replay:
    drafted, tested, accepted = np.zeros((3, len(lengths), gamma))
    return Replay(gamma, lengths.astype(float), np.zeros(len(lengths)), drafted, tested, accepted)


def _groups(lengths: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Prompts with a token, as many together as fill a chunk."""
    members: list[int] = []
    held = 0
    for index, length in enumerate(lengths.tolist()):
        if members and held + length > _CHUNK:
            yield members
            members, held = [], 0
        if length:
            members.append(index)
            held += length
    if members:
        yield members


def _fill(found: dict[int, Replay], members: list[int], arrays: Sequence[Floats]) -> None:
    """Set the sums of the prompts `members`, whose texts lie behind each other in one line."""
    from scipy.linalg.blas import dtbsv

    deepest = max(found)
    lengths = [len(one) for one in arrays]
    starts = np.array([0, *accumulate(lengths[:-1])])
    size = sum(lengths)
    left = np.concatenate([np.arange(length, 0, -1) for length in lengths])
    first = np.zeros(size)
    first[starts] = 1

    products, drafts = [np.ones(size)], []
    for k in range(1, deepest + 1):
        chance = _chances(arrays, k)
        there = (left >= k) & ~np.isnan(chance)
        drafts.append(there)
        products.append(products[-1] * np.where(there, chance, 0.0))

    # pi solves (1 - T) pi = first, T the chances to go from one cycle's start to the next: a triangular
    # band. Row o of `band` holds -T for cycles of o tokens, column by column as BLAS wants it.
    band = np.zeros((size, deepest + 2))
    for o in range(1, deepest + 1):
        band[:, o] = np.where(left > o, products[o] - products[o - 1], 0.0)
    for gamma, replay in found.items():
        own = band[:, gamma + 1].copy()
        band[:, gamma + 1] = np.where(left > gamma + 1, -products[gamma], 0.0)
        weights = dtbsv(gamma + 1, band.T, first, lower=1, diag=1)
        band[:, gamma + 1] = own
        replay.passes[members] = np.add.reduceat(weights, starts)
        for k in range(gamma):
            there = weights * drafts[k]
            replay.drafted[members, k] = np.add.reduceat(there, starts)
            replay.tested[members, k] = np.add.reduceat(there * products[k], starts)
            replay.accepted[members, k] = np.add.reduceat(weights * products[k + 1], starts)


def _chances(arrays: Sequence[Floats], k: int) -> Floats:
    """Chance that the k-th draft of a cycle is accepted, for each place where a cycle may start; 0 behind
    the end of a text.
    """
    parts = []
    for array in arrays:
        if array.ndim == 2:
            parts.append(array[:, k - 1])
        else:
            shifted = array[k - 1 :]
            parts += [shifted, np.zeros(len(array) - len(shifted))]
    return np.concatenate(parts)


def _ratio(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else float("nan")


def _ratios(tops: Floats, bottoms: Floats) -> Floats:
    return np.divide(tops, bottoms, out=np.full_like(tops, np.nan), where=bottoms > 0)
