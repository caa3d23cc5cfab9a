"""Pydantic's errors in the words of a settings file: one message per mistake, with what to write.

Errors of a union are merged: where one alternative has the value's shape, only its complaints are
told; where none has, one message names them all ("expected a whole number or 'auto', got 'ten'").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kdbench.errors import did_you_mean

Where = tuple[str | int, ...]
Written = Callable[[Where], str | None]

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "none_required": "null",
}
_SHAPES = {*_EXPECTED, "literal_error", "enum"}
_CONSTRAINTS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "can have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "can have at most {max_length} entries",
}
_TRUTH = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong at a place; `at_key` where the key itself is wrong."""

    where: Where
    message: str
    at_key: bool = False


@dataclass(frozen=True, slots=True)
class _Error:
    """One error of pydantic: `place` is in the data, the `rest` of its location not yet."""

    place: Where
    rest: Where
    type: str
    msg: str
    ctx: Mapping[str, Any]


def complaints(
    error: ValidationError,
    model: type[BaseModel],
    data: Any,
    written: Written,
    also: Sequence[str] = (),
) -> list[Complaint]:
    """The mistakes behind `error`, which `model` raised on `data`, placed relative to `data`.

    `written` gives a scalar as the file has it (None where it has none there); `also` are keys that
    stand beside the model's own and are read by somebody else.
    """
    errors = [
        _Error((), e["loc"], e["type"], e["msg"], e.get("ctx", {}))
        for e in error.errors(include_url=False, include_input=False)
    ]
    return _Explanation(model, data, written, also).of(errors)


class _Explanation:
    def __init__(
        self, model: type[BaseModel], data: Any, written: Written, also: Sequence[str]
    ) -> None:
        self.model = model
        self.data = data
        self.written = written
        self.also = also

    def of(self, errors: Sequence[_Error]) -> list[Complaint]:
        """One complaint per mistake: errors of the alternatives of one union count as one."""
        found: list[Complaint] = []
        keys: dict[Where, dict[str, list[str]]] = {}
        unions: dict[Where, dict[str, list[_Error]]] = {}
        for error in map(self._follow, errors):
            if error.type in ("missing", "extra_forbidden") and len(error.rest) == 1:
                here = keys.setdefault(error.place, {"missing": [], "extra_forbidden": []})
                here[error.type].append(str(error.rest[0]))
            elif error.rest[-1:] == ("[key]",):
                place = (*error.place, *error.rest[:-1])
                found.append(Complaint(place, _message([error], place[-1], repr(place[-1])), True))
            elif error.rest:
                branch = unions.setdefault(error.place, {}).setdefault(str(error.rest[0]), [])
                branch.append(_Error(error.place, error.rest[1:], error.type, error.msg, error.ctx))
            else:
                found.append(self._value(error.place, [error]))
        for place, branches in unions.items():
            found += self._union(place, list(branches.values()))
        for place, here in keys.items():
            found += self._keys(place, here["missing"], here["extra_forbidden"])
        return found

    def _follow(self, error: _Error) -> _Error:
        """Move what of the location is in the data from `rest` to `place`."""
        place, rest = error.place, error.rest
        last = 1 if error.type in ("missing", "extra_forbidden") else 0
        if rest[-1:] == ("[key]",):
            last = 2
        while len(rest) > last and _holds(_get(self.data, place), rest[0]):
            place, rest = (*place, rest[0]), rest[1:]
        return _Error(place, rest, error.type, error.msg, error.ctx)

    def _union(self, place: Where, branches: list[list[_Error]]) -> list[Complaint]:
        fitting = [b for b in branches if not any(not e.rest and e.type in _SHAPES for e in b)]
        if fitting:
            return min((self.of(branch) for branch in fitting), key=len)
        return [self._value(place, [e for branch in branches for e in branch if not e.rest])]

    def _value(self, place: Where, errors: Sequence[_Error]) -> Complaint:
        return Complaint(place, _message(errors, _get(self.data, place), self.written(place)))

    def _keys(self, place: Where, missing: list[str], unknown: list[str]) -> Iterator[Complaint]:
        """Unknown and missing keys of one mapping; a misspelt key is not missing as well."""
        here = _get(self.data, place)
        present = here if isinstance(here, dict) else {}
        known = [key for key in self._known(place) if key not in present]
        meant = {}
        for key in unknown:
            near = get_close_matches(key, [*missing, *known], n=1, cutoff=0.6)
            if near:
                meant[key] = near[0]
        if len(unknown) == len(missing) == 1 and not meant:
            meant[unknown[0]] = missing[0]
        for key in unknown:
            remedy = f" (did you mean {meant[key]!r}?)" if key in meant else ""
            if not remedy:
                remedy = "; remove it" + (f" (known keys: {', '.join(known)})" if known else "")
            yield Complaint((*place, key), f"unknown key {key[:60]!r}{remedy}", at_key=True)
        for key in missing:
            if key not in meant.values():
                yield Complaint(place, f"missing key {key!r}")

    def _known(self, place: Where) -> list[str]:
        annotations: list[Any] = [self.model]
        for step in place:
            annotations = [found for a in annotations for found in _inside(a, step)]
        fields = [key for a in annotations for m in _models(a) for key in _fields(m)]
        return [*dict.fromkeys(fields), *(self.also if not place else ())]


