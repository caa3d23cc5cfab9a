"""A statistic of a whole set with all that its interval, at any confidence, and its pairing are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdbench.stats import Estimate
from kdbench.stats.intervals import proportion_of_size
from kdbench.stats.jackknife import interval_of_parts, jackknife, jackknife_error
from kdbench.stats.line import Line

Floats = NDArray[np.float64]


def _none() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class Share:
    """What Wilson's interval of a proportion needs: it is known as well as from `size` samples.

    `size` and `degrees` are those of `kdbench.stats.intervals.proportion_of_size`; `method` names the
    interval.
    """

    size: float
    degrees: float
    method: str


@dataclass(frozen=True, slots=True)
class Folded:
    """``value`` from all ``n`` samples, and ``without`` each of the G folds in turn, shape (G,).

    Statistics of teacher and student over the same folds (same prompts, same noise) are paired by
    ``minus`` and ``over``. ``clusters`` counts what the folds were made of, where samples share a prompt.
    ``reference``, where it is there, is the value without each fold of the real images: the interval is then
    one over draws of both sides, else the real images count as given. ``line`` is the extrapolation that the
    value comes from, whose error adds to the folds'. A proportion has its ``share``: alone it has Wilson's
    interval, which the jackknife's can't replace near 0 and 1.
    """

    value: float
    without: Floats
    n: int
    clusters: int | None = None
    reference: Floats = field(default_factory=_none)
    line: Line | None = None
    share: Share | None = None

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Folded:
        """What ``to_json`` gave, with `value`, `n` and `n_clusters` beside it."""
        line, share = held.get("line"), held.get("share")
        return cls(
            held["value"],
            np.asarray(held["without"], dtype=np.float64),
            held["n"],
            held["n_clusters"],
            np.asarray(held.get("reference", ()), dtype=np.float64),
            Line(np.asarray(line["sizes"]), np.asarray(line["values"])) if line else None,
            Share(**share) if share else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but value and counts, which an ``Estimate`` holds, too."""
        found: dict[str, Any] = {"without": self.without.tolist()}
        if self.reference.size:
            found["reference"] = self.reference.tolist()
        if self.line is not None:
            found["line"] = {
                "sizes": self.line.sizes.tolist(), "values": self.line.values.tolist(),
            }  # fmt: skip
        if self.share is not None:
            share = self.share
            found["share"] = {"size": share.size, "degrees": share.degrees, "method": share.method}
        return found

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """The value with its interval; nan bounds where there are fewer than two folds and no share."""
        clusters = self.n if self.clusters is None else self.clusters
        if self.share is not None:
            size, degrees, method = self.share.size, self.share.degrees, self.share.method
            return proportion_of_size(
                self.value, size, degrees, self.n, clusters, confidence, method
            )
        folds, others = self.without.size, self.reference.size
        if folds < 2 or (others < 2 and self.line is None):
            return jackknife(self.value, self.without, self.n, clusters, confidence)
        parts = [(jackknife_error(self.without), float(folds - 1))]
        method = f"grouped jackknife ({folds})"
        if others:
            parts.append((jackknife_error(self.reference), float(others - 1)))
            method = f"grouped jackknife ({folds}, and {others} of the reference)"
        if self.line is not None:
            parts.append((self.line.error, float(self.line.degrees)))
            method += f" and regression in 1/N ({self.line.sizes.size} points)"
        return interval_of_parts(self.value, parts, method, self.n, clusters, confidence)

    def minus(self, other: Folded) -> Folded:
        """The difference over the same folds; ValueError where samples, folds or sizes differ."""
        self._check(other)
        line = None
        if self.line is not None and other.line is not None:
            line = self.line.minus(other.line)
        return replace(
            self,
            value=self.value - other.value,
            without=self.without - other.without,
            reference=self.reference - other.reference,
            line=line,
            share=None,
        )

    def over(self, other: Folded) -> Folded:
        """The ratio over the same folds; ValueError as ``minus``, and where a denominator is not above 0
        or a value is extrapolated, whose scatter has no ratio.
        """
        self._check(other)
        if self.line is not None:
            raise ValueError("an extrapolated value has a difference and no ratio")
        below = np.concatenate([[other.value], other.without, other.reference])
        if not (below > 0).all():
            raise ValueError("the teacher's value is 0, so a ratio says nothing")
        return replace(
            self,
            value=self.value / other.value,
            without=self.without / other.without,
            reference=self.reference / other.reference,
            share=None,
        )

    def _check(self, other: Folded) -> None:
        ours, theirs = ((one.n, one.without.size, one.reference.size) for one in (self, other))
        if ours != theirs:
            raise ValueError(f"{other.n} and {self.n} images can't be paired")
        if (self.line is None) != (other.line is None):
            raise ValueError("an extrapolated value and a plain one have no difference")
