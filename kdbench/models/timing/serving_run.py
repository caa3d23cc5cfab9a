"""Rounds of load on endpoints: warm-up, prompts of the wanted length, and the client's own part."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from kdbench.errors import ModelError
from kdbench.metrics.serving import poisson_arrivals
from kdbench.models.api_stream import EndOfText, Endpoint, Streamed, trouble
from kdbench.models.timing.clock import CpuClock
from kdbench.models.timing.instant_server import instant_server
from kdbench.models.timing.load import Served, closed, opened
from kdbench.models.timing.rounds import Subject, Warmed, WarmUp, interleaved, warm_up

WORDS = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world",
    "school", "state", "family", "student", "group", "country", "problem", "hand", "part",
    "place", "case", "week", "company", "system", "program", "question", "work", "government",
    "number", "night", "point", "home", "water", "room", "mother", "area", "money", "story",
    "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business", "issue",
    "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game",
    "line",
]  # fmt: skip
"""Short words, most of them one token everywhere."""

OPEN_WARM = 4
"""Requests at once in the warm-up of an open load."""


@dataclass(frozen=True, slots=True)
class Load:
    """`requests` in each round, `concurrency` of them at once or `rate` a second; one of the two is None."""

    requests: int
    concurrency: int | None
    rate: float | None
    prompt_tokens: int
    new_tokens: int
    end_of_text: EndOfText


@dataclass(frozen=True, slots=True)
class ServedRound:
    """One round: each endpoint's load, and seconds of the client's own part of a request and a chunk."""

    index: int
    order: tuple[str, ...]
    served: Mapping[str, Served]
    client_request: float
    client_chunk: float


class ServingRun:
    """Endpoints by name under one load; `open_run` makes it and closes it."""

    def __init__(
        self,
        runner: asyncio.Runner,
        endpoints: Mapping[str, Endpoint],
        instant: Endpoint,
        load: Load,
        seed: int,
    ) -> None:
        """`instant` is the endpoint of a server that takes no time."""
        self._runner = runner
        self._endpoints = endpoints
        self._instant = instant
        self.load = load
        self._seed = seed
        self._session = secrets.token_hex(8)
        self.words = load.prompt_tokens
        self.counted = False
        """Whether prompts have the wanted length by a server's count; otherwise they have as many words."""

    def check(self) -> None:
        """One request to each endpoint, and the prompts' length by the first one's count.

        Raises `ModelError` where an endpoint does not answer as it should, by name and with the remedy.
        """
        for name, endpoint in self._endpoints.items():
            said = trouble(endpoint.url, self._once(endpoint, "warm", 2))
            if said:
                raise ModelError(f"{name}: {said}")
        self._calibrate(next(iter(self._endpoints.values())))
        for name, endpoint in self._endpoints.items():
            found = self._once(endpoint, self.text(f"whole-{name}", 0), self.load.new_tokens)
            said = trouble(endpoint.url, found)
            if said:
                asked = self.load
                raise ModelError(
                    f"{name}: {said} (asked: about {asked.prompt_tokens} tokens of prompt and "
                    f"{asked.new_tokens} new ones, end of text: {asked.end_of_text})"
                )

    def warm_up(self) -> dict[str, Warmed]:
        """Bursts as large as the load's concurrency until they are not getting faster."""
        found = {}
        for name, endpoint in self._endpoints.items():
            count = min(self.load.requests, self.load.concurrency or OPEN_WARM)
            calls = iter(range(10**9))

            def burst(
                mark: Any, name: str = name, endpoint: Endpoint = endpoint, count: int = count,
                calls: Iterator[int] = calls,
            ) -> None:  # fmt: skip
                bodies = self._bodies(endpoint, f"warm-{name}-{next(calls)}", count)
                self._runner.run(closed(endpoint.ask, bodies, count))

            found[name] = warm_up(Subject(name, burst), CpuClock(), WarmUp())
        return found

    def rounds(self, indices: Iterable[int]) -> Iterator[ServedRound]:
        """Both endpoints under the load in each round, in an order drawn for it; then the client's part.

        Arrivals of a round are the same for both; prompts are not, as both may share a cache of them.
        """
        now = 0
        served: dict[str, Served] = {}

        def under_load(name: str) -> Subject:
            return Subject(name, lambda mark: served.update({name: self.once(name, now)}))

        subjects = [under_load(name) for name in self._endpoints]
        for now in indices:
            (found,) = interleaved(subjects, CpuClock(), [now], self._seed)
            request, chunk = self._runner.run(self._client())
            yield ServedRound(now, found.order, dict(served), request, chunk)

    def once(self, name: str, index: int) -> Served:
        """One round's load on the endpoint `name`."""
        endpoint, load = self._endpoints[name], self.load
        bodies = self._bodies(endpoint, f"{index}-{name}", load.requests)
        if load.concurrency is not None:
            return self._runner.run(closed(endpoint.ask, bodies, load.concurrency))
        assert load.rate is not None
        arrivals = poisson_arrivals(load.rate, load.requests, f"{self._seed}:{index}:arrivals")
        return self._runner.run(opened(endpoint.ask, bodies, arrivals))

    def text(self, label: str, number: int) -> str:
        """The prompt of one request. No two begin alike, within a run or between runs, so that no server
        has part of one in a cache."""
        draw = random.Random(f"{self._seed}:{self._session}:{label}:{number}")
        return " ".join(draw.choice(WORDS) for _ in range(self.words))

    def _bodies(self, endpoint: Endpoint, label: str, count: int) -> list[bytes]:
        load = self.load
        texts = [self.text(label, number) for number in range(count)]
        return [endpoint.body(text, load.new_tokens, load.end_of_text) for text in texts]

    def _once(self, endpoint: Endpoint, text: str, new_tokens: int) -> Streamed:
        body = endpoint.body(text, new_tokens, self.load.end_of_text)
        return self._runner.run(endpoint.ask(body))

    def _calibrate(self, endpoint: Endpoint) -> None:
        """Words whose prompt has the wanted tokens: the line through two shorter prompts' counts, then
        twice the line through what it gave and what it is built on, as words cost different tokens."""
        wanted = self.load.prompt_tokens
        few, more = max(1, wanted // 4), max(2, wanted // 2)
        low, high = self._tokens_of(endpoint, few, 3), self._tokens_of(endpoint, more, 3)
        self.words = wanted
        if low is None or high is None or high <= low or more <= few:
            return
        self.words = max(1, round(few + (wanted - low) * (more - few) / (high - low)))
        overhead = max(0.0, low - few * (high - low) / (more - few))
        for _ in range(2):
            found = self._tokens_of(endpoint, self.words, 5)
            if found is None or found <= overhead:
                return
            self.words = max(1, round(self.words * (wanted - overhead) / (found - overhead)))
        self.counted = True

    def _tokens_of(self, endpoint: Endpoint, words: int, asked: int) -> float | None:
        """The mean length of `asked` prompts of so many words by the server's count, if it tells one."""
        self.words = words
        texts = [self.text(f"length-{words}", number) for number in range(asked)]
        counts = [self._once(endpoint, text, 1).prompt_tokens for text in texts]
        known = [count for count in counts if count is not None]
        return sum(known) / len(known) if known else None

    async def _client(self) -> tuple[float, float]:
        """Seconds of a request's first token and of a further chunk where the server takes no time."""
        at_once = self.load.concurrency or OPEN_WARM
        bodies = self._bodies(self._instant, "client", at_once)
        await closed(self._instant.ask, bodies, at_once)  # connects
        found = (await closed(self._instant.ask, bodies, at_once)).requests
        whole = [one.end - one.due for one in found]
        first = [one.stamps[0] - one.due for one in found]
        chunks = self.load.new_tokens - 1
        return median(first), (median(whole) - median(first)) / chunks


@contextmanager
def open_run(models: Mapping[str, Any], load: Load, seed: int) -> Iterator[ServingRun]:
    """The endpoints of `models` (with `stream_text`), ready for a load."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            url = runner.run(stack.enter_async_context(instant_server(load.new_tokens)))
            instant = Endpoint(url, "instant", chat=False)
            endpoints = {name: model.stream_text() for name, model in models.items()}
            for endpoint in (instant, *endpoints.values()):
                stack.push_async_callback(endpoint.close)
            yield ServingRun(runner, endpoints, instant, load, seed)
        finally:
            runner.run(stack.aclose())
