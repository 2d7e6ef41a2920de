"""`foleygram serve` and `foleygram app`: the local server with its API and page; the second opens the page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foleygram.commands.errors import reported

if TYPE_CHECKING:
    from foleygram.pipeline.pipeline import FoleyGRAMPipeline

Checkpoint = Annotated[Path, typer.Option(help="Release folder.")]
Films = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder of films to list; results go to its subfolder foley."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Offload = Annotated[
    bool, typer.Option("--offload", help="Keep networks in main memory, each on the device only while it runs.")
]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is open to the network.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")]
MaxSeconds = Annotated[float, typer.Option(min=0.1, help="Longest video, in seconds.")]
MaxMegabytes = Annotated[float, typer.Option(min=0.001, help="Largest file, in megabytes.")]
Steps = Annotated[
    int | None,
    typer.Option(min=1, max=150, help="Initial number of sampling steps on the page; the release's own by default."),
]
MINI = Path("checkpoints/mini")


def serve_api(
    checkpoint: Checkpoint = MINI,
    films: Films = None,
    device: Device = "auto",
    offload: Offload = False,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    max_seconds: MaxSeconds = 120.0,
    max_megabytes: MaxMegabytes = 500.0,
    steps: Steps = None,
) -> None:
    """Serve the HTTP API and the page on this machine, for scripts, REAPER and browsers."""
    _serve(checkpoint, films, device, offload, host, port, max_seconds, max_megabytes, steps, browser=False)


def serve_page(
    checkpoint: Checkpoint = MINI,
    films: Films = None,
    device: Device = "auto",
    offload: Offload = False,
    host: Host = "127.0.0.1",
    port: Port = 7860,
    max_seconds: MaxSeconds = 120.0,
    max_megabytes: MaxMegabytes = 500.0,
    steps: Steps = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open the editor: a page with a timeline to edit envelopes, make takes and export them."""
    _serve(checkpoint, films, device, offload, host, port, max_seconds, max_megabytes, steps, browser=browser)


def _serve(
    checkpoint: Path,
    films: Path | None,
    device: str,
    offload: bool,
    host: str,
    port: int,
    max_seconds: float,
    max_megabytes: float,
    steps: int | None,
    *,
    browser: bool,
) -> None:
    from foleygram.app.limits import Limits
    from foleygram.app.server import is_loopback, serve

    def load() -> "FoleyGRAMPipeline":
        from foleygram.console import load_pipeline, pick_device

        return load_pipeline(checkpoint, pick_device(device), offload=offload)

    def started(address: str) -> None:
        if not is_loopback(host):
            typer.echo(f"foleygram: anyone who can reach {host} can use this server without a password", err=True)
        typer.echo(f"foleygram listens on {address}; stop it with Ctrl-C")
        if browser:
            typer.launch(address)

    with reported():
        limits = Limits(max_seconds, max_megabytes)
        serve(load, checkpoint, host=host, port=port, limits=limits, steps=steps, films=films, started=started)
