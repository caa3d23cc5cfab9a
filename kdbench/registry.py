"""Who can measure what: tasks and adapters, registered by decorator or by entry point.

A plugin package declares, in its own pyproject.toml::

    [project.entry-points."kdbench.tasks"]
    mytask = "my_package.tasks"

    [project.entry-points."kdbench.adapters"]
    myadapter = "my_package.adapter"

and the named module is imported the first time that the registry is asked; its decorated classes are
then known by their names. Modules that register must be light: torch and its like are imported inside
the methods that need them, so that listing and validating never pay for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, TypeVar

from kdbench.errors import UnknownNameError, did_you_mean

C = TypeVar("C", bound=type[Any])


@dataclass
class Registry:
    """Names of one kind ("task" or "adapter") and the classes behind them."""

    kind: str
    builtin: tuple[str, ...]
    group: str
    _classes: dict[str, type[Any]] = field(default_factory=dict)
    _loaded: bool = False

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator: make the class known as `name`, and give it that name."""

        def decorate(cls: C) -> C:
            known = self._classes.get(name)
            if known is not None and _origin(known) != _origin(cls):
                raise UnknownNameError(
                    f"two {self.kind}s are named {name!r}: {_origin(known)} and {_origin(cls)}; "
                    "rename one of them or uninstall its package"
                )
            cls.name = name
            self._classes[name] = cls
            return cls

        return decorate

    def get(self, name: str) -> type[Any]:
        """The class registered as `name`; `UnknownNameError` names the nearest one."""
        self._load()
        try:
            return self._classes[name]
        except KeyError:
            raise UnknownNameError(
                f"no {self.kind} named {name!r}{did_you_mean(name, sorted(self._classes))}; "
                f"`kdbench list {self.kind}s` shows the known ones"
            ) from None

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._load()
        return sorted(self._classes)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for module in self.builtin:
            importlib.import_module(module)
        for point in entry_points(group=self.group):
            try:
                point.load()
            except Exception as error:
                raise UnknownNameError(
                    f"the plugin {point.value!r} ({self.group} entry point {point.name!r}) can't be "
                    f"imported: {type(error).__name__}: {error}; mend or uninstall its package"
                ) from error


def _origin(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


tasks = Registry("task", ("kdbench.tasks.builtin",), "kdbench.tasks")
adapters = Registry("adapter", ("kdbench.models.builtin",), "kdbench.adapters")


def task(name: str) -> Callable[[C], C]:
    """Register a `kdbench.tasks.task.Task` class under `name`."""
    return tasks.register(name)


def adapter(name: str) -> Callable[[C], C]:
    """Register a `kdbench.models.adapter.Adapter` class under `name`."""
    return adapters.register(name)
