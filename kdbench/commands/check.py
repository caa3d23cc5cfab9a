"""`kdbench check`, `compare`, `plan-power` and `baseline`: gates and what they need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from kdbench.commands.app import (
    AsJson,
    ResultsRoot,
    SuiteFile,
    app,
    check_choice,
    load,
    results_root,
    write,
)
from kdbench.errors import SettingsConflictError

baseline = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Results that later ones are compared with.",
    epilog="Example: kdbench baseline accept suites/mine.yaml --results /tmp/new --to results/mine",
)
app.add_typer(baseline, name="baseline")


@app.command(
    epilog="Examples: kdbench check quickstart | kdbench check mine.yaml --explain "
    "--baseline git:main:results/mine --output markdown=summary.md --output junit=gates.xml"
)
def check(
    suite: Annotated[
        Path | None,
        typer.Argument(metavar="SUITE", help="A suite file, or the name of one that ships."),
    ] = None,
    results: ResultsRoot = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="ORIGIN",
            help="Earlier results in place of those that gates name: a folder, git:REV:PATH, a zip "
            "or an address.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Every gate as a sentence, with its evidence.")
    ] = False,
    inconclusive: Annotated[
        str, typer.Option(help="What gates that can't be told yet do: report (exit 2), pass, fail.")
    ] = "report",
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output", metavar="FORMAT=FILE",
            help="Also write markdown, junit, json or github to a file (- is standard output).",
        ),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where the leaderboard is served; the markdown report links to it."
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of --json and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Judge a suite's gates on its results: pass, fail, or how many more samples would tell.

    Exit codes: 0 all gates pass, 1 a gate fails or has no row, 2 inconclusive, 3 usage, missing results or
    baseline, or nothing to gate.
    """
    from kdbench.check import check_suite, render
    from kdbench.check.flips import address, flips
    from kdbench.results.published import Published

    if schema:
        typer.echo(json.dumps(render.schema(), indent=1))
        return
    if suite is None:
        raise SettingsConflictError("which suite? kdbench check SUITE")
    check_choice("--inconclusive", inconclusive, ("report", "pass", "fail"))
    loaded = load(suite)
    root = results_root(loaded, results)
    report = check_suite(loaded, root, baseline, inconclusive)  # type: ignore[arg-type]

    def line(gate: int) -> int | None:
        return loaded.problem(("gates", gate), "").line

    if site is not None and not site.startswith(("http://", "https://")):
        raise SettingsConflictError(f"--site {site!r}: give an address, https://...")
    published = Published(root / loaded.name)
    formats: dict[str, Callable[[], str]] = {
        "markdown": lambda: render.markdown(
            report,
            lambda finding: flips(finding, published),
            lambda finding: address(finding, site, loaded.name, published) if site else "",
        ),
        "junit": lambda: render.junit(report),
        "json": lambda: render.as_json(report),
        "github": lambda: render.github(report, line),
    }
    typer.echo(formats["json"]() if as_json else render.terminal(report, explain), nl=False)
    for wanted in output or ():
        form, _, file = wanted.partition("=")
        if form not in formats or not file:
            raise SettingsConflictError(
                f"--output {wanted!r}: write FORMAT=FILE with one of {', '.join(formats)}"
            )
        write(file, formats[form]())
    if report.exit_code:
        raise typer.Exit(report.exit_code)


@app.command(
    epilog="Examples: kdbench compare results/quickstart#forward-kl results/quickstart#on-policy | "
    "kdbench compare git:main:results/mine results/mine --margin 0.01"
)
def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="Results (a folder, git:REV:PATH, a zip, an address), or one model: A#MODEL.",
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="What is compared with it.")],
    margin: Annotated[float, typer.Option(min=0, help="How much worse B may be.")] = 0.0,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999999)] = 0.95,
    task: Annotated[str, typer.Option(help="Only tasks that match this pattern.")] = "*",
    metric: Annotated[str, typer.Option(help="Only metrics that match this pattern.")] = "*",
    explain: Annotated[
        bool, typer.Option("--explain", help="Every metric as a sentence, with its evidence.")
    ] = False,
    inconclusive: Annotated[
        str, typer.Option(help="What can't be told yet does: report (exit 2), pass, fail.")
    ] = "report",
    as_json: AsJson = False,
) -> None:
    """Is B no worse than A? Paired sample by sample, all metrics sharing one error rate (Holm).

    PASS: the whole interval of B - A is no worse than the margin; FAIL: all of it is worse. Exit codes as
    of `kdbench check`.
    """
    from kdbench.check import render
    from kdbench.check.compare import compare as compared

    check_choice("--inconclusive", inconclusive, ("report", "pass", "fail"))
    report = compared(first, second, margin, confidence, task, metric, inconclusive)  # type: ignore[arg-type]
    typer.echo(render.as_json(report) if as_json else render.terminal(report, explain), nl=False)
    if report.exit_code:
        raise typer.Exit(report.exit_code)


@app.command(
    "plan-power",
    epilog="Examples: kdbench plan-power quickstart --difference 0.02 | "
    "kdbench plan-power --difference 0.01 --discordance 0.1",
)
def plan_power(
    suite: Annotated[
        Path | None,
        typer.Argument(metavar="SUITE", help="A suite with gates and a pilot in its results."),
    ] = None,
    results: ResultsRoot = None,
    difference: Annotated[
        float | None,
        typer.Option(
            min=0, help="True distance from the bound to plan for (default: the pilot's)."
        ),
    ] = None,
    discordance: Annotated[
        float | None,
        typer.Option(help="Without a pilot: share of documents on which the models differ."),
    ] = None,
    power: Annotated[float, typer.Option(min=0.5, max=0.999)] = 0.8,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999999, help="Without a suite: of the interval.")
    ] = 0.95,
    as_json: AsJson = False,
) -> None:
    """How many documents a gate needs to pass, and how long they take, before they are measured."""
    from kdbench.check.power import documents_needed, lines, plan, spread_of_flips

    if suite is None:
        if difference is None or discordance is None:
            raise SettingsConflictError("name a suite, or give --difference and --discordance")
        needed = documents_needed(spread_of_flips(discordance), difference, confidence, power)
        if as_json:
            typer.echo(json.dumps([{"needed": needed}]))
        else:
            typer.echo(f"{needed} documents for a distance of {difference:g} from the bound")
        return
    loaded = load(suite)
    needs = plan(loaded, results_root(loaded, results) / loaded.name, difference, power)
    if as_json:
        typer.echo(json.dumps([need.json() for need in needs], indent=1))
    else:
        for line in lines(needs):
            typer.echo(line)


@baseline.command("accept", epilog="Example: kdbench baseline accept suites/mine.yaml --dry-run")
def baseline_accept(
    suite: SuiteFile,
    results: ResultsRoot = None,
    to: Annotated[
        Path | None, typer.Option(help="The baseline's folder (default: results/<suite> here).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Make the suite's present results the committed baseline, and say what changes by that."""
    from kdbench.check.baseline import accept

    loaded = load(suite)
    target = to if to is not None else Path("results") / loaded.name
    lines = accept(results_root(loaded, results) / loaded.name, target, dry_run)
    for line in lines:
        typer.echo(line)
    what = "would change" if dry_run else "changed"
    typer.echo(f"{target}: {len(lines)} rows {what}" if lines else f"{target}: nothing changes")
