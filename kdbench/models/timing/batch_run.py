"""A model that works on a batch of images, ready to be called and timed again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

from kdbench.errors import ModelError
from kdbench.metrics.roofline import Ceilings, Work
from kdbench.models.timing.clock import Clock
from kdbench.models.timing.text_run import out_of_memory

ENOUGH = 0.05
"""A batch is better where it makes so much more of an image a second; less is noise."""


class BatchRun(Protocol):
    """One call is one batch of `batch` images."""

    batch: int
    clock: Clock
    device: str

    def __call__(self, mark: Callable[[], None]) -> None: ...

    def parts(self, call: Sequence[float]) -> dict[str, float]:
        """Seconds of the call's parts by name, from its marks and its end; empty where it has none."""
        ...

    def facts(self) -> dict[str, float]:
        """What is counted of one image: `flops_per_image`, and for generators `steps`."""
        ...

    def work(self) -> Work: ...

    def ceilings(self) -> Ceilings: ...


Open = Callable[[int], AbstractContextManager[Any]]
"""Makes a run of so many rows or images."""


@dataclass(frozen=True, slots=True)
class Called:
    """Seconds of a call at a batch: the quickest of some, which tells batches apart, and the one in the
    middle, which foretells; and of all calls that were made to find out."""

    seconds: float
    typical: float
    spent: float


@dataclass(frozen=True, slots=True)
class Best:
    """The batch that makes most images a second (0: not even one fits), and the seconds that it took to
    find it."""

    batch: int
    spent: float


def runs(open_run: Open, batch: int, calls: int = 3) -> Called | None:
    """How long a call at `batch` takes, from `calls` of which the first does not count if there are more;
    None where memory runs out."""
    from kdbench.models.timing.rounds import Subject, timed

    try:
        with open_run(batch) as run:
            subject = Subject("pilot", run)
            taken = [timed(subject, run.clock)[-1] for _ in range(calls)]
            warm = taken[1:] or taken
            return Called(min(warm), median(warm), sum(taken))
    except (ModelError, RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
    _give_back()  # outside the handler: the error's traceback would keep the batch's tensors alive
    return None


def largest(open_run: Open, batch: int) -> int:
    """The largest batch that runs, found by halving; 0 where not even one row or image does."""
    while batch > 0 and runs(open_run, batch, calls=1) is None:
        batch //= 2
    return batch


def best(open_run: Open, most: int) -> Best:
    """The batch that makes most images a second: doubled from 1 while that gains, up to `most`."""
    found, rate, spent = 0, 0.0, 0.0
    batch = 1
    while batch <= most:
        called = runs(open_run, batch)
        if called is not None:
            spent += called.spent
        if called is None or batch / called.seconds < (1 + ENOUGH) * rate:
            break
        found, rate = batch, batch / called.seconds
        batch *= 2
    return Best(found, spent)


def ran_out(error: BaseException) -> bool:
    """Whether memory ran out, here or in what the error was raised from."""
    return out_of_memory(error) or (error.__cause__ is not None and out_of_memory(error.__cause__))


def _give_back() -> None:
    import gc
    import sys

    gc.collect()
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
