"""`kdbench leaderboard`: the static site."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kdbench.commands.app import AsJson, app

leaderboard = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a static site of stored results, and look at it.",
    epilog="Example: kdbench leaderboard build results --out site",
)
app.add_typer(leaderboard, name="leaderboard")


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
