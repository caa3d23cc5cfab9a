"""The verbs: small protocols that tasks need and adapters provide.

A task says which verbs it needs, an adapter which ones it has; `kdbench validate` compares the two
before anything loads. Requests carry everything that can change their answer, so the order and the
grouping in which they are sent never matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

SCORE_TEXT = "score_text"
SCORE_ROLLING = "score_rolling"
GENERATE_TEXT = "generate_text"
CHAT_TEMPLATE = "chat_template"
SCORE_TOKENS = "score_tokens"
SCORE_WINDOWS = "score_windows"
DRAFT_TOKENS = "draft_tokens"
DRAFT_DISTRIBUTIONS = "draft_distributions"
GENERATE_IMAGES = "generate_images"
TIME_TEXT = "time_text"
STREAM_TEXT = "stream_text"
TIME_CLASSIFIER = "time_classifier"
CLASSIFY = "classify"
TIME_IMAGES = "time_images"
FOOTPRINT = "footprint"

ABOUT_VERBS: Mapping[str, str] = {
    SCORE_TEXT: "log-probability of a continuation given a context",
    SCORE_ROLLING: "log-probability of a whole text, in windows of the model's context",
    GENERATE_TEXT: "text that continues a prompt",
    SCORE_WINDOWS: "log-probability of a whole text, in windows of a given size that overlap",
    SCORE_TOKENS: "whole distributions over the next token, for comparing two models in one process",
    DRAFT_TOKENS: "proposes tokens from those before them alone, without distributions",
    DRAFT_DISTRIBUTIONS: "distributions over the tokens that a draft can propose, a part of all",
    GENERATE_IMAGES: "images from prompts or labels, each from noise of its own seed",
    TIME_TEXT: "a fixed number of tokens generated in this process, with marks for a clock",
    STREAM_TEXT: "text from a server, chunk by chunk, many requests under way at once",
    CLASSIFY: "classes of images, with their probabilities",
    TIME_CLASSIFIER: "a batch of images classified in this process, for a clock",
    TIME_IMAGES: "a batch of images made in this process, with marks for a clock",
    FOOTPRINT: "parameters, FLOPs and bytes that the loaded model is made of",
    CHAT_TEMPLATE: "renders chat messages into the model's own prompt format",
}


@dataclass(frozen=True, slots=True)
class Continuation:
    """Score `text` as the continuation of `context` (an empty context means start of text)."""

    context: str
    text: str


@dataclass(frozen=True, slots=True)
class Scored:
    """Natural-log probability (nats) of a text, summed over its `tokens`.

    `greedy` is true where every token was the model's most probable one. Rolling scores leave it false.
    """

    logprob: float
    greedy: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """Generate until one of `stop`, end of text, or `max_new_tokens` (tokens).

    Temperature 0 is greedy. `seed` is the sample's own, so that a batch never changes an answer.
    `options` holds further settings by their Hugging Face names; an adapter refuses those it lacks.
    """

    text: str
    stop: tuple[str, ...]
    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generated:
    """Text without the stop string, its length in the model's tokens, and why it ended.

    `ids` are the generated tokens themselves, the end of text included where it came; empty where an
    adapter sees only text. They may spell more than `text`: a stop string is cut from the text alone.
    """

    text: str
    tokens: int
    finish: str  # "stop" | "length"
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Classified:
    """The most probable class of an image, by its place in the model's outputs, and all probabilities."""

    label: int
    probabilities: tuple[float, ...]


@runtime_checkable
class ScoresText(Protocol):
    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]: ...


@runtime_checkable
class ScoresRolling(Protocol):
    def score_rolling(self, texts: Sequence[str]) -> list[Scored]: ...


@runtime_checkable
class ScoresWindows(Protocol):
    def score_windows(self, texts: Sequence[str], window: int, stride: int) -> list[Scored]:
        """Each token once, the first `window` from the beginning, the others in steps of `stride`
        tokens behind as much context as `window` tokens hold."""
        ...


@runtime_checkable
class GeneratesText(Protocol):
    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]: ...


@runtime_checkable
class HasChatTemplate(Protocol):
    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str: ...


@runtime_checkable
class TimesText(Protocol):
    def time_text(self, shape: Any, seed: int, how: Any) -> AbstractContextManager[Any]:
        """A `kdbench.models.timing.text_run.TextRun` of a `TextShape` under an `Execution`."""
        ...


@runtime_checkable
class HasFootprint(Protocol):
    def footprint(self, context: int) -> Any:
        """A `kdbench.models.timing.footprint.Footprint`, its FLOPs at so many tokens of context."""
        ...
