"""`efficiency.text` on models whose time is scripted: what each number means, and what can't be timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_clock import FakeClock
from fake_text_model import ScriptedText
from pydantic import ValidationError

from kdbench.results.sample import Sample
from kdbench.run.rows import CellView, Header, Pair, table_rows
from kdbench.stats import Estimate
from kdbench.tasks.aggregate import aggregate
from kdbench.tasks.efficiency import pair_timing
from kdbench.tasks.efficiency.grid import most_informative
from kdbench.tasks.efficiency.text import EfficiencyText, TextParams
from kdbench.tasks.task import Context


def task(**params: Any) -> EfficiencyText:
    given = {"batch": [2], "prompt_tokens": [10], "new_tokens": [5], "rounds": 8, "min_seconds": 0}
    return EfficiencyText(TextParams.model_validate(given | params), Path())


def measured(own: EfficiencyText, teacher: Any, student: Any) -> list[Sample]:
    return own.measure(teacher, student, own.items(None), Context(0))


def roles(teacher: Any, student: Any) -> dict[str, Any]:
    return {"teacher": teacher, "student": student}


def number(own: EfficiencyText, samples: list[Sample], name: str) -> Estimate:
    metric = next(one for one in own.metrics() if one.name == name)
    return aggregate(metric.aggregation, [s.scores[name] for s in samples if name in s.scores])


def scripted(clock: FakeClock, **more: Any) -> tuple[ScriptedText, ScriptedText]:
    return ScriptedText(clock, 0.2, 1.0, **more), ScriptedText(clock, 0.1, 0.25, **more)


def rows(own: EfficiencyText, samples: list[Sample]) -> dict[str, Any]:
    view = CellView(
        own.label, None, "p", own.metrics(), "", "t", "s", "k", "done", "", "Abacus", "", "", {},
        lambda: samples,
    )  # fmt: skip
    header = Header("made", 0, 0.95, [Pair("s", "t", "s", "", None)])
    return {row.metric: row for row in table_rows(header, [view])}


def test_each_word_is_its_formula() -> None:
    clock = FakeClock()
    own = task()
    samples = measured(own, *scripted(clock))
    value = lambda name: number(own, samples, name).value  # noqa: E731
    assert value("latency.prefill.teacher") == pytest.approx(2.0)
    assert value("ttft.teacher") == pytest.approx(2.0)
    assert value("latency.teacher") == pytest.approx(6.0)
    assert value("tpot.teacher") == pytest.approx((6.0 - 2.0) / (5 - 1))
    assert value("tokens_per_second.teacher") == pytest.approx(2 * 4 / 4.0)
    assert value("speedup") == pytest.approx(6.0 / 2.0)
    assert value("speedup.prefill") == pytest.approx(2.0)
    assert value("speedup.decode") == pytest.approx(4.0)


def test_a_timing_says_how_far_it_is_from_the_machine() -> None:
    own = task()
    samples = measured(own, *scripted(FakeClock()))
    # the prompt: 50 operations in 2 s against 100 a second; decoding: 80 bytes in 4 s against 100
    assert number(own, samples, "mfu.prefill.teacher").value == pytest.approx(0.25)
    assert number(own, samples, "mbu.decode.teacher").value == pytest.approx(0.2)
    assert number(own, samples, "lower_bound.teacher").value == pytest.approx(0.5 + 0.8)
    roofline = samples[0].extra["roofline"]["teacher"]
    assert roofline["phases"]["decode"]["flops"] == 4.0


def test_every_number_can_be_recomputed_from_its_samples() -> None:
    own = task(percentiles=[90])
    samples = measured(own, *scripted(FakeClock()))
    found = rows(own, samples)
    assert found["speedup"].value == pytest.approx(3.0)
    assert found["speedup"].ci_low == pytest.approx(3.0)
    assert found["speedup"].n == 8
    assert {
        row.status for name, row in found.items() if not name.startswith(("energy", "latency.p90"))
    } == {"ok"}


def test_a_percentile_is_refused_below_its_count_and_shown_above_it() -> None:
    few = task(percentiles=[90])
    found = rows(few, measured(few, *scripted(FakeClock())))
    assert found["latency.p90.teacher"].status == "skipped"
    assert "needs 36 calls, and 8 were timed" in found["latency.p90.teacher"].reason
    enough = task(percentiles=[90], rounds=9, min_seconds=9 * 4 * 6.0)
    found = rows(enough, measured(enough, *scripted(FakeClock())))
    assert found["latency.p90.teacher"].value == pytest.approx(6.0)
    assert found["latency.p90.teacher"].n == 36


def test_a_batch_that_does_not_fit_is_halved_and_the_largest_that_fits_is_told() -> None:
    own = task(batch=[64])
    clock = FakeClock()
    samples = measured(own, ScriptedText(clock, 0.2, 1, most_rows=12), ScriptedText(clock, 0.1, 1))
    found = rows(own, samples)
    assert found["largest_batch.teacher"].value == 8
    assert found["largest_batch.student"].value == 64
    assert found["speedup"].status == "skipped"
    assert "64 rows do not fit" in found["speedup"].reason


def test_any_other_error_is_not_taken_for_a_lack_of_memory() -> None:
    class Broken(ScriptedText):
        def time_text(self, *arguments: Any) -> Any:
            raise RuntimeError("shapes do not match")

    clock = FakeClock()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        measured(task(), Broken(clock, 1, 1), ScriptedText(clock, 1, 1))


def test_a_prompt_beyond_the_context_is_skipped_with_the_model_named() -> None:
    clock = FakeClock()
    own = task(prompt_tokens=[100])
    samples = measured(own, ScriptedText(clock, 1, 1), ScriptedText(clock, 1, 1, context=50))
    found = rows(own, samples)
    assert {row.status for row in found.values()} == {"skipped"}
    assert found["speedup"].reason == "student: 105 tokens do not fit the model's context of 50"


def test_one_new_token_has_no_time_per_token() -> None:
    own = task(new_tokens=[1])
    found = rows(own, measured(own, *scripted(FakeClock())))
    assert found["tpot.student"].status == "skipped"
    assert found["speedup"].value == pytest.approx(2.0)


def test_a_busy_and_noisy_machine_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = {
        "load_average": 9.0, "cores": 2,
        "gpu": {"others": [{"pid": 7, "bytes": 3 * 2**30}], "throttled_by": ["power cap"]},
    }  # fmt: skip
    monkeypatch.setattr(pair_timing, "conditions", lambda device: busy)
    clock = FakeClock(speed=lambda now: 1 + (now % 7) / 7)
    own = task()
    samples = measured(own, *scripted(clock))
    reason = rows(own, samples)["speedup"].reason
    assert "busy machine: load average 9 on 2 cores" in reason
    assert "busy GPU: process 7 holds 3.0 GiB on it" in reason
    assert "throttled by its power cap" in reason
    assert "noisy machine: rounds of the teacher spread by" in reason
    assert samples[0].extra["conditions"]["before"] == busy


def test_a_prediction_from_short_runs_is_the_time_that_the_whole_takes() -> None:
    clock = FakeClock()
    models = scripted(clock)
    own = task(new_tokens=[200], min_seconds=2000.0)
    predicted = own.predict(roles(*models), own.items(None), Context(0))
    began = clock.now
    measured(own, *models)
    assert predicted.rounds + predicted.warm_up == pytest.approx(clock.now - began, rel=0.25)
    assert not any(predicted.once.values())


def test_a_call_that_lasts_as_long_as_a_warm_up_may_is_warmed_up_once() -> None:
    clock = FakeClock()
    own = task(new_tokens=[2], prompt_tokens=[60], rounds=6)
    models = scripted(clock)
    predicted = own.predict(roles(*models), own.items(None), Context(0))
    began = clock.now
    measured(own, *models)
    assert predicted.rounds + predicted.warm_up == pytest.approx(clock.now - began, rel=0.05)


def test_a_first_call_that_takes_longer_is_foretold_for_models_that_are_loaded_again() -> None:
    class Compiling(ScriptedText):
        compiled = False

        @contextmanager
        def time_text(self, *given: Any) -> Iterator[Any]:
            with super().time_text(*given) as run:
                yield _Compiled(self, run)

    class _Compiled:
        def __init__(self, model: Any, run: Any) -> None:
            self.model, self.run = model, run

        def __getattr__(self, name: str) -> Any:
            return getattr(self.run, name)

        def __call__(self, *given: Any, **named: Any) -> None:
            if not self.model.compiled:
                self.model.clock.advance(7.0)
                self.model.compiled = True
            self.run(*given, **named)

    clock = FakeClock()
    own = task()
    models = roles(Compiling(clock, 0.2, 1.0), ScriptedText(clock, 0.1, 0.25))
    predicted = own.predict(models, own.items(None), Context(0))
    assert predicted.once == {"teacher": pytest.approx(7.0), "student": pytest.approx(0.0)}


def test_a_run_that_was_cut_short_goes_on_with_the_rounds_that_are_missing() -> None:
    clock = FakeClock()
    own = task()
    models = scripted(clock)
    whole = measured(own, *models)
    first = own.measure(*models, own.items(None)[:3], Context(0))
    rest = own.measure(*models, own.items(None)[3:], Context(0))
    assert [s.extra["order"] for s in [*first, *rest]] == [s.extra["order"] for s in whole]
    assert [s.id for s in [*first, *rest]] == [s.id for s in whole]
    assert all(s.extra["session"] for s in rest)
    assert "conditions" in rest[0].extra


def test_energy_needs_windows_that_the_counter_can_see(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()

    class Meter:
        name = "made"

        def joules(self) -> float:
            return 10 * clock.now

    monkeypatch.setattr(pair_timing, "energy_meter", lambda device: Meter())
    own = task()
    found = rows(own, measured(own, *scripted(clock)))
    assert found["energy.teacher"].value == pytest.approx(10 * 6.0 / (2 * 5))
    quick = measured(own, ScriptedText(clock, 1e-3, 1e-3), ScriptedText(clock, 1e-3, 1e-3))
    assert "too short for the made" in rows(own, quick)["energy.student"].reason


def test_the_first_shapes_of_a_grid_span_it() -> None:
    grid = [(b, p, 32) for b in (1, 2, 4, 8) for p in (16, 32, 64)]
    order = most_informative(grid)
    assert sorted(order) == sorted(grid)
    assert set(order[:4]) == {(1, 16, 32), (8, 64, 32), (1, 64, 32), (8, 16, 32)}


def test_a_suite_names_a_grid_and_gets_a_task_for_each_shape() -> None:
    params = TextParams(batch=[1, 4], prompt_tokens=[32, 64], new_tokens=[8])
    labels = [EfficiencyText(one, Path()).label for one in EfficiencyText.expand(params, Path())]
    assert sorted(labels) == [
        "efficiency/text/b1-p32-n8", "efficiency/text/b1-p64-n8", "efficiency/text/b4-p32-n8",
        "efficiency/text/b4-p64-n8",
    ]  # fmt: skip
    assert labels[:2] == ["efficiency/text/b1-p32-n8", "efficiency/text/b4-p64-n8"]


def test_the_protocol_says_how_the_model_ran() -> None:
    how = {"compile": "reduce-overhead", "cache": "static"}
    said = task(**how, attention="sdpa", threads=1).protocol()
    assert said["compile"] == "reduce-overhead (CUDA graphs)"
    assert said["warm_up"] == "compiled, then at the shape until stable"
    assert said["attention"] == "sdpa"
    assert "end of text ignored" in said["shape"]
    assert said["tpot"] == "(e2e-ttft)/(n-1)"


def test_cuda_graphs_without_a_static_cache_are_refused() -> None:
    with pytest.raises(ValidationError, match="write cache: static beside it"):
        TextParams(compile="max-autotune")


def test_the_pages_panels_draw_what_was_timed() -> None:
    from kdbench.tasks.panel import PanelInput
    from kdbench.tasks.panels import latency_grid, roofline

    own = task()
    samples = measured(own, *scripted(FakeClock()))
    given = PanelInput(own.label, own.metrics(), 0.95, lambda: iter(()), lambda: iter(samples))
    (row,) = latency_grid.data([given])["shapes"]
    assert row["shape"].replace("\N{NO-BREAK SPACE}", " ") == "2 x (10 + 5)"
    assert row["latency"]["ratio"]["value"] == pytest.approx(3.0)
    assert row["tpot"]["teacher"]["value"] == pytest.approx(1.0)
    drawn = roofline.data([given])
    assert drawn["ceilings"] == {"flops": 100.0, "bandwidth": 100.0}
    decode = next(p for p in drawn["points"] if (p["role"], p["phase"]) == ("teacher", "decode"))
    assert decode["intensity"] == pytest.approx(1 / 20)
    assert decode["achieved"] == pytest.approx(4.0 / 4.0)
    nothing = PanelInput(own.label, own.metrics(), 0.95, lambda: iter(()), lambda: iter(()))
    assert latency_grid.data([nothing]) is None and roofline.data([nothing]) is None


def test_models_on_two_devices_are_not_timed_against_each_other() -> None:
    clock = FakeClock()
    teacher, student = scripted(clock)
    teacher.device = "cuda:0"
    found = rows(task(), measured(task(), teacher, student))
    assert found["speedup"].status == "skipped"
    assert "teacher and student lie on cpu and cuda:0" in found["speedup"].reason
