"""Other tools' files become counts in one convention, and their faults one message each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdbench.errors import KdbenchError
from kdbench.results.imports import Imported, read
from kdbench.results.imports.counted import (
    block_efficiency,
    histogram,
    positions_of_chains,
    positions_of_lengths,
)
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.speculative.imported import metrics_of, samples_of
from kdbench.tasks.speculative.numbers import loop_metrics, replay_metrics


def write(path: Path, *lines: Any) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def spec_bench(
    accepted: Sequence[int], question: int = 1, bonus: int = 1, **changes: Any
) -> dict[str, Any]:
    """A line of Spec-Bench: one turn, whose passes accepted so many drafts each."""
    choice = {
        "index": 0, "turns": ["a"], "decoding_steps": [len(accepted)],
        "new_tokens": [sum(accepted) + len(accepted)], "wall_time": [2.0],
        "accept_lengths": [one + bonus for one in accepted],
    }  # fmt: skip
    return {
        "question_id": question, "category": "qa", "answer_id": "x", "model_id": "m",
        "choices": [{**choice, **changes}], "tstamp": 1700000000.5,
    }  # fmt: skip


def vllm(accepted: Sequence[int], gamma: int, **changes: Any) -> dict[str, Any]:
    """A response of vLLM whose passes accepted so many of `gamma` drafts each."""
    told = {
        "mean_acceptance_length": 1.0, "draft_acceptance_rate": 0.0,
        "acceptance_histogram": histogram(accepted, gamma), "num_spec_steps": len(accepted),
        "num_accepted_draft_tokens": sum(accepted), "num_draft_tokens": gamma * len(accepted),
        "num_spec_tokens": gamma,
    }  # fmt: skip
    return {
        "id": "chatcmpl-1",
        "created": 1700000000,
        "choices": [{"message": {"role": "assistant", "content": "a"}}],
        "usage": {"completion_tokens": 101},
        "metrics": {"generation_time_ms": 500.0, "speculative_decoding": {**told, **changes}},
    }


def llama_cpp(accepted: Sequence[int], gamma: int, **changes: Any) -> dict[str, Any]:
    """A response of llama.cpp: the prompt's pass writes a token, then passes with drafts follow."""
    timings = {
        "prompt_n": 1, "prompt_ms": 10.0, "predicted_n": 1 + len(accepted) + sum(accepted),
        "predicted_ms": 1000.0, "draft_n": gamma * len(accepted), "draft_n_accepted": sum(accepted),
    }  # fmt: skip
    return {"content": "a", "timings": {**timings, **changes}}


def scrape(
    path: Path, accepted: Sequence[int], gamma: int, engines: int = 1, name: str = "m"
) -> Path:
    """vLLM's /metrics after passes that accepted so many of `gamma` drafts each, on every engine."""
    at = positions_of_chains({gamma: histogram(accepted, gamma)}).accepted
    lines = ["# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts."]
    for engine in range(engines):
        labels = f'engine="{engine}",model_name="{name}"'
        lines += [
            f"vllm:spec_decode_num_drafts_total{{{labels}}} {len(accepted)}.0",
            f"vllm:spec_decode_num_drafts_created{{{labels}}} 1.7567367986e+09",
            f"vllm:spec_decode_num_draft_tokens_total{{{labels}}} {gamma * len(accepted)}.0",
            f"vllm:spec_decode_num_accepted_tokens_total{{{labels}}} {sum(accepted)}.0",
            *(
                f'vllm:spec_decode_num_accepted_tokens_per_pos_total{{{labels},position="{k}"}} {n}.0'
                for k, n in enumerate(at)
            ),
        ]
    return write(path, *lines, "vllm:num_requests_running 0.0")


def values(imported: Imported) -> dict[str, Any]:
    """Estimates by metric."""
    samples = samples_of(imported, "p")
    found = {}
    for metric in metrics_of(imported, samples):
        own = [s for s in samples if metric.name in s.scores]
        scores, clusters = [s.scores[metric.name] for s in own], [s.cluster for s in own]
        found[metric.name] = aggregate(metric.aggregation, scores, clusters)
    return found


loops = st.integers(1, 6).flatmap(
    lambda gamma: st.tuples(
        st.just(gamma),
        st.lists(st.lists(st.integers(0, gamma), min_size=2, max_size=12), min_size=2, max_size=5),
    )
)


