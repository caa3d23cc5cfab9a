"""What a training document is, and how the space of documents is split into train and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

Side = Literal["train", "test"]
Kind = Literal["recital", "problem", "passage", "story"]

TEST_SHARE = 8
"""One content key in this many belongs to the test side."""


def side_of(key: str) -> Side:
    """Return the side that a content key belongs to.

    The key names what a document is *about* (its numbers, its facts), not how it is worded, so
    neither a test document nor a rewording of it can turn up in training.
    """
    digest = hashlib.sha256(key.encode("utf-8")).digest()
    return "test" if digest[0] % TEST_SHARE == 0 else "train"


@dataclass(frozen=True)
class Answer:
    """The text that a task asks for, and a plausible wrong text in its place."""

    right: str
    wrong: str


@dataclass(frozen=True)
class Document:
    """A document as alternating prompt texts and answers, with the content keys it uses."""

    kind: Kind
    prompts: tuple[str, ...]
    answers: tuple[Answer, ...]
    keys: tuple[str, ...]

    def pieces(self, wrong: tuple[bool, ...] | None = None) -> list[tuple[str, bool]]:
        """Return ``(text, is_answer)`` pieces; ``wrong`` marks the answers to be falsified."""
        flags = wrong or (False,) * len(self.answers)
        result: list[tuple[str, bool]] = []
        for prompt, answer, flag in zip(self.prompts, self.answers, flags, strict=True):
            result.append((prompt, False))
            result.append((answer.wrong if flag else answer.right, True))
        return result

    def text(self) -> str:
        """Return the correct document as one string."""
        return "".join(text for text, _ in self.pieces())
