"""The reference loop: lossless, and what replay says of its texts is what it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from kdbench.errors import ModelError
from kdbench.metrics.replay import replays
from kdbench.models.adapter import LoadSettings
from kdbench.models.pair_scoring import accepted
from kdbench.models.prompt_lookup import PromptLookup
from kdbench.models.protocols import Prompt
from kdbench.models.speculation import CachedReader, Course, speculate
from kdbench.models.tokens import TokenRow
from kdbench.models.transformers import TransformersAdapter, TransformersParams
from kdbench.models.warping import Warp
from kdbench.tasks.speculative.drafts import looked_up
from kdbench.tasks.speculative.loop import contradiction, divergence

MODELS = Path(__file__).resolve().parents[2] / "suites" / "quickstart" / "models"
OPENINGS = [
    "On a windy Tuesday", "Sam lost a yellow", "Eva is a kind", "Rosa is a", "Tina says: rope",
    "On a foggy Sunday Zoe", "Paul lost a green rope", "Leo is a tailor", "It is a warm", "Ann is",
]  # fmt: skip


class Chain:
    """A Markov chain that reads tokens; rows of `matrix` are distributions over the next."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = torch.tensor(matrix)
        self.length = 0
        self.vocabulary = len(matrix)

    def read(self, tokens: Sequence[int]) -> torch.Tensor:
        self.length += len(tokens)
        return self.matrix[list(tokens)]

    def forget(self, length: int) -> None:
        self.length = length


def chains(draw: np.random.Generator, states: int = 8) -> tuple[np.ndarray, np.ndarray]:
    p, other = draw.exponential(size=(2, states, states)) ** 1.3
    p, other = p / p.sum(1, keepdims=True), other / other.sum(1, keepdims=True)
    return p, 0.6 * p + 0.4 * other


def course(p: np.ndarray, q: np.ndarray, seed: int, length: int = 60, gamma: int = 4) -> Course:
    generator = torch.Generator().manual_seed(seed)
    return speculate(Chain(p), Chain(q), [seed % len(p)], gamma, length, frozenset(), generator)


def test_text_of_the_loop_is_drawn_from_the_target() -> None:
    p, q = chains(np.random.default_rng(2))
    counts = np.zeros_like(p)
    for seed in range(160):
        text = [seed % 8, *course(p, q, seed).ids]
        np.add.at(counts, (text[:-1], text[1:]), 1)
    totals = counts.sum(axis=1, keepdims=True)
    chi = ((counts - totals * p) ** 2 / (totals * p)).sum()
    assert chi < 56 + 4 * (2 * 56) ** 0.5  # 8 x 7 degrees of freedom


def test_replay_of_the_loops_texts_expects_its_passes_and_acceptances() -> None:
    p, q = chains(np.random.default_rng(5))
    runs = [course(p, q, seed) for seed in range(160)]
    texts = [np.array([seed % 8, *run.ids]) for seed, run in enumerate(runs)]
    m = [np.minimum(1, q[t[:-1], t[1:]] / p[t[:-1], t[1:]]) for t in texts]
    found = replays(m, [4])[4]
    for loop, expected in (
        ([len(run.cycles) for run in runs], found.passes),
        ([run.accepted for run in runs], found.accepted.sum(axis=1)),
        ([run.tested for run in runs], found.tested.sum(axis=1)),
    ):
        apart = np.array(loop) - expected
        assert abs(apart.mean()) < 4 * apart.std() / len(apart) ** 0.5
    assert all(contradiction(run, one) == -1 for run, one in zip(runs, m, strict=True))


def test_another_draft_is_noticed_by_the_first_thing_it_could_not_have_done() -> None:
    p, q = chains(np.random.default_rng(5))
    run = course(p, p, 3)  # every draft is accepted
    text = np.array([3, *run.ids])
    m = np.minimum(1, q[text[:-1], text[1:]] / p[text[:-1], text[1:]])
    m[7] = 0.0
    assert contradiction(run, m) == 7


@pytest.fixture(scope="module")
def pair():
    settings = LoadSettings("float32", "cpu", 32)
    found = []
    for name in ("teacher", "forward-kl"):
        params = TransformersParams(path=str(MODELS / name))
        found.append(TransformersAdapter(params, MODELS, settings).load())
    return found


def loops(pair, draft, warp: Warp, gamma: int, count: int) -> tuple[list[TokenRow], list[Course]]:
    teacher = pair[0]
    rows, runs = [], []
    for number in range(count):
        (prompt,) = teacher.encoder.prompts([OPENINGS[number % len(OPENINGS)]])
        run = speculate(
            CachedReader(teacher.model, warp), draft or CachedReader(pair[1].model, warp), prompt,
            gamma, 40, teacher.generator.ends, torch.Generator().manual_seed(number),
        )  # fmt: skip
        rows.append(TokenRow((*prompt, *run.ids), len(run.ids)))
        runs.append(run)
    return rows, runs


