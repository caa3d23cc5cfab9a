"""Names, groups and YAML files mean what they mean in the installed lm-eval."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from kdbench.tasks.lmeval import index, members, yamls

pytest.importorskip("lm_eval")

INCOMPLETE = {"t0_eval"}
"""Groups of lm-eval 0.4.13 that it can't build itself: members without a name."""


@pytest.fixture(scope="module")
def manager() -> Any:
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager()


@pytest.mark.slow
def test_the_index_finds_every_name_where_lm_eval_finds_it(manager: Any) -> None:
    ours = index.scan(index.tasks_folder())
    theirs = index.Index()
    for name, entry in manager.task_index.items():
        if entry.kind.name == "TAG":
            theirs.tags[name] = sorted(entry.tags)
        else:
            path = entry.yaml_path.relative_to(index.tasks_folder()).as_posix()
            kinds = {"TASK": theirs.tasks, "PY_TASK": theirs.python, "GROUP": theirs.groups}
            kinds[entry.kind.name][name] = path
    assert len(theirs.names()) > 10_000
    assert ours.tasks == theirs.tasks
    assert ours.python == theirs.python
    assert ours.groups == theirs.groups
    assert {tag: sorted(names) for tag, names in ours.tags.items()} == theirs.tags


@pytest.mark.slow
def test_every_group_and_tag_expands_into_lm_evals_members(
    manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api.group import Group
    from lm_eval.tasks import _factory

    class Stub:
        def __init__(self, config: dict[str, Any]) -> None:
            self.task_name = config["task"]

    def build(self: Any, entry: Any, overrides: Any) -> Stub:
        return Stub({"task": entry.name})

    monkeypatch.setattr(_factory, "ConfigurableTask", Stub)
    monkeypatch.setattr(_factory.TaskFactory, "_build_task", build)

    def leaves(built: Any) -> list[str]:
        if isinstance(built, Stub):
            return [built.task_name]
        return [name for child in built for name in leaves(child)]

    different = []
    for name in [*manager.all_groups, *manager.all_tags]:
        if name in INCOMPLETE:
            continue
        built = manager._load_spec(name)
        theirs = list(dict.fromkeys(leaves(list(built) if isinstance(built, Group) else built)))
        if [member.name for member in members.expand(name, None)] != theirs:
            different.append(name)
    assert not different


@pytest.mark.slow
def test_every_yaml_of_lm_eval_reads_as_lm_eval_reads_it() -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    folder = index.tasks_folder()
    names = index.installed().tasks
    some = sorted({Path(path).parts[0]: path for path in names.values()}.values())
    assert len(some) > 150
    for path in some:
        theirs = load_yaml(folder / path, resolve_func=False)
        assert plain(yamls.read(folder / path)) == theirs, path


def plain(value: Any) -> Any:
    """Function references as lm-eval's loader writes those that it does not import."""
    if isinstance(value, yamls.FunctionReference):
        return str(value.folder / value.spec) if value.folder else value.spec
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value
