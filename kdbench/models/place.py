"""Where a model's files are: a folder, a GGUF file, or a repository of the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kdbench.errors import ModelError, did_you_mean
from kdbench.models import hub
from kdbench.models.hub import HubRef, Wanted

_SMALL = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py")
TOKENIZER = Wanted(_SMALL, ("*/*", "*.index.json"), needs="*token*")
WEIGHTS = Wanted((*_SMALL, "*.safetensors"), ("*/*", "consolidated*"), needs="*.safetensors")
PEFT = Wanted(
    ("adapter_config.json", "adapter_model.safetensors"), needs="adapter_model.safetensors"
)


@dataclass(frozen=True, slots=True)
class Place:
    """`folder` for what lies on disk, `hub` for a repository; `file` is a single file inside
    either.
    """

    folder: Path | None
    hub: HubRef | None = None
    file: str | None = None

    @classmethod
    def parse(
        cls, text: str, base: Path, file: str | None = None, revision: str | None = None
    ) -> Place:
        """Read a suite's `path`: `hf:org/name@revision`, or a folder or .gguf file from `base` on.

        Raises `ModelError` where `file` or `revision` can't go with it.
        """
        if text.startswith(hub.PREFIX):
            return cls(None, HubRef.parse(text, revision), file)
        if revision is not None:
            raise ModelError(
                f"`revision: {revision}` belongs to a hub repository, and {text!r} is a path; "
                "leave one of them out"
            )
        path = base / Path(text).expanduser()
        if path.suffix == ".gguf":
            if file is not None:
                raise ModelError(f"`gguf_file: {file}` and `path: {text}` both name a GGUF file")
            return cls(path.parent, None, path.name)
        return cls(path, None, file)

    def found(self) -> Path | None:
        """The folder with the files, or None for a repository that is not in the cache.

        Raises `ModelError` for a folder on disk that does not exist.
        """
        if self.hub is not None:
            return self.hub.snapshot()
        assert self.folder is not None
        if not self.folder.is_dir():
            there = self.folder.parent
            names = [entry.name for entry in there.iterdir()] if there.is_dir() else []
            raise ModelError(
                f"{self.folder}: no such folder{did_you_mean(self.folder.name, names)}"
            )
        return self.folder

    def at_hand(self) -> Path:
        """The folder with the files; `ModelError` where they would have to be fetched first."""
        folder = self.found()
        if folder is None:
            raise ModelError(
                f"{self.hub} is not in the hub cache ({hub.cache_dir()}); fetch it first: "
                f"`hf download {self.hub.repo if self.hub else ''}`"
            )
        return folder

    def fetched(self, wanted: Wanted) -> Path:
        """The folder with the files, downloaded where they are not there yet."""
        folder = self.found()
        if folder is None:
            assert self.hub is not None
            folder = hub.fetch(self.hub, wanted)
        return folder

    @property
    def commit(self) -> str:
        """The commit of a cached repository; empty for files on disk, whose content says it all."""
        return (self.hub.commit() or "") if self.hub is not None else ""
