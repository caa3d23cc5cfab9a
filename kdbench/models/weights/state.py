"""Weights as PyTorch saves them, read without running anything that a file may carry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import ModelError

if TYPE_CHECKING:
    import torch


def read_state(place: Path) -> dict[str, torch.Tensor]:
    """A state dict of PyTorch, weights only; `ModelError` where the file holds something else."""
    import pickle

    import torch

    try:
        state = torch.load(place, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{place}: no state dict of PyTorch can be read ({error})") from error
    if not isinstance(state, dict):
        raise ModelError(f"{place}: holds a {type(state).__name__}, not a state dict")
    return state
