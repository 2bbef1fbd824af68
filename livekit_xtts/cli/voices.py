"""`livekit-xtts voices`: the voice library."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from livekit_xtts.cli.settings import (
    LIBRARY_OPTIONS,
    Settings,
    opened_library,
    status,
    with_settings,
)

app = typer.Typer(
    name="voices", help="The voice library: voices that have a name.", no_args_is_help=True
)
_with_library = partial(with_settings, only=LIBRARY_OPTIONS)
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
_Name = Annotated[str, typer.Argument(help="The voice's name.")]


@app.command("list")
@_with_library
def list_(settings: Settings) -> None:
    """List the voices: yours, the bundled ones, the model's studio speakers."""
    with opened_library(settings) as (_, library):
        entries = library.list()
    if not entries:
        typer.echo("No voices yet: livekit-xtts voices add NAME recording.wav", err=True)
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        row = f"{entry.name:<{width}}  {entry.kind:<7}  {entry.language or '-':<5}  {entry.problem}"
        typer.echo(row.rstrip())


@app.command()
@_with_library
def add(
    name: _Name,
    recordings: Annotated[
        list[Path], typer.Argument(help="Recordings of one speaker, 10 to 30 s in all.")
    ],
    settings: Settings,
    overwrite: _Overwrite = False,
) -> None:
    """Clone a voice from recordings and keep it under a name."""
    with opened_library(settings) as (_, library), status("cloning the voice"):
        library.add(name, recordings, language=settings.language, overwrite=overwrite).result()
        typer.echo(library.folder / f"{name}.safetensors")


@app.command()
@_with_library
def remove(name: _Name, settings: Settings) -> None:
    """Delete a voice of yours."""
    with opened_library(settings) as (_, library):
        library.remove(name)


@app.command()
@_with_library
def export(
    name: _Name,
    target: Annotated[Path, typer.Argument(help="File or folder to write to.")],
    settings: Settings,
    overwrite: _Overwrite = False,
) -> None:
    """Write a voice to a file, for another machine with the same model."""
    with opened_library(settings) as (_, library), status("loading the model"):
        typer.echo(library.export(name, target, overwrite=overwrite))


@app.command("import")
@_with_library
def import_(
    file: Annotated[Path, typer.Argument(help="A voice file written by export.")],
    settings: Settings,
    name: Annotated[str | None, typer.Option("--name", help="Keep it under another name.")] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Take an exported voice into the library."""
    with opened_library(settings) as (_, library):
        typer.echo(library.import_voice(file, name=name, overwrite=overwrite))
