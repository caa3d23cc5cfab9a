"""`kdbench weights`: published weights that measurements rest on, listed, fetched and found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdbench.commands.app import AsJson, app

if TYPE_CHECKING:
    from kdbench.models.weights import Weight

weights = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Published weights that image metrics rest on: list, fetch and find them.",
    epilog="KDBENCH_WEIGHTS names a folder of weights placed by hand; it is looked at first. "
    "Example: kdbench weights list",
)
app.add_typer(weights, name="weights")

Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names from the list.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from the list.")]


@weights.command("list", epilog="Example: kdbench weights list --json")
def weights_list(as_json: AsJson = False) -> None:
    """Show what is known: name, size, licence, whether it is here, and what stands behind its hash."""
    from kdbench.models.weights.manifest import known

    listed = list(known().values())
    found = [_record(weight) for weight in listed]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    width = max(len(record["name"]) for record in found)
    for weight, record in zip(listed, found, strict=True):
        here = "here" if record["here"] else "not here"
        typer.echo(
            f"{weight.name:<{width}}  {here:<8}  {_size(weight.size):>12}  {weight.licence_told}; "
            f"hash: {record['trust']}; {weight.about}"
        )
    if any(not weight.licence_from for weight in listed):
        typer.echo(
            "unverified: no document that speaks of these files was read; see where they are published"
        )


@weights.command("fetch", epilog="Example: kdbench weights fetch clip-vit-large-patch14")
def weights_fetch(names: Names, as_json: AsJson = False) -> None:
    """Download weights into the cache, where they are not here yet, and check their hashes."""
    from kdbench.models.weights import at_hand, entry, fetch

    found = {}
    for weight in [entry(name) for name in names]:  # wrong names are told before gigabytes come
        if not at_hand(weight.name):
            typer.echo(f"{weight.name}: {_size(weight.size)} from {weight.address}", err=True)
        found[weight.name] = str(fetch(weight.name))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for name, path in found.items():
        typer.echo(f"{name}: {path}")


@weights.command("path", epilog="Example: kdbench weights path inception-torchscript")
def weights_path(name: Name, as_json: AsJson = False) -> None:
    """Print where weights lie, after checking their hash."""
    from kdbench.models.weights import entry, path_of

    path = path_of(name)
    if as_json:
        typer.echo(json.dumps({**_record(entry(name)), "path": str(path)}, indent=1))
        return
    typer.echo(str(path))


@weights.command(
    "convert-geneval-detector", epilog="Example: kdbench weights convert-geneval-detector"
)
def weights_convert(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CHECKPOINT]",
            help="A Mask2Former Swin-S of mmdet 2 (default: the fetched mask2former-swin-s-mmdet).",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it goes (default: the cache).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rewrite GenEval's detector, which mmdet trained, so that transformers reads it."""
    from kdbench.models.detectors import mmdet_checkpoint
    from kdbench.models.weights import path_of

    source = checkpoint or path_of(mmdet_checkpoint.CHECKPOINT)
    folder = mmdet_checkpoint.convert(source, out or mmdet_checkpoint.converted_folder())
    note = {"folder": str(folder), **mmdet_checkpoint.checked(folder)}
    typer.echo(json.dumps(note, indent=1) if as_json else f"{folder}: sha256 {note['sha256']}")


def _size(size: int | None) -> str:
    return f"{size / 1e6:,.1f} MB" if size else "size unknown"


def _record(weight: Weight) -> dict[str, Any]:
    from kdbench.models.weights import at_hand, digest_of, trust_of

    trust = trust_of(weight.name)
    return {
        "name": weight.name,
        "about": weight.about,
        "address": weight.address,
        "file": weight.file,
        "sha256": None if trust == "not seen" else digest_of(weight.name),
        "trust": trust,
        "size": weight.size,
        "licence": weight.licence,
        "licence_from": weight.licence_from,
        "here": at_hand(weight.name),
        "by_hand": str(weight.by_hand()),
    }
