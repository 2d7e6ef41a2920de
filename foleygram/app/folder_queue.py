"""Generates sound for the films of the server's folder, one run over all of them that can be cancelled and resumed."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from foleygram.app.jobs import Job
from foleygram.app.messages import FolderFilm, QueueRequest
from foleygram.app.takes import chosen_sampling
from foleygram.datasets.folder import videos_in
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import ModalityWeights
from foleygram.production.batch_runner import TakeRule
from foleygram.production.export import ExportOptions
from foleygram.production.job import JobOptions, read_job_options
from foleygram.production.manifest import DONE, FAILED, Manifest
from foleygram.production.run import generate_files

RESULTS = "foley"
"""Folder of the results, inside the folder of films."""
BATCH = 1


def list_films(library: Path) -> list[FolderFilm]:
    """The films of a folder with the state of their results."""
    rows = {row.file: row for row in Manifest(library / RESULTS).rows.values()}
    films = []
    for video in videos_in(library):
        row = rows.get(str(video)) or rows.get(str(video.absolute()))
        state: Literal["todo", "done", "failed"] = "todo"
        if row is not None and row.state in (DONE, FAILED):
            state = "done" if row.state == DONE else "failed"
        files = list(row.written) if row is not None and state == "done" else []
        films.append(FolderFilm(name=video.name, state=state, reason=row.reason if row else "", files=files))
    return films


def result_file(library: Path, name: str) -> Path:
    """A file of a finished result by its name; raises ValueError for any other."""
    if not any(name in film.files for film in list_films(library)):
        raise ValueError(f"{name}: no such result")
    path = (library / RESULTS / name).resolve()
    if not path.is_relative_to((library / RESULTS).resolve()) or not path.is_file():
        raise ValueError(f"{name}: no such result")
    return path


def run_folder(
    pipeline: FoleyGRAMPipeline, library: Path, checkpoint: Path, asked: QueueRequest, job: Job
) -> dict[str, list[str]]:
    """Generate the films that were asked for; returns the names that are done, failed and skipped.

    A film that is done is skipped unless `overwrite` is set. Raises ValueError for a name that is not in the folder.
    """
    known = {video.name: video for video in videos_in(library)}
    names = list(known) if asked.names is None else asked.names
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"no such film in the server's folder: {', '.join(unknown) or 'it is empty'}")
    weights = ModalityWeights(asked.weights.video, asked.weights.text, asked.weights.audio)
    options = JobOptions(asked.prompt or None, asked.negative_prompt or None, seed=asked.seed, weights=weights)

    def begun(steps: int) -> Callable[[int, str], None]:
        return lambda done, names: job.report(done / steps, names)

    outcome = generate_files(
        read_job_options([known[name] for name in names], options), library / RESULTS, checkpoint, lambda: pipeline,
        sampling=chosen_sampling(pipeline, asked), rule=TakeRule(asked.takes),
        export=ExportOptions(timeline=True), batch_size=BATCH,
        overwrite=asked.overwrite, begun=begun,
    )  # fmt: skip
    found: dict[str, list[str]] = {"done": [], "failed": [], "skipped": sorted(outcome.skipped)}
    for row in outcome.rows:
        found["failed" if row.state == FAILED else "done"].append(row.video.name)
    return found
