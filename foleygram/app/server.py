"""Serves the API and the page, on the loopback address by default, from a temporary folder removed at the end."""

import ipaddress
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foleygram.app.limits import MAX_TAKES, Limits
from foleygram.files import error_text, shipped

if TYPE_CHECKING:
    from foleygram.pipeline.pipeline import FoleyGRAMPipeline

GRACE_SEC = 2
"""Time for open connections to finish when the server stops."""
STATIC = Path(__file__).parent / "static"
EXAMPLE = "data/examples/2000-01-12-00-00-33_denoised.mp4"


def require_fastapi() -> None:
    """Raise ValueError with the command that installs the server's packages if one is missing."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ValueError(f"the server needs FastAPI ({error}); install it: pip install 'foleygram[app]'") from None


def serve(
    load: "Callable[[], FoleyGRAMPipeline]",
    checkpoint: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    limits: Limits,
    steps: int | None,
    films: Path | None = None,
    started: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve until interrupted; the server's folder is removed unless the process is killed by SIGKILL.

    `load` is called once the address is bound, `started` with the address; `films` is a folder whose films may be
    opened by name. Raises ValueError without FastAPI, OSError if it cannot listen on the address.
    """
    if films is not None and not films.is_dir():
        raise ValueError(f"--films {films}: no such folder")
    with _temporary_folder() as folder, _listening(host, port) as listener:
        require_fastapi()
        import uvicorn

        from foleygram.app.reading import warm_up
        from foleygram.pipeline.release import find_release

        warm_up()
        app = web_app(load(), find_release(checkpoint), folder, limits, host=host, steps=steps, library=films)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_SEC)
        started(f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


def web_app(
    pipeline: "FoleyGRAMPipeline",
    checkpoint: Path,
    folder: Path,
    limits: Limits,
    *,
    host: str,
    steps: int | None,
    library: Path | None = None,
) -> Any:
    """API and page as an ASGI application with its files in `folder`."""
    from fastapi import FastAPI
    from fastapi.responses import FileResponse
    from fastapi.staticfiles import StaticFiles
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from foleygram.app.exports import KINDS
    from foleygram.app.film_api import UPLOADS, film_routes
    from foleygram.app.films import Films
    from foleygram.app.guard import Guard
    from foleygram.app.jobs import JobQueue
    from foleygram.app.messages import ServerMessage
    from foleygram.app.take_api import folder_routes, job_routes, take_routes

    example = shipped(EXAMPLE)
    films = Films(pipeline, folder, limits, library=library, example=example if example.is_file() else None)

    def message(error: BaseException) -> str:
        return _without_folders(error_text(error), [films.folder, *([films.library] if films.library else [])])

    jobs = JobQueue(message)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        jobs.close()

    app = FastAPI(title="foleygram", version=version("foleygram"), docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Guard, upload_bytes=limits.upload_bytes, uploads=UPLOADS)
    if is_loopback(host):  # refuse other host names that resolve to this machine (DNS rebinding)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1", "[::1]", host])

    @app.get("/api", summary="What the server is and allows", tags=["server"])
    def about() -> ServerMessage:
        return ServerMessage(
            version=app.version, checkpoint=checkpoint.name, device=str(pipeline.device), max_seconds=limits.seconds,
            max_megabytes=limits.megabytes, max_takes=MAX_TAKES, steps=steps or pipeline.sampler.num_inference_steps,
            guidance=pipeline.sampler.guidance_scale,
            has_example=films.example is not None, has_folder=library is not None, exports=list(KINDS),
        )  # fmt: skip

    for router in (
        film_routes(films),
        take_routes(films, jobs),
        job_routes(jobs),
        folder_routes(films, jobs, checkpoint),
    ):
        app.include_router(router)
    _report_errors(app, message)
    for name in ("index", "docs"):
        route = "/" if name == "index" else f"/{name}"
        page = STATIC / f"{name}.html"
        app.get(route, include_in_schema=False)(lambda page=page: FileResponse(page))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _report_errors(app: Any, message: Callable[[BaseException], str]) -> None:
    """Answer user errors with 422 and their text; others with 500, and log them."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse

    from foleygram.production.batch_runner import CLIP_ERRORS

    async def user_error(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": message(error)}, 422)

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [
            f"{'.'.join(str(part) for part in one['loc'] if part != 'body') or 'body'}: {one['msg']}"
            for one in error.errors()[:5]
        ]
        return JSONResponse({"detail": "; ".join(problems)}, 422)

    async def internal(request: Request, error: Exception) -> JSONResponse:
        text = "internal error; the terminal in which foleygram runs shows the details"
        return JSONResponse({"detail": text}, 500)

    for kind in CLIP_ERRORS:
        app.add_exception_handler(kind, user_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, internal)


def _without_folders(text: str, folders: list[Path]) -> str:
    """A text with file names but without the folders that they lie in."""
    for folder in folders:
        text = re.sub(rf"{re.escape(str(folder))}/(?:(?:film|take|export)-[\w-]+/)*", "", text)
    return text


def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A temporary folder, removed at the end, also after SIGTERM and SIGHUP."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
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
