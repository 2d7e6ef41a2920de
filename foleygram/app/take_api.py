"""HTTP endpoints of takes, jobs, exports and the folder of films."""

import shutil
from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi import Path as InPath
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from foleygram.app.exports import Kind, export_take
from foleygram.app.film_api import FilmId, found
from foleygram.app.films import Film, Films, KeptTake
from foleygram.app.folder_queue import list_films, result_file, run_folder
from foleygram.app.jobs import Job, JobQueue
from foleygram.app.messages import (
    EnvelopeMessage,
    FolderFilm,
    JobMessage,
    QueueRequest,
    RegionRequest,
    ScoreMessage,
    TakeMessage,
    TakesRequest,
)
from foleygram.app.takes import make_region, make_takes, ranks, sound_request
from foleygram.production.export import ExportOptions

JobId = Annotated[str, InPath(max_length=40)]


def job_message(job: Job) -> JobMessage:
    """The message of a job."""
    return JobMessage.model_validate(job, from_attributes=True)


def take_message(take: KeptTake, rank: int) -> TakeMessage:
    """The message of a take."""
    return TakeMessage(
        number=take.number,
        seed=take.seed,
        rank=rank,
        score=ScoreMessage.of(take.score),
        envelope=EnvelopeMessage.of(take.envelope),
        obtained=EnvelopeMessage.of(take.obtained),
        stems=len(take.edges) + 1,
        parent=take.parent,
        region=take.region,
    )


def take_routes(films: Films, jobs: JobQueue) -> APIRouter:
    """The endpoints of takes and their exports; errors they raise become responses (`server`)."""
    router = APIRouter(prefix="/api/films/{film}/takes", tags=["takes"])
    pipeline, limits = films.pipeline, films.limits

    def film_of(key: str) -> Film:
        return found(films.get, key, "film")

    def take_of(film: str, number: int) -> KeptTake:
        return found(film_of(film).takes.__getitem__, number, "take")

    @router.get("", summary="Takes of a film with their scores and ranks")
    def list_takes(film: FilmId) -> list[TakeMessage]:
        opened = film_of(film)
        ranked = ranks(opened)
        return [take_message(take, ranked[number]) for number, take in list(opened.takes.items()) if number in ranked]

    @router.get("/{take}", summary="A take with its scores and rank")
    def get_take(film: FilmId, take: int) -> TakeMessage:
        kept = take_of(film, take)
        return take_message(kept, ranks(film_of(film)).get(take, 1))

    @router.post("", status_code=202, summary="Generate takes: a job")
    def generate(film: FilmId, asked: TakesRequest) -> JobMessage:
        opened = film_of(film)
        envelope = films.envelope(opened, "predicted") if asked.envelope is None else asked.envelope.envelope(
            opened.seconds
        )  # fmt: skip
        request = sound_request(opened, asked, envelope, limits)

        def work(job: Job) -> list[int]:
            return make_takes(pipeline, opened, asked, request, job.report)

        return job_message(jobs.add("takes", work, film=opened.id))

    @router.post("/{take}/region", status_code=202, summary="Render one region of a take again: a job")
    def region(film: FilmId, take: int, asked: RegionRequest) -> JobMessage:
        opened, parent = film_of(film), take_of(film, take)
        if not asked.start < min(asked.end, opened.seconds):
            raise ValueError(f"a region from {asked.start:g} to {asked.end:g} s in a film of {opened.seconds:.2f} s")
        envelope = parent.envelope if asked.envelope is None else asked.envelope.envelope(opened.seconds)
        request = sound_request(opened, asked, envelope, limits)

        def work(job: Job) -> list[int]:
            return make_region(pipeline, opened, parent, asked, request, job.report)

        return job_message(jobs.add("region", work, film=opened.id))

    @router.delete("/{take}", status_code=204, summary="Remove a take")
    def remove(film: FilmId, take: int) -> None:
        removed = take_of(film, take)
        film_of(film).takes.pop(take, None)
        shutil.rmtree(removed.samples.parent, ignore_errors=True)

    @router.get("/{take}/sound", response_class=FileResponse, summary="A take's sound as WAV")
    def sound(film: FilmId, take: int) -> FileResponse:
        return FileResponse(take_of(film, take).sound, media_type="audio/wav")

    @router.get("/{take}/export", response_class=FileResponse, summary="A take's files for other programs")
    def export(
        film: FilmId,
        take: int,
        kind: Kind = "film",
        container: Literal["mp4", "mov", "mkv", "webm"] = "mp4",
        original_db: Annotated[float | None, Query(ge=-120, le=24)] = None,
        lufs: Annotated[float | None, Query(ge=-70, le=0)] = None,
        stem: Annotated[int | None, Query(ge=1, description="Number of the stem, for kind=stem.")] = None,
    ) -> FileResponse:
        options = ExportOptions(container, None, original_db, stems=True, lufs=lufs, timeline=True)
        written = export_take(film_of(film), take_of(film, take), kind, options, stem=stem)
        remove = BackgroundTask(shutil.rmtree, written.folder, ignore_errors=True)
        return FileResponse(written.path, filename=written.name, background=remove)

    return router


def job_routes(jobs: JobQueue) -> APIRouter:
    """The endpoints of jobs."""
    router = APIRouter(prefix="/api/jobs", tags=["jobs"])

    @router.get("", summary="Jobs, oldest first")
    def list_jobs() -> list[JobMessage]:
        return [job_message(job) for job in jobs.all()]

    @router.get("/{job}", summary="State and progress of a job")
    def get_job(job: JobId) -> JobMessage:
        return job_message(found(jobs.get, job, "job"))

    @router.delete("/{job}", summary="Cancel a job")
    def cancel(job: JobId) -> JobMessage:
        return job_message(found(jobs.cancel, job, "job"))

    return router


def folder_routes(films: Films, jobs: JobQueue, checkpoint: Path) -> APIRouter:
    """The endpoints of the server's folder of films."""
    router = APIRouter(prefix="/api/folder", tags=["folder"])

    def library() -> Path:
        if films.library is None:
            raise HTTPException(404, "this server has no folder of films; start it with --films FOLDER")
        return films.library

    @router.get("", summary="Films of the folder and their results")
    def films_of_folder() -> list[FolderFilm]:
        return list_films(library())

    @router.post("/queue", status_code=202, summary="Generate sound for films of the folder: a job")
    def queue(asked: QueueRequest) -> JobMessage:
        folder = library()
        return job_message(jobs.add("folder", lambda job: run_folder(films, folder, checkpoint, asked, job)))

    @router.get("/results/{name:path}", response_class=FileResponse, summary="A file of a result")
    def result(name: str) -> FileResponse:
        path = result_file(library(), name)
        return FileResponse(path, filename=path.name)

    return router
