"""A loaded causal language model that speaks the verbs of `kdbench.models.protocols`."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kdbench.errors import ModelError
from kdbench.models.batches import BatchLimits
from kdbench.models.generation import TextGenerator
from kdbench.models.protocols import Continuation, Generated, Prompt, Scored
from kdbench.models.row_cache import token_bytes
from kdbench.models.scoring import TokenScorer
from kdbench.models.tokens import TextEncoder, TokenRow, rolled

if TYPE_CHECKING:
    from kdbench.models.timing.footprint import Footprint
    from kdbench.models.timing.text_run import Execution, TextRun, TextShape


class CausalLM:
    """Scores and generates with a transformers model; its numbers are those of lm-eval's HFLM.

    Difference: the softmax is always float32, where HFLM takes it in the model's dtype.
    """

    def __init__(self, model: Any, encoder: TextEncoder, batch_size: int | None = None) -> None:
        """`batch_size` is rows per forward pass at most; None chooses by the device."""
        self.model = model
        self.encoder = encoder
        limits = BatchLimits.for_device(model.device.type, batch_size)
        self.scorer = TokenScorer(model, limits)
        decoding = BatchLimits.for_decoding(model.device.type, batch_size, token_bytes(model))
        self.generator = TextGenerator(model, encoder, decoding)

    @property
    def proposes(self) -> int:
        """Tokens that it can write: all that its head has rows for."""
        head = self.model.get_output_embeddings()
        return self.scorer.vocabulary if head is None else int(head.weight.shape[0])

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        """Log-probabilities in nats, one answer for each request."""
        return self._score(self.encoder.continuations(requests))

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]:
        """Log-probabilities of whole texts, each token scored once, in windows of the context."""
        return rolled(self.encoder.rolling(texts), self._score)

    def score_windows(self, texts: Sequence[str], window: int, stride: int) -> list[Scored]:
        """The same in windows of `window` tokens that overlap but for `stride`."""
        return rolled(self.encoder.rolling(texts, window, stride), self._score)

    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
        """Greedy or sampled text, one answer for each prompt."""
        return self.generator.generate(prompts)

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The messages in the model's own format; without a generation prompt the last one stays
        open.

        Raises `ModelError` where there is no template, or the template refuses the messages.
        """
        return render(self.encoder.tokenizer, messages, add_generation_prompt)

    @contextmanager
    def time_text(self, shape: TextShape, seed: int, how: Execution) -> Iterator[TextRun]:
        """A run of `shape` over random tokens, to be called and timed while the context is open.

        Raises `ModelError` where `how` can't be, or the context is too short for the shape.
        """
        from kdbench.models.timing.text_run import TextRun, running

        if shape.tokens > self.encoder.max_length:
            raise ModelError(
                f"{shape.prompt_tokens} tokens of prompt and {shape.new_tokens} new ones do not fit the "
                f"model's context of {self.encoder.max_length}"
            )
        with running(self.model, how):
            yield TextRun(self.model, self.generator.vocabulary, shape, seed, how)

    def footprint(self, context: int) -> Footprint:
        """What the model is made of; FLOPs of a token are those at `context` tokens."""
        from kdbench.models.timing.footprint import footprint_of

        return footprint_of(self.model, context)

    def _score(self, rows: Sequence[TokenRow]) -> list[Scored]:
        return [
            Scored(logprob, greedy, row.scored)
            for row, (logprob, greedy) in zip(rows, self.scorer.score(rows), strict=True)
        ]

    def close(self) -> None:
        """Give the memory back."""
        import torch

        from kdbench.models.timing.compiled import forget_compiled

        on_gpu = self.model.device.type == "cuda"
        forget_compiled(self.model)
        del self.model, self.scorer, self.generator
        gc.collect()
        if on_gpu:
            torch.cuda.empty_cache()


def render(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool
) -> str:
    """`messages` through the chat template of a transformers `tokenizer`."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ModelError(
            "the tokenizer has no chat template; run the task without one, or save a template with "
            "the tokenizer (chat_template.jinja)"
        )
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )
    except TemplateError as error:
        raise ModelError(
            f"the model's chat template refuses the messages ({error}); some know no system role, "
            "and some want user and assistant to alternate"
        ) from error
