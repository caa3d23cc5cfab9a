"""All the files that one model of a suite is made of: checked and hashed without loading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kdbench.errors import ModelError
from kdbench.models import hub
from kdbench.models.adapter import Download, Size
from kdbench.models.checkpoint import Checkpoint, PeftFiles, tensor_elements
from kdbench.models.hub import Wanted
from kdbench.models.place import PEFT, TOKENIZER, WEIGHTS, Place
from kdbench.models.tokenizer_files import GgufTokenizer, TokenizerFiles


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """Weights, perhaps a tokenizer of their own, perhaps a PEFT adapter."""

    weights: Place
    own_tokenizer: Place | None = None
    peft: Place | None = None

    @classmethod
    def parse(
        cls,
        base: Path,
        path: str,
        *,
        gguf_file: str | None = None,
        revision: str | None = None,
        tokenizer: str | None = None,
        peft: str | None = None,
    ) -> ModelFiles:
        """Read the keys of a suite, relative to its folder `base`."""
        return cls(
            Place.parse(path, base, gguf_file, revision),
            Place.parse(tokenizer, base) if tokenizer else None,
            Place.parse(peft, base) if peft else None,
        )

    def check(self) -> None:
        """Raise `ModelError` for what the files that are here show to be wrong."""
        here = {id(place): self._complete(place) for place, _ in self._wanted()}
        checkpoint = self.checkpoint() if here[id(self.weights)] else None
        own = self.own_tokenizer
        if checkpoint is None or (own is not None and not here[id(own)]):
            return
        largest, rows = self.tokenizer().largest_id(), checkpoint.vocabulary()
        # A PEFT adapter may bring embedding rows of its own; loading it checks them.
        if self.peft is None and largest is not None and rows is not None and largest >= rows:
            raise ModelError(mismatch(str(checkpoint.folder), largest, rows))

    def downloads(self) -> list[Download]:
        """What is not here yet."""
        return [
            hub.download(place.hub, wanted)
            for place, wanted in self._wanted()
            if place.hub is not None and not self._complete(place)
        ]

    def fetch(self) -> None:
        """Download what is not here yet; `ModelError` where that can't be done."""
        for place, wanted in self._wanted():
            if place.hub is not None and not self._complete(place):
                hub.fetch(place.hub, wanted)

    def checkpoint(self) -> Checkpoint:
        """The weights' folder; `ModelError` where it is not here."""
        return Checkpoint(self.weights.at_hand(), self.weights.file)

    def tokenizer(self) -> TokenizerFiles | GgufTokenizer:
        """The tokenizer that the model is used with; `ModelError` where it is not here."""
        if self.own_tokenizer is None:
            return self.checkpoint().tokenizer()
        if self.own_tokenizer.file is not None:
            return Checkpoint(self.own_tokenizer.at_hand(), self.own_tokenizer.file).tokenizer()
        files = TokenizerFiles(self.own_tokenizer.at_hand())
        files.check()
        return files

    def has_chat_template(self) -> bool:
        """Whether the tokenizer can render messages; true where its files are not here to tell."""
        try:
            return self.tokenizer().chat_template() is not None
        except ModelError:
            return True

    def fingerprint(self) -> dict[str, str]:
        """Digests of every file that can change an answer, by what it is; never where it lies.

        Raises `ModelError` where one of them is missing.
        """
        checkpoint, tokenizer = self.checkpoint(), self.tokenizer()
        parts = {
            "weights": checkpoint.weights_digest(),
            "config": checkpoint.config_digest(),
            "generation_config": checkpoint.generation_digest(),
            "tokenizer": tokenizer.digest(),
            "chat_template": tokenizer.chat_template() or "none",
            "revision": self.weights.commit or "none",
        }
        if self.peft is not None:
            adapter = PeftFiles(self.peft.at_hand())
            adapter.check()
            parts["peft"] = adapter.digest()
        return parts

    def size(self) -> Size:
        """Numbers and bytes of all weights, those of a PEFT adapter included."""
        files = self.checkpoint().weight_files()
        parameters = self.checkpoint().parameters()
        if self.peft is not None:
            own = self.peft.at_hand() / "adapter_model.safetensors"
            files, parameters = [*files, own], parameters + tensor_elements(own)
        return Size(parameters, sum(file.stat().st_size for file in files))

    def _wanted(self) -> list[tuple[Place, Wanted]]:
        weights = WEIGHTS
        if self.weights.file is not None:
            weights = Wanted((self.weights.file,), needs=self.weights.file)
        listed = [(self.weights, weights)]
        if self.own_tokenizer is not None:
            listed.append((self.own_tokenizer, TOKENIZER))
        if self.peft is not None:
            listed.append((self.peft, PEFT))
        return listed

    def _complete(self, place: Place) -> bool:
        """Whether the files of `place` are here; raises for a folder on disk that lacks some."""
        folder = place.found()
        if folder is None:
            return False
        try:
            self._check_place(place, folder)
        except ModelError:
            # A repository of which other programs fetched a part is completed by fetching.
            if place.hub is not None:
                return False
            raise
        return True

    def _check_place(self, place: Place, folder: Path) -> None:
        if place is self.peft:
            PeftFiles(folder).check()
        elif place is self.own_tokenizer and place.file is None:
            TokenizerFiles(folder).check()
        else:
            checkpoint = Checkpoint(folder, place.file)
            checkpoint.check()
            if place is self.own_tokenizer or self.own_tokenizer is None:
                checkpoint.tokenizer()


def mismatch(model: str, largest: int, rows: int) -> str:
    """The message for a tokenizer that knows tokens which the model has no embedding for."""
    return (
        f"{model}: tokenizer mismatch: the tokenizer has a token {largest}, the model's embedding "
        f"only {rows} rows; name the tokenizer that the model was trained with (`tokenizer`), or "
        "resize the model's embedding"
    )
