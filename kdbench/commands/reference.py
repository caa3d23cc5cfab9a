"""`kdbench reference`: statistics of real images, made once and compared with often."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kdbench.commands.app import AsJson, app, make_console

reference = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Statistics of real images that generated ones are compared with.",
)
app.add_typer(reference, name="reference")


@reference.command(epilog="Example: kdbench reference make photos/ --encoder clean -o photos.npz")
def make(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="A folder or zip of images.")],
    out: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The .npz to write.")],
    encoder: Annotated[
        str,
        typer.Option(
            help="clean, legacy_pytorch, legacy_tensorflow, torchmetrics, dmd2-256, dinov2, "
            "clip-b32, clip-l14-336 or classifier."
        ),
    ] = "clean",
    weights: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Its weights (default: see `kdbench weights list`)."),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(
            "--features", help="Keep a row an image: KID, CMMD, precision and recall need it."
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Only the first N images, by name.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Encode images and write mean, covariance and the dialect they were made in."""
    from rich.progress import Progress

    from kdbench.models.encoders.catalogue import encoder_spec
    from kdbench.models.image_files import ImageFiles
    from kdbench.models.reference_making import make_reference

    ImageFiles(images).check()  # a wrong folder is told before weights are read
    network = encoder_spec(encoder, weights).load(device)
    with Progress(console=make_console(stderr=True), transient=True) as progress:
        bar = progress.add_task("encoding")
        count = make_reference(
            images, network, out, features, limit, batch_size, device,
            told=lambda done, total: progress.update(bar, completed=done, total=total),
        )  # fmt: skip
    typer.echo(f"{out}: {count} images, {network.dimension} features, {network.resize.name}")


@reference.command(epilog="Example: kdbench reference show photos.npz")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A reference of any known tool.")],
    as_json: AsJson = False,
) -> None:
    """Say what a reference holds and in which dialect it was made."""
    from kdbench.models.reference import read_reference

    held = read_reference(file)
    parts = {"moments": held.mean, "features": held.features}
    holds = [name for name, array in parts.items() if array is not None]
    record = {
        "file": str(file),
        "sha256": held.digest,
        "images": held.count,
        "dimension": held.dimension,
        "holds": holds,
        "protocol": dict(held.protocol),
    }
    if as_json:
        typer.echo(json.dumps(record, indent=1))
        return
    images = "unknown" if held.count is None else str(held.count)
    typer.echo(f"{file}: {images} images, {held.dimension} features; holds {', '.join(holds)}")
    for part, value in held.protocol.items():
        typer.echo(f"  {part}: {value}")
    if not held.protocol:
        typer.echo("  the file does not say in which dialect it was made")
