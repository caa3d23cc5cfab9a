"""`kdbench table` and `samples`: stored results, printed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from kdbench.commands.app import (
    AsJson,
    ResultsFolder,
    app,
    make_console,
    print_headlines,
    print_rows,
)
from kdbench.errors import SettingsConflictError


@app.command(epilog="Example: kdbench table results/quickstart --format latex --metric acc")
def table(
    results: ResultsFolder,
    form: Annotated[
        str, typer.Option("--format", "-f", help="terminal, markdown, csv, json or latex.")
    ] = "terminal",
    task: Annotated[str | None, typer.Option(help="Only tasks that match this pattern.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Only metrics that match this pattern.")
    ] = None,
    pair: Annotated[str | None, typer.Option(help="Only pairs that match this pattern.")] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="All metrics in the terminal too, not each task's main ones."),
    ] = False,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Compute metrics.csv anew from the published samples first."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the results of a run, for the terminal, a pull request, a spreadsheet or a paper."""
    from kdbench.results.lines import select
    from kdbench.results.published import Published
    from kdbench.results.render import render
    from kdbench.results.table import read_csv

    form = "json" if as_json else form
    if form not in ("terminal", "markdown", "csv", "json", "latex"):
        raise SettingsConflictError(
            f"no format named {form!r}: choose terminal, markdown, csv, json or latex"
        )
    target = Published(results)
    if rebuild:
        from kdbench.run.publish import rebuild as compute

        rows = compute(target)
    else:
        target.read_run()
        rows = read_csv(target.table)
    rows = select(rows, task, metric, pair)
    if not rows:
        raise SettingsConflictError(f"{target.table}: no row matches")
    if form == "terminal" and not (everything or metric):
        print_headlines(rows, target)
    elif form == "terminal":
        print_rows(rows)
    else:
        typer.echo(render(rows, form), nl=False)  # type: ignore[arg-type]


@app.command(epilog="Example: kdbench samples results/quickstart --pair forward-kl --lost -n 5")
def samples(
    results: ResultsFolder,
    pair: Annotated[str | None, typer.Option(help="The pair (default: the first).")] = None,
    task: Annotated[str | None, typer.Option(help="The task (default: all).")] = None,
    metric: Annotated[
        str | None, typer.Option(help="The metric (default: each task's first).")
    ] = None,
    lost: Annotated[
        bool, typer.Option("--lost", help="Only where the teacher did better.")
    ] = False,
    gained: Annotated[
        bool, typer.Option("--gained", help="Only where the student did better.")
    ] = False,
    count: Annotated[int, typer.Option("-n", min=1, help="How many to show.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the documents on which teacher and student differ."""
    from kdbench.run.browse import differing

    kind: Any = "both" if lost == gained else "lost" if lost else "gained"
    found = differing(results, pair, task, metric, kind)
    if as_json:
        typer.echo(json.dumps([{"task": label, **d.to_json()} for label, d in found], indent=1))
        return
    console = make_console()
    for label, difference in found[:count]:
        sign = "[red]lost[/]" if difference.kind == "lost" else "[green]gained[/]"
        console.print(f"{sign} {label} {difference.metric}  [dim]{difference.teacher.id}[/]")
        for name, text in (
            ("prompt", difference.teacher.prompt),
            ("target", difference.teacher.target),
            ("teacher", difference.teacher.output),
            ("student", difference.student.output),
        ):
            console.print(f"  {name + ':':<9}{text!r}", markup=False, highlight=False)
        console.print()
    more = len(found) - count
    console.print(
        f"{len(found)} documents differ"
        + (f"; {more} more with -n {len(found)}" if more > 0 else ""),
        highlight=False,
    )
