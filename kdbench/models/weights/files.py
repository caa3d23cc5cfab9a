"""Published weights on disk: found, checked against the manifest, fetched, or asked for by hand.

A hash that the manifest does not know is remembered when the file is first seen, and demanded from then
on (trust on first use): that notices a file that changes, not one that was wrong from the start.
"""

from __future__ import annotations

import json
import logging
import re
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from kdbench.errors import ModelError
from kdbench.models import hub
from kdbench.models.adapter import Download
from kdbench.models.file_hash import cache_dir, sha256_of
from kdbench.models.weights.manifest import Weight, cached, entry, placed_by_hand
from kdbench.results.files import publish

_CHUNK = 1 << 20
_PATIENCE = 30.0
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

_log = logging.getLogger(__name__)

Trust = Literal["published", "first use", "not seen"]


def path_of(name: str) -> Path:
    """The checked file of the weights called `name`, or the folder around it where they are a repository.

    Raises `ModelError` where they are missing (with address, hash and where to put them by hand) and
    where the file is not the one that its name promises.
    """
    weight = entry(name)
    file = _found(weight)
    if file is None:
        raise ModelError(missing(weight))
    _check(weight, file)
    return file.parent if weight.hub else file


def at_hand(name: str) -> bool:
    """Whether the weights are here; nothing is hashed or fetched."""
    return _found(entry(name)) is not None


def digest_of(name: str) -> str:
    """The sha256 that a protocol id carries: the published one, else the one remembered at first use.

    Where neither is known the file is hashed; `not seen` where there is no file either.
    """
    weight = entry(name)
    known = weight.sha256 or _remembered(weight)
    if known is None and _found(weight) is not None:
        path_of(name)
        known = _remembered(weight)
    return known or "not seen"


def trust_of(name: str) -> Trust:
    """What stands behind the weights' hash."""
    weight = entry(name)
    if weight.sha256:
        return "published"
    return "first use" if _remembered(weight) else "not seen"


def download(name: str) -> list[Download]:
    """What a run would have to fetch for these weights; empty where they are here."""
    weight = entry(name)
    if _found(weight) is not None:
        return []
    by_hand = (
        f"`kdbench weights fetch {name}`, or put {weight.address} at {weight.by_hand()}"
        + (" with its repository's other files" if weight.hub else "")
        + ("" if placed_by_hand() else "; KDBENCH_WEIGHTS may name another folder")
    )
    return [Download(f"weights {name}, {weight.licence_told}", weight.size, by_hand)]


def fetch(name: str) -> Path:
    """Download the weights where they are not here yet, check them, and return what `path_of` does."""
    weight = entry(name)
    if _found(weight) is None:
        if hub.offline():
            raise ModelError(f"{missing(weight)}; HF_HUB_OFFLINE forbids fetching it")
        repository = weight.repository
        if repository is not None:
            hub.fetch(repository, weight.wanted)
        else:
            _download(weight)
    return path_of(name)


def missing(weight: Weight) -> str:
    """One message for weights that are not here."""
    digest = weight.sha256 or (f"{weight.begins}..." if weight.begins else "not published")
    what = f"the repository {weight.address}" if weight.hub else weight.address
    return (
        f"the weights {weight.name} are not here; `kdbench weights fetch {weight.name}` gets them, or "
        f"put {what} (sha256 of {weight.file}: {digest}) at {weight.by_hand()}"
    )


def _found(weight: Weight) -> Path | None:
    places = weight.places()
    if weight.hub and not placed_by_hand():
        places.append(weight.by_hand())
    return next((place for place in places if place.is_file()), None)


def _check(weight: Weight, file: Path) -> None:
    digest = sha256_of(file)
    if weight.sha256 or weight.begins:
        expected = weight.sha256 or f"{weight.begins}..."
        if not digest.startswith(expected.removesuffix("...")):
            raise ModelError(
                f"{file} is not {weight.name}: its sha256 is {digest}, expected {expected}; remove it "
                f"and fetch it anew from {weight.address}"
            )
    known = _remembered(weight)
    if known is None and not weight.sha256:
        note = {"name": weight.name, "file": weight.file, "sha256": digest}
        publish(_memory(weight), json.dumps(note).encode())
        _log.warning(
            "%s: no published sha256 is known; %s is trusted from now on", weight.name, digest
        )
    elif not weight.sha256 and known != digest:
        raise ModelError(
            f"{file} has changed: {weight.name} had the sha256 {known} when it was first used, now "
            f"{digest}; put the old file back, or remove {_memory(weight)} to trust the new one"
        )


def _memory(weight: Weight) -> Path:
    return cache_dir() / "weights" / "first-use" / f"{weight.name}.json"


def _remembered(weight: Weight) -> str | None:
    try:
        digest = str(json.loads(_memory(weight).read_text(encoding="utf-8"))["sha256"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return digest if _SHA256.match(digest) else None


def _download(weight: Weight) -> None:
    """Fetch a single file; a part that an earlier attempt left is continued where the server can."""
    from filelock import FileLock

    target = cached(weight)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with FileLock(f"{part}.lock"):
        if target.is_file():
            return
        try:
            _receive(weight.address, part)
        except (OSError, HTTPException) as error:
            raise ModelError(
                f"{weight.name}: {weight.address} can't be fetched "
                f"({getattr(error, 'reason', None) or error}); try again (what has come is kept), or put "
                f"the file at {weight.by_hand()}"
            ) from error
        try:
            _check(weight, part)
        except ModelError:
            part.unlink()
            raise
        part.replace(target)


def _receive(address: str, part: Path) -> None:
    have = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "kdbench"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(address, headers=headers)
    try:
        answer = urllib.request.urlopen(request, timeout=_PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # everything has come already
            raise
        return
    with answer, part.open("ab" if answer.status == 206 else "wb") as file:
        expected = answer.headers.get("Content-Length")
        received = 0
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            received += len(chunk)
    if expected is not None and received != int(expected):
        raise OSError(f"the connection ended after {received} of {expected} bytes")
