"""Perplexity in overlapping windows: each token once, behind as much context as the window holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kdbench.errors import ModelError, TaskError
from kdbench.models.adapter import LoadSettings
from kdbench.models.tokens import rolling_rows
from kdbench.models.transformers import TransformersAdapter, TransformersParams
from kdbench.tasks.reasoning import Reasoning, ReasoningParams

TASKS = Path(__file__).resolve().parents[2] / "suites" / "quickstart" / "tasks"
ROLLING = str(TASKS / "rolling.yaml")


@given(st.integers(0, 60), st.integers(2, 12), st.data())
def test_every_token_is_scored_once_in_order_and_no_window_is_too_long(count, window, data):
    stride = data.draw(st.integers(1, window))
    tokens = list(range(100, 100 + count))
    rows = list(rolling_rows(tokens, 7, window, stride))
    assert [token for row in rows for token in row.tokens[-row.scored :]] == tokens
    assert all(len(row.tokens) - 1 <= window for row in rows)
    assert all(row.scored <= stride for row in rows[1:])
    assert all(len(row.tokens) - 1 == window for row in rows[1:])


@given(st.integers(0, 60), st.integers(2, 12))
def test_a_stride_of_the_whole_window_is_lm_evals_rolling(count, window):
    tokens = list(range(count))
    assert list(rolling_rows(tokens, 7, window, window)) == list(rolling_rows(tokens, 7, window))


def test_the_log_likelihood_is_that_of_a_plain_loop_over_the_windows(tmp_path):
    folder = tiny_models.save_model(tmp_path / "model")
    params = TransformersParams(path=str(folder))
    model = TransformersAdapter(params, tmp_path, LoadSettings(device="cpu")).load()
    text = "the quick brown fox jumps over the lazy dog and the cat sleeps " * 6
    (found,) = model.score_windows([text], 32, 8)
    tokens = [model.encoder.prefix, *model.encoder.tokenizer(text)["input_ids"]]
    total, done = 0.0, 1
    while done < len(tokens):
        end = min(33 if done == 1 else done + 8, len(tokens))
        window = tokens[max(0, end - 33) : end]
        with torch.inference_mode():
            logprobs = model.model(torch.tensor([window[:-1]])).logits[0].log_softmax(-1)
        targets = window[-(end - done) :]
        total += float(logprobs[torch.arange(-len(targets), 0), torch.tensor(targets)].sum())
        done = end
    assert found.tokens == len(tokens) - 1
    assert found.logprob == pytest.approx(total, abs=1e-3)
    (disjoint,) = model.score_windows([text], 32, 32)
    assert disjoint.logprob != pytest.approx(found.logprob, abs=1e-3)
    with pytest.raises(ModelError, match="does not fit"):
        model.score_windows([text], 1000, 8)


def test_window_and_stride_are_part_of_the_protocol_and_of_what_a_model_must_have():
    plain = Reasoning(ReasoningParams(lm_eval=ROLLING), TASKS)
    strided = Reasoning(ReasoningParams(lm_eval=ROLLING, window=64, stride=16), TASKS)
    assert strided.protocol() == {**plain.protocol(), "window": "64", "stride": "16"}
    assert strided.verbs() == {"score_windows"} and plain.verbs() == {"score_rolling"}


@pytest.mark.parametrize("given", [{"window": 64}, {"stride": 8}, {"window": 8, "stride": 16}])
def test_half_a_window_is_refused(given):
    with pytest.raises(ValidationError):
        ReasoningParams(lm_eval=ROLLING, **given)


def test_only_perplexities_have_windows():
    params = ReasoningParams(lm_eval=str(TASKS / "reading.yaml"), window=64, stride=16)
    with pytest.raises(TaskError, match="only perplexities"):
        Reasoning(params, TASKS).verbs()
