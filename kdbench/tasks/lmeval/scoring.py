"""From questions to samples: a model's verbs, lm-eval's filters, lm-eval's scores."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdbench.errors import ModelError, TaskError
from kdbench.models.protocols import Continuation, Generated, Prompt, Scored
from kdbench.results.sample import Sample
from kdbench.tasks.lmeval.documents import Conversation, Documents, Question, field_of
from kdbench.tasks.lmeval.generation import decoding
from kdbench.tasks.lmeval.metrics import score_key

_BUILTIN_FILTERS = "lm_eval.filters."


@dataclass
class Scoring:
    """How one task's answers become samples; `metrics` are the scores that it announced."""

    documents: Documents
    metrics: frozenset[str]
    category: str | None
    windows: tuple[int, int] | None = None
    """Size and stride of the windows of rolling scores; None for the model's context, as lm-eval's."""
    _filters_checked: bool = False

    def samples(
        self, model: Any, questions: Sequence[Question], seed_of: Callable[[str], int]
    ) -> list[Sample]:
        """Ask `model` the questions of one block; a sample for each, in their order."""
        asked = [
            [replace(request, arguments=_rendered(request.args, model), resps=[], filtered_resps={})
             for request in question.requests]
            for question in questions
        ]  # fmt: skip
        answers = _ask(model, questions, asked, seed_of, self.windows)
        with self.documents.scoring():
            self._filter([request for requests in asked for request in requests])
            return [
                self._sample(question, sorted(requests, key=lambda r: r.idx), answers)
                for question, requests in zip(questions, asked, strict=True)
            ]

    def _filter(self, requests: list[Any]) -> None:
        """Run the task's filters over a block as lm-eval runs them over all answers.

        That is the same for filters that look at one answer at a time, as lm-eval's own do.
        Others are tried on both halves of the first block too.
        """
        checked = self._filters_checked or len(requests) < 2 or not self._has_own_filters()
        copies = [] if checked else [replace(one, resps=list(one.resps)) for one in requests]
        self._apply_filters(requests)
        if checked:
            return
        middle = len(copies) // 2
        for half in (copies[:middle], copies[middle:]):
            for one in half:
                one.filtered_resps = {}
            self._apply_filters(half)
        if [one.filtered_resps for one in copies] != [one.filtered_resps for one in requests]:
            raise TaskError(
                f"lm-eval task {self.documents.name!r}: a filter of its own gives an answer "
                "another value in other company (it looks at all answers together, or draws at "
                "random), so that kdbench, which filters block by block, can't run it"
            )
        self._filters_checked = True

    def _apply_filters(self, requests: list[Any]) -> None:
        self.documents.task._instances = requests
        self.documents.task.apply_filters()

    def _has_own_filters(self) -> bool:
        steps = [step for pipeline in self.documents.task._filters for step in pipeline.filters]
        return any(
            not step.func.__module__.startswith(_BUILTIN_FILTERS) or "filter_fn" in step.keywords
            for step in steps
        )

    def _sample(
        self, question: Question, requests: list[Any], answers: dict[int, list[Any]]
    ) -> Sample:
        scores: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for pipeline in requests[0].filtered_resps:
            filtered = [request.filtered_resps[pipeline] for request in requests]
            for name, value in self._scores(question, filtered).items():
                key = score_key(name, pipeline)
                (scores if key in self.metrics else others)[key] = plain(value)
        given = [answers[id(request)] for request in requests]
        described = _describe(self.documents.task, question, requests, given)
        if others:
            described.extra["other_scores"] = others
        tags = {}
        if self.category:
            name = self.documents.name
            tags["category"] = str(field_of(question.document, self.category, name, question.index))
        return replace(described, scores=scores, tags=tags)

    def _scores(self, question: Question, filtered: list[Any]) -> Mapping[str, Any]:
        task = self.documents.task
        document = question.document
        if callable(task.config.process_results):
            # the function may change its document, which the next model needs
            document = copy.deepcopy(document)
        with self.documents.drawing(question):
            return task.process_results(document, filtered)  # type: ignore[no-any-return]


def plain(value: Any) -> Any:
    """A score as JSON can hold it: numpy's numbers and arrays, tuples and sets become Python's."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (str, int, float, type(None))) and type(value).__module__ == "builtins":
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(part) for part in value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def _rendered(arguments: tuple[Any, ...], model: Any) -> tuple[Any, ...]:
    """Chat messages through the model's own template; text as it is."""
    return tuple(
        model.apply_chat_template(part.messages, add_generation_prompt=part.add_generation_prompt)
        if isinstance(part, Conversation)
        else part
        for part in arguments
    )


def _ask(
    model: Any,
    questions: Sequence[Question],
    asked: Sequence[Sequence[Any]],
    seed_of: Callable[[str], int],
    windows: tuple[int, int] | None,
) -> dict[int, list[Any]]:
    """Answer all requests, one call per verb, and put the answers into them as lm-eval does.

    Returns the verbs' own answers by the id() of the request.
    """
    by_type: dict[str, list[tuple[Question, Any]]] = {}
    for question, requests in zip(questions, asked, strict=True):
        for request in requests:
            by_type.setdefault(request.request_type, []).append((question, request))
    answers: dict[int, list[Any]] = {}
    for kind, members in by_type.items():
        if kind == "generate_until":
            _generate(model, members, seed_of, answers)
            continue
        requests = [request for _, request in members]
        if kind == "loglikelihood":
            sent = [Continuation(request.args[0], request.args[1]) for request in requests]
            scored = _checked(model.score_text(sent), len(sent), "score_text")
        else:
            texts = [request.args[0] for request in requests]
            scored = _checked(_rolling(model, texts, windows), len(texts), "score_rolling")
        for request, score in zip(requests, scored, strict=True):
            answers[id(request)] = [score]
            value = (score.logprob, score.greedy) if kind == "loglikelihood" else score.logprob
            request.resps.extend([value] * request.repeats)
    return answers


