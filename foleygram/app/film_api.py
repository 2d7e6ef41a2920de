"""HTTP endpoints of films: open, probe, watch, listen, predict and edit envelopes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from foleygram.app.films import Film, Films, clean_name
from foleygram.app.messages import (
    EditRequest,
    EnvelopeMessage,
    FilmMessage,
    OpenRequest,
    ProjectMessage,
    ReferenceMessage,
)
from foleygram.app.reading import MAX_STRIP_FRAMES, read_mono, read_strip
from foleygram.envelope.editing.edits import apply_edits
from foleygram.envelope.editing.files import check_levels, read_envelope
from foleygram.envelope.editing.options import parse_edit
from foleygram.pipeline.request import REFERENCE_RATE

FilmId = Annotated[str, InPath(max_length=40)]
FileName = Annotated[str, Query(min_length=1, max_length=300)]
UPLOADS = ("upload", "references", "envelope-file")
"""Last parts of the paths that take a file as their body."""
RAW = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"format": "binary"}}}}}


def film_message(film: Film) -> FilmMessage:
    """The message of a film."""
    info, content = film.content.info, film.content
    return FilmMessage(
        id=film.id,
        name=film.name,
        seconds=film.seconds,
        frame_rate=info.frame_rate,
        width=content.width,
        height=content.height,
        video_codec=info.video_codec,
        has_sound=info.has_audio,
        takes=len(film.takes),
    )


def found(find: Callable[[Any], Any], key: Any, what: str) -> Any:
    """The result of `find(key)`; a KeyError becomes status 404."""
    try:
        return find(key)
    except KeyError:
        raise HTTPException(404, f"no {what} {key!r}; it was closed, or the server was started again") from None


async def save_body(request: Request, path: Path) -> None:
    """Write a request's body to a file; nothing is left if it breaks off."""
    file = await run_in_threadpool(path.open, "xb")
    try:
        with file:
            async for piece in request.stream():
                await run_in_threadpool(file.write, piece)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def film_routes(films: Films) -> APIRouter:
    """The endpoints of `films`; errors they raise become responses (`server`)."""
    router = APIRouter(prefix="/api/films", tags=["films"])

    def film_of(key: str) -> Film:
        return found(films.get, key, "film")

    @router.get("", summary="Open films")
    def list_films() -> list[FilmMessage]:
        return [film_message(film) for film in films.all()]

    @router.post("/upload", status_code=201, summary="Upload a film and open it", openapi_extra=RAW)
    async def upload(request: Request, name: FileName) -> FilmMessage:
        cleaned = clean_name(name)
        folder = films.new_folder()
        try:
            await save_body(request, folder / cleaned)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return film_message(await run_in_threadpool(films.open, folder / cleaned, cleaned, folder))

    @router.post("/open", status_code=201, summary="Open a film of the server's folder, or the example")
    def open_film(asked: OpenRequest) -> FilmMessage:
        if asked.example == (asked.name is not None):
            raise ValueError("give either a name, or example: true")
        if asked.name is not None:
            path = films.library_film(asked.name)
            if (already := films.opened(path)) is not None:
                return film_message(films.get(already.id))
        elif films.example is not None:
            path = films.example
        else:
            raise ValueError("this installation has no example film")
        return film_message(films.open(path, path.name, films.new_folder()))

    @router.get("/{film}", summary="Facts about a film")
    def get_film(film: FilmId) -> FilmMessage:
        return film_message(film_of(film))

    @router.delete("/{film}", status_code=204, summary="Close a film and remove its takes")
    def close(film: FilmId) -> None:
        found(films.close, film, "film")

    @router.get("/{film}/project", summary="The editor's state that was kept for a film, or null")
    def get_project(film: FilmId) -> ProjectMessage | None:
        return film_of(film).project

    @router.put("/{film}/project", status_code=204, summary="Keep the editor's state for a film")
    def keep_project(film: FilmId, project: ProjectMessage) -> None:
        film_of(film).project = project

    @router.get("/{film}/video", response_class=FileResponse, summary="The film itself, by byte ranges")
    def video(film: FilmId) -> FileResponse:
        path = film_of(film).path
        if not path.is_file():
            raise HTTPException(404, f"{path.name}: the file is gone")
        return FileResponse(path, headers={"cache-control": "no-cache"})

    @router.get("/{film}/proxy", response_class=FileResponse, summary="A copy of the film that browsers play")
    def proxy(film: FilmId) -> FileResponse:
        return FileResponse(film_of(film).proxy(), media_type="video/mp4")

    @router.get("/{film}/sound", response_class=FileResponse, summary="The film's own sound as WAV")
    def sound(film: FilmId) -> FileResponse:
        return FileResponse(film_of(film).own_sound(films.limits), media_type="audio/wav")

    @router.get("/{film}/strip", response_class=Response, summary="Frames of a time span, side by side, as JPEG")
    def strip(
        film: FilmId,
        start: Annotated[float, Query(ge=0)] = 0.0,
        end: Annotated[float | None, Query(gt=0)] = None,
        count: Annotated[int, Query(ge=1, le=MAX_STRIP_FRAMES)] = 16,
    ) -> Response:
        opened = film_of(film)
        last = opened.seconds if end is None else min(end, opened.seconds)
        if not start < last:
            raise ValueError(f"no frames from {start:g} to {last:g} s")
        size = (opened.content.width, opened.content.height)
        return Response(read_strip(opened.path, size, start, last, count), media_type="image/jpeg")

    @router.get("/{film}/envelope", summary="The envelope predicted from the film, or of its own sound")
    def envelope(film: FilmId, source: Literal["predicted", "audio"] = "predicted") -> EnvelopeMessage:
        return EnvelopeMessage.of(films.envelope(film_of(film), source))

    @router.post("/{film}/edit", summary="An envelope after edits; nothing is kept on the server")
    def edit(film: FilmId, asked: EditRequest) -> EnvelopeMessage:
        seconds = film_of(film).seconds
        edited = apply_edits(asked.envelope.envelope(seconds), [parse_edit(e.name, e.text) for e in asked.edits])
        check_levels(edited)
        return EnvelopeMessage.of(edited)

    @router.post("/{film}/envelope-file", summary="The envelope in a CSV, JSON, MIDI, marker or sound file",
                 openapi_extra=RAW)  # fmt: skip
    async def envelope_file(request: Request, film: FilmId, name: FileName) -> EnvelopeMessage:
        opened = film_of(film)
        path = films.new_folder() / clean_name(name)
        try:
            await save_body(request, path)
            read = await run_in_threadpool(read_envelope, path, frame_rate=opened.content.info.frame_rate or None)
        finally:
            await run_in_threadpool(shutil.rmtree, path.parent, ignore_errors=True)
        return EnvelopeMessage.of(EnvelopeMessage.of(read).envelope(opened.seconds))

    @router.post("/{film}/references", status_code=201, summary="Upload a reference sound", openapi_extra=RAW)
    async def add_reference(request: Request, film: FilmId, name: FileName) -> ReferenceMessage:
        opened, cleaned = film_of(film), clean_name(name)
        path = opened.folder / f"reference-{os.urandom(6).hex()}-{cleaned}"
        await save_body(request, path)
        try:
            await run_in_threadpool(read_mono, path, REFERENCE_RATE, films.limits)
            return ReferenceMessage(id=opened.add_reference(path), name=cleaned)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    return router
