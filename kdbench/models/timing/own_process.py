"""A model loaded and run once in a process of its own: how long it takes, and what memory each phase needs.

The processes are forked from one that has imported torch and transformers and done nothing with them, so
that their imports are paid once and belong to no model.
"""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import asdict
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from kdbench import registry
from kdbench.errors import TaskError
from kdbench.models import torchvision_on_cpu
from kdbench.models.adapter import LoadSettings
from kdbench.models.timing.memory import Resident, watched
from kdbench.models.timing.text_run import Execution, TextShape, cache_bytes_per_token

IMPORTED = ["kdbench.models.timing.imported"]


def measured_alone(source: dict[str, Any], folder: str, shape: TextShape) -> dict[str, float]:
    """Seconds to load and bytes by phase of the model that `source` describes, measured in a new process.

    `source` has an adapter's name, its params and its load settings. Keys: `load_seconds`; `peak` (CPU: the
    whole process with its children; CUDA: what torch allocated on the device); `weights` (CPU: what tensors
    of the loaded model hold; CUDA: what loading allocated), `activations` (the run's peak above what was
    there when it began, without its cache) and `cache`. Raises `TaskError` where the process fails.
    """
    order = {**source, "folder": folder, "shape": asdict(shape)}
    context = _forkserver()
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(order, theirs))
    process.start()
    theirs.close()
    assert process.pid is not None
    try:
        with watched(process.pid) as seen:
            found: dict[str, Any] = ours.recv()
    except EOFError:
        process.join()
        raise TaskError(
            f"the process that loads the model alone ended with exit status {process.exitcode}"
            + (" (out of memory?)" if process.exitcode == -9 else "")
        ) from None
    process.join()
    if "error" in found:
        raise TaskError(f"the process that loads the model alone failed: {found['error']}")
    if not found.pop("on_device"):
        found["peak"] = max(found["peak"], seen.peak)
    return found


@cache
def _forkserver() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    return context


def _answer(order: dict[str, Any], pipe: Connection) -> None:
    """What the process does: measure, and tell."""
    try:
        pipe.send(run(order))
    except Exception as error:  # noqa: BLE001 - told to the process that asked
        pipe.send({"error": " ".join(f"{type(error).__name__}: {error}".split())})


def run(order: dict[str, Any]) -> dict[str, float]:
    """Load the order's model, then generate once at its shape."""
    torchvision_on_cpu.mend()
    import torch

    kind = registry.adapters.get(order["adapter"])
    params = kind.Params.model_validate(order["params"])
    adapter = kind(params, Path(order["folder"]), LoadSettings(**order["load"]))
    adapter.prepare()
    resident = Resident()
    resident.begin()
    began = time.perf_counter()
    model = adapter.load()
    device = model.model.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - began
    shape = TextShape(**order["shape"])
    cache = cache_bytes_per_token(model.model) * shape.tokens * shape.batch
    if device.type == "cuda":
        weights = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        base = weights
    else:
        peak_of_loading, base = resident.peak(), resident.now()
        weights = held_bytes(model.model)
        resident.begin()
    with model.time_text(shape, 0, Execution()) as generate:
        generate(lambda: None)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        peak = running = torch.cuda.max_memory_allocated(device)
    else:
        running = resident.peak()
        peak = max(peak_of_loading, running)
    return {
        "load_seconds": seconds,
        "peak": peak,
        "weights": weights,
        "cache": cache,
        "activations": max(0.0, running - base - cache),
        "on_device": device.type == "cuda",
    }


def held_bytes(model: Any) -> int:
    """Bytes in memory of a torch model's parameters and buffers, each piece of memory once.

    What loading adds to a resident set is more: code and buffers of libraries that any model needs, some
    30 MB, ten times the weights of a tiny one.
    """
    held = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
    return sum(held.values())