@given(st.lists(st.integers(0, 9), min_size=1))
def test_a_histogram_keeps_tau_and_every_position(accepted):
    bars = histogram(accepted)
    assert block_efficiency(bars) == pytest.approx(1 + sum(accepted) / len(accepted))
    again = [j for j, passes in enumerate(bars) for _ in range(passes)]
    assert sorted(accepted) == again and histogram(again) == bars
    at = positions_of_lengths(bars).accepted
    assert list(at) == [sum(one >= k for one in accepted) for k in range(1, len(bars))]
    assert sum(at) == sum(accepted), "tau = 1 + the sum of the unconditional rates"


@given(loops)
def test_the_identities_between_the_conventions_hold(loop):
    gamma, prompts = loop
    accepted = [one for prompt in prompts for one in prompt]
    counts = positions_of_chains({gamma: histogram(accepted, gamma)})
    s = [1.0, *(n / len(accepted) for n in counts.accepted)]
    assert list(counts.tested) == [len(accepted), *counts.accepted[:-1]]
    assert sum(counts.accepted) / sum(counts.tested) == pytest.approx(sum(s[1:]) / sum(s[:-1]))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(loops)
def test_one_loop_has_one_tau_whichever_tool_wrote_it_down(tmp_path, loop):
    gamma, prompts = loop
    if not sum(map(sum, prompts)):
        return
    every = [one for prompt in prompts for one in prompt]
    files = [
        write(tmp_path / "in.jsonl", *(spec_bench(p, i) for i, p in enumerate(prompts))),
        write(tmp_path / "out.jsonl", *(spec_bench(p, i, 0) for i, p in enumerate(prompts))),
        write(tmp_path / "vllm.jsonl", *(vllm(p, gamma) for p in prompts)),
        write(tmp_path / "llama.jsonl", *(llama_cpp(p, gamma) for p in prompts)),
        scrape(tmp_path / "metrics.txt", every, gamma, engines=2),
    ]
    for path in files:
        # few, short texts leave both readings of accept_lengths possible: then it is told
        bonus = path.stem if path.stem in ("in", "out") else None
        found = values(read([path], gamma=gamma, bonus=bonus))
        tau = found[f"tau@{gamma}"]
        assert tau.value == pytest.approx(1 + sum(every) / len(every)), path.name
        assert found[f"passes_per_token@{gamma}"].value == pytest.approx(1 / tau.value)
        drafted = sum(every) / (gamma * len(every))
        assert found[f"accepted_of_drafted@{gamma}"].value == pytest.approx(drafted)
        if path.stem != "llama":
            tested = sum(min(one + 1, gamma) for one in every)
            assert found[f"acceptance@{gamma}"].value == pytest.approx(sum(every) / tested)
            for k in range(1, gamma + 1):
                share = sum(one >= k for one in every) / len(every)
                assert found[f"acceptance_at_{k}@{gamma}"].value == pytest.approx(share)


def test_rows_are_clustered_by_prompt_where_prompts_are_known_and_have_no_interval_elsewhere(
    tmp_path,
):
    prompts = [[0, 1, 3], [2, 2], [3, 0, 0, 1]]
    lines = [spec_bench(p, i) for i, p in enumerate(prompts)]
    paths = [write(tmp_path / f"{run}.jsonl", *lines) for run in "abc"]
    tau = values(read(paths, gamma=3))["tau@3"]
    assert (tau.n, tau.n_clusters) == (9, 3) and tau.low < tau.value < tau.high
    every = [one for prompt in prompts for one in prompt]
    scrapes = [scrape(tmp_path / f"{n}.txt", every * n, 3) for n in (1, 2, 3, 4)]
    for some in (scrapes[:1], scrapes[:2], scrapes):
        total = values(read(some))["tau@3"]
        assert total.value == tau.value and total.low != total.low
        assert total.method.startswith("undefined (one ")


def test_counters_are_differences_between_scrapes(tmp_path):
    before, after = scrape(tmp_path / "a", [0, 0, 3], 3), scrape(tmp_path / "b", [0, 0, 3, 2, 2], 3)
    found = read([before, after])
    assert (found.tool, found.gamma, found.per_prompt) == ("vLLM counters", 3, False)
    ((one,),) = found.files
    assert (one.tokens, one.passes, one.drafted, one.positions.accepted) == (6, 2, 6, (2, 2, 0))
    assert found.protocol["interval"] == "none, as only totals are known"


