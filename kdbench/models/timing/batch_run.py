"""A model that works on a batch of images, ready to be called and timed again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
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


Open = Callable[[int], AbstractContextManager[BatchRun]]
"""Makes a run of so many images."""


def runs(open_run: Open, batch: int) -> float | None:
    """Seconds of a second call at `batch`, or None where memory runs out."""
    from kdbench.models.timing.rounds import Subject, timed

    try:
        with open_run(batch) as run:
            subject = Subject("pilot", run)
            timed(subject, run.clock)
            return min(timed(subject, run.clock)[-1] for _ in range(2))
    except (ModelError, RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
    _give_back()  # outside the handler: the error's traceback would keep the batch's tensors alive
    return None


def largest(open_run: Open, batch: int) -> int:
    """The largest batch that runs, found by halving; 0 where not even one image does."""
    while batch > 0 and runs(open_run, batch) is None:
        batch //= 2
    return batch


def best(open_run: Open, most: int) -> int:
    """The batch that makes most images a second: doubled from 1 while that gains, up to `most`; 0 where not
    even one image fits."""
    found, rate = 0, 0.0
    batch = 1
    while batch <= most:
        seconds = runs(open_run, batch)
        if seconds is None or batch / seconds < (1 + ENOUGH) * rate:
            break
        found, rate = batch, batch / seconds
        batch *= 2
    return found


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
