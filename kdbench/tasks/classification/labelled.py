"""Labelled images: folders named after classes, arrays, lists of files, and data sets of the hub."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from kdbench.errors import TaskError, did_you_mean
from kdbench.models import hub
from kdbench.models.adapter import Download
from kdbench.tasks.lmeval.hub import Repository, size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kdbench.models.image_files import ImageFiles
    from kdbench.models.images import Image

Label = str | int
"""A class by its name, or by its place among the model's outputs."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image: its name in the set, its class, and the sha256 of its content."""

    name: str
    label: Label
    digest: str


class Labelled(Protocol):
    """A set of labelled images. Raises `TaskError` or `ModelError` for what can't be read."""

    def fingerprint(self) -> str: ...

    def entries(self) -> Sequence[Entry]: ...

    def read(self, places: Sequence[int]) -> list[Image]:
        """Images by their places among the entries: uint8, (height, width, 3)."""
        ...

    def downloads(self) -> list[Download]: ...

    def fetch(self) -> None: ...


@dataclass(frozen=True, slots=True)
class HubColumns:
    """Where a data set of the hub has its images: configuration, split, columns. `files` is a pattern of
    parquet files that are the split, where the rest of a large set should stay where it is."""

    config: str | None
    split: str
    image: str
    label: str
    files: str | None = None


def labelled(data: str, folder: Path, columns: HubColumns) -> Labelled:
    """The set that a suite's `data` names; nothing is read yet."""
    if data.startswith(hub.PREFIX):
        return HubImages(data, columns)
    path = folder / Path(data).expanduser()
    if path.suffix == ".npz":
        return ArrayImages(path)
    if path.suffix == ".csv":
        return TableImages(path)
    return FolderImages(path)


