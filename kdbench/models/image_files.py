"""Images on disk: decoded without guessing, in folders or archives, prompts in a table beside them."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from kdbench.errors import ModelError
from kdbench.models.file_hash import digest_of, sha256_of
from kdbench.models.images import Image

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
PROMPT_KEYS = ("prompt", "caption", "text")
TABLES = ("metadata.jsonl", "metadata.csv", "prompts.txt")
DECODERS = 4


def decoded(content: bytes, name: str) -> Image:
    """The image in a file's bytes, as RGB.

    Raises `ModelError` naming the file for what is empty, damaged or cut short, and for what has no one
    right meaning as 8-bit RGB: animations, more than 8 bits a channel, CMYK, transparency.
    """
    import numpy as np
    from PIL import Image as Pictures
    from PIL import UnidentifiedImageError

    if not content:
        raise ModelError(f"{name}: the file is empty; make the image again")
    try:
        picture = Pictures.open(io.BytesIO(content))
        frames, mode = getattr(picture, "n_frames", 1), picture.mode
        if frames > 1:
            raise ModelError(f"{name}: an animation of {frames} frames; keep one of them as a PNG")
        if mode.startswith(("I", "F")):
            raise ModelError(
                f"{name}: more than 8 bits a channel (mode {mode}); round it to 8 bits first"
            )
        if mode in ("CMYK", "LAB", "HSV"):
            raise ModelError(
                f"{name}: its colours are {mode}; convert it to RGB by its profile first"
            )
        picture.load()
        if picture.has_transparency_data:
            alpha = np.asarray(picture.convert("RGBA"))[..., 3]
            if alpha.min() < 255:
                raise ModelError(f"{name}: parts are transparent; lay it on a background first")
        return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        reason = str(error).replace(repr(error), "")
        kind = (
            "can't be read as an image"
            if isinstance(error, UnidentifiedImageError)
            else (f"is damaged or cut short ({' '.join(reason.split())[:120]})")
        )
        raise ModelError(f"{name}: {kind}; make the image again") from error


def png(image: Image) -> bytes:
    """The image as a PNG, lossless."""
    from PIL import Image as Pictures

    held = io.BytesIO()
    Pictures.fromarray(image).save(held, "PNG", compress_level=1)
    return held.getvalue()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file among the images, and what the table beside them says of it."""

    file: str
    prompt: str = ""
    label: int | None = None


