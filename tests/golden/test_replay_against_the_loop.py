"""Replay beside as many tokens of the real loop as are asked for, on the shipped pair.

    KDBENCH_LOOP_TOKENS=200000 pytest -s tests/golden/test_replay_against_the_loop.py

Greedy, every text has the same passes, accepted and tested drafts in both. Sampled, the loop's tau lies
within three standard errors of what replay expects of its texts, and so does that of fresh texts.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench import stats
from kdbench.metrics.replay import replays
from kdbench.models.adapter import LoadSettings
from kdbench.models.pair_scoring import accepted
from kdbench.models.protocols import Prompt
from kdbench.models.speculation import CachedReader, Course, speculate
from kdbench.models.tokens import TokenRow
from kdbench.models.transformers import TransformersAdapter, TransformersParams
from kdbench.models.warping import Warp

QUICKSTART = Path(__file__).resolve().parents[2] / "suites" / "quickstart"
WANTED = int(os.environ.get("KDBENCH_LOOP_TOKENS", "3000"))
GAMMA, LENGTH = 5, 96


@pytest.fixture(scope="module")
def pair():
    settings = LoadSettings("float32", "cpu", 64)
    return [
        TransformersAdapter(
            TransformersParams(path=str(QUICKSTART / "models" / name)), QUICKSTART, settings
        ).load()
        for name in ("teacher", "forward-kl")
    ]


def openings() -> Iterator[str]:
    """Distinct beginnings of the quickstart's texts, the shortest first."""
    texts = [
        json.loads(line).get(key, "").split()
        for name, key in (
            ("rolling", "text"),
            ("reading", "passage"),
            ("word_problems", "question"),
        )
        for line in (QUICKSTART / "data" / f"{name}.jsonl").read_text().splitlines()
    ]
    found = (
        " ".join(text[:words]) for words in range(3, 60) for text in texts if len(text) > words
    )
    yield from dict.fromkeys(found)


def test_greedy_texts_take_the_same_cycles(pair) -> None:
    rows, runs = looped(pair, Warp(0.0))
    found = replayed(pair, rows, Warp(0.0))
    assert found.passes.tolist() == [len(run.cycles) for run in runs]
    assert found.accepted.sum(axis=1).tolist() == [run.accepted for run in runs]
    assert found.tested.sum(axis=1).tolist() == [run.tested for run in runs]
    told("greedy", rows, found, runs)


def test_sampled_texts_take_the_cycles_that_replay_expects(pair) -> None:
    warp = Warp(1.0)
    rows, runs = looped(pair, warp)
    found = replayed(pair, rows, warp)
    apart = np.array([len(run.cycles) for run in runs]) - found.passes
    assert abs(apart.mean()) < 3 * apart.std(ddof=1) / len(apart) ** 0.5
    prompts = [row.tokens[: len(row.tokens) - row.scored] for row in rows]
    asked = [
        Prompt(pair[0].encoder.tokenizer.decode(prompt), (), LENGTH, 1.0, seed=100_000 + seed)
        for seed, prompt in enumerate(prompts)
    ]
    written = pair[0].generate_text(asked)
    fresh = replayed(
        pair,
        [
            TokenRow((*prompt, *one.ids), len(one.ids))
            for prompt, one in zip(prompts, written, strict=True)
        ],
        warp,
    )
    loop = stats.ratio_of_sums([len(run.ids) for run in runs], [len(run.cycles) for run in runs])
    replay = stats.ratio_of_sums(fresh.tokens, fresh.passes)
    error = np.hypot(loop.high - loop.low, replay.high - replay.low) / (2 * 1.96)
    assert abs(loop.value - replay.value) < 3 * error
    told("T=1", rows, fresh, runs)


def looped(pair, warp: Warp) -> tuple[list[TokenRow], list[Course]]:
    teacher, student = pair
    rows, runs, count = [], [], 0
    for number, text in enumerate(openings()):
        if count >= WANTED:
            return rows, runs
        (prompt,) = teacher.encoder.prompts([text])
        run = speculate(
            CachedReader(teacher.model, warp), CachedReader(student.model, warp), prompt, GAMMA, LENGTH,
            teacher.generator.ends, torch.Generator().manual_seed(number),
        )  # fmt: skip
        rows.append(TokenRow((*prompt, *run.ids), len(run.ids)))
        runs.append(run)
        count += len(run.ids)
    raise AssertionError(f"the quickstart's openings give {count} tokens, not {WANTED}")


def replayed(pair, rows: list[TokenRow], warp: Warp):
    return replays([one.chance for one in accepted(*pair, rows, warp)], [GAMMA])[GAMMA]


def told(title: str, rows: list[TokenRow], found, runs: list[Course]) -> None:
    loop = stats.ratio_of_sums([len(run.ids) for run in runs], [len(run.cycles) for run in runs])
    replay = stats.ratio_of_sums(found.tokens, found.passes)
    errors = [(one.high - one.low) / (2 * 1.96) for one in (loop, replay)]
    sys.stdout.write(
        f"\n{title}, {len(rows)} texts, {sum(row.scored for row in rows)} tokens, gamma {GAMMA}: loop "
        f"{loop.value:.4f} +- {errors[0]:.4f}, replay {replay.value:.4f} +- {errors[1]:.4f}\n"
    )
