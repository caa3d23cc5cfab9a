"""What the manifest knows of published weights, and where their files are looked for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kdbench.errors import ModelError, did_you_mean
from kdbench.models.file_hash import cache_dir
from kdbench.models.hub import HubRef, Wanted

FOLDER = "KDBENCH_WEIGHTS"
"""The environment variable that names a folder of weights placed by hand."""

_HUB = "https://huggingface.co"
_SMALL = ("*.json", "*.txt")


@dataclass(frozen=True, slots=True)
class Weight:
    """One entry: a single file with an address, or a repository of the hub whose `file` holds the weights.

    `sha256` is that of `file`; where nobody has published it for certain it is None, and `begins` may
    hold its first digits. `size` is in bytes, None where unknown. `licence_from` names the document that
    says the `licence` of these files; it is empty where none was read, as where only the code's was.
    """

    name: str
    about: str
    file: str
    licence: str
    url: str = ""
    hub: str = ""
    sha256: str | None = None
    begins: str = ""
    size: int | None = None
    licence_from: str = ""

    @property
    def licence_told(self) -> str:
        """The licence, and what stands behind the word."""
        return f"{self.licence} ({self.licence_from or 'unverified'})"

    @property
    def repository(self) -> HubRef | None:
        """The hub repository that the entry is, if it is one: its small files are needed, too."""
        return HubRef.parse(self.hub) if self.hub else None

    @property
    def wanted(self) -> Wanted:
        """Which files of the repository to take."""
        return Wanted((*_SMALL, self.file), ("*/*", "*.index.json"), needs=self.file)

    @property
    def address(self) -> str:
        """Where the weights are published; a mirror of the hub (`HF_ENDPOINT`) is used where set."""
        if not self.hub:
            return self.url.replace(_HUB, _endpoint(), 1)
        repository = HubRef.parse(self.hub)
        return f"{_endpoint()}/{repository.repo}/tree/{repository.revision}"

    def places(self) -> list[Path]:
        """Where the file is looked for, in this order: the folder placed by hand, then the caches."""
        found = [self._below(folder)] if (folder := placed_by_hand()) else []
        repository = self.repository
        if repository is None:
            return [*found, cached(self)]
        snapshot = repository.snapshot()
        return [*found, snapshot / self.file] if snapshot else found

    def by_hand(self) -> Path:
        """Where to put the file where the network is not."""
        return self._below(placed_by_hand() or cache_dir() / "weights")

    def _below(self, folder: Path) -> Path:
        return folder / self.name / self.file if self.hub else folder / self.file


def cached(weight: Weight) -> Path:
    """Where a fetched single file lies."""
    return cache_dir() / "weights" / weight.file


def placed_by_hand() -> Path | None:
    """The folder that `KDBENCH_WEIGHTS` names, if it does."""
    chosen = os.environ.get(FOLDER)
    return Path(chosen).expanduser() if chosen else None


@cache
def known() -> dict[str, Weight]:
    """Every entry of the manifest by name, in its order."""
    text = Path(__file__).with_name("manifest.json").read_text(encoding="utf-8")
    return {entry["name"]: Weight(**entry) for entry in json.loads(text)["weights"]}


def entry(name: str) -> Weight:
    """The entry called `name`; `ModelError` names the nearest one."""
    try:
        return known()[name]
    except KeyError:
        raise ModelError(
            f"no weights named {name!r}{did_you_mean(name, list(known()))}; "
            "`kdbench weights list` shows the known ones"
        ) from None


def _endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
