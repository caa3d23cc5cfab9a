"""Errors for people: what is wrong, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

EXIT_FAILED = 1
EXIT_INCONCLUSIVE = 2
EXIT_USAGE = 3
EXIT_INTERRUPTED = 130


class KdbenchError(Exception):
    """Base of every error that kdbench raises on purpose; its text is the whole message."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a suite file: `file:line:column: path: message`."""

    file: str
    line: int | None
    column: int | None
    path: str
    message: str

    def __str__(self) -> str:
        place = self.file
        if self.line is not None:
            place += f":{self.line}"
            if self.column is not None:
                place += f":{self.column}"
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class SuiteError(KdbenchError):
    """A suite file that can't be run; carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class UnknownNameError(KdbenchError):
    """A task, adapter or metric that nobody registered."""


class ModelError(KdbenchError):
    """A model that can't be loaded or that answers nonsense; fails the cell, not the run."""


class TaskError(KdbenchError):
    """A task that can't be built or measured; fails the cell, not the run."""


class StoreError(KdbenchError):
    """Results that can't be read or written."""


class SettingsConflictError(KdbenchError):
    """Two things asked for that exclude each other."""


def did_you_mean(name: str, known: list[str]) -> str:
    """` (did you mean 'x'?)` for the nearest known name, or an empty string."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
