"""Answer files of Spec-Bench, EAGLE and Medusa: one question a line, its turns counted and timed.

The three share FastChat's file, {question_id, [category], model_id, choices: [{index, turns, new_tokens,
wall_time, ...}], tstamp}, and differ in how they count passes. Spec-Bench writes `decoding_steps`, and in
`accept_lengths` the tokens that each pass wrote (bonus token included, so vanilla decoding has 1). Medusa and
EAGLE write `idxs`, the loop's last index from 0, so a turn has one pass more.

A turn whose text is "ERROR" failed and carries the counts of the turn before it, so it is left out; the
tools' own summaries count it as it stands.

Sources: evaluation/eval.py and speed.py of Spec-Bench, eagle/evaluation/gen_ea_answer_vicuna.py of EAGLE,
llm_judge/gen_model_answer_medusa.py of Medusa.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kdbench.results.imports.counted import (
    Counted,
    Imported,
    histogram,
    positions_of_chains,
    positions_of_lengths,
)
from kdbench.results.imports.lines import Place, array, counts, duration, field, moment, objects

Bonus = Literal["in", "out"]
Failed = Literal["leave-out", "keep"]
TOOLS = {"spec-bench": "Spec-Bench", "eagle": "EAGLE", "medusa": "Medusa"}


@dataclass(frozen=True, slots=True)
class _Choice:
    """A choice as it is written, before its `accept_lengths` are put into one convention."""

    place: Place
    about: dict[str, Any]
    index: int
    tokens: int
    passes: int
    written: int
    seconds: float
    lengths: list[int] | None
    from_zero: bool
    text: str
    failed: int


def looks_like(line: dict[str, Any]) -> str:
    """The format of an answer file by its first line, empty where it is none."""
    choices = line.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict) or "new_tokens" not in first:
        return ""
    if "decoding_steps" in first or "accept_lengths" in first:
        return "spec-bench"
    return "eagle" if "eagle" in str(line.get("model_id", "")).lower() else "medusa"


def read(
    paths: Sequence[Path],
    form: str,
    gamma: int | None = None,
    bonus: Bonus | None = None,
    failed: Failed = "leave-out",
) -> Imported:
    """The answers in `paths`; `gamma` where all drafts were chains of that length.

    `bonus` says whether `accept_lengths` count the bonus token, where the files do not tell; `failed` turns
    are kept to give the tools' own numbers. Raises `StoreError` naming file and line.
    """
    files = [_choices(path, failed == "keep") for path in paths]
    every = [choice for choices in files for choice in choices]
    _agree(every, lambda c: c.lengths is None, "accept_lengths are there for some choices only")
    _agree(every, lambda c: c.from_zero, "passes are counted in idxs here and decoding_steps there")
    with_lengths = every[0].lengths is not None
    inside = _bonus_inside(every, bonus) if with_lengths else True
    errors = sum(choice.failed for choice in every)
    passes = "idxs + 1" if every[0].from_zero else "decoding_steps"
    protocol = {
        "tokens": "sum of accept_lengths" if with_lengths else "new_tokens",
        "bonus token": "in the source" if inside else "added to the source's",
        "passes": "entries of accept_lengths" if with_lengths else passes,
        "failed turns": "left out" if failed == "leave-out" else "kept, counted as the turn before",
        "time": "wall_time, prompt included",
    }
    done = "left out" if failed == "leave-out" else "kept"
    notice = (
        f"{errors} turns failed in that tool, carry the counts of the turn before and are {done}"
    )
    return Imported(
        TOOLS[form],
        protocol,
        gamma,
        [[_counted(choice, gamma, inside) for choice in choices] for choices in files],
        notices=[notice] * bool(errors),
    )


def _choices(path: Path, keep: bool) -> list[_Choice]:
    found = []
    seen: dict[str, int] = {}
    for place, line in objects(path):
        question = str(field(place, line, "question_id"))
        if question in seen:
            place.refuse(
                f"question {question} is there twice (first in line {seen[question]}); these tools append to "
                "their files: keep one run a file, and name several files for several runs"
            )
        seen[question] = place.line
        choices = array(place, line, "choices")
        if not choices:
            place.at("choices").refuse("empty")
        for index, choice in enumerate(choices):
            where = place.at(f"choices[{index}]")
            if not isinstance(choice, dict):
                where.refuse("an object is needed")
            found.append(_choice(where, line, index, choice, keep))
    return found


def _choice(
    place: Place, line: dict[str, Any], index: int, choice: dict[str, Any], keep: bool
) -> _Choice:
    zero, steps = choice.get("idxs") is not None, choice.get("decoding_steps") is not None
    if zero and steps:
        place.refuse("has both idxs (from 0) and decoding_steps; keep the one that its tool wrote")
    if not (zero or steps):
        place.refuse("counts no passes: neither decoding_steps nor idxs")
    name = "idxs" if zero else "decoding_steps"
    passes, tokens = counts(place, choice, name), counts(place, choice, "new_tokens")
    times, turns = array(place, choice, "wall_time"), array(place, choice, "turns")
    lengths = None
    if choice.get("accept_lengths") is not None:
        lengths = counts(place, choice, "accept_lengths")
    sizes = {name: len(passes), "new_tokens": len(tokens), "wall_time": len(times)}
    if len({*sizes.values(), len(turns)}) != 1:
        told = ", ".join(f"{key} has {size}" for key, size in sizes.items())
        place.refuse(f"{len(turns)} turns, but {told}")

    done = [turn for turn, text in enumerate(turns) if text != "ERROR"]
    kept = list(range(len(turns))) if keep else done
    seconds = [duration(place.at(f"wall_time[{turn}]"), times[turn]) for turn in kept]
    start = int(zero)
    if (
        lengths is not None
    ):  # some methods of Spec-Bench count from 0 under either name: the lengths tell
        own = sum(passes[turn] for turn in done)
        if len(lengths) not in (own, own + len(done)):
            place.at("accept_lengths").refuse(f"{len(lengths)} passes, but {name} say {own}")
        start = int(len(lengths) != own)
    for turn in kept:
        if tokens[turn] < passes[turn] + start:
            place.at(f"new_tokens[{turn}]").refuse(
                f"{tokens[turn]} tokens of {passes[turn] + start} passes; every pass writes at least one"
            )
    counted = kept if lengths is None else done  # a failed turn leaves no lengths
    return _Choice(
        place, line, index, sum(tokens[turn] for turn in counted),
        sum(passes[turn] + start for turn in counted), sum(tokens[turn] for turn in kept),
        sum(seconds), lengths, zero, "\n\n".join(map(str, turns)), len(turns) - len(done),
    )  # fmt: skip


def _agree(choices: Iterable[_Choice], of: Any, message: str) -> None:
    first, *others = choices
    for other in others:
        if of(other) != of(first):
            other.place.refuse(
                f"{message} ({first.place.file}:{first.place.line} differs); files of one measurement "
                "share one convention: import them apart"
            )


def _bonus_inside(choices: Sequence[_Choice], told: Bonus | None) -> bool:
    """Whether `accept_lengths` count the token that a pass writes besides the drafts that it accepts.

    They add up to the tokens of the text where they do, and to one a pass less where they don't; a last
    pass that reached behind the text's end adds a few.
    """
    empty = next((choice for choice in choices if 0 in (choice.lengths or ())), None)
    if told is not None:
        if told == "in" and empty is not None:
            empty.place.at("accept_lengths").refuse(
                "holds a 0, but every pass writes a token, so the bonus token is not counted (--bonus out)"
            )
        return told == "in"
    total = sum(sum(choice.lengths or ()) for choice in choices)
    passes = sum(len(choice.lengths or ()) for choice in choices)
    tokens = sum(choice.tokens for choice in choices)
    inside, outside = abs(total - tokens), abs(total + passes - tokens)
    near = max(1.0, 0.05 * tokens)
    if empty is None and inside <= near and inside < outside:
        return True
    if outside <= near and outside < inside:
        return False
    choices[0].place.at("accept_lengths").refuse(
        f"{total} in {passes} passes fit {tokens} new_tokens neither with the bonus token in them nor "
        "without; say which with --bonus in or --bonus out"
    )


def _counted(choice: _Choice, gamma: int | None, inside: bool) -> Counted:
    tokens, passes, positions, accepted = choice.tokens, choice.passes, None, None
    drafted = None if gamma is None else passes * gamma
    if choice.lengths is not None:
        drafts = [length - inside for length in choice.lengths]
        longest = max(drafts, default=0)
        if gamma is not None and longest > gamma:
            choice.place.at("accept_lengths").refuse(
                f"a pass accepted {longest} drafts, more than --gamma {gamma}; leave it out for trees"
            )
        bars = histogram(drafts, gamma)
        tokens, accepted = passes + sum(drafts), sum(drafts)
        known = gamma is not None
        positions = (
            positions_of_chains({len(bars) - 1: bars}) if known else positions_of_lengths(bars)
        )
    elif gamma is not None:
        accepted = tokens - passes
        if accepted > passes * gamma:
            choice.place.at("new_tokens").refuse(
                f"{accepted} drafts accepted in {passes} passes, more than --gamma {gamma} allows; "
                "leave it out for trees"
            )
    about = choice.about
    return Counted(
        question=str(about["question_id"]),
        tokens=tokens,
        passes=passes,
        choice=choice.index,
        category=str(about.get("category") or ""),
        output=choice.text,
        positions=positions,
        accepted=accepted,
        drafted=drafted,
        written=choice.written,
        seconds=choice.seconds or None,
        turns_failed=choice.failed,
        finished=moment(about.get("tstamp")),
    )
