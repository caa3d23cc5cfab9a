"""The real loop on a subset: does it do what replay says, is its text the target's, and how fast is it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdbench.errors import TaskError
from kdbench.models.prompt_lookup import PromptLookup
from kdbench.models.protocols import GENERATE_TEXT
from kdbench.models.tokens import TokenRow
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.speculative.drafts import (
    Chains,
    DraftParams,
    DraftTask,
    chances_on,
    check_fit,
    row_of,
)
from kdbench.tasks.speculative.numbers import loop_metrics
from kdbench.tasks.task import Context, Item, Metric

if TYPE_CHECKING:
    from kdbench.models.speculation import Course
    from kdbench.models.timing import Round, Subject
    from kdbench.tasks.panel import Panel

GAMMAS = [1, 3, 5]
_ROUNDS = 3
_STEPS = 8
"""Calls of a single step in each round, of which the mean counts."""


class LoopParams(DraftParams):
    gamma: Chains = GAMMAS
    rounds: int = Field(_ROUNDS, ge=1, description="timings of each prompt, interleaved")


@dataclass(frozen=True, slots=True)
class _Prompted:
    """An item with the target's plain text, and its tokens behind those of the prompt."""

    item: Item
    plain: Sample
    row: TokenRow

    @property
    def prompt(self) -> tuple[int, ...]:
        return self.row.tokens[: len(self.row.tokens) - self.row.scored]

    @property
    def ids(self) -> list[int]:
        return list(self.row.tokens[len(self.prompt) :])


