"""From requests to the numbers of `efficiency.serving`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from kdbench import stats
from kdbench.metrics.serving import gaps, meets, time_per_output_token
from kdbench.models.api_stream import Streamed
from kdbench.models.timing.conditions import of_cpu, warnings
from kdbench.models.timing.load import Served
from kdbench.models.timing.serving_run import ServedRound, ServingRun
from kdbench.results.sample import Sample
from kdbench.tasks.efficiency.pair_timing import NOISY, NOTED, session
from kdbench.tasks.task import Item

if TYPE_CHECKING:
    from kdbench.tasks.efficiency.serving import ServingParams

BUSY = 0.8
"""A client that computes for more than this share of a round limits what it measures."""

RATIO_OF = {"speedup": "latency", "speedup.ttft": "ttft", "speedup.tpot": "tpot"}
TAILS = ("ttft", "tpot", "latency")
MEDIANS = ("ttft", "tpot", "latency", "chunk_gap", "prompt_tokens")


def samples(
    run: ServingRun, items: Sequence[Item], params: ServingParams, models: Mapping[str, Any]
) -> list[Sample]:
    """Check, warm up and measure; a sample for each item. Raises `ModelError` where an endpoint is not as
    it should be."""
    run.check()
    before = of_cpu()
    warmed = run.warm_up()
    rounds = list(run.rounds(item.index for item in items))
    after = of_cpu()
    few = _unsupported(params, run.load.requests)
    apart = _apart(models)
    notes = _notes(run, rounds, [before, after])
    if not any(model.hardware for model in models.values()):
        notes.append("what the servers run on is not told (`hardware` of the models)")
    found = []
    for item, one in zip(items, rounds, strict=True):
        scores: dict[str, Any] = {
            "client.request": one.client_request,
            "client.chunk": one.client_chunk,
        }
        skipped = dict(few)
        told = {}
        for name, served in one.served.items():
            own, told[name] = of_endpoint(served, params)
            scores |= {f"{key}.{name}": value for key, value in own.items()}
            skipped |= _missing(own, name, served, params)
        scores = {key: value for key, value in scores.items() if key not in few}
        if apart:
            skipped |= dict.fromkeys([*RATIO_OF, "speedup.throughput"], apart)
        else:
            scores |= _ratios(scores, skipped)
        extra: dict[str, Any] = {
            "order": list(one.order),
            "session": session(),
            "endpoints": told,
            "skipped": {key: why for key, why in skipped.items() if key not in scores},
            "notes": {key: notes for key in NOTED if notes},
        }
        if one is rounds[0]:
            extra["client"] = {"before": before, "after": after}
            extra["warm_up"] = {
                name: {"bursts": w.calls, "seconds": round(w.seconds, 6), "stable": w.stable}
                for name, w in warmed.items()
            }
        found.append(Sample(item.id, item.index, item.cluster, scores, extra=extra))
    return found


def of_endpoint(served: Served, params: ServingParams) -> tuple[dict[str, Any], dict[str, Any]]:
    """An endpoint's scores of a round, and what else is worth keeping of it."""
    answered = [one for one in served.requests if not one.failure]
    each: dict[str, list[float]] = {
        "ttft": [one.stamps[0] - one.due for one in answered],
        "latency": [one.end - one.due for one in answered],
        "tpot": [tpot for one in answered if (tpot := _tpot(one)) is not None],
        "chunk_gap": [gap for one in answered for gap in gaps(one.stamps)],
        "prompt_tokens": [n for one in answered if (n := one.prompt_tokens) is not None],
    }
    asked = len(served.requests)
    scores: dict[str, Any] = {name: median(own) for name, own in each.items() if own}
    scores |= {
        f"{name}.p{q}": _rounded(each[name])
        for name in TAILS for q in params.percentiles if each[name]
    }  # fmt: skip
    scores["failures"] = [asked - len(answered), asked]
    scores["requests_per_second"] = len(answered) / served.seconds
    tokens = sum(one.output_tokens for one in answered)
    scores["output_tokens_per_second"] = tokens / served.seconds
    if answered:
        short = sum(one.output_tokens < params.new_tokens for one in answered)
        scores["early_stops"] = [short, len(answered)]
    if params.max_ttft or params.max_tpot:
        good = sum(
            meets(one.stamps[0] - one.due, _tpot(one), params.max_ttft, params.max_tpot)
            for one in answered
        )
        scores["goodput"] = good / served.seconds
        scores["attainment"] = [good, asked]
    told = {
        "requests": asked,
        "failures": dict(Counter(one.failure for one in served.requests if one.failure)),
        "details": sorted({one.detail for one in served.requests if one.detail})[:3],
        "seconds": round(served.seconds, 6),
        "late": round(max(one.sent - one.due for one in served.requests), 6),
        "client_busy": round(served.client_busy, 3),
        "tokens_by": sorted({"usage" if o.tokens is not None else "chunks" for o in answered}),
    }
    return scores, told


