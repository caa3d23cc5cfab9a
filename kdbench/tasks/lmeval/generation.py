"""lm-eval's generation settings in the words of kdbench's `generate_text`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdbench.errors import TaskError

MAX_NEW_TOKENS = 256
"""What lm-eval's Hugging Face model generates at most where a task does not say."""

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to generate; temperature 0 is greedy. `options` are passed on under their own names."""

    stop: tuple[str, ...]
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    options: dict[str, Any]


def effective(config: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A task's generation_kwargs with lm-eval's defaults, under the suite's `own` ones."""
    delimiter = config.get("fewshot_delimiter", "\n\n")
    given = config.get("generation_kwargs")
    if given is None:
        given = {"temperature": 0.0, "do_sample": False, "max_gen_toks": MAX_NEW_TOKENS}
    return {"until": [delimiter], **given, **own}


def decoding(kwargs: Mapping[str, Any]) -> Decoding:
    """Translate one request's generation_kwargs, by the rules of lm-eval's Hugging Face model.

    Without `do_sample` a temperature above 0 means sampling; `do_sample: false` is greedy whatever
    the temperature. Sampling draws from all tokens unless `top_p` or `top_k` is given (transformers
    itself would take the 50 most probable). Raises `TaskError` for sampling at temperature 0.
    """
    rest = dict(kwargs)
    until = rest.pop("until", None) or []
    until = [until] if isinstance(until, str) else until
    lengths = [rest.pop(name, None) for name in _LENGTHS]
    temperature = float(rest.pop("temperature", None) or 0.0)
    sample = rest.pop("do_sample", None)
    top_p, top_k = rest.pop("top_p", None), rest.pop("top_k", None)
    if sample and temperature == 0:
        raise TaskError(
            "generation settings ask for sampling (do_sample: true) at temperature 0; "
            "set gen_kwargs: {temperature: ...} above 0, or {do_sample: false}"
        )
    greedy = sample is False or temperature == 0
    return Decoding(
        stop=tuple(dict.fromkeys(str(text) for text in until if text)),
        max_new_tokens=int(next((n for n in lengths if n is not None), MAX_NEW_TOKENS)),
        temperature=0.0 if greedy else temperature,
        top_p=1.0 if greedy or top_p is None else float(top_p),
        top_k=0 if greedy or top_k is None else int(top_k),
        options=rest,
    )
