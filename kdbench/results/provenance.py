"""Where numbers came from: code, packages, machine. Never secrets, environment or home paths."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from kdbench import __version__
from kdbench.results.hardware import cpu_count, cpu_name, gpus


def git_state(folder: Path, member: str | None = None) -> dict[str, Any] | None:
    """Commit and dirty flag of the repository around `folder`; None where it is in none.

    With `member`, only a repository that tracks that file of `folder` counts: an installed package may
    lie inside somebody else's repository.
    """

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
        except (FileNotFoundError, NotADirectoryError, subprocess.TimeoutExpired):
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    if member is not None and git("ls-files", "--error-unmatch", member) is None:
        return None
    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


@cache
def packages() -> dict[str, str]:
    """Installed distributions and their versions, sorted by name."""
    found = {d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}
    return dict(sorted(found.items()))


def machine() -> dict[str, Any]:
    """Processor, memory, devices and system."""
    import psutil

    return {
        "cpu": cpu_name(),
        "cores": cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": [dict(card) for card in gpus()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def kdbench_state() -> dict[str, Any]:
    """Version of this package and, in a checkout, its commit."""
    here = Path(__file__).resolve().parent.parent
    return {"version": __version__, "git": git_state(here, "__init__.py")}
