"""Models that take a scripted time to generate, for tests of `efficiency.text`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fake_clock import FakeClock

from kdbench.errors import ModelError
from kdbench.metrics.roofline import Ceilings, Work
from kdbench.models.timing.text_run import Execution, TextShape, TextWork


@dataclass
class ScriptedText:
    """Spends `prefill` seconds on each prompt token and `step` on each further token, for all rows at once;
    more than `most_rows` do not fit into memory."""

    clock: FakeClock
    prefill: float
    step: float
    most_rows: int = 10**9
    context: int = 10**9
    device: str = "cpu"

    @contextmanager
    def time_text(self, shape: TextShape, seed: int, how: Execution) -> Iterator[Any]:
        if shape.tokens > self.context:
            raise ModelError(
                f"{shape.tokens} tokens do not fit the model's context of {self.context}"
            )
        yield _Run(self, shape)


@dataclass
class _Run:
    model: ScriptedText
    shape: TextShape

    @property
    def device(self) -> str:
        return self.model.device

    @property
    def clock(self) -> FakeClock:
        return self.model.clock

    def __call__(self, mark: Callable[[], None], new_tokens: int | None = None) -> None:
        if self.shape.batch > self.model.most_rows:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        self.clock.advance(self.model.prefill * self.shape.prompt_tokens)
        mark()
        mark()
        for _ in range((new_tokens or self.shape.new_tokens) - 1):
            self.clock.advance(self.model.step)

    def work(self) -> TextWork:
        steps = self.shape.new_tokens - 1
        return TextWork(Work(50.0, 1.0), Work(1.0 * steps, 20.0 * steps))

    def ceilings(self) -> Ceilings:
        return Ceilings(flops=100.0, bandwidth=100.0)
