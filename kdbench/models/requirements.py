"""Optional packages: told by name, with the extra that brings them, before anything loads."""

from __future__ import annotations

from importlib.util import find_spec

from kdbench.errors import ModelError
from kdbench.models import torchvision_on_cpu


def require(*packages: str, extra: str) -> None:
    """Raise `ModelError` naming the extra to install where one of `packages` is missing.

    Where they are there, they can be imported after this, whatever torchvision is beside them.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ModelError(
            f"the package {missing[0]} is not installed; `pip install 'kdbench[{extra}]'`"
        )
    torchvision_on_cpu.mend()
