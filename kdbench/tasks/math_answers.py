"""Answers to problems of mathematics: found in a text, and compared by what they mean.

The parser and the comparison are math-verify's (Kydlicek 2025), which the leaderboards of the field use:
LaTeX, fractions, sets, intervals and plain numbers, equal where sympy says so.
"""

from __future__ import annotations

from typing import Any

from kdbench.errors import TaskError

END_OF_THOUGHT = "</think>"
MARK = "####"


def found_in(text: str) -> Any | None:
    """The final answer of a text, None where there is none.

    What stands before the end of thought is no answer; a line of GSM8K's form (`#### 18`) is one.
    """
    if END_OF_THOUGHT in text:
        text = text.rpartition(END_OF_THOUGHT)[2]
    if MARK in text:
        text = text.rpartition(MARK)[2]
    return _parsed(text)


def right_answer(target: str) -> Any:
    """The answer that a document gives. Raises `TaskError` where it can't be read as one."""
    text = target.rpartition(MARK)[2].strip()
    answer = _parsed(text) if "boxed" in text else _parsed(f"$\\boxed{{{text}}}$")
    answer = answer or _parsed(text)
    if answer is None:
        raise TaskError(
            f"the right answer {target[-80:]!r} can't be read as mathematics; use `answer: text`"
        )
    return answer


def same(one: Any, other: Any) -> bool:
    """Whether two answers mean the same; the first is the one that is known to be right, if one is."""
    from math_verify import verify

    return bool(verify(one, other))


def _parsed(text: str) -> Any | None:
    try:
        from math_verify import parse
    except ImportError:
        raise TaskError(
            "answers of mathematics need math-verify; install it with: pip install 'kdbench[math]'"
        ) from None
    return parse(text) or None
