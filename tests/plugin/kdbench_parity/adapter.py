"""The adapter `parity`: answers at once, wrongly as often as it is told to."""

import os
import signal
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from pydantic import Field

from kdbench.errors import ModelError
from kdbench.models.adapter import Adapter, AdapterParams
from kdbench.models.protocols import GENERATE_TEXT, Generated, Prompt
from kdbench.registry import adapter


class ParityAdapterParams(AdapterParams):
    wrong: float = Field(0.0, description="share of wrong answers", ge=0, le=1)
    salt: str = Field("", description="which answers are wrong")
    seconds: float = Field(0.0, description="time per batch")
    dies: bool = Field(False, description="be killed while answering")
    dies_loading: bool = Field(False, description="be killed while loading")
    broken: str = Field("", description="fail with this message")
    mumbles: bool = Field(False, description="raise an error that nobody foresaw")
    tokenizer: str = Field("digits", description="name of the tokenizer")


class Answers:
    def __init__(self, params: ParityAdapterParams) -> None:
        self.params = params

    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
        if self.params.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.params.broken:
            raise ModelError(self.params.broken)
        if self.params.mumbles:
            raise IndexError("list index out of range")
        time.sleep(self.params.seconds)
        return [self._answer(prompt) for prompt in prompts]

    def _answer(self, prompt: Prompt) -> Generated:
        odd = int("".join(c for c in prompt.text if c.isdigit())) % 2 == 1
        draw = sha256(f"{self.params.salt}{prompt.text}{prompt.seed}".encode()).digest()[0] / 256
        right = odd if draw >= self.params.wrong else not odd
        return Generated("yes" if right else "no", 1, "stop")


@adapter("parity")
class ParityAdapter(Adapter):
    about = "knows whether numbers are odd"
    Params = ParityAdapterParams

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_TEXT})

    def check(self) -> None:
        if self.params.salt == "missing":
            raise ModelError("no salt in the cellar; fetch some")

    def fingerprint(self) -> dict[str, str]:
        return {"wrong": str(self.params.wrong), "salt": self.params.salt, "flags": self._flags()}

    def _flags(self) -> str:
        flags = ("dies", "dies_loading", "mumbles")
        return ",".join(f for f in flags if getattr(self.params, f)) + self.params.broken

    def tokenizer_fingerprint(self) -> str:
        return self.params.tokenizer

    def load(self) -> Any:
        if self.params.dies_loading:
            os.kill(os.getpid(), signal.SIGKILL)
        return Answers(self.params)
