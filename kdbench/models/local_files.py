"""What adapters have in common whose model lies in files: a folder, a hub snapshot, a GGUF file."""

from __future__ import annotations

from abc import abstractmethod

from kdbench.models.adapter import Adapter, Download, Size
from kdbench.models.model_files import ModelFiles
from kdbench.models.protocols import CHAT_TEMPLATE, GENERATE_TEXT, SCORE_ROLLING, SCORE_TEXT


class LocalFilesAdapter(Adapter):
    """Everything that can be said of such a model without loading it.

    Its params have at least `max_length` and `add_bos_token`.
    """

    @property
    @abstractmethod
    def files(self) -> ModelFiles:
        """Where everything is that this model is made of."""

    def verbs(self) -> frozenset[str]:
        plain = {SCORE_TEXT, SCORE_ROLLING, GENERATE_TEXT}
        return frozenset(plain | {CHAT_TEMPLATE} if self.files.has_chat_template() else plain)

    def fingerprint(self) -> dict[str, str]:
        parts = {"adapter": self.name, **self.files.fingerprint()}
        parts["dtype"] = self.dtype()
        parts["max_length"] = str(self.params.max_length or "model")
        parts["add_bos_token"] = str(self.params.add_bos_token)
        if self.settings.trust_remote_code:
            parts["remote_code"] = self.files.checkpoint().code_digest()
        return parts

    def tokenizer_fingerprint(self) -> str | None:
        if self.downloads():
            return None
        return self.files.tokenizer().vocabulary_digest(self.params.add_bos_token)

    def size(self) -> Size | None:
        return None if self.downloads() else self.files.size()

    def downloads(self) -> list[Download]:
        return self.files.downloads()

    def fetch(self) -> None:
        self.files.fetch()

    def dtype(self) -> str:
        """The torch name of the dtype that the weights are used in."""
        chosen = self.settings.dtype
        return self.files.checkpoint().dtype() if chosen == "auto" else chosen
