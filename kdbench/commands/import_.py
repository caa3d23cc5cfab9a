"""`kdbench import`: measurements of other tools as results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from kdbench.commands.app import AsJson, app, check_choice, print_rows


@app.command(
    "import",
    epilog="Examples: kdbench import run_1.jsonl run_2.jsonl run_3.jsonl --teacher vicuna-7b "
    "--student medusa-1 --method Medusa --questions question.jsonl --prompts mt_bench | "
    "kdbench import before.txt after.txt --teacher llama-8b --student eagle3 --prompts sharegpt",
)
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="The files of one measurement: one, or one for each time that it was repeated on the same "
            "prompts; counters before and after.",
        ),
    ],
    teacher: Annotated[str, typer.Option(metavar="NAME", help="The target model.")],
    student: Annotated[str, typer.Option(metavar="NAME", help="The draft: a model, or its heads.")],
    method: Annotated[str, typer.Option(help="How the draft was made.")] = "",
    gamma: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024,
            help="Drafts in a chain, where the file doesn't say; leave it out for trees.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", "-f",
            help="spec-bench, eagle, medusa, llama.cpp, vllm, vllm-counters (default: by content).",
        ),
    ] = None,
    bonus: Annotated[
        str | None,
        typer.Option(help="Whether accept_lengths count the bonus token: in or out (default: by sums)."),
    ] = None,
    failed: Annotated[
        str,
        typer.Option(
            "--failed-turns",
            help="Turns that failed carry the counts of the turn before: leave-out, or keep them as that "
            "tool's own summary does.",
        ),
    ] = "leave-out",
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON lines with question_id, category and turns of the prompts."
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Name of the prompts (default: that of the first file)."),
    ] = None,
    conditions: Annotated[
        str, typer.Option(help='What else can change a number, such as "greedy, fp16, batch 1".')
    ] = "not stated",
    hardware: Annotated[
        str | None, typer.Option(help="The machine that it was measured on.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the results (default: imported-STUDENT).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder (default: results/NAME).")
    ] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Turn what another tool measured of speculative decoding into results: table, samples, record.

    Conventions become kdbench's (tau with the bonus token) and are named in the protocol id. The folder is
    read by `kdbench table` and `kdbench leaderboard build`. Exit codes: 0 done, 3 unreadable input.
    """
    from kdbench.results.imports import read
    from kdbench.results.published import Published
    from kdbench.results.table import to_json
    from kdbench.run.imported import UNKNOWN_HARDWARE, Origin, publish

    if bonus is not None:
        check_choice("--bonus", bonus, ("in", "out"))
    check_choice("--failed-turns", failed, ("leave-out", "keep"))
    suite = name or re.sub(r"[^A-Za-z0-9._-]+", "-", f"imported-{student}")
    origin = Origin(
        suite, teacher, student, method, prompts or files[0].stem, conditions,
        hardware or UNKNOWN_HARDWARE,
    )  # fmt: skip
    imported = read(files, form, gamma, bonus, questions, failed)  # type: ignore[arg-type]
    target = Published(out if out is not None else Path("results") / suite)
    rows = publish(imported, origin, files, target)
    if as_json:
        told = {
            "folder": str(target.folder), "tool": imported.tool, "notices": imported.notices,
            "rows": json.loads(to_json(rows)),
        }  # fmt: skip
        typer.echo(json.dumps(told, indent=1))
        return
    for notice in imported.notices:
        typer.echo(f"note: {notice}", err=True)
    print_rows(rows)
    answers = sum(len(own) for own in imported.files)
    typer.echo(
        f"{target.folder}: {len(rows)} rows of {answers} answers, measured by {imported.tool}; "
        f"kdbench leaderboard build {target.folder}"
    )
