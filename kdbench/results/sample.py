"""A sample: one document, prompt, image or timing round of one cell."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of one subject, with its scores; the only thing that tables are computed from.

    `id` is a hash of what was asked (document, prompt and target, never the answer), so the same
    question joins teacher and student; `index` is its place in the task; samples that share a prompt
    or passage share a `cluster`. A score is a number, or a short list of numbers where a metric's
    aggregation needs several (a log-likelihood with its byte count, say).
    """

    id: str
    index: int
    cluster: str
    scores: dict[str, Any]
    prompt: str = ""
    target: str = ""
    output: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sample:
        return cls(**data)
