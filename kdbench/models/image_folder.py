"""Images that were made elsewhere, in a folder or a zip archive, as if a model had just made them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from kdbench.errors import ModelError
from kdbench.models.adapter import Adapter, AdapterParams, Download
from kdbench.models.image_files import Entry, ImageFiles
from kdbench.models.images import Image, ImageRequest, checked
from kdbench.models.protocols import GENERATE_IMAGES
from kdbench.models.requirements import require
from kdbench.registry import adapter


class ImageFolderParams(AdapterParams):
    """`models.<name>` with `adapter: image_folder`; the path is relative to the suite's folder."""

    path: str = Field(
        description="folder or zip archive; metadata.jsonl or metadata.csv with file_name and prompt or "
        "label, or prompts.txt with a line for each image"
    )
    steps: int | None = Field(
        None, ge=1, description="evaluations that an image took (NFE, guidance counted), as told"
    )
    made_by: str | None = Field(
        None, description="how to make the images where they are not there yet, for people"
    )


@adapter("image_folder")
class ImageFolderAdapter(Adapter):
    about = (
        "images made elsewhere: a folder or zip archive, prompts or labels in a table beside them"
    )
    Params = ImageFolderParams
    params: ImageFolderParams
    version: ClassVar[int] = 1

    @cached_property
    def files(self) -> ImageFiles:
        return ImageFiles(self.folder / self.params.path)

    def verbs(self) -> frozenset[str]:
        return frozenset({GENERATE_IMAGES})

    def check(self) -> None:
        require("PIL", extra="images")
        if not self.downloads():
            self.files.check()

    def fingerprint(self) -> dict[str, str]:
        return {
            "adapter": f"{self.name}/{self.version}",
            "images": self.files.digest(),
            "steps": str(self.params.steps or "untold"),
        }

    def downloads(self) -> list[Download]:
        if self.params.made_by is None or self.files.path.exists():
            return []
        return [Download(f"images in {self.params.path}", None, self.params.made_by)]

    def fetch(self) -> None:
        raise ModelError(
            f"{self.files.path}: the images are not there; make them first: {self.params.made_by}"
        )

    def load(self) -> ImageFolder:
        self.files.check()
        return ImageFolder(self.files, self.params.steps)


class ImageFolder:
    """The n-th image of a prompt or label answers the n-th request for it."""

    def __init__(self, files: ImageFiles, steps: int | None) -> None:
        self.files = files
        self.steps = steps
        self._named: dict[tuple[str, int | None], list[Entry]] = defaultdict(list)
        for entry in files.entries:
            self._named[entry.prompt, entry.label].append(entry)

    def generate_images(self, requests: Sequence[ImageRequest]) -> list[Image]:
        """Decoded images; `ModelError` names requests that no image was made for."""
        missing = [one for one in requests if self._entry(one) is None]
        if missing:
            listed = ", ".join(dict.fromkeys(map(_named, missing[:3])))
            raise ModelError(
                f"{self.files.path}: {len(missing)} of {len(requests)} requests have no image: {listed}"
                + (", ..." if len(missing) > 3 else "")
            )
        names = [entry.file for one in requests if (entry := self._entry(one))]
        return checked(self.files.read(names), requests, str(self.files.path))

    def _entry(self, request: ImageRequest) -> Entry | None:
        own = self._named.get((request.prompt, request.label), [])
        return own[request.number] if request.number < len(own) else None


def _named(request: ImageRequest) -> str:
    what = repr(request.prompt) if request.prompt else f"label {request.label}"
    what = what if request.prompt or request.label is not None else "an image"
    return f"{what} (number {request.number + 1})"
