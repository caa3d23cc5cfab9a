"""The worker process: takes work orders, measures, stores, and tells what it does.

Orders come on standard input and events go to standard output, one JSON object a line. A worker loads
the models of an order once for all its cells, as soon as a sample is missing, and keeps those that the
next order needs too. It ends when its input does, so it never outlives the run that started it.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from kdbench import __version__, registry
from kdbench.errors import KdbenchError, ModelError, StoreError, TaskError
from kdbench.models import torchvision_on_cpu
from kdbench.models.adapter import LoadSettings
from kdbench.results.sample import Sample
from kdbench.results.store import CellRecord, Store
from kdbench.run.arrival import arranged, within
from kdbench.tasks.task import Context, Item, ModelTask, PairTask, Summary, Task

Emit = Callable[..., None]


class Worker:
    """Models and tasks that are loaded in this process."""

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.models: dict[str, Any] = {}
        self.tasks: dict[str, Task] = {}
        self.items: dict[tuple[int, int | None], Sequence[Item]] = {}

    def run(self, order: dict[str, Any]) -> None:
        """Measure every cell of an order; a cell that fails is told and the next one begins."""
        broken = ""
        left_out = self._foretell(order)
        for cell in order["cells"]:
            if cell["key"] in left_out:
                continue
            if broken:
                self._fail(order, cell, broken)
                continue
            self.emit("start", cell=cell["key"])
            try:
                self._measure(order, cell)
            except StoreError:
                raise
            except _LoadError as error:  # it fails the other cells of its models, too
                broken = str(error)
                self._fail(order, cell, broken)
            except Exception as error:  # noqa: BLE001 - one failed cell is one failed cell
                self._fail(order, cell, _reason(error))

    def _foretell(self, order: dict[str, Any]) -> set[str]:
        """Say how long the order's timings will take; keys of those that its budget has no room for.

        Timings come in the order of what they say most; the first that does not fit, and all behind it, are
        left out. What fails here fails again where it is measured, and is told there.
        """
        seconds: dict[str, float] = {}
        for cell in order["cells"]:
            try:
                seconds |= self._predicted(order, cell)
            except StoreError:
                raise
            except _LoadError:
                return set()
            except Exception as error:  # noqa: BLE001 - told when the cell is measured
                _reason(error)
        if not seconds:
            return set()
        budget = order.get("budget")
        sums = dict(zip(seconds, accumulate(seconds.values()), strict=True))
        out = {key for key, total in sums.items() if budget is not None and total > budget}
        self.emit(
            "predicted",
            seconds=sum(took for key, took in seconds.items() if key not in out),
            timings=len(seconds) - len(out),
            left_out=len(out),
            models=list(order["models"]),
        )
        for cell in order["cells"]:
            if cell["key"] in out:
                self._leave_out(order, cell, seconds[cell["key"]])
        return out

    def _predicted(self, order: dict[str, Any], cell: dict[str, Any]) -> dict[str, float]:
        """Seconds that a timing will take, by its key; empty for cells that time nothing."""
        task = self._task(order, cell)
        if not task.timing or cell["share"] is not None:
            return {}
        stored = {one.index for one in Store(Path(order["root"])).cell(cell["key"]).samples()}
        items = [one for one in self._items(order, cell, task) if one.index not in stored]
        if items:  # a pilot that memory does not survive costs this cell alone
            self.emit("start", cell=cell["key"])
        names = cell["subject"].values()
        models = self._load(order)[0] if items else {}
        context = Context(order["seed"], sources=order["models"], folder=order["folder"])
        found = task.predict([models[name] for name in names], items, context) if items else 0.0
        return {cell["key"]: found} if found else {}

    def _leave_out(self, order: dict[str, Any], cell: dict[str, Any], seconds: float) -> None:
        store = Store(Path(order["root"])).cell(cell["key"])
        record = store.record() or CellRecord(cell["key"], cell["ingredients"])
        reason = f"left out by --budget: it needs about {seconds:.1f} s, and more telling ones came first"
        store.write_record(
            replace(
                record, status="skipped", reason=reason, hardware=cell["hardware"],
                kdbench=__version__,
            )
        )  # fmt: skip
        self.emit("left_out", cell=cell["key"], reason=reason)

    def _load(self, order: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """The order's models by name, loaded where they are not yet, and the seconds that took."""
        try:
            return self._loaded(order)
        except Exception as error:
            raise _LoadError(_reason(error)) from error
        finally:
            self.emit("loaded")

    def _loaded(self, order: dict[str, Any]) -> tuple[dict[str, Any], float]:
        wanted = {
            name: json.dumps([spec, order["folder"]], sort_keys=True)
            for name, spec in order["models"].items()
        }
        for unwanted in [one for one in self.models if one not in wanted.values()]:
            model = self.models.pop(unwanted)
            if hasattr(model, "close"):
                model.close()
            del model
            gc.collect()
            if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
                sys.modules["torch"].cuda.empty_cache()
        began = time.perf_counter()
        for name, identity in wanted.items():
            if identity not in self.models:
                self.emit("load", model=name)
                spec = order["models"][name]
                adapter = registry.adapters.get(spec["adapter"])
                params = adapter.Params.model_validate(spec["params"])
                settings = LoadSettings(**spec["load"])
                self.models[identity] = adapter(params, Path(order["folder"]), settings).load()
        names = {name: self.models[identity] for name, identity in wanted.items()}
        return names, time.perf_counter() - began

    def _task(self, order: dict[str, Any], cell: dict[str, Any]) -> Task:
        identity = json.dumps([cell["task"], cell["params"], order["folder"]], sort_keys=True)
        if identity not in self.tasks:
            task = registry.tasks.get(cell["task"])
            params = task.Params.model_validate(cell["params"])
            self.tasks[identity] = task(params, Path(order["folder"]))
        return self.tasks[identity]

    def _items(self, order: dict[str, Any], cell: dict[str, Any], task: Task) -> Sequence[Item]:
        identity = (id(task), cell["limit"])
        if identity not in self.items:
            items = task.items(cell["limit"])
            if not items:
                raise TaskError(
                    f"{task.label} has no items: its documents are empty or all filtered out"
                )
            self.items = (
                {identity: items} if cell["share"] is None else self.items | {identity: items}
            )
        return self.items[identity]

    def _measure(self, order: dict[str, Any], cell: dict[str, Any]) -> None:
        began = time.perf_counter()
        task = self._task(order, cell)
        everything = self._items(order, cell, task)
        if cell["share"] == 0:
            self._count(cell, everything)
            return
        items = everything
        if cell["share"] is not None:
            chosen = arranged(everything, order["seed"], cell["label"])
            items = [item for where, item in chosen if within(cell["share"], where)]
        built = time.perf_counter()

        store = Store(Path(order["root"])).cell(cell["key"])
        context = Context(
            order["seed"],
            self._basis(order, cell),
            order["allow_code_execution"],
            order["models"],
            order["folder"],
            store.folder / "artifacts",
            Store(Path(order["root"])).cell(cell["basis"]).folder / "artifacts"
            if cell.get("basis")
            else None,
        )
        known = store.record()
        record = CellRecord(
            cell["key"],
            cell["ingredients"],
            hardware=cell["hardware"],
            kdbench=__version__,
            covered=known.covered if known else 0,
            total=known.total if known else None,
            summaries=known.summaries if known else {},
        )
        with store.appending() as log:
            store.write_record(record)
            self.emit(
                "items",
                cell=cell["key"],
                total=len(items),
                stored=len(log.stored & {i.index for i in items}),
            )
            missing = blocks(items, order["block"], log.stored)
            look = _Look()
            models, load_seconds = self._load(order) if missing else ({}, 0.0)
            loaded = time.perf_counter()
            for block in missing:
                samples = _measure_block(task, cell["subject"], models, block, context)
                log.append(samples)
                self.emit("block", cell=cell["key"], items=len(samples), **look(task, context))
            measured = time.perf_counter()
            whole = len(items) == len(everything)
            complete = cell["limit"] is None or len(everything) < cell["limit"]
            samples = store.samples(cell["limit"]) if whole else []
            summaries = record.summaries
            if whole:
                _check_samples(task, everything, samples)
                summaries = {**summaries, **_summaries(task, samples, cell["views"], context)}
            store.write_record(
                replace(
                    record,
                    status="done",
                    total=len(everything) if complete else record.total,
                    covered=max(record.covered, len(everything)) if whole else record.covered,
                    finished=datetime.now(UTC).isoformat(timespec="seconds"),
                    seconds={
                        "load": round(load_seconds, 3),
                        "items": round(built - began, 3),
                        "measure": round(measured - loaded, 3),
                    },
                    summaries=summaries,
                )
            )
        self.emit("done", cell=cell["key"], seconds=round(measured - began, 3), items=len(items))

    def _basis(self, order: dict[str, Any], cell: dict[str, Any]) -> dict[str, Sample]:
        """The samples that a cell works on, by their ids; raises `TaskError` where they are not all there."""
        if not cell.get("basis"):
            return {}
        store = Store(Path(order["root"])).cell(cell["basis"])
        record = store.record()
        if record is None or not record.holds(cell["limit"]):
            reason = record.reason if record else ""
            raise TaskError(
                f"{cell['label']} rests on the teacher's samples of another task, which are not there: "
                f"{reason or 'that cell was not finished'}"
            )
        return {sample.id: sample for sample in store.samples(cell["limit"])}

    def _count(self, cell: dict[str, Any], items: Sequence[Item]) -> None:
        """How much there is to choose from, before anything is measured."""
        sizes = Counter(item.cluster for item in items)
        self.emit(
            "counted",
            cell=cell["key"],
            items=len(items),
            clusters=len(sizes),
            largest=max(sizes.values()),
        )
        self.emit("done", cell=cell["key"], seconds=0.0, items=0)

    def _fail(self, order: dict[str, Any], cell: dict[str, Any], reason: str) -> None:
        store = Store(Path(order["root"])).cell(cell["key"])
        record = store.record() or CellRecord(cell["key"], cell["ingredients"])
        store.fail(replace(record, hardware=cell["hardware"], kdbench=__version__), reason)
        self.emit("failed", cell=cell["key"], reason=reason)