def _tpot(one: Streamed) -> float | None:
    first = one.stamps[0] - one.due
    return time_per_output_token(one.end - one.due, first, one.output_tokens)


def _ratios(scores: Mapping[str, Any], skipped: dict[str, str]) -> dict[str, list[float]]:
    """[numerator, denominator] of each speed-up that both endpoints have numbers for."""
    found: dict[str, list[float]] = {}
    for ratio, base in (*RATIO_OF.items(), ("speedup.throughput", "output_tokens_per_second")):
        pair = [float(scores.get(f"{base}.{name}", 0.0)) for name in ("teacher", "student")]
        if all(pair):
            found[ratio] = pair[::-1] if ratio == "speedup.throughput" else pair
        else:
            skipped[ratio] = f"an endpoint has no {base}"
    return found


def _missing(
    own: Mapping[str, Any], name: str, served: Served, params: ServingParams
) -> dict[str, str]:
    """Why an endpoint lacks some numbers of a round."""
    failures = Counter(one.failure for one in served.requests if one.failure)
    if sum(failures.values()) == len(served.requests):
        reason = f"every request failed; most of them: {failures.most_common(1)[0][0]}"
    else:
        reason = "the server's answers do not tell"
    names = [*MEDIANS, "early_stops", *(f"{t}.p{q}" for t in TAILS for q in params.percentiles)]
    return {f"{key}.{name}": reason for key in names if key not in own}


def _apart(models: Mapping[str, Any]) -> str:
    """Why the two can't be divided by each other, where they are said to run on different machines."""
    on = {name: model.hardware for name, model in models.items()}
    if len(set(on.values())) == 1:
        return ""
    told = " and ".join(
        f"the {name} on {where or 'unknown hardware'}" for name, where in on.items()
    )
    return f"{told}: a speed-up is timed on the same hardware"


def _unsupported(params: ServingParams, requests: int) -> dict[str, str]:
    """Percentiles that so many requests can't carry."""
    sent = params.rounds * requests
    found: dict[str, str] = {}
    for q in params.percentiles:
        if not stats.supported(sent, q / 100):
            needed = stats.observations_needed(q / 100)
            reason = (
                f"a p{q} needs {needed} requests, and {sent} are sent; raise rounds or requests"
            )
            for name in TAILS:
                found |= {f"{name}.p{q}.{role}": reason for role in ("teacher", "student")}
    return found


def _notes(
    run: ServingRun, rounds: Sequence[ServedRound], machine: Sequence[dict[str, Any]]
) -> list[str]:
    """What a reader of the table must know."""
    said = [f"client: {text}" for text in warnings(*machine)]
    if not run.counted:
        said.append(f"prompts of {run.words} words, as the server does not count their tokens")
    for name in rounds[0].served:
        loads = [one.served[name] for one in rounds]
        answered = [one for load in loads for one in load.requests if not one.failure]
        failed = sum(len(load.requests) for load in loads) - len(answered)
        if failed:
            said.append(f"{failed} requests to the {name} failed")
        short = sum(one.output_tokens < run.load.new_tokens for one in answered)
        if short:
            said.append(f"{short / len(answered):.0%} of the {name}'s answers stopped early")
        if any(one.tokens is None for one in answered):
            said.append(f"the {name}'s tokens are counted by chunks")
        if max(load.client_busy for load in loads) > BUSY:
            said.append(f"the client was busy itself for over {BUSY:.0%} of a round of the {name}")
        spread = stats.noise([load.seconds for load in loads])
        if spread > NOISY and run.load.concurrency is not None:
            said.append(f"noisy: rounds of the {name} spread by {spread:.0%}")
    return said


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 7) for value in values]