@task("speculative.loop")
class SpeculativeLoop(DraftTask):
    """kdbench's reference loop judges replay; transformers' assisted generation is timed beside plain."""

    version = 1
    about = "the real loop on a subset: conformance with replay, losslessness, measured speed-up"
    source = "kdbench; transformers' assisted generation, constant schedule, confidence threshold 0"
    Params = LoopParams
    timing = True
    headlines = ("speedup@?", "predicted_speedup@?", "conformance@?")
    params: LoopParams

    @classmethod
    def known_metrics(cls) -> list[Metric]:
        return loop_metrics(GAMMAS)

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import SPECULATIVE_LOOP

        return SPECULATIVE_LOOP

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "rounds": self.params.rounds}

    def verbs(self) -> frozenset[str]:
        return super().verbs() | {GENERATE_TEXT}

    def metrics(self) -> list[Metric]:
        return loop_metrics(self.params.gamma)

    def protocol(self) -> dict[str, str]:
        greedy = self.warp.temperature == 0
        return {
            **super().protocol(),
            "tau": "with bonus token",
            "loop": "rejection sampling",
            "timed": "transformers generate, batch 1, constant schedule, confidence threshold 0",
            "lengths": "same" if greedy else "as drawn, seconds per token",
            "rounds": str(self.params.rounds),
        }

    def measure(
        self, teacher: Any, student: Any, items: Sequence[Item], context: Context
    ) -> list[Sample]:
        if self.params.stop:
            raise TaskError(f"{self.label}: the loop ends at the end of text alone; leave out stop")
        told = [
            _Prompted(item, text, row_of(teacher, text, self.params.max_new_tokens))
            for item in items
            for text in (context.basis[item.id],)
        ]
        check_fit(self.label, student, [one.row for one in told])
        samples = [
            replace(one.plain, index=one.item.index, cluster=one.item.cluster, scores={}, extra={})
            for one in told
        ]
        for gamma in self.params.gamma:
            self._conform(teacher, student, told, samples, gamma, context)
        self._race(teacher, student, told, samples, context)
        return samples

    def _conform(
        self,
        teacher: Any,
        student: Any,
        told: Sequence[_Prompted],
        samples: Sequence[Sample],
        gamma: int,
        context: Context,
    ) -> None:
        """Run the reference loop, and replay what it has written."""
        from kdbench.metrics.replay import replays

        courses = [
            self._course(
                teacher, student, one, gamma, context.sample_seed(f"{one.item.id}/{gamma}")
            )
            for one in told
        ]
        rows = [
            TokenRow((*one.prompt, *course.ids), len(course.ids))
            for one, course in zip(told, courses, strict=True)
        ]
        chances = chances_on(teacher, student, rows, self.warp, gamma)
        expected = replays(chances, [gamma])[gamma].passes.tolist()
        for one, sample, course, own, passes in zip(
            told, samples, courses, chances, expected, strict=True
        ):
            count, cycles = len(course.ids), len(course.cycles)
            sample.scores[f"tau@{gamma}"] = [count, cycles]
            sample.scores[f"acceptance@{gamma}"] = [course.accepted, course.tested]
            sample.scores[f"conformance@{gamma}"] = [
                count,
                cycles,
                passes,
                contradiction(course, own),
            ]
            sample.scores[f"replayed_tau@{gamma}"] = [count, passes]
            self._compare_text(teacher, one, sample, course.ids, gamma)

    def _course(self, teacher: Any, student: Any, one: _Prompted, gamma: int, seed: int) -> Course:
        import torch

        from kdbench.models.speculation import CachedReader, speculate

        lookup = isinstance(student, PromptLookup)
        return speculate(
            CachedReader(teacher.model, self.warp),
            student if lookup else CachedReader(student.model, self.warp),
            one.prompt,
            gamma,
            self.params.max_new_tokens,
            teacher.generator.ends,
            torch.Generator().manual_seed(seed),
        )

    def _compare_text(
        self, teacher: Any, one: _Prompted, sample: Sample, ids: list[int], gamma: int
    ) -> None:
        """Greedy text with drafts must be the plain one; where not, how near the two tokens were."""
        skipped = sample.extra.setdefault("skipped", {})
        if self.warp.temperature > 0:
            drawn = "drawn texts differ by chance; greedy ones are compared"
            skipped |= {f"lossless@{gamma}": drawn, f"divergence_margin@{gamma}": drawn}
            return
        place = divergence(one.ids, ids)
        sample.scores[f"lossless@{gamma}"] = float(place is None)
        if place is None:
            skipped[f"divergence_margin@{gamma}"] = "no text differs"
            return
        margin = _margin(teacher, [*one.prompt, *one.ids[:place]])
        sample.scores[f"divergence_margin@{gamma}"] = margin
        sample.extra.setdefault("diverged", {})[str(gamma)] = [place, margin]

    def _race(
        self,
        teacher: Any,
        student: Any,
        told: Sequence[_Prompted],
        samples: Sequence[Sample],
        context: Context,
    ) -> None:
        """Time plain and assisted generation, and single steps, in interleaved rounds of each prompt."""
        from kdbench.models.timing import WarmUp, clock_for, interleaved, warm_up

        clock = clock_for(teacher.model.device)
        warm = False
        for one, sample in zip(told, samples, strict=True):
            if not one.ids:
                continue
            seed = context.sample_seed(f"{one.item.id}/timed")
            counts: dict[str, list[tuple[int, int]]] = {}
            subjects = self._subjects(teacher, student, one, seed, counts)
            if not warm:
                for subject in subjects:
                    warm_up(subject, clock, WarmUp(most_calls=5, most_seconds=5.0))
                warm = True
            for done in counts.values():
                done.clear()
            repeats = {s.name: 1 if s.name in counts else _STEPS for s in subjects}
            rounds = list(interleaved(subjects, clock, range(self.params.rounds), seed, repeats))
            self._score_times(sample, one, rounds, counts)

    def _subjects(
        self,
        teacher: Any,
        student: Any,
        one: _Prompted,
        seed: int,
        counts: dict[str, list[tuple[int, int]]],
    ) -> list[Subject]:
        from kdbench.models.assisted import generate, steps, takes
        from kdbench.models.timing import Subject

        def generating(name: str, gamma: int) -> Subject:
            done = counts.setdefault(name, [])

            def call(_: object) -> None:
                found = generate(
                    teacher, one.prompt, self.warp, self.params.max_new_tokens, seed + len(done),
                    student if gamma else None, gamma,
                )  # fmt: skip
                done.append((len(found.ids), found.passes))

            return Subject(name, call)

        gammas = self.params.gamma if takes(teacher, student) else []
        single = steps(teacher, student, one.row.tokens, self.params.gamma)
        return [
            generating("plain", 0),
            *(generating(f"assisted@{gamma}", gamma) for gamma in gammas),
            Subject("target_step", _unmarked(single.target)),
            Subject("draft_step", _unmarked(single.draft)),
            *(Subject(f"verify@{gamma}", _unmarked(call)) for gamma, call in single.verify.items()),
        ]

    def _score_times(
        self,
        sample: Sample,
        one: _Prompted,
        rounds: Sequence[Round],
        counts: dict[str, list[tuple[int, int]]],
    ) -> None:
        seconds = {name: sum(found.seconds(name) for found in rounds) for name in rounds[0].calls}
        tokens = {name: sum(count for count, _ in done) for name, done in counts.items()}
        scores, length, rest = sample.scores, len(one.ids), len(rounds)
        target, draft = seconds["target_step"], seconds["draft_step"]
        scores["plain_tokens_per_second"] = [tokens["plain"], seconds["plain"]]
        scores["target_step"], scores["draft_step"] = target / rest, draft / rest
        scores["draft_cost"] = [draft, target]
        plain = seconds["plain"] / tokens["plain"] * length
        best: dict[str, list[list[float]]] = {"predicted": []}
        for gamma in self.params.gamma:
            verify = seconds[f"verify@{gamma}"]
            count, passes = scores[f"replayed_tau@{gamma}"]
            scores[f"verify_cost@{gamma}"] = [verify, target]
            predicted = [count, passes, target, gamma * draft + verify]
            scores[f"predicted_speedup@{gamma}"] = predicted
            best["predicted"].append([gamma, *predicted])
            name = f"assisted@{gamma}"
            if name not in seconds:
                reasons = sample.extra["skipped"]
                timed = [
                    f"{what}@{gamma}" for what in ("tokens_per_second", "assisted_tau", "speedup")
                ]
                reasons |= dict.fromkeys([*timed, "best_gamma_measured"], _OTHER_SIZE)
                continue
            own = seconds[name] / tokens[name] * length
            scores[f"tokens_per_second@{gamma}"] = [tokens[name], seconds[name]]
            scores[f"assisted_tau@{gamma}"] = [tokens[name], sum(p for _, p in counts[name])]
            scores[f"speedup@{gamma}"] = [plain, own]
            best.setdefault("measured", []).append([gamma, plain, own, 1.0, 1.0])
        for how, found in best.items():
            scores[f"best_gamma_{how}"] = found


