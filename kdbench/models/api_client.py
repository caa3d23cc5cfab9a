"""JSON over HTTP with patience: retries, backoff, several requests at once, and errors that say
what to do.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kdbench.errors import ModelError

T = TypeVar("T")
R = TypeVar("R")

LONGEST_WAIT = 60.0
_PASSING = frozenset({408, 425, 429})

_log = logging.getLogger(__name__)


class ApiClient:
    """Talks to the server at `base_url` (with its version, `http://host/v1`); safe to share by
    threads.
    """

    def __init__(
        self,
        base_url: str,
        key: str | None = None,
        *,
        timeout: float = 120.0,
        retries: int = 5,
        backoff: float = 1.0,
        concurrency: int = 4,
    ) -> None:
        """`timeout` and `backoff` are seconds; `retries` counts the tries after the first one."""
        import httpx

        self.base_url = base_url.rstrip("/")
        self.retries = retries
        self.backoff = backoff
        self.concurrency = concurrency
        self._key = key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=concurrency)
        self._http = httpx.Client(headers=headers, timeout=timeout, limits=limits)

    @property
    def root(self) -> str:
        """The server's address without the API's version, where llama.cpp has its own interface."""
        return self.base_url.removesuffix("/v1")

    def post(self, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that `url` answers with; `ModelError` after the last try."""
        return self._ask("POST", url, body)

    def probe(self, url: str) -> dict[str, Any] | None:
        """The JSON object at `url`, or None where the server has no such page."""
        import httpx

        try:
            answer = self._http.get(url)
            found = answer.json() if answer.is_success else None
        except (httpx.TransportError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def each(self, ask: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """`ask` for every item, several at once; answers in the items' order. The first error ends
        it.
        """
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            return list(pool.map(ask, items))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, url: str, body: Mapping[str, Any]) -> dict[str, Any]:
        import httpx

        for attempt in range(self.retries + 1):
            wanted: float | None = None
            try:
                answer = self._http.request(method, url, json=body)
            except httpx.TimeoutException as error:
                trouble = f"no answer within {self._http.timeout.read:g} s ({type(error).__name__})"
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {self._shown(str(error))}"
            else:
                if answer.is_success:
                    return self._json(url, answer)
                trouble = f"HTTP {answer.status_code}: {self._shown(answer.text)}"
                if answer.status_code not in _PASSING and answer.status_code < 500:
                    raise ModelError(f"{url}: {trouble}; {remedy(answer.status_code)}")
                wanted = _seconds(answer.headers.get("retry-after"))
            if attempt < self.retries:
                self._wait(attempt, wanted, url, trouble)
        raise ModelError(
            f"{url}: gave up after {self.retries + 1} tries; the last one: {trouble}; check that "
            "the server runs and can take the load (lower `concurrency`, raise `timeout` or "
            "`retries`)"
        )

    def _wait(self, attempt: int, wanted: float | None, url: str, trouble: str) -> None:
        # Some chance in the wait, so that requests that failed together don't come back together.
        own = self.backoff * 2**attempt * random.uniform(0.5, 1.0)
        seconds = min(LONGEST_WAIT, own if wanted is None else max(own, wanted))
        _log.info("%s: %s; trying again in %.1f s", url, trouble, seconds)
        time.sleep(seconds)

    def _json(self, url: str, answer: Any) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError as error:
            raise ModelError(
                f"{url}: the answer is not JSON: {self._shown(answer.text)!r}; check base_url (it "
                "ends with /v1 for most servers)"
            ) from error
        if not isinstance(found, dict):
            raise ModelError(f"{url}: expected a JSON object, got {self._shown(answer.text)!r}")
        return found

    def _shown(self, text: str) -> str:
        """Text fit for a message: short, on one line, without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:300]


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None


def remedy(status: int) -> str:
    """What to do about an HTTP status that trying again won't mend."""
    if status in (401, 403):
        return "name the variable with a valid key in `api_key_env`"
    if status == 404:
        return "check base_url (it ends with /v1 for most servers) and the model's name"
    if status == 429 or status >= 500:
        return "the server can't take the load now; try again later, or ask less of it"
    return "the server refuses the request as it is"
