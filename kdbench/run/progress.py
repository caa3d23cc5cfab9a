"""What a person sees while cells are measured: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from kdbench.run.plan import PlannedCell

if TYPE_CHECKING:
    from rich.console import Console


class Progress(Protocol):
    """Sees the events of `kdbench.run.local.Workers.execute`."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *exception: object) -> None: ...

    def __call__(self, event: dict[str, Any]) -> None: ...


def progress_on(console: Console, cells: Sequence[PlannedCell], quiet: bool) -> Progress:
    if quiet or not cells:
        return _Silent()
    return _Bars(console, cells) if console.is_terminal else _Lines(console.print, cells)


def predicted(event: dict[str, Any]) -> str:
    """What the timings of a run will take, in words."""
    parts = []
    if event["timings"] or event["left_out"] or not event["unknown"]:
        parts.append(
            f"timings: {event['timings']}, about {_took(event['seconds'])} besides loading"
        )
    if event["left_out"]:
        parts.append(f"{event['left_out']} left out by the budget")
    if event["tried"]:
        parts.append(f"trying them took {_took(event['tried'])}")
    if event["unknown"]:
        parts.append(f"how long {', '.join(event['unknown'])} takes is not known beforehand")
    return "; ".join(parts)


def _took(seconds: float) -> str:
    """Tenths of a second where they matter."""
    return _duration(seconds) if seconds >= 60 else f"{seconds:.1f} s"


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def __call__(self, event: dict[str, Any]) -> None:
        return None


class Pace:
    """How far a cell is, how fast, how long it will take, and its numbers so far."""

    def __init__(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        self._first, self._began = done, time.monotonic()
        self.numbers: dict[str, float] = {}

    def add(self, items: int, numbers: dict[str, float]) -> None:
        """After a block; numbers stay until there are newer ones."""
        self.done += items
        self.numbers |= numbers

    def __str__(self) -> str:
        seconds = time.monotonic() - self._began
        rate = (self.done - self._first) / seconds if seconds > 0 else 0.0
        told = f"{self.done} of {self.total}"
        if rate > 0:
            told += f", {rate:.3g}/s, {_duration((self.total - self.done) / rate)} left"
        return told + "".join(
            f", {name} {value:.4g} so far" for name, value in self.numbers.items()
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class _Lines:
    """A line when a cell begins to load, ends or fails, and one a minute while it works."""

    def __init__(self, write: Callable[..., None], cells: Sequence[PlannedCell]) -> None:
        self._write = write
        self._names = {cell.key: f"{cell.label} on {cell.subject}" for cell in cells}
        self._paces: dict[str, Pace] = {}
        self._ended = 0
        self._spoke = time.monotonic()

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def __call__(self, event: dict[str, Any]) -> None:
        name = self._names.get(event.get("cell", ""), "")
        if event["event"] == "load":
            self._say(f"loading {event['model']}")
        elif event["event"] == "items":
            self._paces[event["cell"]] = Pace(event["stored"], event["total"])
        elif event["event"] == "block":
            pace = self._paces[event["cell"]]
            pace.add(event["items"], event.get("so_far", {}))
            if time.monotonic() - self._spoke > 60 or "so_far" in event:
                self._say(f"{name}: {pace}")
        elif event["event"] == "done":
            self._ended += 1
            self._say(
                f"{self._place()} {name}: {event['items']} samples in {event['seconds']:.1f} s"
            )
        elif event["event"] == "round":
            self._say(event["text"])
        elif event["event"] == "predicted":
            self._say(predicted(event))
        elif event["event"] == "left_out":
            self._ended += 1
            self._say(f"{self._place()} {name}: {event['reason']}")
        elif event["event"] == "failed":
            self._ended += 1
            self._say(f"{self._place()} {name}: FAILED: {event['reason']}")

    def _place(self) -> str:
        return f"[{self._ended}/{len(self._names)}]"

    def _say(self, line: str) -> None:
        self._spoke = time.monotonic()
        self._write(line, markup=False, highlight=False, soft_wrap=True)


class _Bars:
    """One bar for all cells, one for each cell that is being measured."""

    def __init__(self, console: Console, cells: Sequence[PlannedCell]) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._names = {cell.key: f"{cell.label} [dim]on[/] {cell.subject}" for cell in cells}
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[pace]}"),
            console=console,
        )
        self._all = self._bars.add_task("cells", total=len(self._names), pace="")
        self._running: dict[str, Any] = {}
        self._paces: dict[str, Pace] = {}

    def __enter__(self) -> _Bars:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        key = event.get("cell", "")
        if event["event"] == "load":
            self._bars.update(self._all, description=f"cells [dim](loading {event['model']})[/]")
        elif event["event"] == "items":
            self._bars.update(self._all, description="cells")
            if key not in self._running:
                self._running[key] = self._bars.add_task(self._names[key], pace="")
                self._paces[key] = Pace(event["stored"], event["total"])
            self._bars.update(self._running[key], total=event["total"], completed=event["stored"])
        elif event["event"] == "block":
            self._paces[key].add(event["items"], event.get("so_far", {}))
            told = str(self._paces[key]).partition(", ")[2]
            self._bars.update(self._running[key], advance=event["items"], pace=told)
        elif event["event"] == "round":
            self._bars.console.print(event["text"], markup=False, highlight=False, soft_wrap=True)
        elif event["event"] == "predicted":
            self._bars.console.print(predicted(event), markup=False, highlight=False)
        elif event["event"] in ("done", "failed", "left_out"):
            if key in self._running:
                self._bars.remove_task(self._running.pop(key))
            self._bars.advance(self._all)
            if event["event"] == "failed":
                from rich.markup import escape

                self._bars.console.print(
                    f"[red]failed[/] {self._names[key]}: {escape(event['reason'])}", soft_wrap=True
                )