def _rolling(model: Any, texts: list[str], windows: tuple[int, int] | None) -> list[Any]:
    found: list[Any] = (
        model.score_rolling(texts) if windows is None else model.score_windows(texts, *windows)
    )
    return found


def _generate(
    model: Any,
    members: Sequence[tuple[Question, Any]],
    seed_of: Callable[[str], int],
    answers: dict[int, list[Any]],
) -> None:
    prompts: list[Prompt] = []
    counts: list[int] = []
    for question, request in members:
        how = decoding(request.args[1])
        # a greedy answer is the same at each repeat: ask once
        times = request.repeats if how.temperature > 0 else 1
        counts.append(times)
        for repeat in range(times):
            seed = seed_of(f"{question.id}/{repeat}" if repeat else question.id)
            prompts.append(
                Prompt(
                    request.args[0], how.stop, how.max_new_tokens, how.temperature,
                    how.top_p, how.top_k, seed, how.options,
                )
            )  # fmt: skip
    generated = iter(_checked(model.generate_text(prompts), len(prompts), "generate_text"))
    for (_, request), times in zip(members, counts, strict=True):
        mine = [next(generated) for _ in range(times)]
        answers[id(request)] = mine
        texts = [answer.text for answer in mine]
        request.resps.extend(texts if times == request.repeats else texts * request.repeats)


def _checked(answers: list[Any], wanted: int, verb: str) -> list[Any]:
    if len(answers) != wanted:
        raise ModelError(f"the model's {verb} answered {len(answers)} of {wanted} requests")
    return answers


def _describe(task: Any, question: Question, requests: list[Any], given: list[list[Any]]) -> Sample:
    """The sample without its scores: what was asked and what came back."""
    if task.OUTPUT_TYPE == "multiple_choice":
        return _describe_choice(task, question, requests, [answer for (answer,) in given])
    prompt = requests[0].args[0]
    if task.OUTPUT_TYPE == "generate_until":
        return _describe_text(question, requests[0], prompt, given[0])
    (answer,) = given[0]
    rolling = task.OUTPUT_TYPE == "loglikelihood_rolling"
    extra: dict[str, Any] = {"logprob": round(answer.logprob, 6), "tokens": answer.tokens}
    if not rolling:
        extra["greedy"] = answer.greedy
    target = requests[0].args[0 if rolling else 1]
    return _sample(question, "" if rolling else prompt, str(target), "", extra)


def _describe_choice(
    task: Any, question: Question, requests: list[Any], answers: list[Scored]
) -> Sample:
    if "acc_mutual_info" in task._metric_fn_list:
        requests = requests[: len(requests) // 2]  # the others ask the choices without context
    prompt = _common_start([request.args[0] for request in requests])
    choices = [request.args[0][len(prompt) :] + request.args[1] for request in requests]
    scored = answers[: len(choices)]
    choice = max(range(len(scored)), key=lambda i: scored[i].logprob)
    gold = _gold(task, question)
    extra = {
        "choices": choices,
        "logprobs": [round(answer.logprob, 6) for answer in scored],
        "tokens": [answer.tokens for answer in scored],
        "choice": choice,
        "gold": gold,
    }
    indices = gold if isinstance(gold, list) else [gold]
    right = [choices[i].strip() for i in indices if isinstance(i, int) and 0 <= i < len(choices)]
    return _sample(question, prompt, " | ".join(right), choices[choice].strip(), extra)


def _gold(task: Any, question: Question) -> Any:
    """Index of the right choice (or their list), as lm-eval's scorer finds it."""
    gold = task.doc_to_text(question.document) if task.multiple_input else question.target
    if isinstance(gold, str):
        choices = task.doc_to_choice(question.document)
        return choices.index(gold) if gold in choices else None
    return plain(gold)


def _describe_text(
    question: Question, request: Any, prompt: str, answers: list[Generated]
) -> Sample:
    extra: dict[str, Any] = {"tokens": answers[0].tokens, "finish": answers[0].finish}
    if len(answers) > 1:
        extra = {
            "outputs": [answer.text for answer in answers],
            "tokens": [answer.tokens for answer in answers],
            "finish": [answer.finish for answer in answers],
        }
    read = {name: plain(text) for name, text in request.filtered_resps.items()}
    if any(text != answers[0].text for text in read.values()):
        extra["filtered"] = read
    return _sample(question, prompt, _text(question.target), answers[0].text, extra)


def _sample(
    question: Question, prompt: str, target: str, output: str, extra: dict[str, Any]
) -> Sample:
    return Sample(
        question.id, question.index, question.cluster, {}, prompt, target, output, extra=extra
    )


def _text(target: Any) -> str:
    return " | ".join(map(str, target)) if isinstance(target, list) else str(target)


def _common_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    if first == last:
        return first
    for position, letter in enumerate(first):
        if letter != last[position : position + 1]:
            return first[:position]
    return first
