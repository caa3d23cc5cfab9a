"""The tests' process: calls the program from afar, compares plain values, and writes the verdict.

Descriptor 0 holds the tests, 3 leads to the candidate, 4 takes the verdict; the candidate has no way to it.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from kdbench.tasks.sandbox.wire import WireError, decode, encode, receive, send

CHANNEL, VERDICT = 3, 4
_SHOWN = 300


class ProgramError(Exception):
    """The program raised what is no built-in exception."""


class Afar:
    """A thing of the program's process that is not plain data: it can be called and walked over.

    It is equal to itself alone, whatever its class says over there.
    """

    def __init__(self, number: int) -> None:
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = {"args": _encoded(list(args)), "kwargs": _encoded(kwargs)}
        reply = _ask({"do": "call", "of": self._number, **given})
        if "args" in reply:
            for mine, theirs in zip(args, decode(reply["args"], Afar), strict=False):
                _overwrite(mine, theirs)
        return decode(reply.get("value"), Afar)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return decode(_ask({"do": "get", "of": self._number, "name": name}).get("value"), Afar)

    def __setattr__(self, name: str, value: Any) -> None:
        _ask({"do": "set", "of": self._number, "name": name, "value": _encoded(value)})

    def __iter__(self) -> Iterator[Any]:
        walk = decode(_ask({"do": "iter", "of": self._number}).get("value"), Afar)
        if not isinstance(walk, Afar):
            raise WireError("no iterator")
        while True:
            try:
                reply = _ask({"do": "next", "of": walk._number})
            except StopIteration:
                return
            yield decode(reply.get("value"), Afar)


def _encoded(value: Any) -> Any:
    def reference(one: Any) -> Any:
        if isinstance(one, Afar):
            return {"kept": one._number}
        raise TypeError(f"the tests pass a {type(one).__name__}, which can't be sent")

    return encode(value, reference)


def _overwrite(mine: Any, theirs: Any) -> None:
    """What the program did to an argument happens to the one that the tests hold."""
    if type(mine) is not type(theirs):
        return
    if isinstance(mine, list):
        mine[:] = theirs
    elif isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(theirs)


def _ask(request: Any) -> dict[str, Any]:
    send(CHANNEL, request)
    reply = receive(CHANNEL)
    if not isinstance(reply, dict):
        raise WireError("no reply")
    if "raise" in reply:
        raise _exception(*map(str, reply["raise"][:2]))
    return reply


def _exception(name: str, words: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(words)
        except TypeError:
            pass
    return ProgramError(f"{name}: {words}")


def main() -> NoReturn:
    with os.fdopen(0, "rb", closefd=False) as file:
        job = json.loads(file.read())
    os.dup2(1, 0)
    sys.set_int_max_str_digits(0)
    told = json.dumps(_verdict(job)).encode()
    os.write(VERDICT, told)
    os._exit(0)


def _verdict(job: dict[str, Any]) -> dict[str, Any]:
    compiled = False
    try:
        first = receive(CHANNEL)
        if "syntax" in first:
            return {"verdict": "syntax", "why": str(first["syntax"])[:_SHOWN], "compiled": False}
        compiled = True
        begun = receive(CHANNEL)
        if "raise" in begun:
            return {
                "verdict": "error",
                "why": ": ".join(map(str, begun["raise"])),
                "compiled": True,
            }
        _run(job)
    except WireError as error:
        return {"verdict": "ended", "why": str(error), "compiled": compiled}
    except AssertionError as error:
        return {"verdict": "failed", "why": str(error)[:_SHOWN], "compiled": True}
    except BaseException as error:  # noqa: BLE001 - whatever it is, the tests did not pass
        why = f"{type(error).__name__}: {error}"[:_SHOWN]
        return {"verdict": "error", "why": why, "compiled": compiled}
    return {"verdict": "passed", "why": "", "compiled": True}


def _run(job: dict[str, Any]) -> None:
    """The tests, in a namespace where names of the program stand for what it has under them."""
    space: dict[str, Any] = {"__name__": "tests"}
    if job["preamble"]:
        exec(compile(job["preamble"], "preamble.py", "exec", dont_inherit=True), space)
    trees = [ast.parse(test, "tests.py") for test in job["tests"]]
    for name in [*job["entries"], *_unknown(trees, {*space, *job["entries"]})]:
        if name in sys.stdlib_module_names and name not in job["entries"]:
            space[name] = importlib.import_module(name)
            continue
        space.pop(name, None)
        reply = _ask({"do": "name", "name": name})
        if "value" in reply:
            space[name] = decode(reply["value"], Afar)
    for tree in trees:
        exec(compile(tree, "tests.py", "exec", dont_inherit=True), space)


def _unknown(trees: Sequence[ast.AST], known: set[str]) -> list[str]:
    """Names that tests use and nobody but the program can give them."""
    used: list[str] = []
    made = {*known, *vars(builtins)}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                (used.append if isinstance(node.ctx, ast.Load) else made.add)(node.id)
            elif isinstance(node, ast.arg):
                made.add(node.arg)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                made.add(node.name)
            elif isinstance(node, ast.alias):
                made.add((node.asname or node.name).partition(".")[0])
            elif isinstance(node, ast.ExceptHandler) and node.name:
                made.add(node.name)
    return [name for name in dict.fromkeys(used) if name not in made]
