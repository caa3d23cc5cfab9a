"""Which metrics of a task a person sees first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from kdbench import registry


class Headlines:
    """The headlines of a run's tasks, asked of the registry.

    Every metric is a headline where the task names none or is not installed, where its patterns fit
    nothing that was measured, and where the results are another tool's.
    """

    def __init__(self, record: Mapping[str, Any] | None) -> None:
        """`record` is the run's (see `kdbench.run.publish`); without one nothing is known of the tasks."""
        self._patterns: dict[str, tuple[str, ...]] = {}
        known = set(registry.tasks.names())
        for cell in (record or {}).get("cells", ()):
            name = (cell.get("ingredients") or {}).get("task")
            if name in known:
                for label in filter(None, (cell["label"], cell.get("group"))):
                    self._patterns[label] = registry.tasks.get(name).headlines

    def of(self, task: str, metrics: Iterable[str]) -> list[str]:
        """Those of `metrics`, all of the task labelled `task`, that are seen first; as it orders them."""
        metrics = list(metrics)
        patterns = self._patterns.get(task, ())
        first = [name for one in patterns for name in metrics if fnmatchcase(name, one)]
        return list(dict.fromkeys(first)) or metrics
