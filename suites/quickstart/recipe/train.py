"""Rebuild the quickstart: the test data, the tokenizer, a teacher and its three students.

    python suites/quickstart/recipe/train.py [--out FOLDER] [--seed N] [--teacher FOLDER] [--scale X]

Everything follows from the seeds.  The test data come out byte for byte the same on every machine;
trained weights do so only as far as the machine adds floating-point numbers in the same order.
"""

from __future__ import annotations

import argparse
import json
import os

# Waiting threads must not burn the cores that other work on the machine needs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from toylm.batches import Encoder, batches, document_set
from toylm.corpus import (
    STUDENT_DOCUMENTS,
    TEACHER_DATA_SEED,
    TEACHER_DOCUMENTS,
    student_data_seed,
    train_stream,
    write_test_files,
)
from toylm.distil import Loss, OnPolicy, Schedule, Sources, cross_entropy, forward_kl, train
from toylm.document import Kind
from toylm.models import MAX_LENGTH, STUDENT, TEACHER, Shape, new_model
from toylm.progress import say
from toylm.scores import exact_answers
from toylm.text import train_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

SUITE = Path(__file__).resolve().parents[1]
VOCABULARY = 1024
PROMPT_WEIGHT = 0.1
STUDENTS = ("scratch", "forward-kl", "on-policy")

TOKENIZER_DOCUMENTS: dict[Kind, int] = {"problem": 4000, "passage": 500, "story": 4000}
BATCH_ROWS: dict[Kind, int] = {"recital": 32, "problem": 32, "passage": 24, "story": 24}


@dataclass(frozen=True)
class Plan:
    """What one model is trained on and for how long."""

    shape: Shape
    schedule: Schedule
    documents: dict[Kind, int]
    data_seed: int
    wrong_share: float


def teacher_plan(scale: float = 1.0) -> Plan:
    """Return the teacher's plan: many documents, all of them correct."""
    return Plan(
        shape=TEACHER,
        schedule=_schedule(900, scale),
        documents=_documents(TEACHER_DOCUMENTS, scale),
        data_seed=TEACHER_DATA_SEED,
        wrong_share=0.0,
    )


def student_plan(seed: int, scale: float = 1.0) -> Plan:
    """Return the plan shared by all students: fewer documents, some with wrong answers."""
    return Plan(
        shape=STUDENT,
        schedule=_schedule(700, scale),
        documents=_documents(STUDENT_DOCUMENTS, scale),
        data_seed=student_data_seed(seed),
        wrong_share=0.3,
    )


def _schedule(steps: int, scale: float) -> Schedule:
    return Schedule(steps=max(2, round(steps * scale)), recital_steps=round(60 * scale))


def _documents(sizes: dict[Kind, int], scale: float) -> dict[Kind, int]:
    """Return how many documents of each kind; a trial does not wait for those that it never reads."""
    if scale >= 1:
        return sizes
    return {kind: max(2 * BATCH_ROWS[kind], round(size * scale)) for kind, size in sizes.items()}


def sources(plan: Plan, tokenizer: PreTrainedTokenizerFast) -> Sources:
    """Return the endless batches of a plan, one source for each kind of document."""
    encoder = Encoder(tokenizer, PROMPT_WEIGHT)
    return {
        kind: batches(
            encoder,
            document_set(encoder, kind, plan.data_seed, size, plan.wrong_share),
            BATCH_ROWS[kind],
            f"order {kind} {plan.data_seed}",
        )
        for kind, size in plan.documents.items()
    }


def run(name: str, plan: Plan, seed: int, loss: Loss, out: Path) -> dict[str, Any]:
    """Train one model with the tokenizer found in ``out``, save it there, return what was done."""
    tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
    model = new_model(plan.shape, tokenizer, seed)
    record = train(name, model, sources(plan, tokenizer), loss, plan.schedule)
    save(model, tokenizer, out / name)
    return {
        "parameters": model.num_parameters(),
        "seed": seed,
        **asdict(plan),
        **asdict(record),
        "exact_answers": exact_answers(model, tokenizer),
    }


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a model beside its tokenizer, replacing file by file what is there."""
    staging = folder.with_name(f".{folder.name}.new")
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(staging.iterdir()):
        file.chmod(0o644)
        file.replace(folder / file.name)
    staging.rmdir()


def run_student(
    name: str, seed: int, out: Path, teacher_folder: Path, scale: float = 1.0
) -> dict[str, Any]:
    """Train one student; this runs in a process of its own on one core."""
    torch.set_num_threads(1)
    plan = student_plan(seed, scale)
    loss: Loss = cross_entropy
    if name != "scratch":
        teacher = AutoModelForCausalLM.from_pretrained(teacher_folder, attn_implementation="eager")
        teacher.requires_grad_(False)
        loss = forward_kl(teacher)
        if name == "on-policy":
            tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
            loss = OnPolicy(teacher, tokenizer, plan.schedule.steps // 2, seed)
    return run(name, plan, seed, loss, out)


def make_tokenizer(out: Path) -> None:
    """Train the tokenizer on train documents and put it where every model finds it."""
    texts = [
        document.text()
        for kind, size in TOKENIZER_DOCUMENTS.items()
        for document in islice(train_stream(kind, TEACHER_DATA_SEED), size)
    ]
    train_tokenizer(texts, VOCABULARY, MAX_LENGTH).save_pretrained(out / "tokenizer")


def print_table(records: dict[str, dict[str, Any]]) -> None:
    """Print one line per model."""
    say(f"\n{'model':<12}{'params':>9}{'tokens':>10}{'seconds':>9}  exact answers on test data")
    for name, record in records.items():
        shares = record["exact_answers"].items()
        scores = "  ".join(f"{task} {share:.3f}" for task, share in shares)
        head = f"{name:<12}{record['parameters']:>9}{record['tokens']:>10}"
        say(f"{head}{record['seconds']:>9.0f}  {scores}")


def main() -> None:
    """Run the whole recipe, or only the students where a trained teacher is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=SUITE / "models", help="folder of the models")
    parser.add_argument("--data", type=Path, default=SUITE / "data", help="folder of the test data")
    parser.add_argument("--seed", type=int, default=1, help="seed of the students")
    parser.add_argument("--teacher", type=Path, help="reuse this teacher and its tokenizer")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the steps and documents, for a trial"
    )
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    options = parser.parse_args()

    began = time.monotonic()
    torch.set_num_threads(options.threads)
    write_test_files(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    records: dict[str, dict[str, Any]] = {}
    teacher = options.teacher or options.out / "teacher"
    if options.teacher:
        AutoTokenizer.from_pretrained(teacher).save_pretrained(options.out / "tokenizer")
    else:
        make_tokenizer(options.out)
        records["teacher"] = run(
            "teacher", teacher_plan(options.scale), 1, cross_entropy, options.out
        )
    with ProcessPoolExecutor(options.threads, mp_context=get_context("spawn")) as pool:
        jobs = {
            name: pool.submit(run_student, name, options.seed, options.out, teacher, options.scale)
            for name in STUDENTS
        }
        records.update({name: job.result() for name, job in jobs.items()})
    report = {"total_seconds": time.monotonic() - began, "models": records}
    (options.out / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    print_table(records)


if __name__ == "__main__":
    main()
