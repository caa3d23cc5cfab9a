"""torch.compile for a run: all of it before the clock starts, and none behind that.

A compiled function is compiled anew for every kind of shape that it meets: the prompt, the first token behind
it, and the tokens whose cache is longer each time. torch does that silently in the middle of a call, and
past a few kinds it goes back, as silently, to running without compilation. Here both are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal
from weakref import WeakKeyDictionary

from kdbench.errors import ModelError, TaskError
from kdbench.models.timing.clock import Clock
from kdbench.models.timing.rounds import Mark, Subject, timed

Mode = Literal["none", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
WITH_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes that record CUDA graphs."""

MOST_CALLS = 8
"""Calls in which everything must be compiled: two kinds of shape, and what guards find out late."""

_KINDS = 64
"""Graphs of one function that torch may hold: two models of one architecture share it."""

_SPENT: WeakKeyDictionary[Any, dict[object, float]] = WeakKeyDictionary()
"""Seconds that compiling took, by model and by what was compiled: torch keeps the graphs as long."""


class Compiled:
    """A model's compiled forward pass, called like the model itself."""

    def __init__(self, model: Any, mode: Mode) -> None:
        import torch
        from torch._dynamo.utils import counters

        self._model, self._mode = model, mode
        self._forward: Callable[..., Any] = torch.compile(model.forward, mode=mode)
        self._begin: Callable[[], None] = torch.compiler.cudagraph_mark_step_begin
        self._known = counters["stats"]
        self.graphs = 0
        """Graphs that calls of this one have compiled so far."""
        self.seconds: float | None = None
        """What compiling took, above the calls themselves; None where another model of the same architecture
        had its graphs compiled before."""

    def __call__(self, **given: Any) -> Any:
        before = self._known["unique_graphs"]
        self._begin()  # what the step before returned may be overwritten
        found = self._forward(**given)
        self.graphs += self._known["unique_graphs"] - before
        return found

    def settle(self, call: Callable[[Mark], object], what: object, clock: Clock) -> None:
        """Make `call` until nothing more is compiled in it. `what` tells it from the model's other calls.

        Raises `TaskError` where torch can't compile the model, or never ends compiling it.
        """
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        from kdbench.models.timing.text_run import out_of_memory

        taken: list[float] = []
        while len(taken) < MOST_CALLS:
            before = self.graphs
            try:
                taken.append(timed(Subject("compiled", call), clock)[-1])
            except (TorchDynamoException, FailOnRecompileLimitHit) as error:
                if out_of_memory(error):
                    raise
                reason = " ".join(str(error).split())
                raise TaskError(f"torch.compile ({self._mode}) failed: {reason[:400]}") from error
            if self.graphs == before:
                break
        else:
            raise TaskError(
                f"torch.compile ({self._mode}) still compiled something in call {MOST_CALLS} of the same "
                "shape, so there is no time without compilation; choose compile: none"
            )
        spent = _SPENT.setdefault(self._model, {})
        if len(taken) > 1:
            spent[what] = sum(max(0.0, one - taken[-1]) for one in taken[:-1])
        self.seconds = spent.get(what)
        self.graphs = 0

    def check(self) -> None:
        """Raise `TaskError` where something was compiled since `settle`."""
        if self.graphs:
            raise TaskError(
                f"torch.compile ({self._mode}) compiled {self.graphs} more graphs while the clock ran, so "
                "these times are not the model's; choose compile: none"
            )


def check_mode(mode: Mode, device: Any) -> None:
    """Raise `ModelError` where `mode` needs what `device` does not have."""
    if mode in WITH_GRAPHS and not str(device).startswith("cuda"):
        raise ModelError(
            f"compile: {mode} records CUDA graphs, and the model is on {device}; choose default or "
            "max-autotune-no-cudagraphs"
        )


@contextmanager
def compiling(mode: Mode) -> Iterator[None]:
    """How torch compiles meanwhile: from nothing, so that the time it takes is that of a first start, and
    never back to running without compilation unnoticed."""
    with ExitStack() as stack:
        if mode != "none":
            import torch._dynamo
            import torch._inductor.config as inductor

            dynamo: Any = torch._dynamo.config
            stack.enter_context(
                dynamo.patch(
                    recompile_limit=_KINDS, fail_on_recompile_limit_hit=True, suppress_errors=False
                )
            )
            stack.enter_context(inductor.patch(force_disable_caches=True))
        yield


def forget_compiled(model: Any) -> None:
    """Let go of what was compiled for a model that is unloaded, if anything was."""
    if _SPENT.pop(model, None):
        import torch._dynamo

        torch._dynamo.reset()
