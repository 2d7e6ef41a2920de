"""Generates sound for the films of the server's folder, one run over all of them that can be cancelled and resumed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from foleygram.app.films import Film, Films
from foleygram.app.jobs import Job
from foleygram.app.messages import EnvelopeMessage, FolderFilm, ProjectMessage, QueueRequest, SoundOptions
from foleygram.app.takes import chosen_sampling
from foleygram.datasets.folder import videos_in
from foleygram.envelope.editing.files import write_envelope
from foleygram.pipeline.request import ModalityWeights
from foleygram.production.batch_runner import TakeRule
from foleygram.production.export import ExportOptions
from foleygram.production.job import JobOptions, SegmentOptions, read_job_options
from foleygram.production.manifest import DONE, FAILED, Manifest
from foleygram.production.run import generate_files

RESULTS = "foley"
"""Folder of the results, inside the folder of films."""
SETTINGS = "settings"
"""Folder inside the results with the envelopes and reference sounds that they were made from."""
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
    films: Films, library: Path, checkpoint: Path, asked: QueueRequest, job: Job
) -> dict[str, list[str]]:  # fmt: skip
    """Generate the films that were asked for; returns the names that are done, failed and skipped.

    A film that is done is skipped unless `overwrite` is set. Raises ValueError for a name that is not in the folder,
    or a reference sound without the film for which it was uploaded.
    """
    known = {video.name: video for video in videos_in(library)}
    names = list(known) if asked.names is None else asked.names
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f"no such film in the server's folder: {', '.join(unknown) or 'it is empty'}")
    settings = library / RESULTS / SETTINGS
    opened = {film.path: film for film in films.all()}  # of one file the film used last
    with_reference = next((film for film in films.all() if film.id == asked.film), None)
    if asked.reference and with_reference is None:
        raise ValueError(f"no film {asked.film!r}; give the film for which the reference sound was uploaded")
    options = read_job_options([known[name] for name in names], _job_options(asked, with_reference, settings))
    for name in names:
        film = opened.get(known[name].resolve())
        if film is not None and film.project is not None:
            options[known[name]] = _project_options(film, film.project, settings / film.stem)

    def begun(steps: int) -> Callable[[int, str], None]:
        return lambda done, names: job.report(done / steps, names)

    outcome = generate_files(
        options, library / RESULTS, checkpoint, lambda: films.pipeline,
        sampling=chosen_sampling(films.pipeline, asked), rule=TakeRule(asked.takes),
        export=ExportOptions(timeline=True), batch_size=BATCH,
        overwrite=asked.overwrite, begun=begun,
    )  # fmt: skip
    found: dict[str, list[str]] = {"done": [], "failed": [], "skipped": sorted(outcome.skipped)}
    for row in outcome.rows:
        found["failed" if row.state == FAILED else "done"].append(row.video.name)
    return found


def _job_options(asked: SoundOptions, film: Film | None, settings: Path) -> JobOptions:
    """The options of a run; the reference sound, one of `film`, is copied into the folder `settings`."""
    weights = ModalityWeights(asked.weights.video, asked.weights.text, asked.weights.audio)
    return JobOptions(
        (asked.prompt or "").strip() or None, (asked.negative_prompt or "").strip() or None, seed=asked.seed,
        weights=weights, reference=_copied(film, asked.reference, settings),
    )  # fmt: skip


def _project_options(film: Film, project: ProjectMessage, settings: Path) -> JobOptions:
    """The options of a film as it is edited on the page, with its envelope and reference sounds in `settings`."""
    unedited = (name for name, known in film.envelopes.items() if project.envelope == EnvelopeMessage.of(known))
    envelope = next(unedited, "")
    if project.envelope is not None and not envelope:
        settings.mkdir(parents=True, exist_ok=True)
        envelope = str(settings / "envelope.csv")
        write_envelope(settings / "envelope.csv", project.envelope.envelope(film.seconds))
    segments = tuple(
        SegmentOptions(one.start, one.end, one.prompt or None, _copied(film, one.reference, settings))
        for one in project.segments
        if one.prompt or one.reference
    )
    options = _job_options(project, film, settings)
    return replace(options, envelope=envelope or "predicted", segments=segments)


def _copied(film: Film | None, key: str | None, folder: Path) -> Path | None:
    if film is None or key is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    source = film.reference_file(key)
    return Path(shutil.copyfile(source, folder / source.name))
