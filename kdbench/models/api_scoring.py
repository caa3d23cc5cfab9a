"""Log-probabilities of given text from servers: echoed prompts, or llama.cpp token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

from kdbench.errors import ModelError
from kdbench.models.api_client import ApiClient
from kdbench.models.protocols import Continuation, Scored
from kdbench.models.tokens import TextEncoder, TokenRow, rolled

_FORCE = 1000.0
_TIE = 1e-6
_WHOLE_VOCABULARY = 1 << 20

Body = Callable[[str | list[int]], dict[str, Any]]


class Scores(Protocol):
    """A way to score through a server."""

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]: ...

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]: ...


def echoing(model: str) -> Body:
    """The request that asks for a prompt's own log-probabilities, as vLLM and OpenAI's first API
    read it.
    """

    def body(prompt: str | list[int]) -> dict[str, Any]:
        return {
            "model": model,
            "prompt": prompt,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 1,
            "echo": True,
        }

    return body


class EchoScores:
    """Scores from `echo: true, logprobs: 1` on the completions API.

    With an `encoder` prompts go out as token ids and the boundary between context and continuation
    is lm-eval's; without one it is where the echoed tokens' text says, and a token that straddles
    it is refused.
    """

    def __init__(self, client: ApiClient, body: Body, encoder: TextEncoder | None) -> None:
        self.client = client
        self.url = f"{client.base_url}/completions"
        self.body = body
        self.encoder = encoder

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        """One answer for each request."""
        if self.encoder is not None:
            return self.client.each(self._row, self.encoder.continuations(requests))
        return self.client.each(self._text, requests)

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]:
        """Whole texts: in windows with an encoder, else each in one request."""
        if self.encoder is None:
            scores = self.client.each(self._text, [Continuation("", text) for text in texts])
            return [Scored(score.logprob, False, score.tokens) for score in scores]
        return rolled(self.encoder.rolling(texts), lambda rows: self.client.each(self._row, rows))

    def _row(self, row: TokenRow) -> Scored:
        if not row.scored:
            return Scored(0.0, True, 0)
        logprobs, prompted = self._logprobs(list(row.tokens))
        if prompted != len(row.tokens):
            raise ModelError(
                f"{self.url}: the server echoes {prompted} tokens for {len(row.tokens)}; it adds "
                "tokens of its own to prompts of token ids, so their scores would be another text's"
            )
        return self._sum(logprobs, prompted - row.scored, prompted)

    def _text(self, request: Continuation) -> Scored:
        if not request.text:
            return Scored(0.0, True, 0)
        context = request.context.rstrip()
        whole = request.context + request.text
        logprobs, prompted = self._logprobs(whole)
        tokens = [str(token) for token in logprobs["tokens"][:prompted]]
        echoed = "".join(tokens)
        if not echoed.endswith(whole):
            raise ModelError(
                f"{self.url}: the echoed tokens don't spell the prompt, so its parts can't be told "
                "apart; name the model's tokenizer with `tokenizer`"
            )
        ends = list(accumulate(len(token) for token in tokens))
        boundary = len(echoed) - len(whole) + len(context)
        start = sum(end <= boundary for end in ends)
        if (ends[start - 1] if start else 0) != boundary:
            raise ModelError(
                f"{self.url}: a token of the prompt lies across the end of its context "
                f"({tokens[start]!r}); name the model's tokenizer with `tokenizer`"
            )
        return self._sum(logprobs, start, len(tokens))

    def _logprobs(self, prompt: str | list[int]) -> tuple[dict[str, Any], int]:
        """The answer's log-probabilities, and how many of its tokens are the prompt's."""
        answer = self.client.post(self.url, self.body(prompt))
        try:
            logprobs = dict(answer["choices"][0]["logprobs"])
            listed = [logprobs[name] for name in ("tokens", "token_logprobs", "top_logprobs")]
            lengths = {len(part) for part in listed}
        except (KeyError, IndexError, TypeError) as error:
            raise ModelError(_no_echo(self.url)) from error
        if len(lengths) != 1 or lengths == {1}:
            raise ModelError(_no_echo(self.url))
        # One token had to be generated; a server that ended the text instead does not list it.
        prompted = (answer.get("usage") or {}).get("prompt_tokens", max(lengths) - 1)
        if not isinstance(prompted, int) or not 0 < prompted <= max(lengths):
            raise ModelError(_no_echo(self.url))
        return logprobs, prompted

    def _sum(self, logprobs: Mapping[str, Any], start: int, end: int) -> Scored:
        given = logprobs["token_logprobs"][start:end]
        if None in given:
            raise ModelError(
                f"{self.url}: the server has no log-probability for the first token of a text; "
                "name the model's tokenizer with `tokenizer`, so that a beginning-of-text token "
                "goes first"
            )
        greedy = True
        for logprob, top in zip(given, logprobs["top_logprobs"][start:end], strict=True):
            if not top:
                raise ModelError(_no_echo(self.url))
            greedy = greedy and logprob >= max(top.values()) - _TIE
        return Scored(float(sum(given)), greedy, len(given))


class LlamaCppScores:
    """Scores from llama.cpp's own /completion, which has no log-probabilities of prompts.

    Each token is forced by a bias on its logit and asked for with the unbiased log-probability that
    the server reports; the context before it stays in the server's cache, so a token costs one
    decoding step.
    """

    def __init__(
        self,
        client: ApiClient,
        props: Mapping[str, Any],
        encoder: TextEncoder | None,
        max_length: int | None,
    ) -> None:
        """`props` is what the server says about itself at /props."""
        self.client = client
        self.url = f"{client.root}/completion"
        room = int(props["default_generation_settings"]["n_ctx"]) - 1
        tokenizer = encoder.tokenizer if encoder else ServerTokenizer(client, props)
        self.encoder = TextEncoder(tokenizer, min(room, max_length or room))

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        """One answer for each request."""
        return self._rows(self.encoder.continuations(requests))

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]:
        """Whole texts in windows of the server's context."""
        return rolled(self.encoder.rolling(texts), self._rows)

    def _rows(self, rows: Sequence[TokenRow]) -> list[Scored]:
        return self.client.each(self._row, rows)

    def _row(self, row: TokenRow) -> Scored:
        logprob, greedy = 0.0, True
        for place in range(len(row.tokens) - row.scored, len(row.tokens)):
            found, most_probable = self._step(row.tokens[:place], row.tokens[place])
            logprob += found
            greedy = greedy and most_probable
        return Scored(logprob, greedy, row.scored)

    def _step(self, before: Sequence[int], token: int) -> tuple[float, bool]:
        entry = self._entry(before, token, 1)
        if entry is None:
            # A token that ends in the middle of a character: the server keeps silent about it, but
            # lists it among all others beside a token that is whole.
            entry = self._entry(before, self.encoder.prefix, _WHOLE_VOCABULARY)
            return self._listed(entry, token)
        try:
            forced, logprob = int(entry["id"]), float(entry["logprob"])
            best = float(entry["top_logprobs"][0]["logprob"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ModelError(_no_probabilities(self.url)) from error
        if forced != token:
            raise ModelError(
                f"{self.url}: the server could not be made to take token {token} (it took "
                f"{forced}); its tokenizer is not the one named with `tokenizer`, or it lacks "
                "logit_bias"
            )
        return logprob, logprob >= best - _TIE

    def _listed(self, entry: Mapping[str, Any] | None, token: int) -> tuple[float, bool]:
        listed = (entry or {}).get("top_logprobs") or []
        found = [float(top["logprob"]) for top in listed if top.get("id") == token]
        if not found:
            raise ModelError(_no_probabilities(self.url))
        return found[0], found[0] >= float(listed[0]["logprob"]) - _TIE

    def _entry(self, before: Sequence[int], token: int, listed: int) -> dict[str, Any] | None:
        """What the server reports about the next token, forced to be `token`, and its `listed` most
        probable alternatives; None where it reports nothing.
        """
        body = {
            "prompt": list(before),
            "n_predict": 1,
            "temperature": 0.0,
            "n_probs": listed,
            "logit_bias": [[token, _FORCE]],
            "post_sampling_probs": False,
            "cache_prompt": True,
        }
        entries = self.client.post(self.url, body).get("completion_probabilities")
        return dict(entries[0]) if entries else None


class ServerTokenizer:
    """llama.cpp's /tokenize behind the few names of a transformers tokenizer that `TextEncoder`
    uses.
    """

    def __init__(self, client: ApiClient, props: Mapping[str, Any]) -> None:
        self.client = client
        self.bos_token = props.get("bos_token") or None
        self.bos_token_id = self._special(self.bos_token)
        self._eos_token = props.get("eos_token") or None
        self.eos_token_id = self._special(self._eos_token)

    def __call__(
        self, texts: Sequence[str], add_special_tokens: bool = True, **_: object
    ) -> dict[str, list[list[int]]]:
        def ids(text: str) -> list[int]:
            return self._ids(text, add_special_tokens)

        return {"input_ids": self.client.each(ids, texts)}

    def decode(self, tokens: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Text of token ids."""
        answer = self.client.post(f"{self.client.root}/detokenize", {"tokens": list(tokens)})
        return str(answer["content"])

    def _special(self, text: str | None) -> int | None:
        ids = self._ids(text, special=False) if text else []
        return ids[0] if len(ids) == 1 else None

    def _ids(self, text: str, special: bool) -> list[int]:
        url = f"{self.client.root}/tokenize"
        answer = self.client.post(
            url, {"content": text, "add_special": special, "parse_special": True}
        )
        tokens = answer.get("tokens")
        if not isinstance(tokens, list):
            raise ModelError(f"{url}: an answer without tokens; name a folder with `tokenizer`")
        return [int(token) for token in tokens]


def _no_probabilities(url: str) -> str:
    return (
        f"{url}: this llama.cpp server does not report log-probabilities of tokens; update it (builds "
        "since 2025 do)"
    )


def _no_echo(url: str) -> str:
    return (
        f"{url}: the server gives no log-probabilities of prompts (echo with logprobs); serve the "
        "model with vLLM or llama.cpp, score it with the transformers adapter, or set scores: none"
    )
