"""transformers' own generation with and without a draft, one text at a time, and what single steps cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdbench.models.prompt_lookup import PromptLookup
from kdbench.models.warping import Warp

if TYPE_CHECKING:
    from kdbench.models.causal_lm import CausalLM


@dataclass(frozen=True, slots=True)
class Generation:
    """A text's tokens, and how many passes of the target they took."""

    ids: list[int]
    passes: int


def generate(
    target: CausalLM,
    prompt: Sequence[int],
    warp: Warp,
    max_new_tokens: int,
    seed: int,
    draft: CausalLM | PromptLookup | None = None,
    gamma: int = 0,
) -> Generation:
    """`max_new_tokens` at most, plain or with chains of `gamma` drafts.

    The schedule is constant and the confidence threshold 0: by default transformers stops drafting where the
    draft is unsure and tunes that from what it has seen, so that no gamma describes what it did. Both
    models draw under the same warp.
    """
    import torch

    given: dict[str, Any] = {}
    if isinstance(draft, PromptLookup):
        given = {"prompt_lookup_num_tokens": gamma, "max_matching_ngram_size": draft.max_ngram}
    elif draft is not None:
        given = {"assistant_model": draft.model}
        settings = draft.model.generation_config
        settings.num_assistant_tokens = gamma
        settings.num_assistant_tokens_schedule = "constant"
        settings.assistant_confidence_threshold = 0.0
    if warp.temperature:
        given |= {"temperature": warp.temperature, "top_p": warp.top_p, "top_k": warp.top_k}
    else:
        given |= {"temperature": None, "top_p": None, "top_k": None}
    ids = torch.tensor([list(prompt)], device=target.model.device)
    with _seeded(seed, ids.device), torch.inference_mode(), _counted(target.model) as count:
        output = target.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=warp.temperature > 0,
            max_new_tokens=max_new_tokens,
            num_beams=1,
            use_cache=True,
            eos_token_id=sorted(target.generator.ends) or None,
            pad_token_id=target.generator.padding,
            **given,
        )
    return Generation(output[0, len(prompt) :].tolist(), count[0])


def takes(target: CausalLM, draft: CausalLM | PromptLookup) -> bool:
    """Whether transformers lets `draft` assist: it wants vocabularies of one size, padding and all."""
    if isinstance(draft, PromptLookup):
        return True
    sizes = [one.model.config.get_text_config().vocab_size for one in (target, draft)]
    return bool(sizes[0] == sizes[1])


@dataclass(frozen=True, slots=True)
class Steps:
    """One call each: a token of the target, a token of the draft, and the target's look at a chain of
    each gamma (gamma + 1 tokens), all behind a cache of the same text.
    """

    target: Callable[[], object]
    draft: Callable[[], object]
    verify: dict[int, Callable[[], object]]


def steps(
    target: CausalLM,
    draft: CausalLM | PromptLookup,
    text: Sequence[int],
    gammas: Sequence[int],
) -> Steps:
    """Calls to be timed behind `text`, of which the last gamma + 1 tokens are what is read again."""
    longest = max(gammas) + 1
    cut = max(1, len(text) - longest)
    ahead = [*text[cut:], *text[:1] * longest]
    look = _behind(target.model, text[:cut])
    if isinstance(draft, PromptLookup):
        lookup = draft

        def propose() -> object:
            return lookup.draft_tokens(text[:cut], 1)
    else:
        read = _behind(draft.model, text[:cut])

        def propose() -> object:
            return read(ahead[:1])

    return Steps(
        lambda: look(ahead[:1]),
        propose,
        {gamma: (lambda count=gamma + 1: look(ahead[:count])) for gamma in gammas},
    )


def _behind(model: Any, text: Sequence[int]) -> Callable[[Sequence[int]], object]:
    """Reads tokens behind the cache of `text`, which every call finds as it was."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    device = model.device

    def read(tokens: Sequence[int]) -> object:
        ids = torch.tensor([list(tokens)], device=device)
        with torch.inference_mode():
            logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits
        cache.crop(-len(tokens))
        return logits

    with torch.inference_mode():
        model(
            input_ids=torch.tensor([list(text)], device=device),
            past_key_values=cache,
            use_cache=True,
        )
    return read


@contextmanager
def _counted(model: Any) -> Iterator[list[int]]:
    """Passes of `model` while the block lasts, as the only entry of a list."""
    count = [0]

    def passed(*_: object) -> None:
        count[0] += 1

    hook = model.register_forward_hook(passed)
    try:
        yield count
    finally:
        hook.remove()


@contextmanager
def _seeded(seed: int, device: Any) -> Iterator[None]:
    """torch's own random numbers from `seed`, and as they were afterwards; transformers takes no others."""
    import torch

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
