"""Load on a server: so many requests at once (closed), or requests that come when they come (open)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from kdbench.models.api_stream import Streamed

Ask = Callable[[bytes, float], Awaitable[Streamed]]


@dataclass(frozen=True, slots=True)
class Served:
    """A load's requests in the order of their arrival, and what share of it the client was busy itself.

    `began` is when the first was due, `ended` when the last was answered.
    """

    requests: list[Streamed]
    began: float
    ended: float
    client_busy: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


async def closed(ask: Ask, bodies: Sequence[bytes], concurrency: int) -> Served:
    """`concurrency` clients, each of which sends its next request when its last one is answered.

    Such a load waits for a slow server, so it shows nothing of queues; see `opened` for those.
    """
    waiting = iter(enumerate(bodies))
    answers: dict[int, Streamed] = {}

    async def client() -> None:
        for number, body in waiting:
            answers[number] = await ask(body, time.perf_counter())

    async def everybody() -> list[Streamed]:
        await asyncio.gather(*(client() for _ in range(concurrency)))
        return [answers[number] for number in range(len(bodies))]

    return await _watched(everybody)


async def opened(ask: Ask, bodies: Sequence[bytes], arrivals: Sequence[float]) -> Served:
    """Each request at its own time, seconds from now, however many are under way.

    A request is `due` at its time and all its latencies count from there, so that neither a server that
    stalls nor a client that is late hides the wait of those behind (coordinated omission).
    """
    began = time.perf_counter()

    async def one(body: bytes, at: float) -> Streamed:
        await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
        return await ask(body, began + at)

    async def everybody() -> list[Streamed]:
        return list(await asyncio.gather(*map(one, bodies, arrivals)))

    return await _watched(everybody)


async def _watched(everybody: Callable[[], Awaitable[list[Streamed]]]) -> Served:
    wall, busy = time.perf_counter(), time.process_time()
    requests = await everybody()
    busy, wall = time.process_time() - busy, time.perf_counter() - wall
    return Served(
        requests,
        min(one.due for one in requests),
        max(one.end for one in requests),
        busy / wall if wall > 0 else 0.0,
    )
