"""Drafts whose heads have rows for a part of the vocabulary: checked, loaded, replayed and looped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.numpy import load_file, save_file

from kdbench.errors import ModelError
from kdbench.metrics.replay import replays
from kdbench.models.adapter import LoadSettings
from kdbench.models.assisted import generate, takes
from kdbench.models.pair_scoring import accepted
from kdbench.models.protocols import DRAFT_DISTRIBUTIONS, SCORE_TEXT, SCORE_TOKENS
from kdbench.models.speculation import CachedReader, speculate
from kdbench.models.tokens import TokenRow
from kdbench.models.transformers import TransformersAdapter, TransformersParams
from kdbench.models.warping import Warp
from kdbench.results.store import Store
from kdbench.run.plan import make_plan
from kdbench.suite import load_suite
from kdbench.tasks.speculative.loop import LoopParams, SpeculativeLoop
from kdbench.tasks.speculative.replay import ReplayParams, SpeculativeReplay, note_of
from kdbench.tasks.task import Context

KEPT = [int(token) for token in np.random.default_rng(0).permutation(400)[:250]]
"""Tokens of the trimmed head, in no order."""
LENGTH = 16
TEXTS = ["the quick brown", "a student learns", "Question: what is 2", "the cat", "naïve café"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target, a draft, and the draft with a trimmed head; `ids` and `d2t` say which rows are left."""
    folder = tmp_path_factory.mktemp("made")
    tiny_models.save_model(folder / "target", seed=0)
    tiny_models.save_model(folder / "draft", seed=0)
    weights = load_file(folder / "draft" / "model.safetensors")
    noise = np.random.default_rng(1)
    near = {
        name: (one + 0.05 * noise.standard_normal(one.shape)).astype(one.dtype)
        for name, one in weights.items()
    }
    save_file(near, folder / "draft" / "model.safetensors", {"format": "pt"})
    shutil.copytree(folder / "draft", folder / "trimmed")
    cut = {**near, "lm_head.weight": np.ascontiguousarray(near["lm_head.weight"][KEPT])}
    save_file(cut, folder / "trimmed" / "model.safetensors", {"format": "pt"})
    kept = np.array(KEPT)
    save_file({"token_ids": kept}, folder / "ids.safetensors")
    save_file({"d2t": kept - np.arange(len(kept)), "t2d": kept > 3}, folder / "d2t.safetensors")
    save_file({"token_ids": np.arange(400)}, folder / "all.safetensors")
    return folder


def adapter(folder: Path, name: str, **params: Any) -> TransformersAdapter:
    settings = LoadSettings("float32", "cpu", 8)
    return TransformersAdapter(TransformersParams(path=name, **params), folder, settings)


@pytest.fixture(scope="module")
def load(made: Path) -> Callable[..., Any]:
    known: dict[str, Any] = {}

    def loaded(name: str, head_tokens: str | None = None) -> Any:
        key = f"{name} {head_tokens}"
        if key not in known:
            known[key] = adapter(made, name, head_tokens=head_tokens).load()
        return known[key]

    return loaded


def loops(target: Any, draft: Any, warp: Warp, times: int = 1) -> tuple[list[TokenRow], list[Any]]:
    rows, courses = [], []
    for seed, prompt in enumerate(target.encoder.prompts(TEXTS * times)):
        course = speculate(
            CachedReader(target.model, warp), CachedReader(draft.model, warp), prompt, 3, LENGTH,
            target.generator.ends, torch.Generator().manual_seed(seed),
        )  # fmt: skip
        rows.append(TokenRow((*prompt, *course.ids), len(course.ids)))
        courses.append(course)
    return rows, courses


def dense(model: Any, row: TokenRow) -> torch.Tensor:
    """Logits [scored tokens, rows of the head] of the stored weights, without kdbench."""
    with torch.inference_mode():
        return model(torch.tensor([row.tokens[:-1]])).logits[0, -row.scored :].double()


@pytest.mark.parametrize("head_tokens", ["ids.safetensors", "d2t.safetensors"])
def test_overlap_and_chance_are_those_of_a_plain_computation_over_the_whole_vocabulary(
    load: Callable[..., Any], head_tokens: str
) -> None:
    target, full, trimmed = load("target"), load("draft"), load("trimmed", head_tokens)
    rows, _ = loops(target, full, Warp(1.0))
    for row, found in zip(rows, accepted(target, trimmed, rows, Warp(1.0)), strict=True):
        p = dense(target.model, row).softmax(-1)
        q = torch.zeros_like(p)
        q[:, KEPT] = dense(full.model, row)[:, KEPT].softmax(-1)
        text = torch.tensor(row.tokens[-row.scored :])[:, None]
        ratio = (q.gather(1, text) / p.gather(1, text)).clamp(max=1)[:, 0]
        assert found.overlap == pytest.approx(torch.minimum(p, q).sum(-1).tolist(), abs=1e-5)
        assert found.chance == pytest.approx(ratio.tolist(), abs=1e-5)
        outside = [token not in KEPT for token in row.tokens[-row.scored :]]
        assert [chance == 0 for chance in found.chance] == outside
        assert found.impossible == 0


