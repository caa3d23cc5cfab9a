"""Pydantic's errors in the words of a settings file: one message per mistake, and what to write instead.

Errors of a union are merged: where one alternative has the value's shape, only its complaints are told;
where none has, one message names them all ("expected a whole number or 'auto', got 'ten'").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

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
_CONSTRAINTS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_too_short": "needs at least {min_length} characters",
    "string_too_long": "may have at most {max_length} characters",
    "too_short": "needs at least {min_length} entries",
    "too_long": "may have at most {max_length} entries",
}
_YES = {"yes": True, "on": True, "y": True, "1": True, "no": False, "off": False, "n": False, "0": False}


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong at a place; `at_key` where the key itself is wrong."""

    where: Where
    message: str
    at_key: bool = False


@dataclass(frozen=True, slots=True)
class _Error:
    loc: Where
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
        _Error(e["loc"], e["type"], e["msg"], e.get("ctx", {}))
        for e in error.errors(include_url=False, include_input=False)
    ]
    found: list[Complaint] = []
    keys: dict[Where, dict[str, list[str]]] = {}
    for item in _one_per_mistake(errors, data):
        if isinstance(item, Complaint):
            found.append(item)
        elif item.type in ("missing", "extra_forbidden"):
            here = keys.setdefault(item.loc[:-1], {"missing": [], "extra_forbidden": []})
            here[item.type].append(str(item.loc[-1]))
        else:
            place = item.loc[:-1] if item.loc[-1:] == ("[key]",) else item.loc
            value = place[-1] if place != item.loc else _get(data, place)
            message = _message([item], value, None if place != item.loc else written(place))
            found.append(Complaint(place, message, at_key=place != item.loc))
    for where, here in keys.items():
        known = [*_fields(model, where), *(also if not where else ())]
        found += _about_keys(where, here["missing"], here["extra_forbidden"], known, _get(data, where))
    return [
        Complaint(c.where, c.message.replace("\0", written(c.where) or ""), c.at_key) for c in found
    ]
