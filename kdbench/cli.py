"""The command line. Heavy imports happen inside commands: `kdbench --help` must stay instant."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench import __version__
from kdbench.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    KdbenchError,
    SettingsConflictError,
    SuiteError,
)

if TYPE_CHECKING:
    from rich.console import Console

    from kdbench.results.table import Row
    from kdbench.run.plan import Plan
    from kdbench.run.until_decided import Referee
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

leaderboard = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a static site of stored results, and look at it.",
    epilog="Example: kdbench leaderboard build results --out site",
)
app.add_typer(leaderboard, name="leaderboard")

baseline = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Results that later ones are compared with.",
    epilog="Example: kdbench baseline accept suites/mine.yaml --results /tmp/new --to results/mine",
)
app.add_typer(baseline, name="baseline")

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


@app.command(epilog="Example: kdbench run suites/quickstart.yaml --limit 50 --results /tmp/try")
def run(
    suite: SuiteFile,
    results: ResultsRoot = None,
    limit: Limit = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Replace the suite's seed.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Replace the suite's dtype (float32, bfloat16, ...).")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Replace the suite's device (cpu, cuda, cuda:1).")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per forward pass.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes at a time.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Measure documents in random order, and no more than the suite's gates need. All "
            "models that gates compare stay in memory at once.",
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress, only the table.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure every pair of a suite and write tidy tables.

    Work that is already stored is not done again: after a crash, or with more items asked for, the same
    command finishes what is missing.
    """
    from kdbench.run.catalogue import counted
    from kdbench.run.progress import progress_on
    from kdbench.run.runner import run_suite

    loaded = _load(
        suite,
        limit=limit,
        seed=seed,
        dtype=dtype,
        device=device,
        batch_size=batch_size,
        workers=workers,
    )
    root = _results_root(loaded, results)
    if dry_run:
        _print_plan(_plan(loaded, root), as_json)
        return
    talk = _console(stderr=as_json)

    def announce(plan: Plan) -> None:
        if not quiet:
            todo, cells = len(plan.todo), len(plan.cells)
            done = f", {cells - todo} already there" if todo < cells else ""
            work = f"{counted(todo, 'cell')} to measure{done}"
            talk.print(
                f"{loaded.name}: {work}; results go to {root / loaded.name}",
                highlight=False, soft_wrap=True,
            )  # fmt: skip

    try:
        with _referee(loaded) if until_decided else nullcontext() as referee:
            outcome = run_suite(
                loaded,
                root,
                lambda cells: progress_on(talk, cells, quiet or as_json),
                announce,
                referee,
            )
    except KeyboardInterrupt:
        talk.print(
            "interrupted: everything measured so far is stored; the same command goes on from there",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        _print_json(outcome.rows)
    else:
        left_out = until_decided and any(row.status == "ok" for row in outcome.rows)
        _print_rows([row for row in outcome.rows if not (left_out and row.status == "skipped")])
        if not outcome.measured:
            talk.print("\nnothing to do: every cell is already measured", highlight=False)
        talk.print(f"\ntable    {outcome.published.table}", highlight=False, soft_wrap=True)
        talk.print(
            f"samples  {outcome.published.folder / 'samples'}", highlight=False, soft_wrap=True
        )
        talk.print(f"record   {outcome.published.run}", highlight=False, soft_wrap=True)
    if outcome.failed:
        cells = sorted({f"{row.task} on {row.model}" for row in outcome.failed})
        talk.print(
            f"failed: {', '.join(cells)} (see {outcome.published.folder / 'run.log'})",
            style="red",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_FAILED)


def _referee(suite: Suite) -> AbstractContextManager[Referee]:
    from kdbench.check.referee import referee

    return referee(suite)


@app.command(epilog="Example: kdbench validate suites/quickstart.yaml")
def validate(
    suite: SuiteFile, results: ResultsRoot = None, limit: Limit = None, as_json: AsJson = False
) -> None:
    """Check a suite and show what a run would do, without loading or fetching anything."""
    from kdbench.run.runner import check

    loaded = _load(suite, limit=limit)
    problems = check(loaded)
    if problems:
        raise SuiteError(problems)
    plan = _plan(loaded, _results_root(loaded, results))
    _print_plan(plan, as_json)
    blocked = [cell for cell in plan.cells if cell.problem]
    if blocked and not plan.downloads:
        raise typer.Exit(EXIT_USAGE)


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
    if form == "terminal":
        _print_rows(rows)
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
    console = _console()
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
    _check_choice("--inconclusive", inconclusive, ("report", "pass", "fail"))
    loaded = _load(suite)
    root = _results_root(loaded, results)
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
        _write(file, formats[form]())
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

    _check_choice("--inconclusive", inconclusive, ("report", "pass", "fail"))
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
    loaded = _load(suite)
    needs = plan(loaded, _results_root(loaded, results) / loaded.name, difference, power)
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

    loaded = _load(suite)
    target = to if to is not None else Path("results") / loaded.name
    lines = accept(_results_root(loaded, results) / loaded.name, target, dry_run)
    for line in lines:
        typer.echo(line)
    what = "would change" if dry_run else "changed"
    typer.echo(f"{target}: {len(lines)} rows {what}" if lines else f"{target}: nothing changes")


@leaderboard.command("build", epilog="Example: kdbench leaderboard build results --out site")
def leaderboard_build(
    results: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RESULTS]...",
            help="Results folders, folders of them, git:REV:PATH or the address of a zip "
            "(default: results).",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the site goes; an old one is replaced.")] = Path(
        "site"
    ),
    title: Annotated[str, typer.Option(help="Name of the site.")] = "kdbench",
    as_json: AsJson = False,
) -> None:
    """Build the site: one folder that works from disk and from any static host."""
    from dataclasses import asdict

    from kdbench.leaderboard import build

    built = build(results or ["results"], out, title)
    if as_json:
        typer.echo(json.dumps({**asdict(built), "out": str(built.out)}, indent=1))
        return
    for notice in built.notices:
        typer.echo(f"note: {notice}", err=True)
    if not built.entries:
        typer.echo(
            "no measured results found: the site says what to run (kdbench run SUITE)", err=True
        )
    typer.echo(
        f"{built.out / 'index.html'}: {built.pairs} pairs, {built.rows} rows, "
        f"{built.claims} published numbers, {built.size / 2**20:.1f} MiB"
    )


