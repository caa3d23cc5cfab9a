"""Generating a fixed number of tokens from a fixed number of tokens, with marks where a clock looks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from kdbench.errors import ModelError
from kdbench.metrics.roofline import Ceilings, Work
from kdbench.models.timing.ceilings import ceilings
from kdbench.models.timing.clock import Clock, clock_for
from kdbench.models.timing.compiled import Compiled, Mode, check_mode, compiling
from kdbench.models.timing.flop_count import active_parameters, expert_share, text_flops

_COUNTED: dict[tuple[type, str, int, int], tuple[int, int]] = {}
"""FLOPs by architecture, configuration, prompt and context: counting them takes longer than a small model's
run, and weights have no say in it."""

PREFILL, FIRST_TOKEN, END = 0, 1, 2
"""Marks of a run: the prompt has passed the model; its first new token is chosen; all are."""


@dataclass(frozen=True, slots=True)
class TextShape:
    """Rows, tokens of each prompt, and new tokens for each; an end of text is not heeded."""

    batch: int
    prompt_tokens: int
    new_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens of a row at its end."""
        return self.prompt_tokens + self.new_tokens


@dataclass(frozen=True, slots=True)
class Execution:
    """How a model runs, beyond how it was loaded. `attention` None leaves it as loaded."""

    attention: str | None = None
    compile: Mode = "none"
    cache: Literal["dynamic", "static"] = "dynamic"
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class TextWork:
    """What a run has to do: its prompt, and all its further tokens together."""

    prefill: Work
    decode: Work


class Decoder:
    """Feeds a transformers model step by step, decoder-only or encoder-decoder."""

    def __init__(self, model: Any, forward: Callable[..., Any] | None = None) -> None:
        """`forward` stands in for the model's own (a compiled one, say)."""
        self.model = model
        self.encoder_decoder = bool(getattr(model.config, "is_encoder_decoder", False))
        self._forward = forward or model
        keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._last = {"logits_to_keep": 1} if keeps else {}
        said = getattr(model, "generation_config", None)
        self._start = getattr(said, "decoder_start_token_id", None) or 0
        self._cache: Any = None
        self._encoded: Any = None

    def prefill(self, ids: Any, cache: Any = None) -> Any:
        """Logits behind the prompt `ids` (batch, tokens), kept for the steps that follow."""
        if self.encoder_decoder:
            self._encoded = self.model.get_encoder()(input_ids=ids)
            self._cache = None
            return self.step(ids[:, :1] * 0 + self._start)
        output = self._forward(input_ids=ids, past_key_values=cache, use_cache=True, **self._last)
        self._cache = output.past_key_values
        return output.logits[:, -1]

    def step(self, token: Any) -> Any:
        """Logits behind one further `token` (batch, 1)."""
        if self.encoder_decoder:
            output = self._forward(
                encoder_outputs=self._encoded,
                decoder_input_ids=token,
                past_key_values=self._cache,
                use_cache=True,
            )
        else:
            output = self._forward(
                input_ids=token, past_key_values=self._cache, use_cache=True, **self._last
            )
        self._cache = output.past_key_values
        return output.logits[:, -1]


