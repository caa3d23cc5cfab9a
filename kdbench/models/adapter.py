"""What an adapter is: it describes a model without loading it, then loads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from kdbench.suite import LoadSettings

__all__ = ["Adapter", "AdapterParams", "Download", "LoadSettings", "Size"]


class AdapterParams(BaseModel):
    """The adapter's own keys under `models.<name>` in a suite; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Download:
    """Something a run would fetch: what, how many bytes (None: unknown), and how to place it by hand."""

    what: str
    size: int | None
    by_hand: str


@dataclass(frozen=True, slots=True)
class Size:
    """How large a model is as stored: numbers in its weight files, and the files' bytes.

    Weights that are tied and stored once count once; packed quantised weights count as they are packed.
    """

    parameters: int
    weight_bytes: int


class Adapter(ABC):
    """One model as a suite names it: cheap to build, cheap to ask, expensive only in `load`.

    Everything but `load` must work without torch and without the network.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    Params: ClassVar[type[AdapterParams]]

    def __init__(self, params: Any, folder: Path, settings: LoadSettings) -> None:
        """`folder` is the suite's: relative paths in `params` start there."""
        self.params = params
        self.folder = folder
        self.settings = settings

    @abstractmethod
    def verbs(self) -> frozenset[str]:
        """The protocol verbs that the loaded model will have."""

    def lacking(self) -> str:
        """Why this model has fewer verbs than others of its adapter; empty where it has all of them."""
        return ""

    @abstractmethod
    def check(self) -> None:
        """Raise `ModelError` for what can be seen to be wrong without loading (a missing folder, say)."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """What can change an answer, never where it lies: weights and tokenizer hashes, dtype, revision.

        Raises `ModelError` where the weights are not there (yet): see `downloads`.
        """

    def tokenizer_fingerprint(self) -> str | None:
        """Equal for two models exactly when their tokenizers agree; None where that can't be known."""
        return None

    def size(self) -> Size | None:
        """How large the model is, read without loading it; None where that can't be known."""
        return None

    def downloads(self) -> list[Download]:
        """What a run would have to fetch first; empty when all is at hand."""
        return []

    def fetch(self) -> None:
        """Fetch what `downloads` lists; called only where there is something."""

    def prepare(self) -> None:
        """Import what `load` will need, so that loading can be timed without it."""

    @abstractmethod
    def load(self) -> Any:
        """The model, speaking the protocols of `verbs()`; a `close()` method is called if it has one."""
