"""`foleygram app`: a web page to edit envelopes and make takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foleygram.commands.errors import reported

if TYPE_CHECKING:
    from foleygram.pipeline.pipeline import FoleyGRAMPipeline


def serve_page(
    checkpoint: Annotated[Path, typer.Option(help="Release folder.")] = Path("checkpoints/mini"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    offload: Annotated[
        bool, typer.Option("--offload", help="Keep networks in main memory, each on the device only while it runs.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is open to the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 7860,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Longest video, in seconds.")] = 120.0,
    max_megabytes: Annotated[float, typer.Option(min=0.001, help="Largest file, in megabytes.")] = 500.0,
    steps: Annotated[
        int | None, typer.Option(min=1, max=150, help="Initial number of sampling steps; the release's own by default.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser", help="Open the page in a browser.")] = False,
) -> None:
    """Serve a web page: drop a video, edit its envelope, make takes, download one."""
    from foleygram.app.limits import Limits
    from foleygram.app.server import is_loopback, serve

    def load() -> "FoleyGRAMPipeline":
        from foleygram.console import load_pipeline, pick_device

        return load_pipeline(checkpoint, pick_device(device), offload=offload)

    def started(address: str) -> None:
        if not is_loopback(host):
            typer.echo(f"foleygram: anyone who can reach {host} can use this page without a password", err=True)
        typer.echo(f"foleygram listens on {address}; stop it with Ctrl-C")
        if browser:
            typer.launch(address)

    with reported():
        serve(load, host=host, port=port, limits=Limits(max_seconds, max_megabytes), steps=steps, started=started)
