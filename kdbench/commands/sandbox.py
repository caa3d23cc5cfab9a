"""`kdbench sandbox`: which walls hold generated code on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from kdbench.commands.app import AsJson, app
from kdbench.errors import EXIT_USAGE


@app.command(epilog="Example: kdbench sandbox")
def sandbox(as_json: AsJson = False) -> None:
    """Try each wall of the sandbox of `--allow-code-execution` from inside; exit code 3 where one falls."""
    from kdbench.tasks.sandbox.walls import walls

    found = walls()
    if as_json:
        typer.echo(json.dumps([asdict(wall) for wall in found], indent=1))
    else:
        for wall in found:
            state = "stands" if wall.stands else f"FALLS ({wall.why.strip()})"
            typer.echo(f"{wall.name:<12} {state}: {wall.about}")
    if not all(wall.stands for wall in found):
        raise typer.Exit(EXIT_USAGE)
