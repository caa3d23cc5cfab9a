"""From requests to rows of token ids, by the conventions of lm-eval 0.4.13 (`TemplateLM`, `HFLM`).

A continuation is encoded as the whole text minus its context, trailing spaces of the context
belonging to the continuation; an empty context stands for the tokenizer's beginning-of-text token
(end-of-text where there is none); what is too long loses tokens on its left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kdbench.errors import ModelError
from kdbench.models.protocols import Continuation, Scored

DEFAULT_MAX_LENGTH = 2048
_UNSET_MAX_LENGTH = 1e29


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Token ids of which the last `scored` are scored, given everything before them."""

    tokens: tuple[int, ...]
    scored: int


def pair_row(context: Sequence[int], continuation: Sequence[int], max_length: int) -> TokenRow:
    """A row for `continuation` after `context`, cut on the left to `max_length` tokens of input.

    Raises `ModelError` where the continuation alone is longer than that.
    """
    if len(continuation) > max_length:
        raise ModelError(
            f"a continuation of {len(continuation)} tokens does not fit the model's {max_length} "
            "tokens of context; leave the document out or score it in windows (rolling)"
        )
    return TokenRow(tuple([*context, *continuation][-(max_length + 1) :]), len(continuation))


def rolling_rows(
    tokens: Sequence[int], prefix: int, max_length: int, stride: int | None = None
) -> Iterator[TokenRow]:
    """Windows that score each of `tokens` once: the first after `prefix`, every further one the next
    `stride` tokens after as many as fit before them into `max_length` tokens of input.

    Without a stride the windows follow each other, each after one token of context, as lm-eval's do; a
    smaller stride gives every token more context and costs more.
    """
    first = min(max_length, len(tokens))
    if first:
        yield TokenRow((prefix, *tokens[:first]), first)
    done = first
    while done < len(tokens):
        end = min(done + (stride or max_length), len(tokens))
        yield TokenRow(tuple(tokens[end - max_length - 1 : end]), end - done)
        done = end


def rolled(
    windows: Sequence[Sequence[TokenRow]], score: Callable[[Sequence[TokenRow]], Sequence[Scored]]
) -> list[Scored]:
    """Sums over each text's windows, all windows scored in one go."""
    found = iter(score([row for rows in windows for row in rows]))
    answers = []
    for rows in windows:
        parts = [next(found) for _ in rows]
        logprob = float(sum(part.logprob for part in parts))
        answers.append(Scored(logprob, False, sum(part.tokens for part in parts)))
    return answers


def context_length(config: Any, tokenizer: Any, default: int = DEFAULT_MAX_LENGTH) -> int:
    """Tokens of context that a model's configuration declares, else its tokenizer's, else
    `default`.

    `config` and `tokenizer` are transformers objects; a nested `text_config` comes first.
    """
    config = getattr(config, "text_config", None) or config
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        declared = getattr(config, name, None)
        if declared is not None:
            return int(declared)
    declared = getattr(tokenizer, "model_max_length", None)
    return int(declared) if declared and declared < _UNSET_MAX_LENGTH else default


class TextEncoder:
    """A transformers tokenizer with the model's context length and BOS policy.

    `add_bos_token` None leaves special tokens to the tokenizer; true and false force them on and
    off. Text that already begins with the beginning-of-text token never gets a second one.
    """

    def __init__(self, tokenizer: Any, max_length: int, add_bos_token: bool | None = None) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.add_bos_token = add_bos_token

    @property
    def prefix(self) -> int:
        """The token that stands for an empty context."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise ModelError(
            "the tokenizer has neither a beginning-of-text nor an end-of-text token, so a text "
            "without context can't be scored; set one in its tokenizer_config.json"
        )

    def continuations(self, requests: Sequence[Continuation]) -> list[TokenRow]:
        """One row for each request; a continuation without text has no tokens."""
        pairs = [_move_spaces(request) for request in requests]
        marker = self._prefix_text()
        whole = self._encode((context + text for context, text in pairs if context), marker)
        contexts = self._encode((context for context, _ in pairs if context), marker)
        bare = self._encode((text for context, text in pairs if not context), None, special=False)
        rows = []
        for context, text in pairs:
            if context:
                row = self._split(contexts[context], whole[context + text], text)
            else:
                row = self._alone(bare[text])
            rows.append(row)
        return rows

    def rolling(
        self, texts: Sequence[str], window: int | None = None, stride: int | None = None
    ) -> list[list[TokenRow]]:
        """The windows of each text; none for an empty one. `window` is the model's context by default.

        Raises `ModelError` for a window that the model can't hold.
        """
        size = window or self.max_length
        if size > self.max_length:
            raise ModelError(
                f"a window of {size} tokens does not fit the model's {self.max_length} tokens of context"
            )
        encoded = self._encode(texts, self._prefix_text())
        return [list(rolling_rows(encoded[text], self.prefix, size, stride)) for text in texts]

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, whole; an empty prompt is the prefix token."""
        encoded = self._encode(texts, self.tokenizer.bos_token)
        return [encoded[text] or [self.prefix] for text in texts]

    def decode(self, tokens: Sequence[int], special: bool = False) -> str:
        """Text of token ids, with or without the special tokens among them."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=not special))

    def _prefix_text(self) -> str | None:
        has_prefix = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id) != (None, None)
        return self.decode([self.prefix], special=True) if has_prefix else None

    def _split(self, context: list[int], whole: list[int], text: str) -> TokenRow:
        continuation = whole[len(context) :]
        if text and not continuation:
            raise ModelError(
                f"the tokenizer merges {text!r} into its context, so it has no tokens of its own "
                "to score; put a space or a line break between them"
            )
        return pair_row(context or [self.prefix], continuation, self.max_length)

    def _alone(self, continuation: list[int]) -> TokenRow:
        if continuation[:1] == [self.prefix]:
            return pair_row(continuation[:1], continuation[1:], self.max_length)
        return pair_row([self.prefix], continuation, self.max_length)

    def _encode(
        self, texts: Iterable[str], marker: str | None, special: bool | None = None
    ) -> dict[str, list[int]]:
        """Each distinct text's ids. `special` overrides the policy; text that begins with `marker`
        has its special tokens already.
        """
        policy = self.add_bos_token if special is None else special
        distinct = dict.fromkeys(texts)
        marked = [
            text for text in distinct if special is None and marker and text.startswith(marker)
        ]
        plain = [text for text in distinct if text not in set(marked)]
        encoded: dict[str, list[int]] = {}
        for group, add in ((marked, False), (plain, policy)):
            if group:
                flag = {} if add is None else {"add_special_tokens": add}
                ids = self.tokenizer(group, return_attention_mask=False, verbose=False, **flag)
                encoded.update(zip(group, ids["input_ids"], strict=True))
        return encoded


def _move_spaces(request: Continuation) -> tuple[str, str]:
    context = request.context.rstrip()
    return context, request.context[len(context) :] + request.text
