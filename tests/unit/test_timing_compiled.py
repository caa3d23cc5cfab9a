"""torch.compile before the clock starts: what is absorbed, what is told, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdbench.errors import ModelError, TaskError
from kdbench.models import torchvision_on_cpu
from kdbench.models.timing import compiled as compiled_module
from kdbench.models.timing.clock import CpuClock
from kdbench.models.timing.compiled import Compiled, compiling, forget_compiled
from kdbench.models.timing.text_run import Execution, TextRun, TextShape, running
from kdbench.tasks.efficiency.text import EfficiencyText, TextParams
from kdbench.tasks.task import Context

torch = pytest.importorskip("torch")
torchvision_on_cpu.mend()


class Doubling(torch.nn.Module):  # type: ignore[misc]
    def forward(self, x: Any) -> Any:
        return (x * 2).relu()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything of torch.compile but the compiler: graphs are found, kept and run as they are."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, mode: real(call, backend="eager"))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def over(forward: Compiled, *sizes: int) -> Any:
    """A call that sees tensors of these sizes."""
    return lambda mark: [forward(x=torch.ones(size)) for size in sizes]


def test_all_kinds_of_shape_are_compiled_before_the_clock_runs(quick: None) -> None:
    forward = Compiled(Doubling(), "default")
    with compiling("default"):
        forward.settle(over(forward, 3, 4, 5), "shapes", CpuClock())
        assert forward.seconds is not None and forward.seconds > 0
        forward(x=torch.ones(6))  # of a kind that is known
        forward.check()


def test_what_is_compiled_while_the_clock_runs_is_told(quick: None) -> None:
    forward = Compiled(Doubling(), "default")
    with compiling("default"):
        forward.settle(over(forward, 3), "one", CpuClock())
        forward(x=torch.ones((2, 2)))
        with pytest.raises(TaskError, match="compiled 1 more graphs while the clock ran"):
            forward.check()


def test_time_to_compile_is_remembered_as_long_as_the_model_is_loaded(quick: None) -> None:
    model = Doubling()
    with compiling("default"):
        first, again, other = (Compiled(model, "default") for _ in range(3))
        first.settle(over(first, 3), "one", CpuClock())
        again.settle(over(again, 3), "one", CpuClock())
        assert again.seconds == first.seconds
        forget_compiled(model)
        other.settle(over(other, 3), "one", CpuClock())
        assert other.seconds is not None and other.seconds != first.seconds


def test_a_model_that_never_ends_compiling_is_not_timed(quick: None) -> None:
    forward = Compiled(Doubling(), "default")
    dims = iter(range(1, 99))
    with compiling("default"), pytest.raises(TaskError, match="still compiled something in call 8"):
        forward.settle(lambda mark: forward(x=torch.ones([1] * next(dims))), "growing", CpuClock())


def test_torch_does_not_go_back_to_running_without_compilation(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_module, "_KINDS", 2)
    forward = Compiled(Doubling(), "default")
    many = [[1] * dims for dims in range(1, 6)]
    with compiling("default"), pytest.raises(TaskError, match=r"torch.compile \(default\) failed"):
        forward.settle(over(forward, *many), "many", CpuClock())


def test_a_compiler_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise ValueError("no working C++ compiler")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, mode: real(call, backend=broken))
    forward = Compiled(Doubling(), "default")
    with (
        compiling("default"),
        pytest.raises(TaskError, match=r"torch.compile \(default\) failed: .*no working C\+\+"),
    ):
        forward.settle(over(forward, 3), "one", CpuClock())


def llama(seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


class Loaded:
    """A model with the one verb that is timed."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def time_text(self, shape: TextShape, seed: int, how: Execution) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def run() -> Iterator[TextRun]:
            with running(self.model, how):
                yield TextRun(self.model, 50, shape, seed, how)

        return run()


def task(**how: Any) -> EfficiencyText:
    shape = {"batch": [1], "prompt_tokens": [6], "new_tokens": [5], "rounds": 6, "min_seconds": 0}
    return EfficiencyText(TextParams.model_validate(shape | how), Path())


def test_cuda_graphs_are_refused_on_a_cpu() -> None:
    own = task(compile="reduce-overhead", cache="static")
    samples = own.measure(Loaded(llama(0)), Loaded(llama(1)), own.items(None), Context(0))
    assert samples[0].scores == {}
    said = samples[0].extra["skipped"]["speedup"]
    assert said.startswith("teacher: compile: reduce-overhead records CUDA graphs, and the model")
    assert "choose default or max-autotune-no-cudagraphs" in said
    with pytest.raises(ModelError), running(llama(0), Execution(compile="max-autotune")):
        pass


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler (g++)")
def test_a_compiled_llama_is_timed_and_its_text_is_that_of_the_plain_one() -> None:
    model = llama(0)
    teacher, student = Loaded(model), Loaded(llama(1))
    shape, how = TextShape(2, 6, 5), Execution(compile="default")
    tokens = {
        name: _greedy(model, shape, one) for name, one in {"plain": Execution(), "fast": how}.items()
    }  # fmt: skip
    assert tokens["fast"] == tokens["plain"]
    own = task(batch=[2], compile="default")
    predicted = own.predict({"teacher": teacher, "student": student}, own.items(None), Context(0))
    samples = own.measure(teacher, student, own.items(None), Context(0))
    scores = samples[0].scores
    assert scores["compile_time.teacher"] > 10 * scores["latency.teacher"]
    assert predicted.once["teacher"] >= scores["compile_time.teacher"]
    assert predicted.rounds < scores["compile_time.teacher"]
    assert "compile_time.student" not in scores  # of the same architecture: nothing was left to do
    assert "compiled for the other model" in samples[0].extra["skipped"]["compile_time.student"]


def _greedy(model: Any, shape: TextShape, how: Execution) -> list[list[int]]:
    """The logits' argmax behind the prompt and every token."""
    found: list[list[int]] = []
    with running(model, how), torch.inference_mode():
        run = TextRun(model, 50, shape, 0, how)
        step, prefill = run._decoder.step, run._decoder.prefill
        run._decoder.prefill = lambda *a: _noted(prefill(*a), found)  # type: ignore[method-assign]
        run._decoder.step = lambda *a: _noted(step(*a), found)  # type: ignore[method-assign]
        run(lambda: None)
    return found


def _noted(logits: Any, found: list[list[int]]) -> Any:
    found.append(logits.argmax(-1).tolist())
    return logits