def test_a_head_that_keeps_every_token_gives_the_numbers_of_the_whole_one(
    load: Callable[..., Any],
) -> None:
    target, full, same = load("target"), load("draft"), load("draft", "all.safetensors")
    for warp in (Warp(), Warp(0.7, 0.9, 20)):
        rows, courses = loops(target, full, warp)
        assert accepted(target, same, rows, warp) == accepted(target, full, rows, warp)
        assert loops(target, same, warp) == (rows, courses)


@pytest.mark.parametrize("warp", [Warp(), Warp(1.0)], ids=["greedy", "T=1"])
def test_the_loop_does_what_replay_says_and_proposes_nothing_else(
    load: Callable[..., Any], warp: Warp
) -> None:
    target, trimmed = load("target"), load("trimmed", "ids.safetensors")
    rows, courses = loops(target, trimmed, warp, 3 if warp.temperature else 1)
    chances = [np.array(one.chance) for one in accepted(target, trimmed, rows, warp)]
    passes = replays(chances, [3])[3].passes
    apart = np.array([len(one.cycles) for one in courses]) - passes
    if warp.temperature == 0:
        assert apart.tolist() == [0] * len(rows)
    assert abs(apart.mean()) <= 4 * apart.std() / len(apart) ** 0.5 + 1e-9
    assert sum(one.accepted for one in courses) > len(courses)
    (whole,) = {row.tokens for row in rows[:1]}
    with torch.inference_mode():
        proposed = torch.isfinite(trimmed.model(torch.tensor([whole])).logits[0]).sum(-1)
    assert set(proposed.tolist()) == {len(KEPT)}


def test_transformers_assists_with_a_trimmed_draft_as_the_loop_does(
    load: Callable[..., Any],
) -> None:
    target, trimmed = load("target"), load("trimmed", "ids.safetensors")
    rows, courses = loops(target, trimmed, Warp())
    assert takes(target, trimmed)
    for row, course in zip(rows[:3], courses[:3], strict=True):
        prompt = row.tokens[: len(row.tokens) - row.scored]
        theirs = generate(target, prompt, Warp(), LENGTH, 0, trimmed, 3)
        assert (theirs.ids, theirs.passes) == (course.ids, len(course.cycles))
    drawn = generate(target, prompt, Warp(1.0), LENGTH, 0, trimmed, 3)
    assert drawn.passes <= len(drawn.ids) <= LENGTH


def test_rows_say_how_many_tokens_the_draft_proposes(load: Callable[..., Any]) -> None:
    target, trimmed = load("target"), load("trimmed", "ids.safetensors")
    assert "the draft proposes 250 of the target's 400 tokens" in note_of(target, trimmed)
    assert note_of(target, load("draft")) == ""


def test_both_tasks_on_drafts_measure_it(load: Callable[..., Any], tmp_path: Path) -> None:
    target, trimmed = load("target"), load("trimmed", "ids.safetensors")
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in TEXTS[:2]))
    asked = {"prompts": "p.jsonl", "temperature": [0.0], "max_new_tokens": LENGTH, "gamma": [3]}
    replay = SpeculativeReplay(ReplayParams(**asked), tmp_path)
    loop = SpeculativeLoop(LoopParams(**asked, rounds=1), tmp_path)
    basis, items = replay.basis(), replay.items(None)
    assert basis is not None
    written = basis.measure(target, items, Context(0))
    context = Context(0, {sample.id: sample for sample in written})
    replayed = replay.measure(target, trimmed, items, context)
    looped = loop.measure(target, trimmed, items, context)
    for one, other in zip(replayed, looped, strict=True):
        assert "proposes 250 of the target's 400" in one.extra["notes"]["tau@3"][0]
        assert other.scores["tau@3"] == other.scores["assisted_tau@3"] == one.scores["tau@3"]
        assert other.scores["lossless@3"] == 1 and "speedup@3" in other.scores


# what is refused


def test_a_trimmed_model_is_a_draft_and_nothing_else(made: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "p.jsonl"
    prompts.write_text(json.dumps({"prompt": "the cat"}) + "\n")
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        f"""\
models:
  target: {made / "target"}
  draft: {{path: {made / "trimmed"}, head_tokens: {made / "ids.safetensors"}}}
pairs: [{{teacher: target, student: draft}}]
tasks:
  - {{task: speculative.replay, prompts: p.jsonl, temperature: [0]}}
  - {{task: speculative.loop, prompts: p.jsonl, temperature: [0]}}
  - {{task: speculative.text, prompts: p.jsonl, temperature: [0]}}
settings: {{dtype: float32, device: cpu}}
"""
    )
    cells = {
        (cell.label.split("/")[0], str(cell.subject)): cell
        for cell in make_plan(load_suite(suite), Store(tmp_path / "results")).cells
    }
    assert not cells["speculative.replay", "draft of target"].problem
    assert not cells["speculative.loop", "draft of target"].problem
    refused = cells["speculative.text", "draft"]
    assert refused.skipped and "needs generate_text" in refused.problem
    assert "its head is trimmed (`head_tokens`)" in refused.problem
    assert not cells["speculative.text", "target"].problem


