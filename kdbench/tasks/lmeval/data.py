"""Where a task's documents come from, and a fingerprint of them that needs no data set library."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from glob import glob, has_magic
from hashlib import sha256
from pathlib import Path
from typing import Any

from kdbench.errors import TaskError
from kdbench.models.adapter import Download
from kdbench.models.hub import cache_dir
from kdbench.tasks.lmeval import hub
from kdbench.tasks.lmeval.yamls import FunctionReference, function_sources, is_local_data


def fingerprint(config: Mapping[str, Any], folders: Sequence[Path]) -> str:
    """Hash of the documents' files, or the pinned commit of their data set; never a path.

    `folders` are where relative data files are looked for, in order. Raises `TaskError` where the
    data is not there, with the way to get it.
    """
    if isinstance(config.get("custom_dataset"), FunctionReference):
        sources = sorted(function_sources(config))
        return f"python:{sha256(repr([text for _, text in sources]).encode()).hexdigest()[:32]}"
    if is_local_data(config):
        return _hash_files(local_files(config, folders))
    repository = _repository(config)
    commits = repository.commits()
    if not commits:
        raise TaskError(
            f"lm-eval task {config.get('task')!r}: the data set {repository} is not in the Hugging "
            f"Face cache ({cache_dir()}); fetch it with: {repository.by_hand}"
        )
    if len(commits) > 1:
        raise TaskError(
            f"lm-eval task {config.get('task')!r}: the data set {repository} is prepared at "
            f"several commits ({', '.join(sorted(commits))}), and nothing says which one is meant; "
            "choose one with overrides: {dataset_kwargs: {revision: ...}}"
        )
    (commit,) = commits
    return f"hf:{repository.path}/{repository.name or 'default'}@{commit}"


def downloads(config: Mapping[str, Any]) -> list[Download]:
    """The data set that a run would have to fetch; nothing where it is at hand or local."""
    if config.get("custom_dataset") or not config.get("dataset_path"):
        return []
    if is_local_data(config):
        return [
            Download(f"{file.path} of the data set {file.repository}", None, file.by_hand)
            for file in _remote_files(config)
            if file.local() is None
        ]
    repository = _repository(config)
    if repository.commits():
        return []
    what = f"data set {repository}"
    return [Download(what, hub.size(repository.path, repository.revision), repository.by_hand)]


def fetch(config: Mapping[str, Any]) -> None:
    """Download what `downloads` names, into the Hugging Face cache."""
    if is_local_data(config):
        for file in _remote_files(config):
            file.fetch()
    elif downloads(config):
        _repository(config).fetch()


def located(config: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """A copy of `config` whose data files are absolute paths and whose data set is pinned.

    Loading then reads exactly what `fingerprint` hashed, whatever the working directory is and
    whatever the data set's branch has become meanwhile.
    """
    found = copy.copy(dict(config))
    if found.get("custom_dataset"):
        return found
    if is_local_data(config):
        options = dict(config.get("dataset_kwargs") or {})
        if options.get("data_files"):
            options["data_files"] = _map_files(options["data_files"], folders)
        if options.get("data_dir"):
            options["data_dir"] = str(_folder(str(options["data_dir"]), folders))
        if str(config["dataset_path"]).startswith((".", "/", "~")):
            found["dataset_path"] = str(_folder(str(config["dataset_path"]), folders))
        found["dataset_kwargs"] = options
        return found
    repository = _repository(config)
    if len(commits := repository.commits()) == 1:
        options = dict(config.get("dataset_kwargs") or {})
        found.update(repository.pinned(commits.pop(), options))
    return found


def local_files(config: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, list[Path]]:
    """The task's data files by split ("" where the task names no splits)."""
    options = config.get("dataset_kwargs") or {}
    named = options.get("data_files")
    if isinstance(named, Mapping):
        return {str(split): _files(value, folders) for split, value in named.items()}
    if named:
        return {"": _files(named, folders)}
    root = str(options.get("data_dir") or config["dataset_path"])
    inside = _folder(root, folders)
    files = sorted(p for p in inside.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {path.relative_to(inside).as_posix(): [path] for path in files}


def _files(value: Any, folders: Sequence[Path]) -> list[Path]:
    names = [value] if isinstance(value, str) else list(value)
    return [path for name in names for path in _matching(str(name), folders)]


def _map_files(value: Any, folders: Sequence[Path]) -> Any:
    if isinstance(value, Mapping):
        return {split: _map_files(names, folders) for split, names in value.items()}
    return [str(path) for path in _files(value, folders)]


def _matching(name: str, folders: Sequence[Path]) -> list[Path]:
    if remote := hub.RemoteFile.parse(name):
        if (path := remote.local()) is None:
            raise TaskError(
                f"{remote.path} of the data set {remote.repository} is not in the Hugging Face "
                f"cache ({cache_dir()}); fetch it with: {remote.by_hand}"
            )
        return [path]
    if "://" in name:
        raise TaskError(
            f"the data file {name} lies on a server, which can change it unnoticed; download it "
            "and give its path (relative to the task's YAML) in dataset_kwargs: {data_files: ...}"
        )
    for path in _candidates(name, folders):
        if has_magic(name):
            if found := sorted(glob(str(path), recursive=True)):  # noqa: PTH207 - absolute patterns
                return [Path(each) for each in found]
        elif path.is_file():
            return [path]
    looked = ", ".join(str(path.parent) for path in _candidates(name, folders))
    raise TaskError(f"no data file {name}; looked in {looked}")


def _remote_files(config: Mapping[str, Any]) -> Iterator[hub.RemoteFile]:
    named = (config.get("dataset_kwargs") or {}).get("data_files") or []
    values = named.values() if isinstance(named, Mapping) else [named]
    for value in values:
        for name in [value] if isinstance(value, str) else value:
            if file := hub.RemoteFile.parse(str(name)):
                yield file


def _folder(name: str, folders: Sequence[Path]) -> Path:
    for path in _candidates(name, folders):
        if path.is_dir():
            return path
    looked = ", ".join(str(path) for path in _candidates(name, folders))
    raise TaskError(f"no data folder {name}; looked for {looked}")


def _candidates(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    path = Path(name).expanduser()
    if path.is_absolute():
        yield path
    else:
        for folder in dict.fromkeys([*folders, Path.cwd()]):
            yield Path(os.path.normpath(folder / path))


def _hash_files(files: Mapping[str, Sequence[Path]]) -> str:
    whole = sha256()
    for split in sorted(files):
        whole.update(f"{split}\0".encode())
        for path in files[split]:
            stat = path.stat()
            whole.update(_hash_file(path, stat.st_size, stat.st_mtime_ns).encode())
    return f"sha256:{whole.hexdigest()[:32]}"


@cache
def _hash_file(path: Path, size: int, modified: int) -> str:
    """Hash of one file's bytes, once per process and state of the file."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _repository(config: Mapping[str, Any]) -> hub.Repository:
    path = config.get("dataset_path")
    if not path:
        raise TaskError(f"lm-eval task {config.get('task')!r} names no data (dataset_path)")
    options = config.get("dataset_kwargs") or {}
    name = config.get("dataset_name")
    return hub.Repository(str(path), str(name) if name else None, options.get("revision"))
