"""The program's process: runs it, then answers the judge's calls. Nothing that it says is believed.

Descriptor 0 holds the program, 3 leads to the judge. After `exec` everything here belongs to the program.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

from kdbench.tasks.sandbox.wire import WireError, decode, encode, receive, send

CHANNEL = 3
_SHOWN = 300


def main() -> None:
    with os.fdopen(0, "rb", closefd=False) as file:
        source = file.read().decode("utf-8", "surrogatepass")
    os.dup2(1, 0)
    try:
        code = compile(source, "program.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        send(CHANNEL, {"syntax": _words(error)})
        return
    send(CHANNEL, {"compiled": True})
    module = ModuleType("program")
    sys.modules["program"] = module
    try:
        exec(code, module.__dict__)
    except BaseException as error:  # noqa: BLE001 - SystemExit is no success either
        send(CHANNEL, {"raise": _raised(error)})
        return
    send(CHANNEL, {"ready": True})
    _answer(module)


def _answer(module: ModuleType) -> None:
    objects: list[Any] = []

    def keep(value: Any) -> Any:
        objects.append(value)
        return {"kept": len(objects) - 1}

    while True:
        try:
            asked = receive(CHANNEL)
        except WireError:
            return
        try:
            reply = _reply(module, asked, objects, keep)
        except BaseException as error:  # noqa: BLE001
            reply = {"raise": _raised(error)}
        try:
            send(CHANNEL, reply)
        except WireError as error:
            send(CHANNEL, {"raise": _raised(error)})


def _reply(module: ModuleType, asked: Any, objects: list[Any], keep: Any) -> Any:
    kind = asked["do"]
    if kind == "name":
        if asked["name"] not in module.__dict__:
            return {"missing": True}
        return {"value": encode(module.__dict__[asked["name"]], keep)}
    target = objects[asked["of"]]
    if kind == "call":
        args = decode(asked["args"], objects.__getitem__)
        kwargs = decode(asked["kwargs"], objects.__getitem__)
        reply = {"value": encode(target(*args, **kwargs), keep)}
        if any(isinstance(one, (list, dict, set)) for one in args):
            reply["args"] = {"list": [encode(one, keep) for one in args]}
        return reply
    if kind == "get":
        return {"value": encode(getattr(target, asked["name"]), keep)}
    if kind == "set":
        setattr(target, asked["name"], decode(asked["value"], objects.__getitem__))
        return {"value": None}
    if kind == "iter":
        return {"value": keep(iter(target))}
    return {"value": encode(next(target), keep)}


def _raised(error: BaseException) -> list[str]:
    return [type(error).__name__, _words(error)]


def _words(error: BaseException) -> str:
    try:
        return str(error)[:_SHOWN]
    except BaseException:  # noqa: BLE001 - the program's own exceptions may raise, too
        return ""
