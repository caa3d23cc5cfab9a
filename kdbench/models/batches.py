"""Packing rows into batches, and going on with smaller ones when memory runs out."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from kdbench.errors import ModelError

T = TypeVar("T")
R = TypeVar("R")

_CACHE = 1 << 30
"""Bytes that the cache of a batch may take on a CPU before fewer rows are decoded at once."""

_log = logging.getLogger(__name__)


@dataclass
class BatchLimits:
    """How much goes into one forward pass.

    `rows` is what the suite asked for (None: no limit but the others); `tokens` bounds rows times
    padded length where nothing was asked for; `logits` bounds scored positions times vocabulary,
    always. Where a pass reads new tokens behind a cache, `tokens` are those of the cache and `fresh`
    (None: as many) bounds the new ones.
    """

    rows: int | None
    tokens: int
    logits: int
    fresh: int | None = None

    @classmethod
    def for_device(cls, device: str, batch_size: int | None) -> BatchLimits:
        """Limits that suit a CPU (64 rows, 4,096 tokens) or an accelerator (256 rows, 32,768)."""
        if device == "cpu":
            tokens, rows, logits = 4096, 64, 1 << 25
        else:
            tokens, rows, logits = 32768, 256, 1 << 30
        if batch_size is not None:
            return cls(batch_size, 1 << 62, logits)
        return cls(rows, tokens, logits)

    @classmethod
    def for_decoding(
        cls, device: str, batch_size: int | None, token_bytes: int | None
    ) -> BatchLimits:
        """Limits for generation, where a pass computes one token of each row and a token in the cache takes
        `token_bytes`: on a CPU 256 rows and 16,384 tokens, fewer where those would take more than 1 GiB."""
        limits = cls.for_device(device, batch_size)
        if device != "cpu" or batch_size is not None or token_bytes is None:
            return limits
        cached = min(4 * limits.tokens, _CACHE // token_bytes)
        return cls(256, max(limits.tokens, cached), limits.logits, fresh=limits.tokens)

    def begin(self, rows: int, longest: int) -> bool:
        """Whether so many rows of `longest` padded new tokens may be read at once."""
        return self.fresh is None or rows * longest <= self.fresh

    def fit(self, rows: int, longest: int, logits: int = 0) -> bool:
        """Whether a batch of so many rows of `longest` padded tokens is small enough."""
        return (
            (self.rows is None or rows <= self.rows)
            and rows * longest <= self.tokens
            and logits <= self.logits
        )

    def halve(self, rows: int) -> None:
        """From now on at most half of `rows`."""
        self.rows = max(1, rows // 2)


def in_batches(
    items: Sequence[T],
    fits: Callable[[Sequence[T]], bool],
    limits: BatchLimits,
    run: Callable[[Sequence[T]], list[R]],
) -> list[R]:
    """`run` over consecutive batches of `items`, its answers joined in order.

    A batch grows while it `fits` (one item always does). Where the device's memory runs out the
    batch is halved, for the rest of the model's life; a single row that does not fit raises
    `ModelError`.
    """
    import torch

    answers: list[R] = []
    while len(answers) < len(items):
        batch = _next(items, len(answers), fits)
        lost: torch.cuda.OutOfMemoryError | None = None
        try:
            got = run(batch)
        except torch.cuda.OutOfMemoryError as error:
            lost = error.with_traceback(None)  # it would keep the batch's tensors alive
        if lost is not None:
            out_of_memory(limits, len(batch), lost)
        else:
            answers.extend(got)
    return answers


def out_of_memory(limits: BatchLimits, rows: int, error: Exception) -> None:
    """Go on with half of `rows` after `error`; raises `ModelError` where it was a single one.

    Call it once nothing refers to the batch's tensors any more.
    """
    import torch

    if rows == 1:
        raise ModelError(
            "out of device memory with a single row; use a shorter max_length, a smaller dtype "
            "(bfloat16), or device: cpu"
        ) from error
    limits.halve(rows)
    _log.warning("out of device memory with %d rows; going on with %s", rows, limits.rows)
    gc.collect()
    torch.cuda.empty_cache()


def _next(items: Sequence[T], start: int, fits: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    end = start + 1
    while end < len(items) and fits(items[start : end + 1]):
        end += 1
    return items[start:end]