class _LoadError(Exception):
    """A model that can't be loaded, with the reason in one line."""


def blocks(items: Sequence[Item], size: int, stored: set[int]) -> list[list[Item]]:
    """Items not yet stored, in blocks whose borders don't depend on what is stored.

    A resumed run therefore measures the same blocks, in the same company, as an undisturbed one.
    """
    found: dict[int, list[Item]] = {}
    for position, item in enumerate(items):
        if item.index not in stored:
            found.setdefault(position // size, []).append(item)
    return list(found.values())


def _measure_block(
    task: Task, subject: dict[str, str], models: dict[str, Any], block: list[Item], context: Context
) -> list[Sample]:
    if isinstance(task, PairTask):
        teacher = models[subject["teacher"]] if task.needs_teacher else None
        samples = task.measure(teacher, models[subject["student"]], block, context)
    else:
        assert isinstance(task, ModelTask)
        samples = task.measure(models[subject["model"]], block, context)
    _check_samples(task, block, samples)
    return samples


def _check_samples(task: Task, items: Sequence[Item], samples: Sequence[Sample]) -> None:
    asked, answered = [item.id for item in items], [sample.id for sample in samples]
    if asked != answered:
        raise TaskError(
            f"{task.label}: {len(asked)} items were asked for and {len(answered)} samples came back"
            + ("" if len(asked) != len(answered) else ", not in the items' order")
        )


class _Look:
    """The running numbers of a long cell: seldom, and in a small share of its time."""

    EVERY, SHARE = 30.0, 0.05

    def __init__(self) -> None:
        self._next = time.monotonic() + self.EVERY

    def __call__(self, task: Task, context: Context) -> dict[str, Any]:
        began = time.monotonic()
        if began < self._next or not isinstance(task, ModelTask):
            return {}
        found = task.so_far(context)
        ended = time.monotonic()
        self._next = ended + max(self.EVERY, (ended - began) / self.SHARE)
        return {"so_far": found} if found else {}


def _summaries(
    task: Task, samples: Sequence[Sample], limits: Sequence[int | None], context: Context
) -> dict[str, dict[str, dict[str, Any]]]:
    """What the task summarises of the first samples, by their number, for every view of the cell."""
    if not isinstance(task, ModelTask):
        return {}
    found = {}
    for count in sorted({len(samples[:limit]) for limit in limits}):
        told = task.summarise(samples[:count], context)
        found[str(count)] = {
            name: one.to_json() if isinstance(one, Summary) else asdict(one)
            for name, one in told.items()
        }
    return found if any(found.values()) else {}


def _reason(error: Exception) -> str:
    """One line for the table; the traceback goes to the log."""
    traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, (ModelError, TaskError, KdbenchError)):
        return " ".join(str(error).split())
    return " ".join(f"{type(error).__name__}: {error}".split())


def _orders() -> queue.Queue[dict[str, Any] | None]:
    """Read orders in a thread; null ends the work. A closed pipe means that the run has died: go too."""
    waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(json.loads(line))
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    return waiting


def main() -> None:
    """Entry of `python -m kdbench.run.worker`."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print to standard output; that must not break the channel

    def emit(event: str, **details: Any) -> None:
        channel.write(json.dumps({"event": event, **details}) + "\n")
        channel.flush()

    torchvision_on_cpu.mend()
    orders = _orders()
    worker = Worker(emit)
    while (order := orders.get()) is not None:
        try:
            worker.run(order)
        except StoreError as error:
            emit("store", reason=str(error))
            break
        emit("idle")
    channel.flush()
    os._exit(0)  # unloading torch and its thread pools takes seconds and saves nothing


if __name__ == "__main__":
    main()
