"""A quick look at how well a model answers the test documents, without the harness."""

from __future__ import annotations

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from .corpus import Row, reading_rows, story_rows, word_problem_rows


def _pairs() -> dict[str, list[tuple[str, str]]]:
    """Return a prompt and its right continuation for every test document with an answer."""
    problems = [
        (f"Question: {row['question']}\nAnswer:", f" {row['answer']}\n")
        for row in word_problem_rows()
    ]
    questions = [_question(row) for row in reading_rows()]
    stories = [(row["context"], f" {row['last_word']}") for row in story_rows()[0]]
    return {"word_problems": problems, "reading": questions, "completion": stories}


def _question(row: Row) -> tuple[str, str]:
    prompt = f"{row['passage']}\nRecall: {row['stem']}"
    return prompt, f" {row['choices'][row['answer']]}\n"


@torch.no_grad()
def exact_answers(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> dict[str, float]:
    """Return, per task, the share of answers all of whose tokens are the model's first choice.

    For ``reading`` this is stricter than the harness's accuracy, which compares four choices.
    """
    result = {}
    for task, pairs in _pairs().items():
        hits = 0
        for prompt, answer in pairs:
            context, wanted = tokenizer.encode(prompt), tokenizer.encode(answer)
            logits = model(input_ids=torch.tensor([context + wanted]), use_cache=False).logits[0]
            found = logits[len(context) - 1 : -1].argmax(dim=-1)
            hits += int(found.tolist() == wanted)
        result[task] = hits / len(pairs)
    return result
