"""Replay beside the real loop, to the same standard error of tau; and the recursion on a million tokens."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdbench import stats
from kdbench.metrics.replay import replays
from kdbench.models.adapter import LoadSettings
from kdbench.models.pair_scoring import accepted
from kdbench.models.protocols import Prompt
from kdbench.models.speculation import CachedReader, speculate
from kdbench.models.tokens import TokenRow
from kdbench.models.transformers import TransformersAdapter, TransformersParams
from kdbench.models.warping import Warp

QUICKSTART = Path(__file__).resolve().parents[2] / "suites" / "quickstart"
GAMMAS = (1, 2, 3, 5, 8)
LENGTH = 96


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds, which what else runs on the machine does not stretch."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def error(tokens: Any, passes: Any) -> float:
    found = stats.ratio_of_sums(tokens, passes)
    return (found.high - found.low) / (2 * 1.96)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_replay_reaches_the_loops_standard_error_in_a_fraction_of_its_time(
    temperature: float, capsys: pytest.CaptureFixture[str], benchmark: Any
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    settings = LoadSettings("float32", "cpu", None)
    teacher, student = (
        TransformersAdapter(
            TransformersParams(path=str(QUICKSTART / "models" / name)), QUICKSTART, settings
        ).load()
        for name in ("teacher", "forward-kl")
    )
    lines = (QUICKSTART / "data" / "rolling.jsonl").read_text().splitlines()
    words = [json.loads(line)["text"].split() for line in lines]
    texts = [" ".join(text[:4]) for text in words]
    warp = Warp(temperature)
    prompts = teacher.encoder.prompts(texts)

    def replay() -> dict[int, Any]:
        asked = [
            Prompt(text, (), LENGTH, temperature, seed=seed) for seed, text in enumerate(texts)
        ]
        written = teacher.generate_text(asked)
        rows = [
            TokenRow((*prompt, *one.ids), len(one.ids))
            for prompt, one in zip(prompts, written, strict=True)
        ]
        found = accepted(teacher, student, rows, warp)
        return replays([one.chance for one in found], GAMMAS)

    def loop(gamma: int) -> np.ndarray:
        courses = [
            speculate(
                CachedReader(teacher.model, warp), CachedReader(student.model, warp), prompt, gamma,
                LENGTH, teacher.generator.ends, torch.Generator().manual_seed(seed),
            )
            for seed, prompt in enumerate(prompts)
        ]  # fmt: skip
        return np.array([(len(one.ids), len(one.cycles)) for one in courses], float)

    replay()  # warm
    seconds, found = timed(replay)
    needed, one = 0.0, 0.0
    report = [f"temperature {temperature:g}, {len(texts)} prompts: replay {seconds:.2f} s for all"]
    for gamma in GAMMAS:
        spent, counts = timed(lambda gamma=gamma: loop(gamma))
        ours = error(found[gamma].tokens, found[gamma].passes)
        theirs = error(*counts.T)
        same = spent * (theirs / ours) ** 2
        needed += same
        one = same / seconds if gamma == 5 else one
        tau = counts[:, 0].sum() / counts[:, 1].sum()
        report.append(
            f"  gamma {gamma}: tau {found[gamma].block_efficiency:.3f} +- {ours:.4f} (replay), "
            f"{tau:.3f} +- {theirs:.4f} (loop, {spent:.1f} s); to the same error {same / seconds:.1f}x"
        )
    report.append(f"  all five: {needed / seconds:.0f}x")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(report) + "\n")
    benchmark.pedantic(lambda: replays([[0.5]], [1]), rounds=1)
    assert one > 3 and needed / seconds > 15  # far below what is seen


@pytest.mark.parametrize("prompts", [1000, 100])
def test_a_million_tokens_at_sixteen_gammas(
    prompts: int, capsys: pytest.CaptureFixture[str], benchmark: Any
) -> None:
    if benchmark.disabled:
        pytest.skip("run with --benchmark-enable")
    draw = np.random.default_rng(0)
    accept = [draw.random(1_000_000 // prompts) for _ in range(prompts)]
    found = benchmark.pedantic(lambda: replays(accept, range(1, 17)), rounds=2)
    assert len(found) == 16
    with capsys.disabled():
        seconds = benchmark.stats.stats.min
        sys.stdout.write(f"\n{prompts} prompts, gamma 1..16: {seconds:.2f} s\n")
