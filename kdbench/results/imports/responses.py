"""Responses of servers, one a line: llama.cpp's timings, and vLLM's acceptance by request.

A line is a response as the server sent it (the last chunk of a stream has the counts, too), or
{"question_id": ..., "category": ..., "response": {...}}. Without a question_id the line's number names the
prompt, so that repetitions are told by their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kdbench.results.imports.counted import (
    Counted,
    Imported,
    Positions,
    positions_of_chains,
    positions_of_lengths,
)
from kdbench.results.imports.lines import (
    Place,
    count,
    counts,
    duration,
    field,
    moment,
    objects,
    record,
)

Line = tuple[Place, dict[str, Any], str, str]
"""Where a response stands, the response, its question and its category."""


def looks_like(line: dict[str, Any]) -> str:
    """The format of a file of responses by its first line, empty where it is none."""
    response = line.get("response", line)
    if not isinstance(response, dict):
        return ""
    metrics = response.get("metrics")
    if isinstance(metrics, dict) and "speculative_decoding" in metrics:
        return "vllm"
    return "llama.cpp" if isinstance(response.get("timings"), dict) or "draft_n" in response else ""


def read_llama_cpp(paths: Sequence[Path], gamma: int | None = None) -> Imported:
    """llama.cpp's `timings`: predicted_n, predicted_ms, draft_n, draft_n_accepted.

    Every pass writes the drafts that it accepts and one token, so the passes are those tokens that were not
    drafted. The prompt's own pass writes the first token and verifies nothing: it is left out, and so is that
    token from the tokens per second, as predicted_ms begins with it (older servers divide all tokens by it).
    A server leaves draft_n out where it drafted nothing; `gamma` is the longest draft that it may make, as
    its drafts end early where they are unsure. Raises `StoreError` naming file and line.

    Source: result_timings::to_json and the speculative part of update_slots in the server of llama.cpp.
    """
    files = [[_of_llama_cpp(line, gamma) for line in _lines(path)] for path in paths]
    drafted = sum(answer.drafted or 0 for answers in files for answer in answers)
    accepted = sum(answer.accepted or 0 for answers in files for answer in answers)
    if not drafted:
        Place(paths[0], 1, "timings.draft_n").refuse(
            "missing here and in every other response: the server drafted nothing (was it started with a "
            "draft model?)"
        )
    whole = (
        "every draft was accepted whole: servers whose model can't step back (recurrent, hybrid) count only "
        "such drafts, so accepted_of_drafted says nothing"
    )
    protocol = {
        "tokens": "predicted_n - 1",
        "bonus token": "in the source",
        "passes": "predicted_n - 1 - draft_n_accepted",
        "drafts": "end early where unsure" if gamma is None else f"up to {gamma}, end early",
        "time": "predicted_ms, first to last token",
    }
    return Imported(
        "llama.cpp", protocol, gamma, files, notices=[whole] * (accepted == drafted)
    )  # fmt: skip


def read_vllm(paths: Sequence[Path], gamma: int | None = None) -> Imported:
    """vLLM's `metrics.speculative_decoding`: a histogram of accepted drafts for each request.

    Passes that drafted nothing are not in it, nor is the prompt's. Where draft lengths vary, only
    `acceptance_histogram_by_draft_length` or the arrays of `detailed` tell which drafts were tested. Raises
    `StoreError` naming file and line.

    Source: docs/features/speculative_decoding/acceptance_metrics.md of vLLM (experimental there).
    """
    found = [[(line, _longest(line)) for line in _lines(path)] for path in paths]
    (first, length), *others = [pair for pairs in found for pair in pairs]
    for (place, *_), own in others:
        if own != length:
            place.at("metrics.speculative_decoding.num_spec_tokens").refuse(
                f"{own} here, {length} in {first[0].file}:{first[0].line}: import each setting apart"
            )
    if gamma not in (None, length):
        first[0].at("metrics.speculative_decoding.num_spec_tokens").refuse(
            f"{length}, but --gamma says {gamma}; leave it out, as the file tells it"
        )
    protocol = {
        "tokens": "num_accepted_draft_tokens + num_spec_steps",
        "bonus token": "added to the source's",
        "passes": "num_spec_steps (those with drafts)",
        "time": "generation_time_ms, first to last token",
    }
    files = [[_of_vllm(line, length) for line, _ in pairs] for pairs in found]
    return Imported("vLLM per-request metrics", protocol, length, files)


def _lines(path: Path) -> Iterator[Line]:
    for place, line in objects(path):
        inner = "response" in line
        response = record(place, line, "response") if inner else line
        question = place.line if line.get("question_id") is None else line["question_id"]
        yield (
            place.at("response") if inner else place,
            response,
            str(question),
            str(line.get("category") or ""),
        )


def _of_llama_cpp(line: Line, gamma: int | None) -> Counted:
    place, response, question, category = line
    if "timings" in response:
        timings, place = record(place, response, "timings"), place.at("timings")
    else:
        timings = response
    written = count(place.at("predicted_n"), field(place, timings, "predicted_n"))
    drafted = count(place.at("draft_n"), timings.get("draft_n", 0))
    accepted = count(place.at("draft_n_accepted"), timings.get("draft_n_accepted", 0))
    if accepted > drafted:
        place.at("draft_n_accepted").refuse(f"{accepted} drafts accepted of {drafted} drafted")
    behind = max(written - 1, 0)
    passes = behind - accepted
    if passes < 0:
        place.at("draft_n_accepted").refuse(
            f"{accepted} drafts accepted in a text of {written} tokens; the prompt's pass writes the first, "
            "and every other pass one beside its drafts"
        )
    if gamma is not None and drafted > gamma * passes:
        place.at("draft_n").refuse(
            f"{drafted} tokens drafted in {passes} passes, more than --gamma {gamma} allows"
        )
    seconds = None
    if behind and timings.get("predicted_ms") is not None:
        seconds = duration(place.at("predicted_ms"), timings["predicted_ms"]) / 1000
    return Counted(
        question, behind, passes, category=category, output=_text(response),
        accepted=accepted, drafted=drafted, written=behind, seconds=seconds,
        finished=moment(response.get("created")),
    )  # fmt: skip


def _longest(line: Line) -> int:
    place, response, *_ = line
    metrics = record(place, response, "metrics")
    place = place.at("metrics")
    told = record(place, metrics, "speculative_decoding")
    place = place.at("speculative_decoding")
    bars = counts(place, told, "acceptance_histogram")
    length = told.get("num_spec_tokens", len(bars) - 1)
    length = count(place.at("num_spec_tokens"), length)
    if len(bars) != length + 1:
        place.at("acceptance_histogram").refuse(
            f"{len(bars)} bars, but drafts of {length} tokens have {length + 1} (0 to all accepted)"
        )
    return length


def _of_vllm(line: Line, length: int) -> Counted:
    place, response, question, category = line
    metrics = response["metrics"]
    told, place = metrics["speculative_decoding"], place.at("metrics.speculative_decoding")
    bars = counts(place, told, "acceptance_histogram")
    passes, accepted = sum(bars), sum(j * bar for j, bar in enumerate(bars))
    for name, own in (("num_spec_steps", passes), ("num_accepted_draft_tokens", accepted)):
        given = count(place.at(name), told.get(name, own))
        if given != own:
            place.at(name).refuse(f"{given}, but acceptance_histogram adds up to {own}")
    drafted = None
    if told.get("num_draft_tokens") is not None:
        drafted = count(place.at("num_draft_tokens"), told["num_draft_tokens"])
        if accepted > drafted:
            place.at("num_draft_tokens").refuse(f"{accepted} drafts accepted of {drafted} drafted")
        if drafted > length * passes:
            place.at("num_draft_tokens").refuse(
                f"{drafted} tokens drafted in {passes} passes of at most {length}"
            )
    written, seconds = 0, None
    if metrics.get("generation_time_ms") and (response.get("usage") or {}).get("completion_tokens"):
        usage = Place(place.file, place.line, "usage.completion_tokens")
        written = count(usage, response["usage"]["completion_tokens"]) - 1
        milliseconds = duration(place.at("generation_time_ms"), metrics["generation_time_ms"])
        seconds = milliseconds / 1000 if written > 0 else None
    return Counted(
        question, passes + accepted, passes, category=category, output=_text(response),
        positions=_positions(place, told, bars, drafted), accepted=accepted, drafted=drafted,
        written=max(written, 0), seconds=seconds, finished=moment(response.get("created")),
    )  # fmt: skip


def _positions(
    place: Place, told: dict[str, Any], bars: list[int], drafted: int | None
) -> Positions:
    """Counts by place, from what tells most of the lengths of the drafts."""
    length = len(bars) - 1
    chains: dict[int, list[int]] = {}
    if told.get("acceptance_histogram_by_draft_length") is not None:
        rows = record(place, told, "acceptance_histogram_by_draft_length")
        place = place.at("acceptance_histogram_by_draft_length")
        for key in rows:
            if not key.isdecimal() or int(key) > length:
                place.refuse(f"no draft has the length {key!r}; the longest has {length}")
            chains[int(key)] = counts(place, rows, key)
            if len(chains[int(key)]) != int(key) + 1:
                place.at(key).refuse(f"{len(chains[int(key)])} bars for drafts of {key} tokens")
    elif told.get("per_step_accepted") is not None and told.get("per_step_drafted") is not None:
        steps = counts(place, told, "per_step_accepted"), counts(place, told, "per_step_drafted")
        place = place.at("per_step_accepted")
        if len(steps[0]) != len(steps[1]):
            place.refuse(f"{len(steps[0])} passes, but per_step_drafted has {len(steps[1])}")
        for number, (accepted, own) in enumerate(zip(*steps, strict=True)):
            if not accepted <= own <= length:
                place.refuse(f"[{number}]: {accepted} of {own} drafts accepted, {length} at most")
            chains.setdefault(own, [0] * (own + 1))[accepted] += 1
    elif drafted == length * sum(bars):
        chains = {length: bars}
    else:
        return positions_of_lengths(bars)
    pooled = [sum(own[j] for own in chains.values() if j < len(own)) for j in range(length + 1)]
    if pooled != bars:
        place.refuse(f"adds up to {pooled}, but acceptance_histogram is {bars}")
    return positions_of_chains({length: [0] * (length + 1), **chains})


def _text(response: dict[str, Any]) -> str:
    """The answer's text, empty where the response carries none (the last chunk of a stream)."""
    if isinstance(response.get("content"), str):
        return str(response["content"])
    choices = response.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(first, dict):
        return ""
    message = first.get("message")
    text = message.get("content") if isinstance(message, dict) else first.get("text")
    return text if isinstance(text, str) else ""
