"""Text from an OpenAI-compatible server, chunk by chunk, with the time at which each one came."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from kdbench.models.api_client import remedy

EndOfText = Literal["ignore_eos", "min_tokens", "heed"]


@dataclass(slots=True)
class Streamed:
    """One request as the client saw it; times are seconds of `time.perf_counter`.

    `due` is when it was to be sent, `sent` when it was; `stamps` when each chunk of text came, `end` when
    the last choice did. `tokens` and `prompt_tokens` are the server's counts, None where it gives none.
    `failure` is empty where the answer came whole; otherwise it says what happened, in few words that equal
    troubles share, and `detail` what the server said.
    """

    due: float
    sent: float = 0.0
    stamps: list[float] = field(default_factory=list)
    end: float = 0.0
    tokens: int | None = None
    prompt_tokens: int | None = None
    finish: str = ""
    streams: bool = False
    failure: str = ""
    detail: str = ""

    @property
    def output_tokens(self) -> int:
        """Tokens by the server's count, or else chunks."""
        return len(self.stamps) if self.tokens is None else self.tokens


class EventParser:
    """Server-sent events out of bytes that break anywhere; see the WHATWG's HTML standard, 9.2.6."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The data of each event line that `piece` completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, colon, value = line.rstrip(b"\r").partition(b":")
            if colon and name == b"data":
                yield value.removeprefix(b" ")
            elif colon and name == b"error":  # llama.cpp's way
                yield b'{"error": %b}' % value


class Endpoint:
    """A server's way to one model, for requests that run at the same time in one event loop."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        chat: bool,
        key: str | None = None,
        timeout: float = 120.0,
        max_tokens_key: str = "max_tokens",
    ) -> None:
        """`timeout` is seconds without a byte."""
        import httpx

        self.model = model
        self.chat = chat
        self.url = f"{base_url.rstrip('/')}/{'chat/completions' if chat else 'completions'}"
        self._key = key
        self._max_tokens_key = max_tokens_key
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits)

    def body(self, text: str, new_tokens: int, end_of_text: EndOfText) -> bytes:
        """A request for `new_tokens` greedy tokens behind `text`, and for the server's own counts."""
        asked: dict[str, Any] = {
            "model": self.model,
            self._max_tokens_key: new_tokens,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.chat:
            asked["messages"] = [{"role": "user", "content": text}]
        else:
            asked["prompt"] = text
        if end_of_text == "ignore_eos":
            asked["ignore_eos"] = True
        elif end_of_text == "min_tokens":
            asked["min_tokens"] = new_tokens
        return json.dumps(asked).encode()

    async def ask(self, body: bytes, due: float | None = None) -> Streamed:
        """Send `body` once, without further tries, and follow the answer to its end; never raises for what
        the server or the network does."""
        import httpx

        now = time.perf_counter()
        found = Streamed(now if due is None else due, now)
        try:
            async with self._http.stream("POST", self.url, content=body) as answer:
                if not answer.is_success:
                    text = (await answer.aread()).decode(errors="replace")
                    found.failure, found.detail = f"HTTP {answer.status_code}", self._shown(text)
                else:
                    kind = answer.headers.get("content-type", "")
                    found.streams = kind.startswith("text/event-stream")
                    await self._follow(answer, found)
        except httpx.TimeoutException as error:
            found.failure = f"no byte in time ({type(error).__name__})"
        except httpx.TransportError as error:
            found.failure = f"broken connection ({type(error).__name__})"
            found.detail = self._shown(str(error))
        found.end = found.end or time.perf_counter()
        return found

    async def close(self) -> None:
        await self._http.aclose()

    async def _follow(self, answer: Any, found: Streamed) -> None:
        parser = EventParser()
        done = False
        async for piece in answer.aiter_bytes():
            now = time.perf_counter()
            for data in parser.feed(piece):
                if data == b"[DONE]":
                    done = True
                elif data:
                    self._take(data, now, found)
        if found.failure or not found.streams:
            return
        if not done and not found.finish:
            found.failure = "the stream broke off"
        elif not found.stamps:
            found.failure = "an answer without text"

    def _take(self, data: bytes, now: float, found: Streamed) -> None:
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            found.failure, found.detail = "an event that is no JSON object", self._shown(repr(data))
            return
        if event.get("error"):
            found.failure = "an error in the stream"
            found.detail = self._shown(json.dumps(event["error"]))
        usage = event.get("usage") or {}
        if isinstance(usage.get("completion_tokens"), int):
            found.tokens = usage["completion_tokens"]
            found.prompt_tokens = usage.get("prompt_tokens")
        for choice in event.get("choices") or ():
            found.end = now
            if self._has_token(choice):
                found.stamps.append(now)
            found.finish = choice.get("finish_reason") or found.finish

    def _has_token(self, choice: dict[str, Any]) -> bool:
        """Whether a chunk brings a token. One may spell nothing yet (half a character), so an empty text
        counts, but for the last chunk's, and for a chat's first one, which names the role."""
        if self.chat:
            said = choice.get("delta") or {}
            texts = [said.get(name) for name in ("content", "reasoning_content", "reasoning")]
        else:
            said, texts = {}, [choice.get("text")]
        if any(texts):
            return True
        return "" in texts and "role" not in said and not choice.get("finish_reason")

    def _shown(self, text: str) -> str:
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:300]


def trouble(url: str, found: Streamed) -> str:
    """A failure as a sentence with its remedy; empty where all is well and the answer was streamed."""
    if found.failure.startswith("HTTP "):
        status = int(found.failure.split()[1])
        return f"{url}: {found.failure}: {found.detail}; {remedy(status)}"
    if found.failure:
        more = f": {found.detail}" if found.detail else ""
        return f"{url}: {found.failure}{more}; check that the server runs and knows the model"
    if not found.streams:
        return (
            f"{url}: the server answers in one piece though `stream` was asked for, so there is no first "
            "token to time; take an endpoint that streams (server-sent events)"
        )
    return ""
