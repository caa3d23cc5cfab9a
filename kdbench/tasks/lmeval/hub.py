"""Data sets of the Hugging Face hub as they lie in its caches on this machine."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from kdbench.errors import TaskError
from kdbench.models import hub

_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILE = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)")
_NOT_DATA = {"README.md", ".gitattributes", "dataset_infos.json", "LICENSE"}


def prepared_cache() -> Path:
    """Where the datasets library keeps what it has converted."""
    value = os.environ.get("HF_DATASETS_CACHE")
    return Path(value).expanduser() if value else hub.huggingface_home() / "datasets"


def offline() -> bool:
    """True where the user has forbidden the network to Hugging Face's libraries."""
    return hub.offline("HF_DATASETS_OFFLINE")


@dataclass(frozen=True, slots=True)
class Repository:
    """One configuration (`name`) of a data set, at a branch, tag or commit (None: main)."""

    path: str
    name: str | None
    revision: str | None

    def __str__(self) -> str:
        return f"{self.path} ({self.name})" if self.name else self.path

    @property
    def by_hand(self) -> str:
        """The command that puts the whole data set where it is looked for."""
        revision = f" --revision {self.revision}" if self.revision else ""
        return f"hf download --repo-type dataset {self.path}{revision}"

    def commits(self) -> set[str]:
        """Commits that are at hand with their data: the revision's own where the cache knows it.

        Where it doesn't (nothing tells which commit a branch was), all that the datasets library
        has prepared, so more than one means that a run could read any of them.
        """
        wanted = self._known_commit()
        prepared = self._prepared()
        if wanted:
            return {wanted} if wanted in prepared or self._has_files(wanted) else set()
        return prepared if self.revision is None else set()

    def pinned(self, commit: str, options: dict[str, Any]) -> dict[str, Any]:
        """The dataset_path and dataset_kwargs that load just this commit.

        Without the network the datasets library finds only what it has prepared itself; a snapshot
        that was placed by hand is loaded as a folder.
        """
        if self._prepared() != {commit} and (offline() or not _reachable()):
            if not self._has_files(commit):
                raise TaskError(
                    f"the data set {self} is prepared at several commits, and without the network "
                    f"the datasets library can't be told to read {commit}; get its files with: "
                    f"{self.by_hand} --revision {commit}"
                )
            rest = {key: value for key, value in options.items() if key != "revision"}
            return {"dataset_path": str(self._snapshot(commit)), "dataset_kwargs": rest}
        return {"dataset_path": self.path, "dataset_kwargs": {**options, "revision": commit}}

    def fetch(self) -> None:
        """Load it once, which fetches this configuration and no more."""
        from datasets import load_dataset

        try:
            load_dataset(self.path, self.name, revision=self.revision)
        except _failures() as error:
            raise TaskError(
                f"the data set {self} can't be fetched: {error}; by hand: {self.by_hand}"
            ) from error

    def cached_file(self, name: str) -> Path | None:
        """One file at the revision, None where the hub's cache doesn't have it."""
        commit = self._known_commit()
        path = self._snapshot(commit) / name
        return path if commit and path.is_file() else None

    def cached_files(self, pattern: str) -> list[Path]:
        """Files at the revision by a shell pattern, empty where the hub's cache doesn't have any."""
        commit = self._known_commit()
        return sorted(self._snapshot(commit).glob(pattern)) if commit else []

    def fetch_files(self, pattern: str) -> None:
        """Get the files of a shell pattern into the hub's cache, and no others."""
        from huggingface_hub import snapshot_download

        try:
            snapshot_download(
                self.path, repo_type="dataset", revision=self.revision, allow_patterns=[pattern],
                cache_dir=hub.cache_dir(),
            )  # fmt: skip
        except _failures() as error:
            raise TaskError(
                f"{pattern} of the data set {self} can't be fetched: {error}; by hand: "
                f"{self.by_hand} --include '{pattern}'"
            ) from error

    def _known_commit(self) -> str:
        """The commit that the revision was when it was last looked up; empty where never."""
        wanted = self.revision or "main"
        if _COMMIT.fullmatch(wanted):
            return wanted
        ref = self._folder / "refs" / wanted
        return ref.read_text("utf-8").strip() if ref.is_file() else ""

    @property
    def _folder(self) -> Path:
        return hub.cache_dir() / f"datasets--{self.path.replace('/', '--')}"

    def _snapshot(self, commit: str) -> Path:
        return self._folder / "snapshots" / commit

    def _has_files(self, commit: str) -> bool:
        return any(
            path.name not in _NOT_DATA and not path.is_dir()
            for path in self._snapshot(commit).rglob("*")
        )

    def _prepared(self) -> set[str]:
        """Commits that the datasets library has converted.

        They lie in <owner>___<set>/<configuration>/<version>/<commit>, the set in snake case.
        """
        owner, _, last = self.path.rpartition("/")
        parted = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", last)
        snake = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", parted).lower()
        folder = prepared_cache() / f"{owner}___{snake}".removeprefix("___")
        return {
            path.name
            for path in folder.glob("*/*/*")
            if _COMMIT.fullmatch(path.name) and path.is_dir() and self._is_own(path.parts[-3])
        }

    def _is_own(self, configuration: str) -> bool:
        own = self.name
        return not own or configuration == own or configuration.startswith(f"{own}-")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a data set on the hub, as data_files name it: hf://datasets/owner/set/path."""

    repository: Repository
    path: str

    @classmethod
    def parse(cls, url: str) -> RemoteFile | None:
        """None for anything that is no such address."""
        match = _FILE.fullmatch(url)
        return match and cls(Repository(match[1], None, match[2]), match[3])

    @property
    def by_hand(self) -> str:
        return f"{self.repository.by_hand} {self.path}"

    def local(self) -> Path | None:
        """Where the hub's cache keeps it, None where it doesn't."""
        return self.repository.cached_file(self.path)

    def fetch(self) -> None:
        from huggingface_hub import hf_hub_download

        where = self.repository
        try:
            hf_hub_download(where.path, self.path, repo_type="dataset", revision=where.revision)
        except _failures() as error:
            raise TaskError(
                f"{self.path} of the data set {where} can't be fetched: {error}; "
                f"by hand: {self.by_hand}"
            ) from error


@cache
def size(path: str, revision: str | None) -> int | None:
    """Bytes of a data set on the hub, None where the hub can't be asked right now.

    The whole repository is counted; a single configuration of it may be much smaller.
    """
    if offline() or not _reachable():
        return None
    from huggingface_hub import HfApi

    try:
        found = HfApi().dataset_info(path, revision=revision, timeout=3, files_metadata=True)
    except _failures():
        return None
    sizes = [entry.size for entry in found.siblings or []]
    return sum(size for size in sizes if size) if sizes else None


def _failures() -> tuple[type[Exception], ...]:
    """What the hub's client raises; which HTTP library it uses differs between its versions."""
    from huggingface_hub.errors import HfHubHTTPError

    transport: type[Exception] = HfHubHTTPError.__bases__[0]
    return (OSError, ValueError, RuntimeError, transport)


@cache
def _reachable() -> bool:
    """Whether the hub answers at all, asked once: Hugging Face's libraries try for half a minute.

    Through a proxy only they can tell.
    """
    import socket
    from urllib.parse import urlparse
    from urllib.request import getproxies

    if "https" in getproxies() or "all" in getproxies():
        return True
    host = urlparse(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        with socket.create_connection((host.hostname or "", host.port or 443), timeout=2):
            return True
    except OSError:
        return False