class _OnDisk(ABC):
    """A set at `path`, which is there and needs no fetching."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def downloads(self) -> list[Download]:
        return []

    def fetch(self) -> None:
        return None

    def fingerprint(self) -> str:
        whole = sha256()
        for one in self.entries():
            whole.update(f"{one.name}\n{one.label}\n{one.digest}\n".encode())
        return whole.hexdigest()

    def entries(self) -> Sequence[Entry]:
        return self._entries

    @cached_property
    def _entries(self) -> list[Entry]:
        return self._listed()

    @abstractmethod
    def _listed(self) -> list[Entry]:
        """The entries, as they are found on disk."""


class FolderImages(_OnDisk):
    """A folder or zip archive in which each folder has the name of a class."""

    def read(self, places: Sequence[int]) -> list[Image]:
        return self._files.read([self._entries[place].name for place in places])

    @cached_property
    def _files(self) -> ImageFiles:
        from kdbench.models.image_files import ImageFiles

        return ImageFiles(self.path)

    def _listed(self) -> list[Entry]:
        from kdbench.models.file_hash import sha256_of

        files, found = self._files, []
        archive = files.digest() if files.is_zip else ""
        for name in files.names:
            label = PurePosixPath(name).parent.name
            if not label:
                raise TaskError(
                    f"{self.path}/{name}: an image beside the folders of classes; images lie in folders "
                    "that have the names of their classes (cat/1.png)"
                )
            digest = f"{archive}/{name}" if archive else sha256_of(self.path / name)
            found.append(Entry(name, label, digest))
        return found


class ArrayImages(_OnDisk):
    """An .npz with `images` (N, height, width) or (N, height, width, 3) of uint8, and `labels` (N,)."""

    def read(self, places: Sequence[int]) -> list[Image]:
        images, _ = self._arrays
        return [_in_colour(images[place]) for place in places]

    @cached_property
    def _arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        import numpy as np

        if not self.path.is_file():
            raise TaskError(f"{self.path}: no such file of images")
        try:
            with np.load(self.path, allow_pickle=False) as held:
                images, labels = held["images"], held["labels"]
        except (OSError, ValueError, KeyError) as error:
            raise TaskError(
                f"{self.path}: not an archive of the arrays `images` and `labels` ({error})"
            ) from error
        colours = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
        if images.dtype != np.uint8 or not colours or 0 in images.shape:
            raise TaskError(
                f"{self.path}: images are {images.dtype} of shape {images.shape}; expected uint8 of (N, "
                "height, width) or (N, height, width, 3)"
            )
        if labels.shape != images.shape[:1] or labels.dtype.kind not in "iuU":
            raise TaskError(
                f"{self.path}: labels are {labels.dtype} of shape {labels.shape}; expected {len(images)} "
                "whole numbers or names"
            )
        return images, labels

    def _listed(self) -> list[Entry]:
        images, labels = self._arrays
        return [
            Entry(str(n), label, sha256(image.tobytes()).hexdigest())
            for n, (image, label) in enumerate(zip(images, labels.tolist(), strict=True))
        ]


class TableImages(_OnDisk):
    """A .csv with a column `label`: beside it `file`, a path from the table on, or the grey values of a
    square image in the other columns."""

    def read(self, places: Sequence[int]) -> list[Image]:
        if self._of_files:
            from kdbench.models.image_files import decoded

            paths = [self._file(self._rows[place], place) for place in places]
            return [decoded(path.read_bytes(), str(path)) for path in paths]
        return [_in_colour(self._grey(self._rows[place], place)) for place in places]

    @cached_property
    def _rows(self) -> list[dict[str, str]]:
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise TaskError(f"{self.path}: the table of images can't be read ({error})") from error
        rows = list(csv.DictReader(io.StringIO(text)))
        if not rows:
            raise TaskError(f"{self.path}: no images in it")
        if "label" not in rows[0]:
            raise TaskError(f"{self.path}:1: no column `label`; there are {', '.join(rows[0])}")
        return rows

    @property
    def _of_files(self) -> bool:
        return "file" in self._rows[0]

    def _listed(self) -> list[Entry]:
        from kdbench.models.file_hash import sha256_of

        found = []
        for place, row in enumerate(self._rows):
            if self._of_files:
                name, digest = row["file"], sha256_of(self._file(row, place))
            else:
                name = str(place)
                digest = sha256(self._grey(row, place).tobytes()).hexdigest()
            found.append(Entry(name, row["label"], digest))
        return found

    def _file(self, row: dict[str, str], place: int) -> Path:
        path = self.path.parent / (row["file"] or "")
        if not path.is_file():
            raise TaskError(f"{self.path}:{place + 2}: no image {row['file']!r} beside the table")
        return path

    def _grey(self, row: dict[str, str], place: int) -> NDArray[np.uint8]:
        import numpy as np

        values = [value for key, value in row.items() if key != "label"]
        side = round(len(values) ** 0.5)
        try:
            numbers = [int(value) for value in values]
        except (TypeError, ValueError):
            numbers = [-1]
        if side * side != len(values) or not all(0 <= number <= 255 for number in numbers):
            raise TaskError(
                f"{self.path}:{place + 2}: expected the grey values (0 to 255) of a square image beside "
                f"`label`, or a column `file`; there are {len(values)} columns"
            )
        return np.array(numbers, dtype=np.uint8).reshape(side, side)


class HubImages:
    """A split of a data set of the hub, `hf:owner/name@revision`, with a column of images."""

    def __init__(self, data: str, columns: HubColumns) -> None:
        ref = hub.HubRef.parse(data)
        revision = None if ref.revision == "main" else ref.revision
        self.columns = columns
        self.repository = Repository(ref.repo, columns.config, revision)

    def downloads(self) -> list[Download]:
        where, files = self.repository, self.columns.files
        if files is not None:
            by_hand = f"`{where.by_hand} --include '{files}'`"
            there = where.cached_files(files)
            return [] if there else [Download(f"{files} of the data set {where}", None, by_hand)]
        if where.commits():
            return []
        return [
            Download(f"data set {where}", size(where.path, where.revision), f"`{where.by_hand}`")
        ]

    def fetch(self) -> None:
        if self.columns.files is not None:
            self.repository.fetch_files(self.columns.files)
        else:
            self.repository.fetch()

    def fingerprint(self) -> str:
        """The commit, the split and the columns: what they hold follows from that."""
        own = self.columns
        parts = [
            self.repository.path, self._commit, own.config, own.split, own.files, own.image, own.label,
        ]  # fmt: skip
        return sha256("\n".join(map(str, parts)).encode()).hexdigest()

    def entries(self) -> Sequence[Entry]:
        return self._entries

    def read(self, places: Sequence[int]) -> list[Image]:
        from kdbench.models.image_files import decoded

        found = []
        for place in places:
            held = self._table[place][self.columns.image]
            name = f"{self.repository} {self.columns.split}[{place}]"
            content = held["bytes"]
            if content is None:
                content = Path(held["path"]).read_bytes()
            found.append(decoded(content, name))
        return found

    @property
    def _commit(self) -> str:
        if self.columns.files is not None:
            commits = {path.parents[self.columns.files.count("/")].name for path in self._files}
        else:
            commits = self.repository.commits()
        if len(commits) != 1:
            told = "several commits" if commits else "nothing"
            raise TaskError(
                f"the data set {self.repository} has {told} of it here; name one with `data: "
                f"hf:{self.repository.path}@COMMIT`, or get it by {self.repository.by_hand}"
            )
        return next(iter(commits))

    @cached_property
    def _files(self) -> list[Path]:
        return self.repository.cached_files(self.columns.files or "*")

    @cached_property
    def _table(self) -> Any:
        from datasets import Image as EncodedImage
        from datasets import load_dataset

        own = self.columns
        try:
            if own.files is not None:
                paths = {own.split: [str(path) for path in self._files]}
                table = load_dataset("parquet", data_files=paths, split=own.split)
            else:
                pinned = self.repository.pinned(self._commit, {})
                options = pinned["dataset_kwargs"]
                table = load_dataset(pinned["dataset_path"], own.config, split=own.split, **options)
        except (OSError, ValueError, RuntimeError) as error:
            raise TaskError(
                f"the data set {self.repository} can't be loaded ({' '.join(str(error).split())[:300]})"
            ) from error
        for column in (own.image, own.label):
            if column not in table.column_names:
                raise TaskError(
                    f"the data set {self.repository} has no column {column!r}"
                    f"{did_you_mean(column, table.column_names)}; there are "
                    f"{', '.join(table.column_names)}"
                )
        return table.cast_column(own.image, EncodedImage(decode=False))

    @cached_property
    def _entries(self) -> list[Entry]:
        whole = self.fingerprint()
        return [
            Entry(f"{self.columns.split}[{place}]", label, f"{whole}:{place}")
            for place, label in enumerate(self._table[self.columns.label])
        ]


def _in_colour(image: NDArray[np.uint8]) -> Image:
    return image if image.ndim == 3 else image[..., None].repeat(3, axis=-1)


def class_of(label: Label, names: Sequence[str], whose: str, numbered: bool = False) -> int:
    """The place of a label among the classes `names`; a `numbered` set gives places as text.

    Raises `TaskError` for a label that is no class, or that names several.
    """
    if isinstance(label, int) or numbered:
        place = int(label)
        if not 0 <= place < len(names):
            raise TaskError(f"label {place}: {whose} tells {len(names)} classes apart, from 0 on")
        return place
    places = [place for place, name in enumerate(names) if name == label]
    if len(places) == 1:
        return places[0]
    if places:
        raise TaskError(
            f"label {label!r}: {len(places)} classes of {whose} have this name; label the images with the "
            "numbers of their classes"
        )
    raise TaskError(
        f"label {label!r}: {whose} has no class of that name{did_you_mean(label, list(names))} among its "
        f"{len(names)} ({', '.join(names[:3])}, ...); rename the folders, or list the classes' names in "
        "the model's order in a file and name it with `classes`"
    )
