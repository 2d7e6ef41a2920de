"""`foleygram serve` and `foleygram app`: the local server with its API and page; the second opens the page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foleygram.commands.errors import reported
from foleygram.commands.options import MINI, Device, Offload, Release

if TYPE_CHECKING:
    from foleygram.pipeline.pipeline import FoleyGRAMPipeline


def serve(
    context: typer.Context,
    checkpoint: Release = MINI,
    films: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of films to list; results go to its subfolder foley."),
    ] = None,
    device: Device = "auto",
    offload: Offload = False,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is open to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 7860,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longest video, in seconds.")] = 120.0,
    max_megabytes: Annotated[float, typer.Option(min=0.001, help="Largest file, in megabytes.")] = 500.0,
    steps: Annotated[
        int | None,
        typer.Option(min=1, max=150, help="Initial number of sampling steps on the page; default: the release's."),
    ] = None,
    browser: Annotated[
        bool | None,
        typer.Option("--browser/--no-browser", help="Open the page in a browser; default: `app` does, `serve` not."),
    ] = None,
) -> None:
    """Serve the HTTP API and the page; `app` also opens the page in a browser."""
    from foleygram.app import server
    from foleygram.app.limits import Limits

    def load() -> "FoleyGRAMPipeline":
        from foleygram.console import load_pipeline, pick_device

        return load_pipeline(checkpoint, pick_device(device), offload=offload)

    def started(address: str) -> None:
        if not server.is_loopback(host):
            typer.echo(f"foleygram: anyone who can reach {host} can use this server without a password", err=True)
        typer.echo(f"foleygram listens on {address}; stop it with Ctrl-C")
        if context.command.name == "app" if browser is None else browser:
            typer.launch(address)

    with reported():
        limits = Limits(max_seconds, max_megabytes)
        server.serve(load, checkpoint, host=host, port=port, limits=limits, steps=steps, films=films, started=started)
