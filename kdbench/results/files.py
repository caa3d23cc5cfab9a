"""Durable files: a reader sees the old content or the new one, never half of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from kdbench.errors import StoreError

_REMEDY = {
    errno.ENOSPC: "the disk is full: free some space and run the same command again; "
    "what was stored before is kept",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again; "
    "what was stored before is kept",
    errno.EACCES: "no permission to write there: choose another folder with --results",
    errno.EPERM: "no permission to write there: choose another folder with --results",
    errno.EROFS: "the file system is read-only: choose another folder with --results",
}


def store_error(error: OSError, path: Path) -> StoreError:
    """`StoreError` for an operating system error on `path`, with a remedy."""
    remedy = _REMEDY.get(error.errno or 0, "see that the path exists and can be written")
    return StoreError(f"{path}: {error.strerror or error}; {remedy}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn operating system errors inside the block into `StoreError`s about `path`."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path) from error


def publish(path: Path, content: bytes) -> None:
    """Write `path` by one atomic rename, after its content has reached the disk."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o644)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and new names inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