def test_medusa_counts_from_0_and_eagle_too(tmp_path):
    line = {
        "question_id": 81, "answer_id": "x", "model_id": "medusa", "tstamp": 1.0,
        "choices": [{
            "index": 0, "turns": ["a", "b"], "idxs": [9, 4], "new_tokens": [20, 15], "wall_time": [1, 1],
        }],
    }  # fmt: skip
    medusa = read([write(tmp_path / "m.jsonl", line)])
    eagle = read([write(tmp_path / "e.jsonl", {**line, "model_id": "ess-EAGLE-fp16"})])
    assert (medusa.tool, eagle.tool) == ("Medusa", "EAGLE")
    for found in (medusa, eagle):
        ((answer,),) = found.files
        assert (answer.passes, answer.tokens, answer.written) == (15, 35, 35)
        assert found.protocol["passes"] == "idxs + 1"
    assert read([tmp_path / "m.jsonl"], "eagle").tool == "EAGLE"


def test_accept_lengths_tell_whether_a_file_counts_from_0(tmp_path):
    steps = [write(tmp_path / f"{n}", spec_bench([1, 2, 3], decoding_steps=[n])) for n in (2, 3)]
    assert [read([path]).files[0][0].passes for path in steps] == [3, 3]


def test_the_convention_of_the_bonus_token_is_seen_from_the_sums_and_named(tmp_path):
    accepted = [0, 1, 2, 2, 1, 0, 2, 2]
    inside = read([write(tmp_path / "in", spec_bench(accepted))])
    outside = read([write(tmp_path / "out", spec_bench(accepted, bonus=0))])
    assert values(inside)["tau"] == values(outside)["tau"]
    assert inside.protocol["bonus token"] == "in the source"
    assert outside.protocol["bonus token"] == "added to the source's"
    assert inside.protocol != outside.protocol


def test_turns_that_failed_carry_the_counts_of_the_turn_before_and_are_left_out(tmp_path):
    line = spec_bench(
        [1, 2], turns=["a", "ERROR"], decoding_steps=[2, 2], new_tokens=[5, 5], wall_time=[1.0, 9.0]
    )
    path = write(tmp_path / "a", line)
    for failed, expected in (("leave-out", (2, 5, 5, 1.0)), ("keep", (2, 5, 10, 10.0))):
        found = read([path], failed=failed)
        ((answer,),) = found.files
        assert (answer.passes, answer.tokens, answer.written, answer.seconds) == expected
        assert len(found.notices) == 1 and found.notices[0].startswith("1 turns failed")


def test_trees_have_positions_but_no_tested_drafts(tmp_path):
    found = values(read([write(tmp_path / "a", spec_bench([0, 2, 3]), spec_bench([1, 1], 2))]))
    assert found["acceptance_at_1"].value == 4 / 5 and found["acceptance_at_3"].value == 1 / 5
    assert not any(name.startswith(("acceptance@", "conditional")) for name in found)
    assert found["tau"].value == 12 / 5


def test_drafts_of_changing_length_are_tested_as_far_as_they_went(tmp_path):
    rows = {"1": [1, 2], "3": [1, 0, 0, 1]}
    told = {"num_draft_tokens": 9, "acceptance_histogram_by_draft_length": rows}
    steps = {
        "per_step_drafted": [1, 1, 1, 3, 3], "per_step_accepted": [0, 1, 1, 0, 3], "num_draft_tokens": 9,
    }  # fmt: skip
    passes = [0, 1, 1, 0, 3]
    for changes in (told, steps):
        found = values(read([write(tmp_path / "a", vllm(passes, 3, **changes))]))
        assert found["acceptance@3"].value == 5 / 7, "5 first drafts are tested, 1 second, 1 third"
        assert found["conditional_acceptance_at_2@3"].value == 1.0
    untold = vllm(passes, 3, num_draft_tokens=9)
    for lines in ([untold], [untold, vllm(passes, 3)]):
        unknown = values(read([write(tmp_path / "a", *lines)]))
        assert "acceptance@3" not in unknown and unknown["acceptance_at_2@3"].value == 1 / 5
        assert unknown["tau@3"].value == 2.0


def test_times_are_those_of_the_tokens_that_they_cover(tmp_path):
    served = values(read([write(tmp_path / "a", vllm([1, 2], 3))]))
    assert served["tokens_per_second@3"].value == 200.0, "100 tokens behind the first in 0.5 s"
    local = values(read([write(tmp_path / "a", llama_cpp([1, 2], 3))]))
    assert local["tokens_per_second"].value == 5.0, "5 tokens behind the first in 1 s"


# SmolLM2-135M drafting for itself, 4 tokens at most, at temperature 0.9: two responses of llama.cpp's server
# (xllamacpp 2026.10.11549), the mean length that it logged and its predicted_per_second
SERVED = [
    ({"predicted_n": 64, "predicted_ms": 132947.836, "draft_n": 119, "draft_n_accepted": 32}, 2.03, 0.47387),
    ({"predicted_n": 64, "predicted_ms": 28964.214, "draft_n": 50, "draft_n_accepted": 50}, 4.85, 2.17510),
]  # fmt: skip


