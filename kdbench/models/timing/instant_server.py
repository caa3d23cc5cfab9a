"""A server that answers at once: what a load takes there is the client's own part."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def instant_server(chunks: int) -> AsyncIterator[str]:
    """The base URL of a completions server on loopback that sends `chunks` tokens without a wait.

    It runs in the event loop of whoever asks, so its own work is in the times that the client sees: they are
    an upper bound for the client's.
    """
    event = {"choices": [{"text": " token", "finish_reason": None}]}
    last = {"choices": [{"text": "", "finish_reason": "length"}],
            "usage": {"completion_tokens": chunks, "prompt_tokens": 1}}  # fmt: skip
    events = [*([event] * chunks), last]
    sent = [f"data: {json.dumps(one)}\n\n".encode() for one in events] + [b"data: [DONE]\n\n"]
    answer = _HEAD + b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in sent) + b"0\r\n\r\n"

    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        under_way.add(own)
        own.add_done_callback(under_way.discard)
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the client has gone
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        if under_way:  # they end when their clients have gone
            await asyncio.wait(under_way, timeout=1.0)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