def test_verbs_and_identity_follow_the_head(made: Path) -> None:
    whole = adapter(made, "trimmed")
    ids, offsets = (
        adapter(made, "trimmed", head_tokens=f"{n}.safetensors") for n in ("ids", "d2t")
    )
    assert {SCORE_TEXT, SCORE_TOKENS} & ids.verbs() == set()
    assert DRAFT_DISTRIBUTIONS in ids.verbs() - whole.verbs()
    assert ids.fingerprint() == offsets.fingerprint() != whole.fingerprint()
    assert ids.fingerprint().keys() - whole.fingerprint().keys() == {"head_tokens"}


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ({"token_ids": np.arange(249)}, r"names 249 tokens, and the head \(lm_head.weight\) has 250 rows"),
        ({"token_ids": np.arange(250) + 200}, "row 200 of the head would be the token 400"),
        ({"d2t": np.arange(250) - 300}, "row 0 of the head would be the token -300"),
        ({"token_ids": np.arange(250) // 2}, "several rows of the head are the token 0"),
        ({"token_ids": np.arange(250.0)}, "must be a vector of integers, and is float64"),
        ({"token_ids": np.arange(250).reshape(2, 125)}, r"of the shape \[2, 125\]"),
        ({"t2d": np.arange(250)}, "holds neither of token_ids"),
        ({"token_ids": np.arange(250), "d2t": np.arange(250)}, "holds both of token_ids"),
    ],
)  # fmt: skip
def test_maps_that_do_not_fit_the_head_are_refused_before_loading(
    made: Path, tmp_path: Path, tensors: dict[str, Any], complaint: str
) -> None:
    file = tmp_path / "map.safetensors"
    save_file(tensors, file)
    with pytest.raises(ModelError, match=complaint):
        adapter(made, "trimmed", head_tokens=str(file)).check()


def test_files_and_models_that_have_no_such_head_are_refused(made: Path, tmp_path: Path) -> None:
    def refused(message: str, name: str = "trimmed", **params: Any) -> None:
        with pytest.raises(ModelError, match=message):
            adapter(made, name, **params).check()

    refused("no file", head_tokens="nowhere.safetensors")
    (tmp_path / "text").write_text("no tensors")
    refused("not a safetensors file", head_tokens=str(tmp_path / "text"))
    refused(
        "a PEFT adapter or a GGUF file can't come with it",
        head_tokens="ids.safetensors",
        peft="draft",
    )
    tied = tiny_models.save_model(tmp_path / "tied", tie_word_embeddings=True)
    refused("whose head is its embedding", str(tied), head_tokens="ids.safetensors")
    with pytest.raises(ModelError, match="can't load the model"):
        adapter(made, "trimmed").load()  # without its map


def test_an_architecture_that_bends_its_logits_is_refused(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=400, hidden_size=32, intermediate_size=32, num_hidden_layers=1, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, query_pre_attn_scalar=8, eos_token_id=0,
        bos_token_id=1, pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path / "gemma")
    tiny_models.save_tokenizer(tmp_path / "gemma")
    weights = load_file(tmp_path / "gemma" / "model.safetensors")
    weights["lm_head.weight"] = np.ascontiguousarray(weights["lm_head.weight"][:100])
    save_file(weights, tmp_path / "gemma" / "model.safetensors", {"format": "pt"})
    save_file({"token_ids": np.arange(100)}, tmp_path / "ids.safetensors")
    capped = adapter(tmp_path, "gemma", head_tokens="ids.safetensors")
    capped.check()
    with pytest.raises(ModelError, match="Gemma2ForCausalLM changes the logits of its head"):
        capped.load()


@pytest.mark.parametrize(
    "changes",
    [
        {"architectures": ["LlamaForCausalLMEagle3"]},
        {"architectures": ["Eagle3Speculator"], "speculators_model_type": "eagle3"},
        {"num_hidden_layers": 1},
    ],
)
def test_an_eagle_head_is_refused_by_name(
    made: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    shutil.copytree(made / "draft", tmp_path / "head")
    config = json.loads((tmp_path / "head" / "config.json").read_text())
    (tmp_path / "head" / "config.json").write_text(json.dumps({**config, **changes}))
    if "architectures" in changes:
        (tmp_path / "head" / "model.safetensors").rename(tmp_path / "head" / "pytorch_model.bin")
    else:
        tensors = {"fc.weight": np.zeros((4, 8)), "layers.0.mlp.up_proj.weight": np.zeros((4, 4))}
        save_file(tensors, tmp_path / "head" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"an EAGLE head .* the target's hidden states"):
        adapter(tmp_path, "head").check()