class TextRun:
    """One model at one shape, ready to be called again and again; see `running`."""

    def __init__(
        self, model: Any, vocabulary: int, shape: TextShape, seed: int, how: Execution
    ) -> None:
        import torch

        self.model, self.shape = model, shape
        self.clock: Clock = clock_for(model.device)
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, vocabulary, (shape.batch, shape.prompt_tokens), generator=generator)
        self._ids = ids.to(model.device)
        self.compiled = None if how.compile == "none" else Compiled(model, how.compile)
        self._decoder = Decoder(model, self.compiled)
        self._static: Any = None
        if how.cache == "static":
            from transformers import StaticCache

            self._static = StaticCache(config=model.config, max_cache_len=shape.tokens)
        if self.compiled is not None:
            self.compiled.settle(self, (shape, how), self.clock)

    def __call__(self, mark: Callable[[], None], new_tokens: int | None = None) -> None:
        """Greedy, and whatever the tokens are; `new_tokens` cuts it short."""
        import torch

        with torch.inference_mode():
            if self._static is not None:
                self._static.reset()
            logits = self._decoder.prefill(self._ids, self._static)
            mark()
            token = logits.argmax(-1, keepdim=True)
            mark()
            for _ in range((new_tokens or self.shape.new_tokens) - 1):
                token = self._decoder.step(token).argmax(-1, keepdim=True)

    @property
    def device(self) -> str:
        return str(self.model.device)

    def ceilings(self) -> Ceilings:
        """What the model's device can do in the model's dtype with the threads that run now."""
        import torch

        return ceilings(self.device, self.model.dtype, torch.get_num_threads())

    def work(self) -> TextWork:
        """What the run has to do at the least.

        Weights move once for the prompt and once for each further token (of a mixture of experts no more
        of them than the rows can reach), the cache is written once and read at each further token.
        """
        shape = self.shape
        steps = shape.new_tokens - 1
        middle = shape.prompt_tokens + 1 + steps // 2
        model = self.model
        known_by = type(model), model.config.to_json_string(), shape.prompt_tokens, middle
        if known_by not in _COUNTED:
            _COUNTED[known_by] = text_flops(model, shape.prompt_tokens, middle)
        prompt, token = _COUNTED[known_by]
        weights, cache = self._weight_bytes(), cache_bytes_per_token(self.model) * shape.batch
        return TextWork(
            Work(prompt * shape.batch, weights + cache * shape.prompt_tokens),
            Work(token * shape.batch * steps, steps * (weights + cache * middle)),
        )

    def _weight_bytes(self) -> float:
        model = self.model
        embedding = model.get_input_embeddings().weight
        output = model.get_output_embeddings()
        tied = output is not None and output.weight is embedding
        read = [one for one in model.parameters() if tied or one is not embedding]
        total = float(sum(one.numel() * one.element_size() for one in read))
        if expert_share(model) == 1:  # of an embedding only the tokens' own rows are read
            return total
        active = active_parameters(model) / sum(one.numel() for one in model.parameters())
        return total * min(1.0, float(active) * self.shape.batch)


def cache_bytes_per_token(model: Any) -> float:
    """Bytes that the key/value cache grows by with each token of a row, in the model's own dtype.

    Read off a real cache of a few tokens, the difference of two lengths, so that states of fixed size (of
    state space layers) count as nothing.
    """
    import torch

    def size(tokens: int) -> int:
        ids = torch.zeros((1, tokens), dtype=torch.long, device=model.device)
        decoder = Decoder(model)
        with torch.inference_mode():
            if decoder.encoder_decoder:
                decoder.prefill(ids[:, :4])
                for _ in range(tokens):
                    decoder.step(ids[:, :1])
            else:
                decoder.prefill(ids)
        return sum(
            part.numel() * part.element_size()
            for layer in _layers(decoder._cache)
            for part in (getattr(layer, "keys", None), getattr(layer, "values", None))
            if part is not None
        )

    return (size(8) - size(4)) / 4


def _layers(cache: Any) -> list[Any]:
    return list(getattr(getattr(cache, "self_attention_cache", cache), "layers", ()))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or a CPU."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text
    )


@contextmanager
def running(model: Any, how: Execution) -> Iterator[None]:
    """`model` under `how`, and as it was before behind it.

    Raises `ModelError` for an attention that the model does not have, or a way to compile that its device
    does not have.
    """
    import torch

    check_mode(how.compile, model.device)
    threads = torch.get_num_threads()
    attention = model.config._attn_implementation
    try:
        if how.threads is not None:
            torch.set_num_threads(how.threads)
        if how.attention is not None and how.attention != attention:
            try:
                model.set_attn_implementation(how.attention)
            except (ValueError, ImportError) as error:
                raise ModelError(
                    f"attention {how.attention!r}: {' '.join(str(error).split())[:300]}"
                ) from error
        with compiling(how.compile):
            yield
    finally:
        torch.set_num_threads(threads)
        if model.config._attn_implementation != attention:
            model.set_attn_implementation(attention)
