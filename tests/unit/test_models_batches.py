"""Batches grow to their limits and shrink when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import torch

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits, in_batches


def _run(
    limits: BatchLimits, items: list[int], most: int | None = None
) -> tuple[list[int], list[int]]:
    """Answers and the batch sizes that were tried; more than `most` rows do not fit into memory."""
    tried: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        tried.append(len(batch))
        if most is not None and len(batch) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return [item * 10 for item in batch]

    def fits(batch: Sequence[int]) -> bool:
        return limits.fit(len(batch), max(batch))

    return in_batches(items, fits, limits, run), tried


def test_a_batch_takes_as_many_rows_as_asked_for() -> None:
    answers, tried = _run(BatchLimits.for_device("cpu", 4), list(range(10)))
    assert answers == [item * 10 for item in range(10)]
    assert tried == [4, 4, 2]


def test_without_a_batch_size_rows_times_length_stays_in_the_budget() -> None:
    limits = BatchLimits.for_device("cpu", None)
    _, tried = _run(limits, [2000] * 3 + [100] * 40 + [10] * 100)
    assert tried[:2] == [2, 2]
    assert max(tried) == 64
    assert sum(tried) == 143


def test_one_row_beyond_every_limit_still_runs_alone() -> None:
    assert _run(BatchLimits.for_device("cpu", None), [100_000, 1])[1] == [1, 1]


def test_running_out_of_memory_halves_the_batch_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = BatchLimits.for_device("cpu", 16)
    with caplog.at_level(logging.WARNING):
        answers, tried = _run(limits, list(range(20)), most=5)
    assert answers == [item * 10 for item in range(20)]
    assert tried == [16, 8, 4, 4, 4, 4, 4]
    assert "out of device memory with 16 rows" in caplog.text


def test_a_smaller_batch_is_remembered_for_the_next_call() -> None:
    limits = BatchLimits.for_device("cpu", 16)
    _run(limits, list(range(20)), most=5)
    assert _run(limits, list(range(8)), most=5)[1] == [4, 4]


def test_a_single_row_that_does_not_fit_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ModelError, match="single row; use a shorter max_length"):
        _run(BatchLimits.for_device("cpu", 4), [1, 2, 3], most=0)


def test_generation_on_a_cpu_takes_as_many_rows_as_a_gibibyte_of_cache_holds():
    small, large, unknown = (
        BatchLimits.for_decoding("cpu", None, size) for size in (3072, 1 << 20, None)
    )
    assert small.fit(160, 101) and not small.fit(163, 101)
    assert not small.begin(50, 101) and small.begin(40, 101)
    assert [large.fit(40, 101), large.fit(41, 101)] == [True, False]
    assert unknown == BatchLimits.for_device("cpu", None)
    assert BatchLimits.for_decoding("cpu", 8, 3072) == BatchLimits.for_device("cpu", 8)
    assert BatchLimits.for_decoding("cuda", None, 3072) == BatchLimits.for_device("cuda", None)