def _holds(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)


def _get(data: Any, where: Where) -> Any:
    for step in where:
        data = data[step]
    return data


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Key in the file -> annotation."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models that a value of this annotation may be."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) not in (list, tuple, set, frozenset, dict):
        for argument in get_args(annotation):
            yield from _models(argument)


def _inside(annotation: Any, step: str | int) -> Iterator[Any]:
    """Annotations of what stands at `step` in a value of this annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (list, tuple, set, frozenset):
        yield from arguments
    elif origin is dict:
        yield arguments[1]
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = _fields(annotation)
        if step in fields:
            yield fields[str(step)]
    else:
        for argument in arguments:
            yield from _inside(argument, step)


def _message(errors: Sequence[_Error], value: Any, written: str | None) -> str:
    """What is wrong with one value; several errors are the alternatives that it could have been."""
    first = errors[0]
    got = shown(value, written)
    if first.ctx.get("min_length") == 1 and not value:
        return "must not be empty"
    if len(errors) == 1 and first.type in _CONSTRAINTS:
        got = str(len(value)) if first.type in ("too_short", "too_long") else got
        limits = {k: f"{v:g}" if isinstance(v, float) else v for k, v in first.ctx.items()}
        return f"{_CONSTRAINTS[first.type].format(**limits)}, got {got}"
    if len(errors) == 1 and first.type in ("value_error", "assertion_error"):
        return str(first.ctx.get("error", first.msg))
    expected = list(dict.fromkeys(_expected(error) for error in errors))
    choices = re.findall("'([^']*)'", " ".join(str(e.ctx.get("expected", "")) for e in errors))
    near = did_you_mean(value, choices) if isinstance(value, str) else ""
    return f"expected {_either(expected)}, got {got}{near or _remedy(expected, value, written)}"


def _expected(error: _Error) -> str:
    if error.type in ("literal_error", "enum"):
        return str(error.ctx["expected"])
    if error.type in _EXPECTED:
        return _EXPECTED[error.type]
    words = re.sub(r"^(Input|Value|[A-Z]\w+) should (be|have|match) ", "", error.msg)
    return words[:1].lower() + words[1:]


def _either(words: Sequence[str]) -> str:
    """`a, b or c`; a word that is a choice itself keeps its own commas."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def shown(value: Any, written: str | None) -> str:
    """How a message shows a value that the file has as `written` (None for lists and mappings)."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None and not written:
        return "nothing"
    if written is not None:
        return written
    return repr(value) if isinstance(value, str) else str(value)


def _remedy(expected: Sequence[str], value: Any, written: str | None) -> str:
    """`; write ...` where the value shows what was meant."""
    if written is None:
        return ""
    if "text" in expected and isinstance(value, (bool, int, float)):
        return f"; put it in quotes: '{written}'"
    if "true or false" in expected and str(value).lower() in _TRUTH:
        return f"; write {_TRUTH[str(value).lower()]}"
    if "a list" in expected and isinstance(value, (str, int, float)):
        return f"; write [{written}]"
    if not {"a whole number", "a number", "a finite number"} & set(expected):
        return ""
    number = _number(value)
    if number is None or ("a whole number" in expected and number != int(number)):
        return ""
    number = int(number) if number == int(number) else number
    return f"; write {number}" + (" without quotes" if value == str(number) else "")


def _number(value: Any) -> float | None:
    """The number that a text or a number with a point stands for; "97 %" is 0.97."""
    if isinstance(value, float):
        return value if isfinite(value) and abs(value) < 1e15 else None
    if not isinstance(value, str):
        return None
    match = re.fullmatch(r"\s*([-+]?[0-9][0-9_]{0,15}(?:\.[0-9]{0,15})?)(\s*%)?\s*", value)
    if match is None:
        return None
    number = float(match[1].replace("_", ""))
    return round(number / 100, 12) if match[2] else number
