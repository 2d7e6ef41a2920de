"""What a run has to do: files beside what the manifest knows of them, the new ones probed and cut into batches."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from foleygram.envelope.editing.files import CHOICES
from foleygram.files import error_text, file_hash
from foleygram.media.isolate import MediaError, run_isolated
from foleygram.production.job import Wish, wish_files
from foleygram.production.manifest import SKIPPED, TODO, Manifest, Row, cut_batches
from foleygram.production.requests import Length, read_length
from foleygram.spec import ClipSpec

PROBE_TIMEOUT_SEC, SLOWEST_BYTES_PER_SEC = 60.0, 10e6
"""How long a probe may take, and how much longer it may for a file's bytes: it reads every packet."""
PROBED_AT_ONCE = 4
ALREADY_THERE = "already there"
"""Why a result is kept that is the one asked for."""
RESULT_SUFFIXES = (".wav", ".mp4", ".mov", ".mkv", ".webm", ".json")


@dataclass(frozen=True)
class Job:
    """A file, what its results are called, what is asked of it, and the hash of all that its results depend on."""

    video: Path
    name: str
    wish: Wish
    settings: str


def settings_hash(*parts: Any) -> str:
    """Short hash of what results depend on: dataclasses and plain values."""
    plain = [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, default=str, sort_keys=True).encode()).hexdigest()[:16]


def jobs_of(wishes: Mapping[Path, Wish], names: Sequence[str], *settings: Any) -> list[Job]:
    """A job per video; the content of every file that its wish names counts among its settings, so edits are seen."""
    content = cache(_content)
    return [
        Job(video, name, wish, settings_hash(*settings, wish, [content(path) for path in wish_files(wish)]))
        for (video, wish), name in zip(wishes.items(), names, strict=True)
    ]


def plan(
    manifest: Manifest,
    jobs: Sequence[Job],
    spec: ClipSpec,
    *,
    batch_size: int,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """Bring the manifest's rows up to date; returns, by name, why a job is left as it is.

    A job that an earlier run of the same settings planned keeps its batch and place, so that its result is the one an
    uninterrupted run would have given. The rest is probed and cut into new batches.
    """
    kept: dict[str, str] = {}
    fresh: list[Row] = []
    first = 1 + max((row.batch for row in manifest.rows.values()), default=-1)
    with ThreadPoolExecutor(PROBED_AT_ONCE) as threads:
        looked = threads.map(lambda job: _planned(manifest, job, spec, overwrite=overwrite), jobs)
        for done, (row, reason) in enumerate(looked, start=1):
            if reason:
                kept[row.name] = reason
            if reason or row.batch >= 0:
                manifest.rows[row.name] = row
            else:
                fresh.append(row)
            if progress:
                progress(done)
    manifest.rows.update({row.name: row for row in cut_batches(fresh, batch_size, first=first)})
    return kept


def _planned(manifest: Manifest, job: Job, spec: ClipSpec, *, overwrite: bool) -> tuple[Row, str]:
    """A job's row, in no batch yet where it is new, and why the job is left as it is, if so."""
    row, content = manifest.rows.get(job.name), _content(job.video)
    reason = "" if overwrite else _why_kept(manifest, row, job, content)
    if reason:
        ours = row if row and row.state != SKIPPED else None
        return ours or Row(job.name, str(job.video.absolute()), SKIPPED, reason), reason
    if row and not overwrite and row.batch >= 0 and (row.settings, row.content) == (job.settings, content):
        return replace(row, file=str(job.video.absolute()), state=TODO, reason=""), ""
    return _probed(manifest, job, content, spec), ""


def _why_kept(manifest: Manifest, row: Row | None, job: Job, content: str) -> str:
    if row is None or row.state == SKIPPED:  # no earlier run wrote what is there
        there = [job.name + suffix for suffix in RESULT_SUFFIXES if (manifest.out / (job.name + suffix)).exists()]
        own = [name for name in there if (manifest.out / name).resolve() == job.video.resolve()]
        return f"{there[0]} was there before; --overwrite replaces it" if there and not own else ""
    if not manifest.is_done(row):
        return ""
    if row.video.name != job.video.name or row.content != content:
        return f"already there, made of another {row.video.name}; --overwrite replaces it"
    if row.settings != job.settings:
        return "already there, under other settings or from files edited since; --overwrite replaces it"
    return ALREADY_THERE


def _probed(manifest: Manifest, job: Job, content: str, spec: ClipSpec) -> Row:
    before = manifest.rows.get(job.name)
    row = Row(
        job.name,
        str(job.video.absolute()),
        settings=job.settings,
        content=content,
        envelope=job.wish.envelope if job.wish.envelope in CHOICES else "given",
        written=before.written if before else (),
    )
    if any((manifest.out / (job.name + suffix)).resolve() == job.video.resolve() for suffix in RESULT_SUFFIXES):
        return row.failed(f"{job.video}: the output would overwrite it; choose another --out")
    try:
        timeout_sec = PROBE_TIMEOUT_SEC + job.video.stat().st_size / SLOWEST_BYTES_PER_SEC
        length: Length = run_isolated(read_length, job.video, job.wish, spec, timeout_sec=timeout_sec)
    except (MediaError, OSError) as error:
        return row.failed(error_text(error))
    return replace(row, seconds=length.seconds, latents=length.latents, windows=length.windows)


def _content(path: Path) -> str:
    """Short hash of a file's content, empty for one that is not there."""
    return file_hash(path)[:16] if path.is_file() else ""
