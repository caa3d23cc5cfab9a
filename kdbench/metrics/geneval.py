"""GenEval's rules: is what a detector sees in an image what the prompt asked for?

Pure functions on detections, without a detector. Source: Ghosh, Hajishirzi & Schmidt (2023), "GenEval: An
object-focused framework for evaluating text-to-image alignment", arXiv:2310.11513, and its reference
implementation (`evaluate_images.py`, `summary_scores.py`), whose thresholds and order of checks these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import copysign, hypot

TAGS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
COLOURS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
RELATIONS = ("left of", "right of", "above", "below")


@dataclass(frozen=True, slots=True)
class Detection:
    """One object that a detector found: its score in 0..1 and its box (x1, y1, x2, y2) in pixels.

    `colour` is one of `COLOURS`, or empty where nobody asked for it.
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """At least `count` objects of a class, perhaps of a colour, perhaps in a `relation` to the objects
    of the clause numbered `target`."""

    label: str
    count: int
    colour: str = ""
    relation: str = ""
    target: int = 0


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one prompt asks for: every clause of `include`, and none of `exclude`."""

    tag: str
    include: tuple[Wanted, ...]
    exclude: tuple[Wanted, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """The thresholds; the defaults are GenEval's.

    `threshold` is the score that a detection must exceed, `counting_threshold` the one for prompts of
    the tag counting, `most` how many detections of a class count at most, and `position` how far boxes
    must be apart, as a share of their summed sides.
    """

    threshold: float = 0.3
    counting_threshold: float = 0.9
    most: int = 16
    position: float = 0.1

    def threshold_for(self, tag: str) -> float:
        """The score that a detection must exceed under prompts of this tag."""
        return self.counting_threshold if tag == "counting" else self.threshold


GENEVAL = Rules()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the image is right, and what is wrong where it is not, clause by clause."""

    correct: bool
    reasons: tuple[str, ...]


def kept(
    detections: Iterable[Detection], threshold: float, most: int
) -> dict[str, list[Detection]]:
    """Detections by class, best first: those above `threshold`, at most `most` of a class.

    Overlapping boxes stay: GenEval's own limit on overlap is 1.
    """
    found: dict[str, list[Detection]] = {}
    for one in sorted(detections, key=lambda one: -one.score):
        own = found.setdefault(one.label, [])
        if one.score > threshold and len(own) < most:
            own.append(one)
    return {label: own for label, own in found.items() if own}


def judge(
    requirement: Requirement, detections: Iterable[Detection], rules: Rules = GENEVAL
) -> Verdict:
    """The verdict on one image from everything that was detected in it.

    Only the best `count` objects of a class are asked for their colour and place, so those need a
    `colour` where the requirement names one.
    """
    seen = kept(detections, rules.threshold_for(requirement.tag), rules.most)
    reasons: list[str] = []
    groups: list[list[Detection] | None] = []
    for wanted in requirement.include:
        own = seen.get(wanted.label, [])[: wanted.count]
        reason = _missing(wanted, own) or _misplaced(wanted, own, groups, rules.position)
        groups.append(None if reason else own)
        if reason:
            reasons.append(reason)
    for unwanted in requirement.exclude:
        count = len(seen.get(unwanted.label, []))
        if count >= unwanted.count:
            reasons.append(f"fewer than {unwanted.count} {unwanted.label} expected, {count} seen")
    return Verdict(not reasons, tuple(reasons))


def relations(
    one: Detection, other: Detection, position: float = GENEVAL.position
) -> frozenset[str]:
    """Where `one` lies as seen from `other`: none, one or two of `RELATIONS`.

    The offset of the centres is shortened by `position` times the summed sides, axis by axis, and
    divided by its length before: a direction counts where it makes up more than half of it.
    """
    x, y = _centre(one)
    u, v = _centre(other)
    wide, high = (_side(one.box, axis) + _side(other.box, axis) for axis in (0, 1))
    apart_x = max(abs(x - u) - position * wide, 0.0)
    apart_y = max(abs(y - v) - position * high, 0.0)
    if max(apart_x, apart_y) < 1e-3:
        return frozenset()
    length = hypot(x - u, y - v)
    dx, dy = copysign(apart_x, x - u) / length, copysign(apart_y, y - v) / length
    holds = (dx < -0.5, dx > 0.5, dy < -0.5, dy > 0.5)
    return frozenset(name for name, true in zip(RELATIONS, holds, strict=True) if true)


def overall(accuracies: Mapping[str, float]) -> float:
    """GenEval's score: the mean over tags of each tag's share of right images, whatever their sizes.

    Raises `ValueError` where there is none.
    """
    if not accuracies:
        raise ValueError("no tag has an accuracy")
    return sum(accuracies.values()) / len(accuracies)


def _centre(one: Detection) -> tuple[float, float]:
    x1, y1, x2, y2 = one.box
    return (x1 + x2) / 2, (y1 + y2) / 2


def _side(box: tuple[float, float, float, float], axis: int) -> float:
    return abs(box[axis + 2] - box[axis])


def _missing(wanted: Wanted, own: Sequence[Detection]) -> str:
    if len(own) < wanted.count:
        return f"{wanted.count} {wanted.label} expected, {len(own)} seen"
    right = sum(one.colour == wanted.colour for one in own)
    if wanted.colour and right < wanted.count:
        colours = ", ".join(one.colour or "none" for one in own)
        return f"{wanted.count} {wanted.colour} {wanted.label} expected, seen: {colours}"
    return ""


def _misplaced(
    wanted: Wanted, own: Sequence[Detection], groups: Sequence[list[Detection] | None], share: float
) -> str:
    if not wanted.relation:
        return ""
    targets = groups[wanted.target]
    if targets is None:
        return f"nothing that {wanted.label} could be {wanted.relation}"
    for one in own:
        for target in targets:
            true = relations(one, target, share)
            if wanted.relation not in true:
                where = " and ".join(sorted(true)) or "at no side"
                return f"{wanted.label} expected {wanted.relation} {target.label}, seen {where}"
    return ""
