"""Models behind an HTTP server that speaks OpenAI's API: vLLM, SGLang, llama.cpp, and OpenAI
itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field

from kdbench.errors import ModelError
from kdbench.models.adapter import Adapter, AdapterParams, Download
from kdbench.models.place import TOKENIZER, Place
from kdbench.models.protocols import (
    CHAT_TEMPLATE,
    GENERATE_TEXT,
    SCORE_ROLLING,
    SCORE_TEXT,
    STREAM_TEXT,
)
from kdbench.models.requirements import require
from kdbench.models.tokenizer_files import TokenizerFiles
from kdbench.registry import adapter

if TYPE_CHECKING:
    from kdbench.models.api_model import ApiModel


class OpenAIParams(AdapterParams):
    """`models.<name>` with `adapter: openai`."""

    base_url: str = Field(description="up to and including the version, http://localhost:8000/v1")
    model: str = Field(description="the name that the server knows the model by")
    api: Literal["completions", "chat"] = Field(
        "completions", description="chat sends each prompt as one user message and can't score"
    )
    api_key_env: str | None = Field(
        None, description="the environment variable that holds the key; never the key itself"
    )
    revision: str | None = Field(
        None,
        description="what you vouch for: which weights are served; with it, the address is no "
        "part of the model's identity",
    )
    scores: Literal["auto", "echo", "llama.cpp", "none"] = Field(
        "auto",
        description="how log-probabilities are had: echoed prompts (vLLM), token by token from "
        "llama.cpp's own interface, or not at all",
    )
    tokenizer: str | None = Field(
        None,
        description="folder or hf:org/name of the model's tokenizer, for exact token boundaries",
    )
    max_length: int | None = Field(None, gt=2, description="tokens of context of the server")
    hardware: str | None = Field(
        None, description="what the server runs on, for timings (1x NVIDIA H200, vLLM 0.11)"
    )
    max_tokens_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    concurrency: int = Field(4, ge=1, le=256, description="requests under way at once")
    timeout: float = Field(120.0, gt=0, description="seconds to wait for one answer")
    retries: int = Field(5, ge=0, description="further tries after 429, 5xx and broken connections")
    backoff: float = Field(1.0, ge=0, description="seconds before the first of them; then doubled")


@adapter("openai")
class OpenAIAdapter(Adapter):
    about = "any server with OpenAI's completions or chat API (vLLM, SGLang, llama.cpp, ...)"
    Params = OpenAIParams

    def verbs(self) -> frozenset[str]:
        """From the suite alone: whether the server gives log-probabilities shows at the first
        score.
        """
        if self.params.api == "chat":
            return frozenset({GENERATE_TEXT, STREAM_TEXT})
        verbs = {GENERATE_TEXT, STREAM_TEXT}
        if self.params.scores != "none":
            verbs |= {SCORE_TEXT, SCORE_ROLLING}
        if self.params.tokenizer is not None and self._has_chat_template():
            verbs.add(CHAT_TEMPLATE)
        return frozenset(verbs)

    def check(self) -> None:
        url = urlsplit(self.params.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ModelError(
                f"base_url {self.params.base_url!r} is no address; write http://host:port/v1"
            )
        if url.username or url.password:
            raise ModelError(
                "base_url holds a user name or password; put the key into an environment variable "
                "and name that with api_key_env"
            )
        require("httpx", extra="api")
        self.key()
        if self.params.tokenizer is not None:
            require("transformers", extra="lm")
            files = self._tokenizer_files()
            if files is not None:
                files.check()

    def fingerprint(self) -> dict[str, str]:
        parts = {
            "adapter": self.name,
            "model": self.params.model,
            "api": self.params.api,
            "revision": self.params.revision or "none",
            "scores": self.params.scores,
            "max_length": str(self.params.max_length),
        }
        tokenizer = self._tokenizer()
        parts["tokenizer"] = "server"
        if tokenizer is not None:
            parts["tokenizer"] = TokenizerFiles(tokenizer.at_hand()).digest()
        if self.params.hardware is not None:
            parts["hardware"] = self.params.hardware
        if self.params.revision is None:
            parts["server"] = self.params.base_url.rstrip("/")
        return parts

    def tokenizer_fingerprint(self) -> str | None:
        files = self._tokenizer_files()
        return files.vocabulary_digest() if files else None

    def downloads(self) -> list[Download]:
        from kdbench.models import hub

        tokenizer = self._tokenizer()
        if tokenizer is None or tokenizer.hub is None or tokenizer.found() is not None:
            return []
        return [hub.download(tokenizer.hub, TOKENIZER)]

    def fetch(self) -> None:
        tokenizer = self._tokenizer()
        if tokenizer is not None:
            tokenizer.fetched(TOKENIZER)

    def load(self) -> ApiModel:
        from kdbench.models.api_client import ApiClient
        from kdbench.models.api_model import ApiModel

        self.check()
        client = ApiClient(
            self.params.base_url,
            self.key(),
            timeout=self.params.timeout,
            retries=self.params.retries,
            backoff=self.params.backoff,
            concurrency=self.params.concurrency,
        )
        tokenizer = self._tokenizer()
        return ApiModel(client, self.params, tokenizer.at_hand() if tokenizer else None, self.key())

    def key(self) -> str | None:
        """The secret, from the environment; `ModelError` where the named variable is not set."""
        name = self.params.api_key_env
        if name is None:
            return None
        key = os.environ.get(name)
        if not key:
            raise ModelError(
                f"api_key_env names the environment variable {name}, and it is not set; "
                f"`export {name}=...` before the run"
            )
        return key

    def _tokenizer(self) -> Place | None:
        named = self.params.tokenizer
        return Place.parse(named, self.folder) if named else None

    def _tokenizer_files(self) -> TokenizerFiles | None:
        place = self._tokenizer()
        folder = place.found() if place else None
        return TokenizerFiles(folder) if folder else None

    def _has_chat_template(self) -> bool:
        try:
            files = self._tokenizer_files()
            return files is None or files.chat_template() is not None
        except ModelError:
            return True
