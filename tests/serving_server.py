"""A completions server on loopback whose waits are written in a script."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kdbench.models.adapter import LoadSettings
from kdbench.models.openai_api import OpenAIAdapter, OpenAIParams


@dataclass
class ScriptedServer:
    """Waits `first` seconds before the first token and `step` before each further one.

    It works on `slots` requests at once; the others wait in a queue. `status` other than 200 answers so to
    every `every`-th request behind the first `spared` ones. Answers have `most` tokens at most whatever is
    asked for.
    """

    first: float = 0.0
    step: float = 0.0
    slots: int = 10**6
    status: int = 200
    every: int = 1
    spared: int = 0
    most: int = 10**6
    context: int = 10**6
    model: str = "m"
    streams: bool = True
    usage: bool = True
    breaks_at: int | None = None
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.free: Any = None
        self.at_once = self.most_at_once = 0

    def load(self, **params: Any) -> Any:
        made = {"base_url": self.url, "model": "m", "timeout": 5.0, **params}
        return OpenAIAdapter(OpenAIParams(**made), Path(), LoadSettings()).load()


@contextmanager
def serving(server: ScriptedServer) -> Iterator[ScriptedServer]:
    """`server` with its `url`, for as long as the context is open."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                number = len(server.asked)
                server.asked.append(body)
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
            try:
                with server.free:
                    _answer(self, server, body, number)
            finally:
                with server.lock:
                    server.at_once -= 1

    class Listener(ThreadingHTTPServer):
        request_queue_size = 64
        daemon_threads = True

    server.free = threading.Semaphore(server.slots)
    listener = Listener(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    server.url = f"http://127.0.0.1:{listener.server_port}/v1"
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()


def _answer(to: Any, server: ScriptedServer, body: dict[str, Any], number: int) -> None:
    chat = "messages" in body
    text = body["messages"][0]["content"] if chat else body["prompt"]
    words = len(text.split())
    failing = server.status != 200 and number >= server.spared and number % server.every == 0
    if body["model"] != server.model:
        return _whole(to, 404, {"error": {"message": f"no model {body['model']}"}})
    if failing:
        return _whole(to, server.status, {"error": {"message": "too much"}})
    if words + body["max_tokens"] > server.context:
        return _whole(to, 400, {"error": {"message": f"longer than {server.context} tokens"}})
    count = min(body["max_tokens"], server.most)
    usage = {"completion_tokens": count, "prompt_tokens": words + 3}
    if not server.streams:
        return _whole(to, 200, {"choices": [{"text": "x" * count}], "usage": usage})
    to.send_response(200)
    to.send_header("Content-Type", "text/event-stream")
    to.send_header("Connection", "close")
    to.end_headers()
    to.close_connection = True
    if chat:
        _event(to, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    for token in range(count):
        time.sleep(server.step if token else server.first)
        if token == server.breaks_at:
            return None
        said = {"delta": {"content": " w"}} if chat else {"text": " w"}
        _event(to, {"choices": [{**said, "finish_reason": None}]})
    last = {"delta": {}} if chat else {"text": ""}
    _event(to, {"choices": [{**last, "finish_reason": "length"}]})
    if server.usage:
        _event(to, {"choices": [], "usage": usage})
    to.wfile.write(b"data: [DONE]\n\n")
    return None


def _event(to: Any, event: dict[str, Any]) -> None:
    to.wfile.write(f"data: {json.dumps(event)}\n\n".encode())


def _whole(to: Any, status: int, answer: dict[str, Any]) -> None:
    sent = json.dumps(answer).encode()
    to.send_response(status)
    to.send_header("Content-Type", "application/json")
    to.send_header("Content-Length", str(len(sent)))
    to.end_headers()
    to.wfile.write(sent)
