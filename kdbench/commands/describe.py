"""`kdbench list`, `show` and `schema`: what can be measured, and how suites are written."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from kdbench.commands.app import AsJson, app


@app.command("list", epilog="Example: kdbench list tasks")
def list_(
    what: Annotated[str, typer.Argument(metavar="tasks|adapters|metrics", help="What to list.")],
    as_json: AsJson = False,
) -> None:
    """Show the registered tasks, adapters, or the metrics that tasks emit."""
    from kdbench.run.catalogue import listing

    found = listing(what)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    width = max((len(row["name"]) for row in found), default=0)
    for row in found:
        typer.echo(f"{row['name']:<{width}}  {row['about']}")


@app.command(epilog="Example: kdbench show reasoning/gsm8k")
def show(
    task: Annotated[str, typer.Argument(help="A task, with what it measures after a slash.")],
    as_json: AsJson = False,
) -> None:
    """Say what a task measures: verbs needed, metrics with units and direction, protocol, source."""
    from kdbench.run.catalogue import describe

    found = describe(task)
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for key, value in found.items():
        if isinstance(value, list):
            typer.echo(f"{key}:")
            for entry in value:
                typer.echo(f"  {entry}")
        elif isinstance(value, dict):
            typer.echo(f"{key}:")
            for name, text in value.items():
                typer.echo(f"  {name}: {text}")
        else:
            typer.echo(f"{key}: {value}")


@app.command(epilog="Example: kdbench schema > suite.schema.json")
def schema() -> None:
    """Print the JSON Schema of suite files, for editors that complete and check them."""
    from kdbench.suite import suite_json_schema

    typer.echo(json.dumps(suite_json_schema(), indent=1))
