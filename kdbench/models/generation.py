"""Text from a causal language model: greedy, or sampled with a seed for each prompt."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits, in_batches
from kdbench.models.decoding import (
    NonsenseWatch,
    Penalties,
    SeededNoise,
    StopCriterion,
    StopText,
    warpers,
)
from kdbench.models.decoding_loop import DecodingLoop, Row, Rules
from kdbench.models.protocols import Generated, Prompt
from kdbench.models.scoring import check_ids, nonsense
from kdbench.models.tokens import TextEncoder

PASSED_ON = frozenset({"repetition_penalty", "no_repeat_ngram_size", "min_new_tokens"})
KNOWN_OPTIONS = PASSED_ON | {"min_p", "do_sample"}
# fmt: off
_OVERRULED = frozenset({
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id",
    "transformers_version", "_from_model_config", "do_sample", "temperature", "top_p", "top_k",
    "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "max_length", "max_new_tokens",
    "use_cache", "cache_implementation", "num_beams", "num_return_sequences", "early_stopping",
    "length_penalty", "output_attentions", "output_hidden_states", "output_scores",
    "output_logits", "return_dict_in_generate",
})
# fmt: on
"""Settings of a generation configuration that change no text here: prompts have their own, or they
belong to beams, to transformers' sampling, or to what `generate` gives back."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the prompts of one batch have in common."""

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    options: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, prompt: Prompt) -> Settings:
        """Raises `ModelError` for options that are unknown or contradict each other."""
        check_prompt(prompt, KNOWN_OPTIONS)
        options = tuple(sorted((k, v) for k, v in prompt.options.items() if k != "do_sample"))
        if prompt.temperature == 0:
            options = tuple(pair for pair in options if pair[0] != "min_p")
            return cls(prompt.max_new_tokens, 0.0, 1.0, 0, options)
        return cls(prompt.max_new_tokens, prompt.temperature, prompt.top_p, prompt.top_k, options)


def check_prompt(prompt: Prompt, known: frozenset[str]) -> None:
    """Raise `ModelError`, naming them, for options outside `known` and for impossible settings."""
    unknown = sorted(set(prompt.options) - known)
    if unknown:
        raise ModelError(
            f"this adapter has no generation option {', '.join(unknown)}; it knows "
            f"{', '.join(sorted(known)) or 'none beyond temperature, top_p and top_k'}"
        )
    for name, value in prompt.options.items():
        if not isinstance(value, (int, float)):
            raise ModelError(f"generation option {name}: {value!r} is no number")
    sampled = prompt.options.get("do_sample")
    if sampled is not None and bool(sampled) != (prompt.temperature > 0):
        raise ModelError(
            f"do_sample: {sampled} contradicts temperature: {prompt.temperature}; "
            "temperature 0 is greedy, anything above samples"
        )
    if prompt.max_new_tokens < 1 or prompt.temperature < 0 or prompt.top_k < 0:
        raise ModelError(
            f"impossible generation settings: max_new_tokens {prompt.max_new_tokens}, temperature "
            f"{prompt.temperature}, top_k {prompt.top_k}"
        )
    if not 0 < prompt.top_p <= 1:
        raise ModelError(f"top_p is {prompt.top_p}; it must be above 0 and at most 1")


