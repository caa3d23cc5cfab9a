"""`efficiency.serving` on servers whose waits are known: what numbers mean, and trouble of every kind."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from pydantic import ValidationError
from serving_server import ScriptedServer, serving

from kdbench.errors import ModelError
from kdbench.metrics.serving import gaps, meets, poisson_arrivals, time_per_output_token
from kdbench.models.api_stream import EventParser, Streamed
from kdbench.models.timing.load import Served, closed, opened
from kdbench.results.sample import Sample
from kdbench.run.rows import CellView, Header, Pair, table_rows
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.efficiency.serving import EfficiencyServing, ServingParams
from kdbench.tasks.efficiency.serving_scores import of_endpoint
from kdbench.tasks.task import Context


def task(**params: Any) -> EfficiencyServing:
    given = {"prompt_tokens": 12, "new_tokens": 3, "requests": 4, "rounds": 6}
    load = {} if "rate" in params else {"concurrency": [2]}
    return EfficiencyServing(ServingParams.model_validate(given | load | params), Path())


def measured(own: EfficiencyServing, teacher: Any, student: Any) -> list[Sample]:
    return own.measure(teacher, student, own.items(None), Context(0))


def rows(own: EfficiencyServing, samples: list[Sample]) -> dict[str, Any]:
    view = CellView(
        own.label, None, "p", own.metrics(), "", "t", "s", "k", "done", "", "Abacus", "", "", {},
        lambda: samples,
    )  # fmt: skip
    header = Header("made", 0, 0.95, [Pair("s", "t", "s", "", None)])
    return {row.metric: row for row in table_rows(header, [view])}


def streamed(first: float, gap: float, tokens: int, due: float = 0.0, **more: Any) -> Streamed:
    stamps = [due + first + gap * index for index in range(tokens)]
    return Streamed(due, due, stamps, stamps[-1], tokens, 7, "length", True, **more)


def test_servers_that_wait_a_known_time_are_measured_so() -> None:
    own = task(max_ttft=5.0)
    with (
        serving(ScriptedServer(first=0.16, step=0.06)) as slow,
        serving(ScriptedServer(first=0.08, step=0.03)) as fast,
    ):
        found = rows(own, measured(own, slow.load(), fast.load(api="chat")))
    for role, first, step in (("teacher", 0.16, 0.06), ("student", 0.08, 0.03)):
        whole = first + 2 * step
        for name, known in (("ttft", first), ("tpot", step), ("latency", whole)):
            row = found[f"{name}.{role}"]
            # waits are never shorter than asked for; a busy machine makes them longer
            assert known * 0.98 <= row.value <= known * 1.6, name
            assert row.ci_low <= row.value <= row.ci_high
        assert found[f"requests_per_second.{role}"].value <= 2 / whole
        assert found[f"output_tokens_per_second.{role}"].value == pytest.approx(
            3 * found[f"requests_per_second.{role}"].value
        )
        assert found[f"attainment.{role}"].value == 1
        assert found[f"failures.{role}"].value == 0
        assert found[f"failures.{role}"].ci_high > 0
    assert found["speedup"].ci_low <= 2.0 * 1.25 and found["speedup"].ci_high >= 2.0 / 1.25
    assert found["speedup"].n == 6


def test_prompts_have_the_wanted_tokens_by_the_servers_count_and_none_comes_twice() -> None:
    own = task()
    with serving(ScriptedServer()) as one, serving(ScriptedServer()) as other:
        samples = measured(own, one.load(), other.load())
        texts = [body["prompt"] for body in one.asked + other.asked if body["max_tokens"] == 3]
    assert {sample.scores["prompt_tokens.teacher"] for sample in samples} == {12}
    assert len(set(texts)) == len(texts)
    assert all(body["ignore_eos"] is True and body["stream"] for body in one.asked)


def test_a_closed_load_never_has_more_requests_under_way_than_clients() -> None:
    own = task(concurrency=[3], requests=9)
    with serving(ScriptedServer(first=0.01)) as one, serving(ScriptedServer()) as other:
        measured(own, one.load(), other.load())
        assert one.most_at_once == 3


def test_latency_of_an_open_load_counts_from_when_a_request_was_due() -> None:
    async def stalling(body: bytes, due: float) -> Streamed:
        sent = time.perf_counter()
        time.sleep(0.05)  # nobody can send meanwhile: the client itself is late
        now = time.perf_counter()
        return Streamed(due, sent, [now], now, 1, 1, "length", True)

    served = asyncio.run(opened(stalling, [b""] * 4, [0.0, 0.001, 0.002, 0.003]))
    waits = [one.end - one.due for one in served.requests]
    own = [one.end - one.sent for one in served.requests]
    assert waits[-1] >= 0.05 * 4 - 0.003
    assert own[-1] < waits[-1] - 0.1
    assert waits == sorted(waits)


def test_an_open_load_shows_the_queue_that_a_closed_one_hides() -> None:
    def p50(own: EfficiencyServing) -> float:
        slow = ScriptedServer(first=0.04, slots=1)
        with serving(slow), serving(ScriptedServer()) as other:
            samples = measured(own, slow.load(), other.load())
        return aggregate("p50", [sample.scores["ttft.teacher"] for sample in samples]).value

    alone = p50(task(concurrency=[1], requests=4, new_tokens=2))
    queued = p50(task(rate=[100.0], requests=8, new_tokens=2))
    assert queued > 2 * alone


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    arrivals = poisson_arrivals(20.0, 20_000, "0")
    between = gaps([0.0, *arrivals])
    assert fmean(between) == pytest.approx(1 / 20, rel=4 / math.sqrt(20_000))
    assert stdev(between) / fmean(between) == pytest.approx(1.0, abs=0.05)
    assert arrivals[:5] == poisson_arrivals(20.0, 5, "0")
    assert arrivals[:5] != poisson_arrivals(20.0, 5, "1")


def test_each_word_is_its_formula() -> None:
    params = ServingParams(
        concurrency=[2], max_ttft=1.5, max_tpot=0.3, percentiles=[90], new_tokens=5
    )
    requests = [
        streamed(1.0, 0.25, 5),
        streamed(1.0, 0.5, 5, due=1.0),  # too slow a token
        streamed(2.0, 0.25, 5, due=1.0),  # too late a first token
        Streamed(1.0, 1.0, end=1.5, failure="HTTP 429"),
    ]
    scores, told = of_endpoint(Served(requests, 0.0, 4.0, 0.1), params)
    assert scores["ttft"] == 1.0 and scores["tpot"] == 0.25 and scores["chunk_gap"] == 0.25
    assert scores["latency"] == pytest.approx(3.0)
    assert scores["ttft.p90"] == [1.0, 1.0, 2.0]
    assert scores["output_tokens_per_second"] == 15 / 4 and scores["requests_per_second"] == 3 / 4
    assert scores["goodput"] == 1 / 4 and scores["attainment"] == [1, 4]
    assert scores["failures"] == [1, 4] and scores["early_stops"] == [0, 3]
    assert told["failures"] == {"HTTP 429": 1} and told["tokens_by"] == ["usage"]


def test_one_token_has_no_time_per_token_and_keeps_every_limit_on_it() -> None:
    assert time_per_output_token(3.0, 1.0, 1) is None
    assert time_per_output_token(3.0, 1.0, 5) == 0.5
    assert (
        meets(1.0, None, 2.0, 0.1) and meets(1.0, 0.1, 1.0, 0.1) and not meets(1.1, 0.1, 1.0, None)
    )


def test_requests_that_fail_are_counted_and_not_sent_again() -> None:
    own = task(concurrency=[1], requests=4, rounds=6)
    other = ScriptedServer(status=429, every=4, spared=2)
    with serving(ScriptedServer()) as one, serving(other):
        samples = measured(own, one.load(), other.load())
        sent = sum(body["max_tokens"] == 3 for body in other.asked)
    found = rows(own, samples)
    failures = found["failures.student"]
    assert failures.value == pytest.approx(0.25)
    assert failures.ci_low < 0.25 < failures.ci_high and failures.n == 24
    assert "requests to the student failed" in found["speedup"].reason
    assert samples[0].extra["endpoints"]["student"]["failures"] == {"HTTP 429": 1}
    warm = samples[0].extra["warm_up"]["student"]["bursts"]
    assert sent == 6 * 4 + warm + 1


def test_where_every_request_fails_the_times_are_skipped_with_the_reason() -> None:
    own = task(percentiles=[90])
    with serving(ScriptedServer()) as one, serving(ScriptedServer(status=500, spared=2)) as other:
        samples = measured(own, one.load(), other.load())
    found = rows(own, samples)
    assert found["failures.student"].value == 1
    assert found["ttft.student"].status == "skipped"
    assert "every request failed; most of them: HTTP 500" in found["ttft.student"].reason
    assert found["speedup"].status == "skipped" and found["ttft.teacher"].status == "ok"


@pytest.mark.parametrize(
    ("server", "params", "said"),
    [
        (ScriptedServer(status=500), {}, "HTTP 500: .* the server can't take the load now"),
        (ScriptedServer(status=429), {}, "HTTP 429: .* try again later"),
        (ScriptedServer(model="other"), {}, "HTTP 404: .*no model m.* the model's name"),
        (ScriptedServer(streams=False), {}, "answers in one piece though `stream` was asked for"),
        (ScriptedServer(context=11), {}, "HTTP 400: .*longer than 11 tokens.* about 12 tokens of prompt"),
        (ScriptedServer(breaks_at=1), {}, "the stream broke off"),
        (ScriptedServer(first=0.4), {"timeout": 0.1}, r"no byte in time \(ReadTimeout\)"),
    ],
)  # fmt: skip
def test_an_endpoint_in_trouble_is_named_before_the_load_begins(
    server: ScriptedServer, params: dict[str, Any], said: str
) -> None:
    own = task()
    with (
        serving(ScriptedServer()) as good,
        serving(server) as bad,
        pytest.raises(ModelError, match=f"student: .*{said}"),
    ):
        measured(own, good.load(), bad.load(**params))


def test_an_endpoint_that_is_down_is_named() -> None:
    own = task()
    with serving(ScriptedServer()) as good:
        with serving(ScriptedServer()) as gone:
            lost = gone.load()
        with pytest.raises(
            ModelError, match=r"teacher: .*broken connection.*check that the server"
        ):
            measured(own, lost, good.load())


def test_answers_that_stop_early_are_counted_and_told() -> None:
    own = task(end_of_text="min_tokens", new_tokens=6)
    with serving(ScriptedServer(most=4)) as one, serving(ScriptedServer()) as other:
        found = rows(own, measured(own, one.load(), other.load()))
        assert one.asked[-1]["min_tokens"] == 6
    assert found["early_stops.teacher"].value == 1 and found["early_stops.student"].value == 0
    assert "100% of the teacher's answers stopped early" in found["speedup"].reason


def test_a_server_that_counts_no_tokens_has_its_chunks_counted_and_that_is_told() -> None:
    own = task()
    with serving(ScriptedServer(usage=False)) as one, serving(ScriptedServer()) as other:
        samples = measured(own, one.load(api="chat"), other.load())
    found = rows(own, samples)
    assert samples[0].extra["endpoints"]["teacher"]["tokens_by"] == ["chunks"]
    assert "the teacher's tokens are counted by chunks" in found["speedup"].reason
    assert "prompts of 12 words" in found["speedup"].reason
    assert found["prompt_tokens.teacher"].status == "skipped"


def test_no_speedup_is_told_of_servers_on_different_hardware() -> None:
    own = task()
    with serving(ScriptedServer()) as one, serving(ScriptedServer()) as other:
        models = one.load(hardware="NVIDIA H100"), other.load(hardware="NVIDIA H200")
        found = rows(own, measured(own, *models))
    assert found["speedup"].status == "skipped"
    assert "the teacher on NVIDIA H100 and the student on NVIDIA H200" in found["speedup"].reason
    assert found["ttft.teacher"].status == "ok"


def test_percentiles_need_their_count_of_requests() -> None:
    few = task(percentiles=[90, 99], requests=6)
    with serving(ScriptedServer()) as one, serving(ScriptedServer()) as other:
        found = rows(few, measured(few, one.load(), other.load()))
    assert found["ttft.p99.teacher"].status == "skipped"
    assert "a p99 needs 368 requests, and 36 are sent" in found["ttft.p99.teacher"].reason
    tail = found["ttft.p90.teacher"]
    assert tail.n == 36 and tail.ci_low <= tail.value <= tail.ci_high
    assert "bootstrap" in tail.ci_method


def test_the_clients_own_part_is_measured_and_below_what_it_measures() -> None:
    own = task(concurrency=[1], requests=2)
    with serving(ScriptedServer(first=0.15)) as one, serving(ScriptedServer()) as other:
        found = rows(own, measured(own, one.load(), other.load()))
    assert 0 < found["client.request"].value < found["ttft.teacher"].value / 2
    assert found["client.chunk"].value >= 0


def test_a_prediction_is_the_time_that_the_loads_take() -> None:
    own = task(concurrency=[2], requests=4, rounds=6)
    with serving(ScriptedServer(first=0.1)) as one, serving(ScriptedServer(first=0.05)) as other:
        models = {"teacher": one.load(), "student": other.load()}
        predicted = own.predict(models, own.items(None), Context(0))
    assert predicted.rounds == pytest.approx(6 * predicted.warm_up)
    assert 2 * 0.15 <= predicted.warm_up <= 2 * 0.15 * 2.5


def test_a_round_that_is_measured_later_has_the_order_that_it_would_have_had() -> None:
    own = task(concurrency=[1], requests=2)
    with serving(ScriptedServer()) as one, serving(ScriptedServer()) as other:
        models = one.load(), other.load()
        whole = measured(own, *models)
        rest = own.measure(*models, own.items(None)[4:], Context(0))
    assert [s.extra["order"] for s in rest] == [s.extra["order"] for s in whole[4:]]
    assert len({tuple(s.extra["order"]) for s in whole}) == 2


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_events_are_read_wherever_their_bytes_break(size: int) -> None:
    sent = b'data: {"a": 1}\r\n\r\n: ping\n\ndata:{"b": "\xc3\xa9"}\n\nerror: {"code": 5}\ndata: [DONE]\n\n'
    parser = EventParser()
    found = [e for i in range(0, len(sent), size) for e in parser.feed(sent[i : i + size])]
    assert found[-1] == b"[DONE]"
    assert [json.loads(one) for one in found[:-1]] == [{"a": 1}, {"b": "é"}, {"error": {"code": 5}}]


def test_closed_clients_take_the_requests_in_turn() -> None:
    async def ask(body: bytes, due: float) -> Streamed:
        await asyncio.sleep(0)
        return Streamed(due, due, [due], due, 1, int(body), "length", True)

    served = asyncio.run(closed(ask, [b"%d" % n for n in range(7)], 3))
    assert [one.prompt_tokens for one in served.requests] == list(range(7))


def test_a_suite_names_loads_and_gets_a_task_for_each() -> None:
    params = ServingParams(concurrency=[1, 4], rate=[0.5])
    labels = [EfficiencyServing(p, Path()).label for p in EfficiencyServing.expand(params, Path())]
    assert labels == [
        "efficiency/serving/c1-p128-n64", "efficiency/serving/c4-p128-n64",
        "efficiency/serving/r0.5-p128-n64",
    ]  # fmt: skip
    with pytest.raises(ValidationError, match="a load is missing"):
        ServingParams()
    with pytest.raises(ValidationError, match="fewer than the 8 clients"):
        ServingParams(concurrency=[8], requests=4)


def test_the_protocol_says_how_the_load_was_made() -> None:
    said = task(rate=[2.0], max_tpot=0.05, end_of_text="heed").protocol()
    assert said["load"] == "open, Poisson, 2/s"
    assert said["latency"] == "from when a request is due, sent or not"
    assert said["end_of_text"] == "heed" and said["service_level"] == "tpot <= 0.05 s"
    assert task().protocol()["latency"] == "from when a request is sent"


def test_two_names_of_one_model_are_one_loaded_model_with_two_names() -> None:
    from kdbench.run.worker import Worker

    spec = {"adapter": "openai", "params": {"base_url": "http://h/v1", "model": "m"}, "load": {}}
    order = {"models": {"teacher": spec, "student": spec}, "folder": "."}
    models, _ = Worker(lambda *_, **__: None)._loaded(order)
    assert set(models) == {"teacher", "student"}
    assert models["teacher"] is models["student"]
