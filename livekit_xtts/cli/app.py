"""The commands and their options."""

from __future__ import annotations

import typer

from livekit_xtts.cli import batch, compare, download, info, speak, voices
from livekit_xtts.version import __version__

app = typer.Typer(
    name="livekit-xtts",
    help="A cloned voice on your own machine: speak, try, measure, and keep voices.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"livekit-xtts {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Say the version and end."
    ),
) -> None:
    """A cloned voice on your own machine: speak, try, measure, and keep voices."""


app.command("speak")(speak.speak)
app.command("batch")(batch.batch)
app.command("compare")(compare.compare)
app.add_typer(voices.app, name="voices")
app.command("download")(download.download)
app.command("info")(info.info)
