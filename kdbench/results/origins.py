"""Where earlier results may lie: a folder, a revision of a git repository, a zip, an address."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from kdbench.errors import StoreError

LARGEST = 2 << 30
"""Bytes that an address may send, and a zip may hold."""

SECONDS = 60


@contextmanager
def fetch(text: str, base: Path | None = None) -> Iterator[Path]:
    """The folder that `text` names, at hand until the block ends.

    `git:REV:PATH` is that path of the repository around `base` (default: the current directory);
    `https://.../results.zip` and a local zip are unpacked; any other address is the place of
    metrics.csv, run.json and samples/. Raises `StoreError` where nothing can be had.
    """
    if text.startswith("git:"):
        with _scratch() as folder:
            yield _of_revision(text, base or Path.cwd(), folder)
    elif text.startswith(("http://", "https://")):
        with _scratch() as folder:
            yield _of_address(text, folder)
    elif text.endswith(".zip"):
        with _scratch() as folder:
            yield _unpacked(Path(text) if base is None else base / text, folder, text)
    else:
        yield Path(text) if base is None else base / text


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="kdbench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _of_revision(text: str, base: Path, folder: Path) -> Path:
    match = re.fullmatch(r"git:([^:]+):(.+)", text)
    if match is None or match[1].startswith("-"):
        raise StoreError(f"{text}: write git:REVISION:PATH, such as git:main:results/quickstart")
    revision, path = match[1], match[2].strip("/")
    top = _git(base, "rev-parse", "--show-toplevel")
    if top.returncode != 0:
        raise StoreError(f"{text}: {base} is in no git repository")
    root = Path(top.stdout.decode().strip())
    known = _git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if known.returncode != 0:
        raise StoreError(
            f"{text}: no revision {revision!r} here; fetch it first (git fetch origin {revision})"
        )
    archive = folder / "tree.tar"
    with archive.open("wb") as file:
        done = subprocess.run(
            ["git", "-C", str(root), "archive", known.stdout.decode().strip(), "--", path],
            stdout=file, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise StoreError(f"{text}: no {path!r} in revision {revision!r}; is it committed there?")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "tree", filter="data")
    archive.unlink()
    return folder / "tree" / path


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise StoreError("git is not installed, which a baseline git:REV:PATH needs") from error


def _of_address(address: str, folder: Path) -> Path:
    if address.endswith(".zip"):
        archive = folder / "results.zip"
        archive.write_bytes(_download(address))
        return _unpacked(archive, folder / "tree", address)
    target = folder / "results"
    (target / "samples").mkdir(parents=True)
    root = address.rstrip("/")
    for name in ("run.json", "metrics.csv"):
        (target / name).write_bytes(_download(f"{root}/{name}"))
    try:
        cells = json.loads((target / "run.json").read_text(encoding="utf-8"))["cells"]
        names = [PurePosixPath(c["samples"]).name for c in cells if c["status"] == "done"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{root}/run.json: not a record of kdbench ({error})") from error
    for name in names:
        path = target / "samples" / f"{name}.parquet"
        path.write_bytes(_download(f"{root}/samples/{quote(name)}.parquet"))
    return target


def _download(address: str) -> bytes:
    request = Request(address, headers={"User-Agent": "kdbench"})
    try:
        with urlopen(request, timeout=SECONDS) as answer:
            content = answer.read(LARGEST + 1)
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise StoreError(f"{address}: can't be fetched: {reason}") from error
    if len(content) > LARGEST:
        raise StoreError(f"{address}: larger than {LARGEST >> 30} GiB; fetch it by hand")
    return bytes(content)


def _unpacked(archive: Path, folder: Path, name: str) -> Path:
    try:
        with zipfile.ZipFile(archive) as file:
            if sum(entry.file_size for entry in file.infolist()) > LARGEST:
                raise StoreError(f"{name}: holds more than {LARGEST >> 30} GiB; unpack it by hand")
            file.extractall(folder)  # drops absolute paths and dots, so nothing leaves the folder
    except (OSError, zipfile.BadZipFile) as error:
        raise StoreError(f"{name}: can't be read as a zip: {error}") from error
    found = sorted(folder.rglob("run.json"), key=lambda path: len(path.parts))
    if not found:
        raise StoreError(f"{name}: holds no results (no run.json in it)")
    return found[0].parent