class TextGenerator:
    """Generates with `model` (transformers, evaluation mode) through the tokens of `encoder`.

    In a loop of kdbench's own (`DecodingLoop`), or, for architectures and generation configurations
    that it can't do justice to, in transformers' `generate`, batch by batch; the log says so.
    """

    def __init__(self, model: Any, encoder: TextEncoder, limits: BatchLimits) -> None:
        self.model = model
        self.encoder = encoder
        self.limits = limits
        self.ends = _ends_of_text(model, encoder.tokenizer)
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self.padding = _padding(encoder.tokenizer, self.vocabulary)
        self.defaults = _defaults(model)

    def generate(self, prompts: Sequence[Prompt]) -> list[Generated]:
        """One answer for each prompt. Prompts too long for the context lose tokens on their left.

        Raises `ModelError` for settings that can't be met and for logits that are no numbers.
        """
        groups: dict[Settings, list[int]] = defaultdict(list)
        for index, prompt in enumerate(prompts):
            groups[Settings.of(prompt)].append(index)
        encoded = self.encoder.prompts([prompt.text for prompt in prompts])
        for tokens in encoded:
            check_ids(tokens, self.vocabulary)
        stops = {stops_of(prompt): StopText(self.encoder, stops_of(prompt)) for prompt in prompts}
        answers: dict[int, Generated] = {}
        for settings, members in groups.items():
            room = self._room(settings)
            rows: dict[tuple[Any, ...], Row] = {}
            owners = []
            for index in members:
                prompt, tokens = prompts[index], encoded[index][-room:]
                # what is not drawn is the same for equal prompts
                seed = prompt.seed if settings.temperature > 0 else 0
                owners.append((tuple(tokens), seed, stops_of(prompt)))
                rows.setdefault(owners[-1], Row(tokens, seed, stops[stops_of(prompt)]))
            if self.loop is None:
                self._batch_by_batch(list(rows.values()), settings)
            else:
                self.loop.run(list(rows.values()), self._rules(settings))
            found = {
                own: finished(self.encoder, row.new, own[-1], self.ends)
                for own, row in rows.items()
            }
            answers |= {index: found[own] for index, own in zip(members, owners, strict=True)}
        return [answers[index] for index in range(len(prompts))]

    @cached_property
    def loop(self) -> DecodingLoop | None:
        """kdbench's own loop where it gives this model's own answers, found out by trying."""
        name = type(self.model).__name__
        if only := sorted(set(self.defaults) - PASSED_ON):
            _log.warning(
                "%s's generation configuration sets %s, which transformers' loop alone knows; texts are "
                "generated batch by batch",
                name,
                ", ".join(only),
            )
            return None
        loop = DecodingLoop(self.model, self.limits, self.padding)
        if loop.agrees():
            return loop
        _log.warning(
            "%s keeps no cache that rows can join and leave; texts are generated batch by batch",
            name,
        )
        return None

    def _rules(self, settings: Settings) -> Rules:
        options = dict(settings.options)
        return Rules(
            settings.max_new_tokens,
            settings.temperature > 0,
            warpers(settings.temperature, settings.top_k, settings.top_p, options),
            Penalties(self.defaults | options, self.ends),
            self.ends,
        )

    def _room(self, settings: Settings) -> int:
        room = self.encoder.max_length - settings.max_new_tokens
        if room < 1:
            raise ModelError(
                f"max_new_tokens is {settings.max_new_tokens}, and the model's context only "
                f"{self.encoder.max_length} tokens, prompt included; ask for fewer new tokens"
            )
        return room

    def _batch_by_batch(self, rows: Sequence[Row], settings: Settings) -> None:
        """Fill in the answers of `rows` by transformers' `generate`."""

        def fits(batch: Sequence[Row]) -> bool:
            longest = len(batch[0].prompt)
            whole = self.limits.fit(len(batch), longest + settings.max_new_tokens)
            return whole and self.limits.begin(len(batch), longest)

        ordered = sorted(rows, key=lambda row: -len(row.prompt))
        found = in_batches(
            ordered, fits, self.limits, lambda batch: self._by_library(batch, settings)
        )
        for row, new in zip(ordered, found, strict=True):
            row.new = new

    def _by_library(self, rows: Sequence[Row], settings: Settings) -> list[list[int]]:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        longest = max(len(row.prompt) for row in rows)
        ids = torch.full((len(rows), longest), self.padding, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, longest - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[index, longest - len(row.prompt) :] = 1
        device = self.model.device
        rules = self._rules(settings)
        watch = NonsenseWatch()
        chain = LogitsProcessorList([watch, *rules.warpers])
        if rules.sampled:
            seeds = torch.tensor([row.seed for row in rows], device=device)
            chain.append(SeededNoise(seeds, longest))
        stops = [row.stop for row in rows]
        criteria = [StopCriterion(stops, longest)] if any(stop.stops for stop in stops) else []
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                logits_processor=chain,
                stopping_criteria=StoppingCriteriaList(criteria),
                max_new_tokens=settings.max_new_tokens,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                use_cache=True,
                eos_token_id=list(self.ends) or None,
                pad_token_id=self.padding,
                **_passed_on(settings.options),
            )
        if watch.failed():
            raise ModelError(nonsense(self.model))
        new: list[list[int]] = output[:, longest:].tolist()
        return new


def stops_of(prompt: Prompt) -> tuple[str, ...]:
    """The prompt's stop strings without empty ones."""
    return tuple(stop for stop in prompt.stop if stop)


def finished(
    encoder: TextEncoder, tokens: list[int], stops: tuple[str, ...], ends: frozenset[int]
) -> Generated:
    """The answer in `tokens`: up to the first end of text or stop string, whatever follows it.

    A stop string is looked for with special tokens spelled out (so that a chat template's end of
    turn can be one), then cut from the text without them.
    """
    end = next((place for place, token in enumerate(tokens) if token in ends), None)
    whole = tokens if end is None else tokens[: end + 1]
    tokens = tokens[:end]
    hit = _first_hit(encoder, tokens, stops)
    tokens = tokens[:hit]
    ids = tuple(whole if hit is None else tokens)
    text = encoder.decode(tokens)
    kept = cut_at(text, stops)
    count = len(tokens)
    if kept != text:
        while count and len(encoder.decode(tokens[: count - 1])) >= len(kept):
            count -= 1
    stopped = end is not None or hit is not None or kept != text
    return Generated(text=kept, tokens=count, finish="stop" if stopped else "length", ids=ids)


def cut_at(text: str, stops: Sequence[str]) -> str:
    """`text` before the first occurrence of any of `stops`."""
    for stop in stops:
        text = text.split(stop, 1)[0]
    return text


def _first_hit(encoder: TextEncoder, tokens: list[int], stops: tuple[str, ...]) -> int | None:
    """The fewest tokens whose text contains a stop string, or None."""

    def has_stop(count: int) -> bool:
        text = encoder.decode(tokens[:count], special=True)
        return any(stop in text for stop in stops)

    if not stops or not has_stop(len(tokens)):
        return None
    low, high = 1, len(tokens)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if has_stop(middle) else (middle + 1, high)
    return low


def _ends_of_text(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a text: the generation configuration's, and the tokenizer's own."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in [*listed, tokenizer.eos_token_id] if token is not None)


def _padding(tokenizer: Any, vocabulary: int) -> int:
    """A token that the model has an embedding for; the attention mask hides it."""
    for token in (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id):
        if token is not None and token < vocabulary:
            return int(token)
    return 0


def _defaults(model: Any) -> dict[str, Any]:
    """What the model's generation configuration sets besides."""
    given = model.generation_config.to_diff_dict()
    return {
        name: value for name, value in given.items() if name not in _OVERRULED and value is not None
    }


def _passed_on(options: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    return {name: value for name, value in options if name in PASSED_ON}
