"""Image classifiers that transformers loads: ResNet, ViT, MobileNet, ConvNeXt, timm's, and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from kdbench.errors import ModelError
from kdbench.models import hub
from kdbench.models.adapter import Adapter, AdapterParams, Download, Size
from kdbench.models.checkpoint import Checkpoint, content_digest, read_json
from kdbench.models.place import WEIGHTS, Place
from kdbench.models.protocols import CLASSIFY, TIME_CLASSIFIER
from kdbench.models.requirements import require
from kdbench.registry import adapter

if TYPE_CHECKING:
    from pathlib import Path

    from kdbench.models.image_classifier import ImageClassifier

PROCESSOR = "preprocessor_config.json"


class ClassifierParams(AdapterParams):
    """`models.<name>` with `adapter: classifier`; paths are relative to the suite's folder."""

    path: str = Field(description="folder of safetensors weights, or hf:org/name@revision")
    revision: str | None = Field(None, description="branch, tag or commit of a hub repository")
    processor: str | None = Field(
        None, description="another place to take preprocessor_config.json from"
    )


@adapter("classifier")
class ClassifierAdapter(Adapter):
    about = "image classifiers in safetensors, loaded with transformers"
    Params = ClassifierParams
    params: ClassifierParams
    version: ClassVar[int] = 1
    """Raised when the same files begin to give other answers."""

    def verbs(self) -> frozenset[str]:
        return frozenset({CLASSIFY, TIME_CLASSIFIER})

    def check(self) -> None:
        if not self.downloads():
            files = self._checkpoint
            files.weight_files()
            kinds = files.config.get("architectures") or []
            # a DeiT that was distilled has a head of its own for its teacher, and "WithTeacher" behind
            if kinds and not any("ForImageClassification" in kind for kind in kinds):
                raise ModelError(
                    f"{files.folder}: a {kinds[0]} is no image classifier; this adapter loads "
                    "architectures named ...ForImageClassification"
                )
            self.processor_folder()
        require("torch", "transformers", "torchvision", extra="images")

    def fingerprint(self) -> dict[str, str]:
        files = self._checkpoint
        return {
            "adapter": f"{self.name}/{self.version}",
            "weights": files.weights_digest(),
            "config": files.config_digest(),
            "processor": content_digest(read_json(self.processor_folder() / PROCESSOR)),
            "revision": self._place.commit or "none",
            "dtype": self.dtype(),
        }

    def size(self) -> Size | None:
        if self.downloads():
            return None
        files = self._checkpoint
        return Size(files.parameters(), sum(one.stat().st_size for one in files.weight_files()))

    def downloads(self) -> list[Download]:
        return [
            hub.download(place.hub, WEIGHTS)
            for place in self._places()
            if place.hub is not None and place.found() is None
        ]

    def fetch(self) -> None:
        for place in self._places():
            place.fetched(WEIGHTS)

    def load(self) -> ImageClassifier:
        from kdbench.models.image_classifier import load_image_classifier

        self.check()
        return load_image_classifier(
            self._place.at_hand(), self.processor_folder(), self.settings, self.dtype()
        )

    def dtype(self) -> str:
        """The torch name of the dtype that the weights are used in."""
        chosen = self.settings.dtype
        return self._checkpoint.dtype() if chosen == "auto" else chosen

    def processor_folder(self) -> Path:
        """Where the preprocessing is written; `ModelError` where it is not."""
        folder = self._places()[-1].at_hand()
        if not (folder / PROCESSOR).is_file():
            raise ModelError(
                f"{folder}: no {PROCESSOR}, so nothing says how images are resized and normalised; name a "
                "folder that has it with `processor`"
            )
        return folder

    @property
    def _place(self) -> Place:
        return Place.parse(self.params.path, self.folder, revision=self.params.revision)

    @property
    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self._place.at_hand())

    def _places(self) -> list[Place]:
        named = self.params.processor
        return [self._place, *([Place.parse(named, self.folder)] if named else [])]
