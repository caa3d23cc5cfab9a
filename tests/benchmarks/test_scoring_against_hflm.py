"""Scoring beside lm-eval's HFLM: same model, same texts, same scores, one process.

Prints the ratio of times, the tokens that each sends through the model, and how near kdbench comes to
the machine's matrix product.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published
import pytest

from kdbench.models.adapter import LoadSettings
from kdbench.models.protocols import Continuation
from kdbench.models.transformers import TransformersAdapter, TransformersParams

pytestmark = [pytest.mark.slow, pytest.mark.weights]

STORY = (
    "The river ran past the mill and the old bridge, and every morning the miller's daughter counted "
    "the boats that went down to the sea. Some carried grain, some carried timber, and one, painted "
    "green, carried nothing that anyone could see. "
)
ENDINGS = (
    " because the captain had sold his whole cargo at sea",
    " since nobody in the town had paid for the grain",
    " as the water was far too low for heavy loads",
    " so that the children could ride along to the harbour",
)


@pytest.fixture(scope="module")
def folder() -> Path:
    return published.smollm2_folder()


@pytest.fixture(scope="module")
def ours(folder: Path) -> Any:
    params = TransformersParams(path=str(folder))
    return TransformersAdapter(params, folder, LoadSettings(device="cpu")).load()


@pytest.fixture(scope="module")
def hflm(folder: Path) -> Callable[[int], Any]:
    pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM

    loaded = HFLM(pretrained=str(folder), device="cpu", batch_size=1, dtype="float32")

    def at(batch_size: int) -> Any:
        loaded.batch_size_per_gpu = batch_size
        return loaded

    return at


def documents(count: int, words: int, shots: int = 0) -> list[tuple[str, str]]:
    """Multiple-choice requests, four a document, with contexts of about `words` words."""
    text = (STORY * (words // 40 + 1)).split()
    header = "".join(
        f"Question: {' '.join(text[i : i + 30])}?\nAnswer: {ENDINGS[i % 4].strip()}\n\n"
        for i in range(shots)
    )
    found = []
    for i in range(count):
        body = " ".join([f"Story {i}:", *text[i : i + words]])
        found += [(f"{header}{body}\nAnswer:", ending) for ending in ENDINGS]
    return found


def asked(pairs: list[tuple[str, str]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of this process, in which others on the machine do not count."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def matmul_peak() -> float:
    """FLOP/s of a large float32 matrix product here, a multiply-add being two."""
    import torch

    one = torch.randn(1536, 1536)
    best = min(seconds(lambda: one @ one)[0] for _ in range(8))
    return 2 * 1536**3 / best


class Sent:
    """Tokens that go through a model while it is watched, padding included."""

    def __init__(self, model: Any) -> None:
        self.model, self.tokens = model, 0

    def __enter__(self) -> Sent:
        body = self.model.get_decoder()

        def count(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            ids = kwargs.get("input_ids")
            self.tokens += (args[0] if ids is None else ids).numel()

        self.hook = body.register_forward_pre_hook(count, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def show(capsys: pytest.CaptureFixture[str], line: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{line}\n")


def compared(
    capsys: pytest.CaptureFixture[str],
    title: str,
    ours: Any,
    mine: Callable[[], Any],
    peers: Callable[[int], Callable[[], Any]],
    peer: Any,
) -> float:
    """Best batch size of the peer on the whole work, against kdbench; prints and gives the ratio."""
    own, theirs = Sent(ours.model), Sent(peer.model)
    best, answers, size = float("inf"), None, 0
    ours.score_text([Continuation("a", " b")])  # what is found out once per model
    for batch_size in (4, 16):
        with theirs if best == float("inf") else Sent(peer.model):
            took, found = seconds(peers(batch_size))
        if took < best:
            best, answers, size = took, found, batch_size
    with own:
        took, scores = seconds(mine)
    flops = 2 * sum(p.numel() for p in ours.model.get_decoder().parameters()) * own.tokens / took
    show(
        capsys,
        f"{title}: {best / took:.2f} x HFLM (batch {size}: {best:.1f} s, {theirs.tokens} tokens; kdbench "
        f"{took:.1f} s, {own.tokens} tokens, {flops / matmul_peak():.0%} of the matrix product's peak)",
    )
    assert answers is not None
    for (logprob, greedy), score in zip(answers, scores, strict=True):
        assert abs(logprob - score.logprob) < 1e-4 * score.tokens
        assert greedy == score.greedy
    return best / took


@pytest.mark.parametrize(
    ("title", "count", "words", "shots"),
    [
        ("multiple choice, 450 tokens of context", 12, 380, 0),
        ("few-shot multiple choice, shared header", 16, 40, 20),
        ("multiple choice, 50 tokens of context", 32, 40, 0),
    ],
)
def test_choices(
    capsys: pytest.CaptureFixture[str],
    benchmark: Any,
    ours: Any,
    hflm: Callable[[int], Any],
    title: str,
    count: int,
    words: int,
    shots: int,
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    pairs = documents(count, words, shots)
    requests = [Continuation(context, text) for context, text in pairs]

    def mine() -> Any:
        ours.scorer._prefixes._known.clear()
        return ours.score_text(requests)

    def peers(batch_size: int) -> Callable[[], Any]:
        return lambda: hflm(batch_size).loglikelihood(asked(pairs), disable_tqdm=True)

    ratio = benchmark.pedantic(
        compared, args=(capsys, title, ours, mine, peers, hflm(1)), rounds=1, iterations=1
    )
    assert ratio > 1


@pytest.mark.parametrize(
    ("title", "sizes"),
    [
        ("rolling, equal documents", [6] * 6),
        ("rolling, documents of mixed lengths", [1, 9, 2, 1, 5, 3, 12, 1]),
    ],
)
def test_rolling(
    capsys: pytest.CaptureFixture[str],
    benchmark: Any,
    ours: Any,
    hflm: Callable[[int], Any],
    title: str,
    sizes: list[int],
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    texts = [f"Chapter {i}. {STORY * size}" for i, size in enumerate(sizes)]
    benchmark.pedantic(
        rolling_compared, args=(capsys, title, ours, hflm, texts), rounds=1, iterations=1
    )


def test_rolling_with_the_quickstart_teacher(
    capsys: pytest.CaptureFixture[str], benchmark: Any
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    pytest.importorskip("lm_eval")
    from lm_eval.models.huggingface import HFLM

    folder = Path(__file__).resolve().parents[2] / "suites" / "quickstart" / "models" / "teacher"
    params = TransformersParams(path=str(folder))
    ours = TransformersAdapter(params, folder, LoadSettings(device="cpu")).load()
    loaded = HFLM(pretrained=str(folder), device="cpu", batch_size=1, dtype="float32")

    def hflm(batch_size: int) -> Any:
        loaded.batch_size_per_gpu = batch_size
        return loaded

    texts = [f"Chapter {i}. {STORY * (1 + i % 4)}" for i in range(40)]
    benchmark.pedantic(
        rolling_compared,
        args=(capsys, "rolling, quickstart teacher", ours, hflm, texts),
        rounds=1,
        iterations=1,
    )


def rolling_compared(
    capsys: pytest.CaptureFixture[str],
    title: str,
    ours: Any,
    hflm: Callable[[int], Any],
    texts: list[str],
) -> float:
    def peers(batch_size: int) -> Callable[[], Any]:
        from lm_eval.api.instance import Instance

        asked = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]

        def work() -> Any:
            found = hflm(batch_size).loglikelihood_rolling(asked, disable_tqdm=True)
            return [(value, False) for value in found]

        return work

    return compared(capsys, title, ours, lambda: ours.score_rolling(texts), peers, hflm(1))
