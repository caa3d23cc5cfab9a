"""Text from a causal language model: greedy, or sampled with a seed for each prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits, in_batches
from kdbench.models.protocols import Generated, Prompt
from kdbench.models.scoring import check_ids, nonsense
from kdbench.models.tokens import TextEncoder

PASSED_ON = frozenset({"repetition_penalty", "no_repeat_ngram_size", "min_new_tokens"})
KNOWN_OPTIONS = PASSED_ON | {"min_p", "do_sample"}


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
    """Generates with `model` (transformers, evaluation mode) through the tokens of `encoder`."""

    def __init__(self, model: Any, encoder: TextEncoder, limits: BatchLimits) -> None:
        self.model = model
        self.encoder = encoder
        self.limits = limits
        self.ends = _ends_of_text(model, encoder.tokenizer)
        self.vocabulary = int(model.get_input_embeddings().weight.shape[0])
        self.padding = _padding(encoder.tokenizer, self.vocabulary)

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
        answers: dict[int, Generated] = {}
        for settings, members in groups.items():
            room = self._room(settings)
            ordered = sorted(members, key=lambda index: -len(encoded[index]))

            def fits(batch: Sequence[int], settings: Settings = settings, room: int = room) -> bool:
                longest = min(room, len(encoded[batch[0]])) + settings.max_new_tokens
                return self.limits.fit(len(batch), longest)

            def run(
                batch: Sequence[int], settings: Settings = settings, room: int = room
            ) -> list[Generated]:
                rows = [encoded[index][-room:] for index in batch]
                return self._run(rows, [prompts[index] for index in batch], settings)

            found = in_batches(ordered, fits, self.limits, run)
            answers.update(zip(ordered, found, strict=True))
        return [answers[index] for index in range(len(prompts))]

    def _room(self, settings: Settings) -> int:
        room = self.encoder.max_length - settings.max_new_tokens
        if room < 1:
            raise ModelError(
                f"max_new_tokens is {settings.max_new_tokens}, and the model's context only "
                f"{self.encoder.max_length} tokens, prompt included; ask for fewer new tokens"
            )
        return room

    def _run(
        self, rows: Sequence[list[int]], prompts: Sequence[Prompt], settings: Settings
    ) -> list[Generated]:
        import torch

        from kdbench.models.decoding import StopTexts, processors

        longest = max(len(row) for row in rows)
        ids = torch.full((len(rows), longest), self.padding, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, longest - len(row) :] = torch.tensor(row)
            mask[index, longest - len(row) :] = 1
        device = self.model.device
        seeds = torch.tensor([prompt.seed for prompt in prompts], device=device)
        stops = StopTexts(self.encoder, [stops_of(prompt) for prompt in prompts], longest)
        chain, watch = processors(settings, seeds, longest)
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                logits_processor=chain,
                stopping_criteria=stops.criteria(),
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
        return [
            finished(self.encoder, tokens, stops_of(prompt), self.ends)
            for tokens, prompt in zip(output[:, longest:].tolist(), prompts, strict=True)
        ]


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


def _passed_on(options: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    return {name: value for name, value in options if name in PASSED_ON}