@pytest.mark.parametrize(("timings", "length", "speed"), SERVED)
def test_tau_and_speed_of_a_response_are_those_that_the_server_of_llama_cpp_logs(
    tmp_path, timings, length, speed
):
    found = values(read([write(tmp_path / "a", {"content": "x", "timings": timings})], gamma=4))
    assert found["tau@4"].value == pytest.approx(length, abs=0.005)
    assert found["tokens_per_second@4"].value == pytest.approx(speed, abs=5e-6)


def test_a_response_may_name_its_question_and_category(tmp_path):
    lines = [
        {"question_id": q, "category": "qa", "response": vllm([q, 1], 3)} for q in (1, 2)
    ]  # fmt: skip
    answers = read([write(tmp_path / "a", *lines)]).files[0]
    assert [(a.question, a.category, a.output) for a in answers] == [
        ("1", "qa", "a"),
        ("2", "qa", "a"),
    ]


def test_a_server_that_only_counts_whole_accepts_is_told_of(tmp_path):
    found = read([write(tmp_path / "a", llama_cpp([3, 3], 3), llama_cpp([3], 3))])
    assert len(found.notices) == 1 and "recurrent" in found.notices[0]


GOOD = spec_bench([1, 2, 0, 1])
COUNTERS = 'vllm:spec_decode_num_{}_total{{model_name="m"}} {}'


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ([""], {}, "a.jsonl: empty"),
        (["prompt,answer"], {}, "of no known format; name it with --format"),
        ([{"question_id": 1, "text": "x"}], {}, "of no known format"),
        ([GOOD, json.dumps(GOOD)[:40]], {}, r"a.jsonl:2: not JSON \(.*cut off"),
        ([GOOD, "[1]"], {}, "a.jsonl:2: a JSON object is needed, not a list"),
        ([GOOD, GOOD], {}, r"a.jsonl:2: question 1 is there twice \(first in line 1\)"),
        ([{**GOOD, "question_id": None}], {}, "a.jsonl:1: question_id: missing"),
        ([spec_bench([1], wall_time=None)], {}, r"a.jsonl:1: choices\[0\].wall_time: missing"),
        ([spec_bench([1], new_tokens=[-2])], {}, r"new_tokens\[0\]: a count is never negative"),
        ([spec_bench([1], new_tokens=[2.5])], {}, r"new_tokens\[0\]: a count is needed, not 2.5"),
        ([spec_bench([1], new_tokens=[0])], {}, "0 tokens of 1 passes; every pass writes"),
        ([spec_bench([1], wall_time=[0])], {}, r"wall_time\[0\]: a time above 0"),
        ([spec_bench([1], decoding_steps=[1, 1])], {}, "1 turns, but decoding_steps has 2"),
        ([spec_bench([1, 1], decoding_steps=[9])], {}, "accept_lengths: 2 passes, but decoding_steps say 9"),
        ([spec_bench([1], idxs=[0])], {}, "has both idxs"),
        ([spec_bench([1], decoding_steps=None)], {}, "counts no passes"),
        ([spec_bench([1, 5])], {"gamma": 4}, "a pass accepted 5 drafts, more than --gamma 4"),
        ([spec_bench([9] * 4, accept_lengths=None)], {"gamma": 4}, "36 drafts accepted in 4 passes"),
        ([spec_bench([1, 1], new_tokens=[90])], {}, "say which with --bonus"),
        ([spec_bench([0, 1], bonus=0)], {"bonus": "in"}, "holds a 0"),
        ([spec_bench([1]), spec_bench([1], 2, accept_lengths=None)], {}, "a.jsonl:2.*some choices only"),
        ([llama_cpp([1], 3, draft_n=0)], {}, "1 drafts accepted of 0 drafted"),
        ([llama_cpp([9], 9, predicted_n=5)], {}, "9 drafts accepted in a text of 5 tokens"),
        ([llama_cpp([9], 9, predicted_n=0)], {}, "9 drafts accepted in a text of 0 tokens"),
        ([llama_cpp([1], 3, draft_n=30)], {"gamma": 4}, "30 tokens drafted in 1 passes"),
        ([llama_cpp([0], 0)], {}, "the server drafted nothing"),
        ([llama_cpp([1], 3, predicted_n=None)], {}, "timings.predicted_n: missing"),
        ([vllm([1], 3, num_spec_steps=7)], {}, "num_spec_steps: 7, but acceptance_histogram adds up to 1"),
        ([vllm([1], 3, num_draft_tokens=0)], {}, "1 drafts accepted of 0 drafted"),
        ([vllm([1], 3, num_draft_tokens=99)], {}, "99 tokens drafted in 1 passes of at most 3"),
        ([vllm([1], 3, num_spec_tokens=5)], {}, "4 bars, but drafts of 5 tokens have 6"),
        ([vllm([1], 3), vllm([1], 4)], {}, "a.jsonl:2.*4 here, 3 in .*a.jsonl:1"),
        ([vllm([1], 3)], {"gamma": 4}, "3, but --gamma says 4"),
        ([vllm([], 3)], {}, "no pass of the target verified a draft"),
        ([vllm([1], 3, acceptance_histogram_by_draft_length={"3": [1, 0, 0, 0]}, num_draft_tokens=2)],
         {}, r"adds up to \[1, 0, 0, 0\], but"),
        ([{"metrics": {"speculative_decoding": None}}], {}, "speculative_decoding: missing"),
        ([vllm([1], 3)], {"bonus": "in"}, "--bonus is for answer files"),
        ([vllm([1], 3)], {"form": "spec-bench"}, "question_id: missing"),
        ([vllm([1], 3)], {"form": "vlm"}, r"no format named 'vlm' \(did you mean 'vllm'\?\)"),
        ([COUNTERS.format("drafts", 4)], {}, "no counter vllm:spec_decode_num_draft_tokens"),
        ([COUNTERS.format("drafts", "-4")], {}, "a.jsonl:1: no counter of speculative decoding can be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_message_with_its_place(tmp_path, content, options, message):
    path = write(tmp_path / "a.jsonl", *content)
    with pytest.raises(KdbenchError, match=message) as caught:
        read([path], **options)
    assert caught.value.exit_code == 3 and "\n" not in str(caught.value)


def test_files_that_are_no_repetitions_are_refused(tmp_path):
    one = write(tmp_path / "a", GOOD, spec_bench([1, 0], 2))
    other = write(tmp_path / "b", spec_bench([1, 0], 2), spec_bench([1, 0], 3))
    with pytest.raises(
        KdbenchError, match=r"b: is no repetition of .*a: only one .* 1, 3 \(2 ques"
    ):
        read([one, other])
    with pytest.raises(KdbenchError, match="named twice"):
        read([one, one])
    with pytest.raises(KdbenchError, match="no such file"):
        read([tmp_path / "c"])
    foreign = write(tmp_path / "f", vllm([1, 0], 3))
    with pytest.raises(KdbenchError, match=r"f: looks like vllm, but .*a like spec-bench"):
        read([one, foreign])
    mixed = write(tmp_path / "d", spec_bench([1, 0], bonus=0, accept_lengths=None))
    with pytest.raises(KdbenchError, match="import them apart"):
        read([write(tmp_path / "e", GOOD), mixed])


def test_counters_that_go_down_or_do_not_add_up_are_refused(tmp_path):
    small, large = scrape(tmp_path / "a", [1, 2], 3), scrape(tmp_path / "b", [1, 2, 3], 3)
    with pytest.raises(KdbenchError, match="lower than in the scrape before it"):
        read([large, small])
    with pytest.raises(KdbenchError, match="nothing was drafted between"):
        read([small, scrape(tmp_path / "c", [1, 2], 3)])
    with pytest.raises(KdbenchError, match="give them in pairs"):
        read([small, large, scrape(tmp_path / "c", [1, 2, 3, 3], 3)])
    text = large.read_text()
    write(tmp_path / "d", text.replace("num_accepted_tokens_total{", "num_accepted_tokens_total{x=\"\","
          ).replace("} 6.0", "} 7.0"))  # fmt: skip
    with pytest.raises(
        KdbenchError, match=r"7 accepted tokens in 3 passes, but by position \[3, 2, 1\]"
    ):
        read([tmp_path / "d"])
    write(tmp_path / "e", text, scrape(tmp_path / "f", [1], 3, name="other").read_text())
    with pytest.raises(KdbenchError, match=r"counters of 2 models \(m, other\)"):
        read([tmp_path / "e"])


def test_names_are_those_of_the_tasks_that_measure(tmp_path):
    ours = {metric.name: metric for metric in replay_metrics([3]) + loop_metrics([3])}
    found = read([write(tmp_path / "a", spec_bench([1, 3]), spec_bench([0, 2], 2))], gamma=3)
    extra = ("accepted_of_drafted", "tokens_per_second_of_prompts")
    for metric in metrics_of(found, samples_of(found, "p")):
        if "[" in metric.name or metric.name.startswith(extra):
            continue
        assert (metric.unit, metric.better) == (ours[metric.name].unit, ours[metric.name].better)
