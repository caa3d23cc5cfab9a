"""Panels that come with kdbench: each a function for its data and a script of the same name."""

from __future__ import annotations

from pathlib import Path

from kdbench.tasks.panel import Panel
from kdbench.tasks.panels import (
    acceptance,
    batch_latency,
    categories,
    contact_sheet,
    divergence,
    infinity,
    latency_grid,
    lengths,
    memory,
    quality,
    reliability,
    roofline,
    serving_load,
    speedup,
    spending,
)

_HERE = Path(__file__).parent

_RELIABILITY = Panel(
    "reliability",
    "Calibration",
    "How often the choice with the highest probability is right, against that probability; on the "
    "diagonal a model knows what it knows",
    _HERE / "reliability.js",
    reliability.data,
)

REASONING = [
    Panel(
        "categories",
        "By category",
        "The headline metric in each category of the documents, teacher and student on the same ones",
        _HERE / "categories.js",
        categories.data,
    ),
    _RELIABILITY,
    Panel(
        "lengths",
        "Answer lengths",
        "Tokens generated per answer by teacher and student",
        _HERE / "lengths.js",
        lengths.data,
    ),
]

CLASSIFICATION = [_RELIABILITY]

FIDELITY = [
    Panel(
        "divergence",
        "KL by position",
        "KL(teacher || student) of the n-th scored token, the mean over documents with its interval; a "
        "student that drifts from its teacher's context rises to the right",
        _HERE / "divergence.js",
        divergence.data,
    ),
]

SPECULATIVE = [
    Panel(
        "acceptance",
        "As the teacher's draft model",
        "Tokens per pass of the teacher when a student drafts for it, by the length of the chain; all "
        "students of the teacher on the same texts",
        _HERE / "acceptance.js",
        acceptance.data,
    ),
]

SPECULATIVE_LOOP = [
    Panel(
        "speedup",
        "Speed-up as a draft model",
        "How much faster the teacher writes with the student's drafts: measured against plain generation on "
        "the same prompts, and predicted from acceptance and the cost of single steps",
        _HERE / "speedup.js",
        speedup.data,
    ),
]

SAMPLED = [
    Panel(
        "spending",
        "Tokens against accuracy",
        "What each model spends on an answer, and how often it is right; then what the student spends where "
        "both are right equally often",
        _HERE / "spending.js",
        spending.data,
    ),
]

EFFICIENCY = [
    Panel(
        "latency-grid",
        "Latency grid",
        "Teacher and student at each shape (rows x prompt + new tokens), medians of interleaved rounds, and "
        "the speed-up with its interval",
        _HERE / "latency_grid.js",
        latency_grid.data,
        whole=True,
    ),
    Panel(
        "roofline",
        "Roofline",
        "Achieved FLOP/s of prompt and decoding against operations per byte, under the ceilings that were "
        "measured on the same machine; a point under the slope waits for memory",
        _HERE / "roofline.js",
        roofline.data,
        whole=True,
    ),
]

FOOTPRINT = [
    Panel(
        "memory",
        "Memory by phase",
        "What weights, cache and activations of one run take, in a process of its own",
        _HERE / "memory.js",
        memory.data,
    ),
]

_SHEET = Panel(
    "contact-sheet",
    "Contact sheet at equal noise",
    "Teacher and student asked the same, beginning from the same noise; small copies of the first prompts",
    _HERE / "contact_sheet.js",
    contact_sheet.data,
)

IMAGES = [
    _SHEET,
    Panel(
        "quality",
        "Quality against evaluations",
        "What each evaluation of the network (NFE, guidance counted) buys, with the interval of each score",
        _HERE / "quality.js",
        quality.data,
    ),
    Panel(
        "infinity",
        "Frechet distance at any number of images",
        "The distance falls with the number of images N as a line in 1/N; its height at the left edge is "
        "free of that bias",
        _HERE / "infinity.js",
        infinity.data,
    ),
]

EQUAL_NOISE = [_SHEET]

SERVING = [
    Panel(
        "serving-load",
        "Under load",
        "Teacher and student behind their servers at each load, medians of interleaved rounds; an open "
        "load's latency counts from when a request was due",
        _HERE / "serving_load.js",
        serving_load.data,
        whole=True,
    ),
]

BATCHES = [
    Panel(
        "batch-latency",
        "Latency by batch",
        "Teacher and student at each number of images at a time, medians of interleaved rounds; of "
        "generators also an evaluation of the denoiser and the decoding",
        _HERE / "batch_latency.js",
        batch_latency.data,
        whole=True,
    ),
]
