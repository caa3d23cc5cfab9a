"""The hub cache on disk, read without the hub's library: is a repository here, and if not, what
would it cost?

`hf:org/name@revision` names a repository; without a revision it means `main`. The cache's place
follows the hub library's own rules (`HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`), its layout too:
`refs/<revision>` holds a commit, `snapshots/<commit>` its files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar, cast

from kdbench.errors import ModelError
from kdbench.models.adapter import Download

T = TypeVar("T")

PREFIX = "hf:"
ASK_SECONDS = 5.0

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?\Z")
_REVISION = re.compile(r"\w[\w./-]*\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository of the hub at a branch, tag or commit."""

    repo: str
    revision: str = "main"

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> HubRef:
        """Read `hf:org/name[@revision]`; `revision` is the one written beside it, if any.

        Raises `ModelError` for a name that is none, and for two revisions that differ.
        """
        repo, _, written = text.removeprefix(PREFIX).partition("@")
        if not _NAME.match(repo):
            raise ModelError(
                f"{text!r} names no hub repository; write hf:organisation/name@revision"
            )
        if written and revision and written != revision:
            raise ModelError(
                f"{text!r} and `revision: {revision}` name two revisions; keep only one of them"
            )
        named = written or revision or "main"
        if not _REVISION.match(named) or ".." in named:
            raise ModelError(f"{named!r} names no revision; write a branch, a tag or a commit")
        return cls(repo, named)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}@{self.revision}"

    def folder(self) -> Path:
        """The repository's folder in the cache, whether or not it is there."""
        return cache_dir() / f"models--{self.repo.replace('/', '--')}"

    def snapshot(self) -> Path | None:
        """The cached files of this revision, or None."""
        commit = self.commit()
        place = self.folder() / "snapshots" / commit if commit else None
        return place if place is not None and place.is_dir() else None

    def commit(self) -> str | None:
        """The commit that the cache knows this revision by, or None."""
        if _COMMIT.match(self.revision):
            return self.revision
        ref = self.folder() / "refs" / self.revision
        return ref.read_text(encoding="utf-8").strip() if ref.is_file() else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files of a repository to take, by shell patterns on their path.

    A repository without a file like `needs` can't be used at all.
    """

    allow: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    needs: str = "*"

    def __contains__(self, name: str) -> bool:
        return _matches(name, self.allow) and not _matches(name, self.ignore)


def cache_dir() -> Path:
    """Where the hub's library keeps repositories."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.environ[name]).expanduser()
    return huggingface_home() / "hub"


def huggingface_home() -> Path:
    """The folder that the hub's libraries share."""
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    root = Path(base).expanduser() if base else Path.home() / ".cache"
    return root / "huggingface"


def offline(*further: str) -> bool:
    """True where the environment forbids the hub's libraries to use the network.

    `further` names switches of other libraries that count as well.
    """
    return any(
        os.environ.get(name, "").strip().upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", *further)
    )


def download(ref: HubRef, wanted: Wanted) -> Download:
    """What fetching `ref` would take: its size where the hub can be asked, and how to do it by
    hand.
    """
    patterns = " ".join(f'"{pattern}"' for pattern in wanted.allow)
    by_hand = (
        f"`hf download {ref.repo} --revision {ref.revision} --include {patterns}` where the "
        f"network is, then copy its cache folder to {ref.folder()}; or give `path` a folder that "
        "holds these files"
    )
    return Download(what=str(ref), size=_size(ref, wanted), by_hand=by_hand)


def fetch(ref: HubRef, wanted: Wanted) -> Path:
    """Download the wanted files of `ref` into the cache and return their folder.

    Raises `ModelError` where the hub can't be reached or does not have it.
    """
    if offline():
        raise ModelError(
            f"{ref} is not in the hub cache ({cache_dir()}) and HF_HUB_OFFLINE forbids fetching "
            f"it; {download(ref, wanted).by_hand}"
        )

    from huggingface_hub import snapshot_download

    return _asking(
        ref,
        lambda: Path(
            snapshot_download(
                ref.repo,
                revision=ref.revision,
                cache_dir=cache_dir(),
                endpoint=os.environ.get("HF_ENDPOINT") or None,
                allow_patterns=list(wanted.allow),
                ignore_patterns=list(wanted.ignore),
            )
        ),
    )


def _size(ref: HubRef, wanted: Wanted) -> int | None:
    if offline():
        return None

    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        info = _asking(
            ref,
            lambda: api.model_info(
                ref.repo, revision=ref.revision, files_metadata=True, timeout=ASK_SECONDS
            ),
        )
    except Unreachable:
        return None
    files = {file.rfilename: file.size for file in info.siblings or [] if file.rfilename in wanted}
    if not any(fnmatch(name, wanted.needs) for name in files):
        raise ModelError(
            f"{ref}: the repository has no {wanted.needs}; name one that has (weights are read "
            "from safetensors or GGUF only)"
        )
    return None if None in files.values() else sum(size or 0 for size in files.values())


class Unreachable(ModelError):
    """The hub did not answer; the repository may well be there."""


def _asking(ref: HubRef, question: Callable[[], T]) -> T:
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # Its base is the error of whichever HTTP library this release of the hub's library uses.
    broken = cast("type[Exception]", HfHubHTTPError.__mro__[1])
    try:
        return question()
    except (GatedRepoError, RepositoryNotFoundError) as error:
        raise ModelError(
            f"{ref}: the hub refuses ({type(error).__name__}); check the name, and log in with "
            "`hf auth login` if the repository is private or asks for a licence"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{ref}: the repository has no revision {ref.revision!r}") from error
    except (OSError, LocalEntryNotFoundError, broken) as error:
        raise Unreachable(
            f"{ref}: the hub can't be reached ({type(error).__name__}); try again, set HF_ENDPOINT "
            f"to a mirror, or place the files in {ref.folder()} by hand"
        ) from error


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
