"""A model behind an API, speaking the verbs: text through the API, scores the way that the server
can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.api_client import ApiClient
from kdbench.models.api_scoring import EchoScores, LlamaCppScores, Scores, echoing
from kdbench.models.api_stream import Endpoint
from kdbench.models.causal_lm import render
from kdbench.models.generation import check_prompt, cut_at, stops_of
from kdbench.models.protocols import Continuation, Generated, Prompt, Scored
from kdbench.models.tokens import TextEncoder, context_length

if TYPE_CHECKING:
    from kdbench.models.openai_api import OpenAIParams

MOST_STOPS = 4
"""OpenAI's limit; any further stop strings are cut out here, after the answer."""
_NO_LIMIT = 1 << 40


class ApiModel:
    """Sends prompts as they are: the server's own tokenizer and BOS policy apply to generation."""

    def __init__(
        self,
        client: ApiClient,
        params: OpenAIParams,
        tokenizer: Path | None = None,
        key: str | None = None,
    ) -> None:
        """`tokenizer` is the folder of the model's tokenizer, where the suite names one; `key` the secret."""
        self.client = client
        self.params = params
        self.tokenizer = _load_tokenizer(tokenizer) if tokenizer is not None else None
        self._key = key
        self._asked = Lock()
        self._props: dict[str, Any] | None = None
        self._props_known = False
        self._scores: Scores | None = None

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        """Log-probabilities in nats; `ModelError` where the server can't give any."""
        return self.scores().score_text(requests)

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]:
        """Log-probabilities of whole texts; `ModelError` where the server can't give any."""
        return self.scores().score_rolling(texts)

    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
        """One answer for each prompt, several requests under way at once."""
        for prompt in prompts:
            check_prompt(prompt, frozenset({"do_sample"}))
        return self.client.each(self._generate, prompts)

    def stream_text(self) -> Endpoint:
        """The way to the model for requests that stream; to be used and closed in one event loop."""
        asked = self.params
        return Endpoint(
            asked.base_url,
            asked.model,
            chat=asked.api == "chat",
            key=self._key,
            timeout=asked.timeout,
            max_tokens_key=asked.max_tokens_key,
        )

    @property
    def hardware(self) -> str | None:
        """What the suite says that the server runs on; nobody else can know."""
        return self.params.hardware

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The messages in the format of the tokenizer that the suite names."""
        if self.tokenizer is None:
            raise ModelError(
                f"model {self.params.model!r}: a chat template needs its tokenizer; name its "
                "folder with `tokenizer`, or use `api: chat` and let the server render"
            )
        return render(self.tokenizer, messages, add_generation_prompt)

    def close(self) -> None:
        self.client.close()

    def scores(self) -> Scores:
        """How this server scores; it is asked at the first request."""
        with self._asked:
            if self._scores is None:
                self._scores = self._choose_scores()
            return self._scores

    def props(self) -> dict[str, Any] | None:
        """What a llama.cpp server says about itself; None for every other server."""
        if not self._props_known:
            found = self.client.probe(f"{self.client.root}/props")
            self._props = found if found and "default_generation_settings" in found else None
            self._props_known = True
        return self._props

    def _choose_scores(self) -> Scores:
        way, props = self.params.scores, None
        if way in ("auto", "llama.cpp"):
            props = self.props()
            if props is None and way == "llama.cpp":
                raise ModelError(
                    f"{self.client.root}: no llama.cpp server answers at /props; use scores: echo "
                    "for servers that echo log-probabilities of prompts"
                )
        if props is not None:
            return LlamaCppScores(self.client, props, self._encoder(), self.params.max_length)
        return EchoScores(self.client, echoing(self.params.model), self._encoder())

    def _encoder(self) -> TextEncoder | None:
        if self.tokenizer is None:
            return None
        length = self.params.max_length or context_length(None, self.tokenizer, default=_NO_LIMIT)
        # An echoed row is the window and its last target, and the server generates one token more.
        return TextEncoder(self.tokenizer, length - 2)

    def _generate(self, prompt: Prompt) -> Generated:
        chat = self.params.api == "chat"
        body: dict[str, Any] = {
            "model": self.params.model,
            self.params.max_tokens_key: prompt.max_new_tokens,
            "temperature": prompt.temperature,
        }
        if chat:
            body["messages"] = [{"role": "user", "content": prompt.text}]
        else:
            body["prompt"] = prompt.text
        stops = stops_of(prompt)
        if stops:
            body["stop"] = list(stops[:MOST_STOPS])
        if prompt.temperature > 0:
            body |= self._sampling(prompt)
        url = f"{self.client.base_url}/{'chat/completions' if chat else 'completions'}"
        answer = self.client.post(url, body)
        try:
            choice = answer["choices"][0]
            text = (choice["message"]["content"] if chat else choice["text"]) or ""
            finish = choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{url}: an answer without a text ({error}): {str(answer)[:200]}"
            ) from error
        kept = cut_at(text, stops)
        ended = kept != text or finish != "length"
        return Generated(kept, self._count(kept, answer, url), "stop" if ended else "length")

    def _sampling(self, prompt: Prompt) -> dict[str, Any]:
        settings: dict[str, Any] = {"seed": prompt.seed & 0x7FFFFFFF, "top_p": prompt.top_p}
        if prompt.top_k:
            settings["top_k"] = prompt.top_k
        with self._asked:
            llama_cpp = self.props() is not None
        if llama_cpp:
            # llama.cpp cuts by top-k and min-p of its own unless told not to.
            settings |= {"top_k": prompt.top_k, "min_p": 0.0, "typical_p": 1.0}
        return settings

    def _count(self, text: str, answer: Mapping[str, Any], url: str) -> int:
        if self.tokenizer is not None:
            return len(self.tokenizer.encode(text, add_special_tokens=False))
        count = (answer.get("usage") or {}).get("completion_tokens")
        if not isinstance(count, int):
            raise ModelError(
                f"{url}: the answer does not say how many tokens it has (usage.completion_tokens); "
                "name the model's tokenizer with `tokenizer`"
            )
        return count


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(
            f"{folder}: transformers can't load this tokenizer ({type(error).__name__}: {error})"
        ) from error
