"""Published weights by name: one manifest of addresses, hashes and licences, and the files behind it."""

from kdbench.models.weights.files import at_hand, digest_of, download, fetch, path_of, trust_of
from kdbench.models.weights.manifest import FOLDER, Weight, entry, known
from kdbench.models.weights.state import read_state

__all__ = [
    "FOLDER",
    "Weight",
    "at_hand",
    "digest_of",
    "download",
    "entry",
    "fetch",
    "known",
    "path_of",
    "read_state",
    "trust_of",
]
