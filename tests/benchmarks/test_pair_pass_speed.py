"""The pair pass beside two accuracy runs, and beside lm-eval twice with a KL script behind it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published
import pytest
from test_scoring_against_hflm import documents

from kdbench.models.adapter import LoadSettings
from kdbench.models.pair_scoring import compare
from kdbench.models.protocols import Continuation
from kdbench.models.transformers import TransformersAdapter, TransformersParams

pytestmark = [pytest.mark.slow, pytest.mark.weights]


def load(folder: Path) -> Any:
    params = TransformersParams(path=str(folder))
    return TransformersAdapter(params, folder, LoadSettings(device="cpu")).load()


def kl_script(teacher: Any, student: Any, pairs: list[tuple[str, str]], batch: int) -> float:
    """What one writes in an afternoon: padded batches, whole softmax, KL where the text is scored."""
    import torch

    encode = teacher.encoder.tokenizer
    rows = [(encode(context)["input_ids"], encode(text)["input_ids"]) for context, text in pairs]
    total = 0.0
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        size = max(len(context) + len(text) for context, text in part)
        ids = torch.zeros((len(part), size), dtype=torch.long)
        for i, (context, text) in enumerate(part):
            ids[i, : len(context) + len(text)] = torch.tensor(context + text)
        with torch.inference_mode():
            p = teacher.model(input_ids=ids, use_cache=False).logits.log_softmax(-1)
            q = student.model(input_ids=ids, use_cache=False).logits.log_softmax(-1)
            kl = (p.exp() * (p - q)).sum(-1)
        for i, (context, text) in enumerate(part):
            total += float(kl[i, len(context) - 1 : len(context) + len(text) - 1].sum())
    return total


def test_all_fidelity_metrics_cost_little_beside_two_accuracy_runs(
    capsys: pytest.CaptureFixture[str], benchmark: Any
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    folder = published.smollm2_folder()
    teacher, student = load(folder), load(folder)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in student.model.parameters():
            weights.add_(0.02 * weights.std() * torch.randn(weights.shape, generator=noise))
    pairs = documents(24, 40)
    requests = [Continuation(*pair) for pair in pairs]
    instances = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    hflm = HFLM(pretrained=str(folder), device="cpu", batch_size=16, dtype="float32")
    rows = teacher.encoder.continuations(requests)

    def alone() -> list[Any]:
        return [model.score_text(requests) for model in (teacher, student)]

    def pair() -> list[Any]:
        return compare(teacher, student, teacher.encoder.continuations(requests))

    def with_lm_eval() -> float:
        for _ in range(2):
            hflm.loglikelihood(instances, disable_tqdm=True)
        return kl_script(teacher, student, pairs, 16)

    def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
        began = time.perf_counter()
        found = work()
        return time.perf_counter() - began, found

    alone(), pair()  # what is found out once per model

    def rounds() -> tuple[list[float], list[float]]:
        apart, together = [], []
        for _ in range(3):
            apart.append(seconds(alone)[0])
            together.append(seconds(pair)[0])
        return apart, together

    apart, together = benchmark.pedantic(rounds, rounds=1, iterations=1)
    peer, reference = seconds(with_lm_eval)
    ratio, against = min(together) / min(apart), min(together) / peer
    with capsys.disabled():
        sys.stdout.write(
            f"\npair pass: {ratio:.2f} x two accuracy runs ({min(apart):.1f} s), {against:.2f} x lm-eval "
            f"twice and a KL script ({peer:.1f} s)\n"
        )
    ours = sum(token[0] for answer in pair() for token in answer.tokens)
    assert ours == pytest.approx(reference, rel=1e-3)
    assert sum(row.scored for row in rows) == sum(len(answer.tokens) for answer in pair())
    assert against < 1