@dataclass(frozen=True)
class ImageFiles:
    """A folder or a zip archive of images, read without unpacking it."""

    path: Path

    def check(self) -> None:
        """Raise `ModelError` where it is missing, or files and table do not match."""
        self.entries  # noqa: B018 - reads and compares all of it

    def read(self, names: Sequence[str]) -> list[Image]:
        """Decoded images, several at a time."""
        with ThreadPoolExecutor(DECODERS) as pool:
            return list(pool.map(self._decode, names))

    def digest(self) -> str:
        """sha256 over the images' names and contents, and over the table."""
        if self.is_zip:
            return digest_of({"zip": sha256_of(self.path)})
        tables = {f"table/{name}": sha256(text.encode()).hexdigest() for name, text in self._tables}
        return digest_of({name: sha256_of(self.path / name) for name in self.names} | tables)

    @property
    def is_zip(self) -> bool:
        return self.path.is_file()

    @cached_property
    def names(self) -> list[str]:
        """Image files by their paths inside, numbers in names in their natural order."""
        found = [name for name in self._all if PurePosixPath(name).suffix.lower() in ENDINGS]
        if not found:
            raise ModelError(f"{self.path}: no images in it ({', '.join(sorted(ENDINGS))})")
        return sorted(found, key=_natural)

    @cached_property
    def entries(self) -> list[Entry]:
        """Every image with its prompt or label; plain where no table says any."""
        tables = self._tables
        if not tables:
            return [Entry(name) for name in self.names]
        listed: list[Entry] = []
        for place, text in tables:
            listed += self._listed(place, text)
        known, told = set(self.names), {entry.file for entry in listed}
        if len(told) != len(listed):
            doubled = next(e.file for e in listed if sum(o.file == e.file for o in listed) > 1)
            raise ModelError(f"{self.path}: {doubled} stands twice in {tables[0][0]}")
        if missing := [entry.file for entry in listed if entry.file not in known]:
            raise ModelError(
                f"{self.path}: {tables[0][0]} names {len(missing)} images that are not there: "
                f"{_some(missing)}"
            )
        if extra := [name for name in self.names if name not in told]:
            raise ModelError(
                f"{self.path}: {len(extra)} images have no line in {tables[0][0]}: {_some(extra)}"
            )
        return listed

    def _listed(self, place: str, text: str) -> list[Entry]:
        """The lines of one table."""
        base = PurePosixPath(place).parent
        inside = [n for n in self.names if base in PurePosixPath(n).parents]
        if place.endswith(".txt"):
            lines = text.splitlines()
            if len(lines) != len(inside):
                raise ModelError(
                    f"{self.path}: {place} has {len(lines)} prompts for {len(inside)} images; "
                    "the n-th line is the prompt of the n-th image"
                )
            return [Entry(name, line) for name, line in zip(inside, lines, strict=True)]
        rows = _rows(f"{self.path}/{place}", text)
        if len(rows) == 1 and "file_name" not in rows[0]:
            # GenEval's layout: one prompt for all images below
            return [_entry(f"{self.path}/{place}", 1, rows[0], name) for name in inside]
        return [
            _entry(f"{self.path}/{place}", number, row, str(base / str(row.get("file_name", ""))))
            for number, row in enumerate(rows, 1)
        ]

    @cached_property
    def _tables(self) -> list[tuple[str, str]]:
        """The table at the top, or else those of the folders in it, with their texts."""
        for name in TABLES:
            if name in self._all:
                return [(name, self._text(name))]
        below = [n for n in self._all if PurePosixPath(n).name == TABLES[0] and n.count("/") == 1]
        return [(name, self._text(name)) for name in sorted(below, key=_natural)]

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        """Kept open: its list of thousands of files is read once, not for each of them."""
        try:
            return zipfile.ZipFile(self.path)
        except zipfile.BadZipFile as error:
            raise ModelError(f"{self.path}: not a zip archive ({error})") from error

    @cached_property
    def _all(self) -> list[str]:
        if self.is_zip:
            listed = self._archive.infolist()
            names = [one.filename for one in listed if not one.is_dir()]
            return [name for name in names if not name.startswith("__MACOSX/")]
        if not self.path.is_dir():
            raise ModelError(f"{self.path}: no such folder or zip archive of images")
        files = (file for file in self.path.rglob("*") if file.is_file())
        return [file.relative_to(self.path).as_posix() for file in files]

    def _decode(self, name: str) -> Image:
        return decoded(self._bytes(name), f"{self.path}/{name}")

    def _bytes(self, name: str) -> bytes:
        if not self.is_zip:
            return (self.path / name).read_bytes()
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError) as error:
            raise ModelError(f"{self.path}/{name}: damaged in the archive ({error})") from error

    def _text(self, name: str) -> str:
        try:
            return self._bytes(name).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ModelError(f"{self.path}/{name}: not UTF-8 ({error.reason})") from error


def read_prompts(path: Path) -> list[str]:
    """Prompts of a text file (one a line), or of a CSV, JSONL or JSON file with a prompt, caption or text.

    A JSON file is a list of such objects or a mapping to them. Raises `ModelError` where there are none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: the prompts can't be read ({error})") from error
    if path.suffix == ".txt":
        found = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        rows = _rows(str(path), text)
        found = [
            _entry(str(path), number, row, "", required=True).prompt
            for number, row in enumerate(rows, 1)
        ]
    if not found:
        raise ModelError(f"{path}: no prompts in it")
    return found


def _rows(place: str, text: str) -> list[Mapping[str, Any]]:
    """A table's lines as mappings, by the file's ending."""
    try:
        if place.endswith((".csv", ".tsv")):
            return list(
                csv.DictReader(io.StringIO(text), delimiter="\t" if place[-3] == "t" else ",")
            )
        if place.endswith(".json"):
            whole = json.loads(text)
            rows = list(whole.values()) if isinstance(whole, dict) else whole
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, csv.Error) as error:
        raise ModelError(f"{place}: not a table of images ({error})") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ModelError(f"{place}: expected an object for each image")
    return rows


def _entry(
    place: str, number: int, row: Mapping[str, Any], file: str, required: bool = False
) -> Entry:
    prompt = next((row[key] for key in PROMPT_KEYS if row.get(key)), "")
    label = row.get("label")
    if required and not prompt:
        raise ModelError(f"{place}: entry {number} has no {', '.join(PROMPT_KEYS)}")
    try:
        return Entry(file, str(prompt), None if label in (None, "") else int(label))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{place}: entry {number}: label {label!r} is no number") from error


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.split(r"([0-9]+)", name)]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
