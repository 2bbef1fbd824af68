"""`livekit-xtts download`: the published XTTS-v2, once its licence is accepted."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from livekit_xtts import download as downloads
from livekit_xtts.cli.exits import interruptible


def download(
    accept_license: Annotated[
        bool,
        typer.Option("--accept-license", help="The Coqui Public Model License is accepted."),
    ] = False,
    name: Annotated[
        str, typer.Option("--name", help="Keep the model under this name.")
    ] = downloads.PUBLISHED,
    revision: Annotated[
        str, typer.Option("--revision", help="Branch, tag or commit of the model.")
    ] = "main",
    keep_checkpoint: Annotated[
        bool, typer.Option("--keep-checkpoint", help="Keep model.pth too (1.9 GB).")
    ] = False,
) -> None:
    """Fetch the published XTTS-v2 (1.9 GB), check and convert it.

    Its weights are licensed for non-commercial use only. A download that broke off goes on where it
    stopped. XTTS_ACCEPT_LICENSE=1 accepts the licence, HF_ENDPOINT names another hub, and
    LIVEKIT_XTTS_HOME another place to keep models in.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with interruptible(), Progress(*columns, console=console) as bars:
        tasks: dict[str, int] = {}

        def progress(file: str, done: int, size: int) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=size)
            bars.update(tasks[file], completed=done)  # type: ignore[arg-type]

        def ask(notice: str) -> bool:
            bars.stop()
            answer = _ask(notice)
            bars.start()
            return answer

        folder = downloads.download(
            accept_license=accept_license,
            ask=ask,
            name=name,
            revision=revision,
            keep_checkpoint=keep_checkpoint,
            progress=progress,
        )
    typer.echo(folder)
    typer.echo(f"Use it with --model {name}, or LIVEKIT_XTTS_MODEL={name}.", err=True)


def _ask(notice: str) -> bool:
    """A person's answer; nobody's is no."""
    if not sys.stdin.isatty():
        return False
    typer.echo(notice, err=True)
    return typer.confirm("Do you accept this licence?", default=False, err=True)
