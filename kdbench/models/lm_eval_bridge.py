"""Any model class of lm-eval, made to speak kdbench's verbs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdbench.errors import ModelError
from kdbench.models.generation import check_prompt, stops_of
from kdbench.models.protocols import Continuation, Generated, Prompt, Scored


class LmEvalModel:
    """Wraps an `lm_eval.api.model.LM` (0.4.13) that has a tokenizer (`tok_encode`).

    lm-eval returns text alone: its token count is that of the text encoded again, and an answer with
    as many tokens as were allowed counts as cut off by length.
    """

    def __init__(self, lm: Any, *, seed_key: str | None = None) -> None:
        """`seed_key` is the generation argument by which `lm` takes a seed for each request ("seed"
        for vLLM); without one, sampling is refused, since its result would depend on the batch.
        """
        if not callable(getattr(lm, "tok_encode", None)):
            raise ModelError(
                f"{type(lm).__name__} has no tok_encode, so the tokens of a text can't be counted; "
                "use a model class of lm-eval that has a tokenizer"
            )
        self.lm = lm
        self.seed_key = seed_key

    def score_text(self, requests: Sequence[Continuation]) -> list[Scored]:
        """Log-probabilities in nats, one answer for each request."""
        pairs = [(request.context, request.text) for request in requests]
        found = self._ask("loglikelihood", pairs)
        return [
            Scored(float(logprob), bool(greedy), self._tokens_after(context, text))
            for (context, text), (logprob, greedy) in zip(pairs, found, strict=True)
        ]

    def score_rolling(self, texts: Sequence[str]) -> list[Scored]:
        """Log-probabilities of whole texts, in windows of the model's context."""
        found = self._ask("loglikelihood_rolling", [(text,) for text in texts])
        # Some releases return pairs here.
        return [
            Scored(
                float(answer[0] if isinstance(answer, tuple) else answer),
                False,
                len(self.lm.tok_encode(text)),
            )
            for text, answer in zip(texts, found, strict=True)
        ]

    def generate_text(self, prompts: Sequence[Prompt]) -> list[Generated]:
        """One answer for each prompt."""
        asked = [(prompt.text, self._settings(prompt)) for prompt in prompts]
        found = self._ask("generate_until", asked)
        answers = []
        for prompt, text in zip(prompts, found, strict=True):
            count = len(self.lm.tok_encode(text, add_special_tokens=False)) if text else 0
            finish = "length" if count >= prompt.max_new_tokens else "stop"
            answers.append(Generated(text, count, finish))
        return answers

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The messages in the model's own format."""
        listed = [dict(message) for message in messages]
        return str(self.lm.apply_chat_template(listed, add_generation_prompt=add_generation_prompt))

    def _settings(self, prompt: Prompt) -> dict[str, Any]:
        check_prompt(prompt, frozenset({"do_sample"}))
        settings: dict[str, Any] = {
            "until": list(stops_of(prompt)),
            "max_gen_toks": prompt.max_new_tokens,
            "do_sample": prompt.temperature > 0,
            "temperature": prompt.temperature,
        }
        if prompt.temperature == 0:
            return settings
        if self.seed_key is None:
            raise ModelError(
                f"{type(self.lm).__name__} takes no seed for each request, so sampled text would "
                "depend on the batch; use temperature 0"
            )
        settings |= {self.seed_key: prompt.seed & 0x7FFFFFFF, "top_p": prompt.top_p}
        return settings | ({"top_k": prompt.top_k} if prompt.top_k else {})

    def _tokens_after(self, context: str, text: str) -> int:
        if not context:
            return len(self.lm.tok_encode(text, add_special_tokens=False))
        kept = context.rstrip()
        return len(self.lm.tok_encode(context + text)) - len(self.lm.tok_encode(kept))

    def _ask(self, verb: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        from lm_eval.api.instance import Instance

        instances = [
            Instance(request_type=verb, doc={}, arguments=given, idx=index)
            for index, given in enumerate(arguments)
        ]
        if not instances:
            return []
        answers = list(getattr(self.lm, verb)(instances))
        if len(answers) != len(instances):
            raise ModelError(
                f"{type(self.lm).__name__}.{verb} gave {len(answers)} answers to {len(instances)} "
                "requests"
            )
        return answers
