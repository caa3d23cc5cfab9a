"""`kdbench run` and `kdbench validate`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from kdbench.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    SettingsConflictError,
    SuiteError,
)

if TYPE_CHECKING:
    from kdbench.run.plan import Plan
    from kdbench.run.until_decided import Referee
    from kdbench.suite import Suite

from kdbench.commands.app import (
    AsJson,
    Limit,
    ResultsRoot,
    SuiteFile,
    app,
    load,
    make_console,
    plan_of,
    print_headlines,
    print_json,
    print_plan,
    results_root,
)


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
    allow_code_execution: Annotated[
        bool,
        typer.Option(
            "--allow-code-execution",
            help="Run programs that models write (tasks code/...), in a sandbox. No suite can ask for it.",
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Time for timings (90s, 10m, 2h): those that say least are left out where it is too "
            "small. Other tasks are measured whole."
        ),
    ] = None,
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
    from kdbench.tasks.task import CODE_NOT_ALLOWED

    loaded = load(
        suite,
        limit=limit,
        seed=seed,
        dtype=dtype,
        device=device,
        batch_size=batch_size,
        workers=workers,
    )
    root = results_root(loaded, results)
    seconds = None if budget is None else seconds_of(budget)
    if seconds is not None and until_decided:
        raise SettingsConflictError(
            "--budget and --until-decided both say when to stop; choose one of them"
        )
    if dry_run:
        print_plan(plan_of(loaded, root).allowing(allow_code_execution), root, as_json)
        return
    talk = make_console(stderr=as_json)

    def announce(plan: Plan) -> None:
        if not quiet:
            todo = len(plan.todo)
            there = sum(cell.done for cell in plan.cells)
            done = f", {there} already there" if there else ""
            work = f"{counted(todo, 'cell')} to measure{done}"
            talk.print(
                f"{loaded.name}: {work}; results go to {root / loaded.name}",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
        for label in () if allow_code_execution else plan.executing:
            talk.print(f"refused: {label} {CODE_NOT_ALLOWED}", style="red", soft_wrap=True)

    try:
        with _referee(loaded) if until_decided else nullcontext() as referee:
            outcome = run_suite(
                loaded,
                root,
                lambda cells: progress_on(talk, cells, quiet or as_json),
                announce,
                referee,
                allow_code_execution,
                seconds,
            )
    except KeyboardInterrupt:
        talk.print(
            "interrupted: everything measured so far is stored; the same command goes on from there",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print_json(outcome.rows)
    else:
        left_out = until_decided and any(row.status == "ok" for row in outcome.rows)
        shown = [row for row in outcome.rows if not (left_out and row.status == "skipped")]
        print_headlines(shown, outcome.published)
        if not outcome.measured and not outcome.failed:
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


def seconds_of(text: str) -> float:
    """Seconds of a duration like 90s, 10m or 2h. Raises `SettingsConflictError`."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = text[:-1], text[-1:]
    try:
        found = float(number) * units[unit]
    except (ValueError, KeyError):
        found = 0.0
    if not 0 < found < float("inf"):
        raise SettingsConflictError(f"--budget {text}: write a duration like 90s, 10m or 2h")
    return found


def _referee(suite: Suite) -> AbstractContextManager[Referee]:
    from kdbench.check.referee import referee

    return referee(suite)


@app.command(epilog="Example: kdbench validate suites/quickstart.yaml")
def validate(
    suite: SuiteFile, results: ResultsRoot = None, limit: Limit = None, as_json: AsJson = False
) -> None:
    """Check a suite and show what a run would do, without loading or fetching anything."""
    from kdbench.run.runner import check

    loaded = load(suite, limit=limit)
    problems = check(loaded)
    if problems:
        raise SuiteError(problems)
    root = results_root(loaded, results)
    plan = plan_of(loaded, root)
    print_plan(plan, root, as_json)
    blocked = [cell for cell in plan.cells if cell.problem and not cell.skipped]
    if blocked and not plan.downloads:
        raise typer.Exit(EXIT_USAGE)
