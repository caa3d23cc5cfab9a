"""The application that commands register with, the options they share, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench import __version__
from kdbench.errors import SettingsConflictError

if TYPE_CHECKING:
    from rich.console import Console

    from kdbench.results.published import Published
    from kdbench.results.table import Row
    from kdbench.run.plan import Plan
    from kdbench.suite import Suite

app = typer.Typer(
    name="kdbench",
    help="Benchmark distilled models against their teachers, with an error bar on every number.",
    epilog=(
        "Exit codes: 0 done, 1 some cells failed, 3 usage or unreadable input, 130 interrupted. "
        "Example: kdbench run suites/quickstart.yaml"
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SuiteFile = Annotated[
    Path,
    typer.Argument(
        metavar="SUITE", help="A suite file, or the name of one that ships (quickstart)."
    ),
]
ResultsFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RESULTS", help="A folder that `kdbench run` wrote, such as results/quickstart."
    ),
]
ResultsRoot = Annotated[
    Path | None,
    typer.Option(
        "--results", metavar="DIR", help="Where results go (default: the suite's, else ./results)."
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Measure only the first N items of every task.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kdbench {__version__}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options of every command."""


def check_choice(option: str, given: str, choices: Sequence[str]) -> None:
    if given not in choices:
        raise SettingsConflictError(f"{option} {given!r}: choose {', '.join(choices)}")


def write(file: str, text: str) -> None:
    if file == "-":
        typer.echo(text, nl=False)
        return
    from kdbench.results.files import publish

    publish(Path(file), text.encode("utf-8", "replace"))


def load(path: Path, **overrides: Any) -> Suite:
    from kdbench.suite import load_suite, shipped_suite

    if not path.exists() and path.suffix == "" and len(path.parts) == 1:
        path = shipped_suite(path.name)
    return load_suite(path).with_settings(**{k: v for k, v in overrides.items() if v is not None})


def results_root(suite: Suite, asked: Path | None) -> Path:
    return asked if asked is not None else Path(suite.settings.results)


def plan_of(suite: Suite, root: Path) -> Plan:
    from kdbench.results.store import Store
    from kdbench.run.plan import make_plan

    return make_plan(suite, Store(root))


def make_console(stderr: bool = False) -> Console:
    from rich.console import Console

    stream_is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if stream_is_terminal else 200)


def print_rows(rows: Sequence[Row]) -> None:
    from kdbench.results.render import terminal_table

    console = make_console()
    console.print()
    console.print(terminal_table(rows))


def print_headlines(rows: Sequence[Row], published: Published) -> None:
    """The rows of each task's main metrics, and how to see the others."""
    from kdbench.run.browse import headlines

    main = headlines(rows, published.read_run())
    print_rows(main)
    if len(main) < len(rows):
        typer.echo(
            f"\n{len(rows) - len(main)} rows of further metrics: kdbench table "
            f"{published.folder} --all"
        )


def print_json(rows: Sequence[Row]) -> None:
    from kdbench.results.render import render

    typer.echo(render(rows, "json"), nl=False)


def print_plan(plan: Plan, root: Path, as_json: bool) -> None:
    from kdbench.results.store import Store
    from kdbench.run.catalogue import plan_lines, plan_record

    store = Store(root)
    if as_json:
        typer.echo(json.dumps(plan_record(plan, store), indent=1))
    else:
        for line in plan_lines(plan, store):
            typer.echo(line)