@leaderboard.command("open", epilog="Example: kdbench leaderboard open site --port 8000")
def leaderboard_open(
    site: Annotated[Path, typer.Argument(help="A folder that `leaderboard build` wrote.")] = Path(
        "site"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open it in the browser.")] = True,
) -> None:
    """Serve a site on this machine only (127.0.0.1), until Ctrl-C."""
    from kdbench.leaderboard.serve import server

    with server(site, port) as serving:
        address = f"http://127.0.0.1:{serving.server_port}/"
        typer.echo(f"{site} at {address} (Ctrl-C ends)")
        if browser:
            import webbrowser

            webbrowser.open(address)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            typer.echo("")


def _check_choice(option: str, given: str, choices: Sequence[str]) -> None:
    if given not in choices:
        raise SettingsConflictError(f"{option} {given!r}: choose {', '.join(choices)}")


def _write(file: str, text: str) -> None:
    if file == "-":
        typer.echo(text, nl=False)
        return
    from kdbench.results.files import publish

    publish(Path(file), text.encode("utf-8", "replace"))


def _load(path: Path, **overrides: Any) -> Suite:
    from kdbench.suite import load_suite, shipped_suite

    if not path.exists() and path.suffix == "" and len(path.parts) == 1:
        path = shipped_suite(path.name)
    return load_suite(path).with_settings(**{k: v for k, v in overrides.items() if v is not None})


def _results_root(suite: Suite, asked: Path | None) -> Path:
    return asked if asked is not None else Path(suite.settings.results)


def _plan(suite: Suite, root: Path) -> Plan:
    from kdbench.results.store import Store
    from kdbench.run.plan import make_plan

    return make_plan(suite, Store(root))


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    stream_is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if stream_is_terminal else 200)


def _print_rows(rows: Sequence[Row]) -> None:
    from kdbench.results.render import terminal_table

    console = _console()
    console.print()
    console.print(terminal_table(rows))


def _print_json(rows: Sequence[Row]) -> None:
    from kdbench.results.render import render

    typer.echo(render(rows, "json"), nl=False)


def _print_plan(plan: Plan, as_json: bool) -> None:
    from kdbench.run.catalogue import plan_lines, plan_record

    if as_json:
        typer.echo(json.dumps(plan_record(plan), indent=1))
    else:
        for line in plan_lines(plan):
            typer.echo(line)


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