_OTHER_SIZE = "transformers' assisted generation takes no draft with a vocabulary of another size"


def _unmarked(call: Callable[[], object]) -> Callable[[object], object]:
    """A call to be timed that has no marks to set."""
    return lambda _: call()


def divergence(plain: Sequence[int], other: Sequence[int]) -> int | None:
    """The first position at which two texts differ; None where they are the same."""
    for place, (one, two) in enumerate(zip(plain, other, strict=False)):
        if one != two:
            return place
    return None if len(plain) == len(other) else min(len(plain), len(other))


def contradiction(course: Course, chances: Any) -> int:
    """The first position at which the loop did what replay holds to be impossible; -1 where it never did."""
    for cycle in course.cycles:
        for place in range(cycle.accepted + 1):
            at = cycle.start + place
            if place >= cycle.drafted or at >= len(course.ids):
                break
            chance = float(chances[at] if chances.ndim == 1 else chances[cycle.start, place])
            if chance == (0.0 if place < cycle.accepted else 1.0):
                return at
    return -1


def _margin(teacher: Any, tokens: Sequence[int]) -> float:
    """By how much the target's best logit leads the next behind `tokens`."""
    import torch

    ids = torch.tensor([list(tokens)], device=teacher.model.device)
    with torch.inference_mode():
        best = teacher.model(input_ids=ids).logits[0, -1].float().topk(2).values
    return float(best[0] - best[1])
