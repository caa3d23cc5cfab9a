"""The command line: all commands, and errors as people read them.

Heavy imports happen inside commands: `kdbench --help` must stay instant.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer

from kdbench.commands.app import app
from kdbench.errors import EXIT_INTERRUPTED, EXIT_USAGE, KdbenchError

__all__ = ["app", "main"]

for _module in (
    "run",
    "import_",
    "describe",
    "results",
    "check",
    "leaderboard",
    "weights",
    "sandbox",
    "reference",
):  # in the order of --help
    import_module(f"kdbench.commands.{_module}")

_UsageError: Any = typer.BadParameter.__mro__[2]
"""Base of the command line library's own errors, which typer does not export by name."""


def main() -> None:
    """Run the command line; errors made for people are printed without a traceback."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(arguments, standalone_mode=False)
    except KdbenchError as error:
        if debug:
            raise
        typer.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except _UsageError as error:
        error.show()
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)