def test_greedy_replay_on_the_shipped_pair_equals_the_loop_cycle_for_cycle(pair) -> None:
    rows, runs = loops(pair, None, Warp(), 5, len(OPENINGS))
    m = accepted(*pair, rows, Warp())
    found = replays([one.chance for one in m], [5])[5]
    assert found.passes.tolist() == [len(run.cycles) for run in runs]
    assert found.accepted.sum() == sum(run.accepted for run in runs)
    assert found.tested.sum() == sum(run.tested for run in runs)
    assert sum(one.impossible for one in m) == 0
    # without drafts, and in a batch, the target writes the same
    plain = pair[0].generate_text([Prompt(text, (), 40) for text in OPENINGS])
    assert [divergence(one.ids, run.ids) for one, run in zip(plain, runs, strict=True)] == [
        None
    ] * len(runs)


@pytest.mark.parametrize("warp", [Warp(1.0), Warp(0.7, 0.9, 20)], ids=["T=1", "nucleus"])
def test_sampled_replay_on_the_shipped_pair_expects_what_the_loop_does(pair, warp: Warp) -> None:
    rows, runs = loops(pair, None, warp, 3, 30)
    m = accepted(*pair, rows, warp)
    found = replays([one.chance for one in m], [3])[3]
    apart = np.array([len(run.cycles) for run in runs]) - found.passes
    assert abs(apart.mean()) < 4 * apart.std() / len(apart) ** 0.5 + 1e-9
    # given the prefix, min(1, q/p) of a drawn token has the mean sum of min(p, q)
    gaps = np.array([sum(one.chance) - sum(one.overlap) for one in m])
    assert abs(gaps.mean()) < 4 * gaps.std() / len(gaps) ** 0.5
    assert sum(one.impossible for one in m) == 0


def test_greedy_acceptance_is_which_token_each_model_finds_most_probable(pair) -> None:
    rows = [TokenRow((0, *range(100, 140)), 40), TokenRow((0, 5, 7, 9), 2)]
    own = pair[0].generate_text([Prompt("On a windy Tuesday", (), 24)])[0].ids
    rows.append(TokenRow((*pair[0].encoder.prompts(["On a windy Tuesday"])[0], *own), len(own)))
    for row, found in zip(rows, accepted(*pair, rows, Warp()), strict=True):
        text = torch.tensor(row.tokens[-row.scored :])
        with torch.inference_mode():
            ids = torch.tensor([row.tokens[:-1]])
            p, q = (one.model(ids).logits[0, -row.scored :].argmax(-1) for one in pair)
        assert found.chance == (q == text).double().tolist()
        assert found.overlap == (p == q).double().tolist()
        assert found.impossible == int((p != text).sum())


@pytest.mark.parametrize("warp", [Warp(), Warp(1.0)], ids=["greedy", "T=1"])
def test_logits_that_are_no_numbers_are_refused(pair, monkeypatch, warp: Warp) -> None:
    def broken(_: object, places) -> torch.Tensor:
        return torch.full((len(places.rows), 950), torch.nan)

    monkeypatch.setattr(pair[1].scorer, "logits", broken)
    with pytest.raises(ModelError, match="NaN or infinite"):
        accepted(*pair, [TokenRow((0, 5, 7, 9), 2)], warp)


def test_a_lookup_replays_as_its_loop_and_as_transformers_has_it(pair) -> None:
    from kdbench.models.assisted import generate

    teacher, lookup = pair[0], PromptLookup(2)
    rows, runs = loops(pair, lookup, Warp(), 4, len(OPENINGS))
    found = replays([looked_up(lookup, row, 4) for row in rows], [4])[4]
    assert found.passes.tolist() == [len(run.cycles) for run in runs]
    for row, run in zip(rows[:4], runs[:4], strict=True):
        prompt = row.tokens[: len(row.tokens) - row.scored]
        theirs = generate(teacher, prompt, Warp(), 40, 0, lookup, 4)
        assert theirs.ids == run.ids and theirs.passes == len(run.cycles)


def test_transformers_assisted_generation_takes_as_many_passes_as_the_loop(pair) -> None:
    from kdbench.models.assisted import generate

    rows, runs = loops(pair, None, Warp(), 3, 4)
    for row, run in zip(rows, runs, strict=True):
        prompt = row.tokens[: len(row.tokens) - row.scored]
        theirs = generate(pair[0], prompt, Warp(), 40, 0, pair[1], 3)
        assert theirs.ids == run.ids and theirs.passes == len(run.cycles)


def test_a_lookup_finds_the_first_place_of_the_longest_end() -> None:
    lookup = PromptLookup(3)
    tokens = [5, 6, 7, 8, 9, 6, 7, 1, 5, 6, 7]
    assert lookup.draft_tokens(tokens, 4) == [8, 9, 6, 7]
    assert lookup.draft_tokens([1, 2, 3], 4) == []
    walked = lookup.drafts(tokens[:3], tokens[3:], 4)
    assert walked == [lookup.draft_tokens(tokens[:end], 4) for end in range(3, len(tokens))]
