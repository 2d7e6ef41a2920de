"""Serves the page, on the loopback address by default, from a temporary folder that is removed at the end."""

import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foleygram.app.guard import OwnFilesOnly
from foleygram.app.limits import Limits

if TYPE_CHECKING:
    from foleygram.pipeline.pipeline import FoleyGRAMPipeline

GRACE_SEC = 2
"""Time for open connections to finish when the server stops."""


def require_gradio() -> None:
    """Raise ValueError with the command that installs gradio if it is missing."""
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ValueError(f"the page needs gradio ({error}); install it: pip install 'foleygram[app]'") from None


def serve(
    load: "Callable[[], FoleyGRAMPipeline]",
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    limits: Limits,
    steps: int | None,
    started: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page until it is interrupted; its folder is removed unless the process is killed by SIGKILL.

    `load` is called once the address is bound, `started` with the address. Raises ValueError without gradio, OSError if
    it cannot listen on the address.
    """
    with _temporary_folder() as folder, _listening(host, port) as listener:
        _configure_gradio(folder)
        require_gradio()
        import uvicorn

        from foleygram.app.uploads import warm_up

        warm_up()
        app = web_app(load(), folder, limits, host=host, steps=steps)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_SEC)
        started(f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


def web_app(pipeline: "FoleyGRAMPipeline", folder: Path, limits: Limits, *, host: str, steps: int | None) -> Any:
    """The page as an ASGI application with its files in `folder`."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from foleygram.app.page import STYLE, build_page, theme
    from foleygram.app.studio import Studio

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(OwnFilesOnly, folder=folder)
    if is_loopback(host):  # refuse other host names that resolve to this machine (DNS rebinding)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])
    page = build_page(Studio(pipeline, folder, limits), steps=steps)
    page.queue(max_size=20, api_open=False)
    return gr.mount_gradio_app(
        app, page, path="/", theme=theme(), css=STYLE, max_file_size=round(limits.megabytes * 1e6), run_history=False,
        footer_links=[], enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False, show_error=True,
    )  # fmt: skip


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _configure_gradio(folder: Path) -> None:
    """Set gradio's folders and turn its telemetry off; it reads these variables when it is imported."""
    os.environ.update(
        GRADIO_TEMP_DIR=str(folder),
        GRADIO_EXAMPLES_CACHE=str(folder / "examples"),
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_DISABLE_TELEMETRY="1",
    )


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A temporary folder, removed at the end, also after SIGTERM and SIGHUP."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda number, frame: sys.exit(128 + number))
    folder = Path(tempfile.mkdtemp(prefix="foleygram-app-")).resolve()
    try:
        yield folder
    except KeyboardInterrupt:
        pass  # Ctrl-C stops the server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"cannot listen on {host}:{port} ({reason}); choose another --port (0 picks a free one) or --host"
        ) from None
