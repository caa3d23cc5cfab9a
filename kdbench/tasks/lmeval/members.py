"""Groups and tags of lm-eval, expanded into the tasks that they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kdbench.errors import TaskError
from kdbench.tasks.lmeval import index
from kdbench.tasks.lmeval.yamls import read

_GROUP_KEYS = {"group", "group_alias", "task", "aggregate_metric_list", "metadata"}
_NAMES = {"group", "task"}


@dataclass(frozen=True, slots=True)
class Member:
    """One task: its YAML `path` (None: `overrides` are all of it) under `overrides`.

    `group` is the outermost group around it whose score is the mean over all its samples.
    """

    name: str
    path: Path | None
    overrides: dict[str, Any]
    group: str | None = None


def expand(name: str, path: Path | None) -> list[Member]:
    """The tasks behind a name of lm-eval, or behind the YAML file at `path`, in lm-eval's order.

    Raises `TaskError` for names that neither lm-eval nor the group itself defines.
    """
    found = _of_file(path) if path else _of_name(name, {}, ())
    # a task that comes twice keeps its first place and its last overrides, as in lm-eval
    return list({member.name: member for member in found}.values())


def inline(name: str) -> bool:
    """True for the name of a task that a group defines in place."""
    return "::" in name


def _of_file(path: Path) -> Iterator[Member]:
    config = read(path)
    if "group" in config and "class" not in config:
        yield from _of_group(str(config["group"]), config, {}, (str(path),))
    elif isinstance(config.get("task"), str):
        yield Member(config["task"], path, {})
    else:
        raise TaskError(f"{path}: no task name in it; add a line such as `task: my_task`")


def _of_name(name: str, overrides: Mapping[str, Any], around: tuple[str, ...]) -> Iterator[Member]:
    entry = index.entry(name)
    if entry.kind == "tag":
        for member in entry.tasks:
            yield from _of_name(member, overrides, around)
    elif entry.kind == "group":
        assert entry.path is not None
        if name in around:
            raise TaskError(f"lm-eval group {name!r} contains itself ({entry.path})")
        yield from _of_group(name, read(entry.path), overrides, (*around, name))
    else:
        yield Member(name, entry.path, dict(overrides))


def _of_group(
    name: str, config: Mapping[str, Any], overrides: Mapping[str, Any], around: tuple[str, ...]
) -> Iterator[Member]:
    own = {key: value for key, value in config.items() if key not in _GROUP_KEYS}
    merged = {**own, **overrides}
    label = name if _is_mean_over_samples(config) else None
    listed = config.get("task") or []
    for item in [listed] if isinstance(listed, str) else listed:
        for member in _of_item(name, item, merged, around):
            yield replace(member, group=label or member.group)


def _of_item(
    group: str, item: Any, overrides: Mapping[str, Any], around: tuple[str, ...]
) -> Iterator[Member]:
    if isinstance(item, str):
        yield from _of_name(item, overrides, around)
    elif not isinstance(item, dict) or not _NAMES & item.keys():
        raise TaskError(f"lm-eval group {group!r}: a member without a task or group name: {item!r}")
    elif "group" in item:
        if item["group"] in index.installed():
            own = {key: value for key, value in item.items() if key not in _NAMES}
            yield from _of_name(item["group"], {**overrides, **own}, around)
        else:
            yield from _of_group(f"{group}::{item['group']}", item, overrides, around)
    else:
        own = {key: value for key, value in item.items() if key not in _NAMES}
        if item["task"] in index.installed():
            yield from _of_name(item["task"], {**overrides, **own}, around)
        else:
            yield Member(f"{group}::{item['task']}", None, {**overrides, **own})


def _is_mean_over_samples(config: Mapping[str, Any]) -> bool:
    rules = config.get("aggregate_metric_list") or []
    rules = [rules] if isinstance(rules, dict) else rules
    return bool(rules) and all(
        rule.get("aggregation", "mean") == "mean" and bool(rule.get("weight_by_size", True))
        for rule in rules
    )
