"""What a run has to do: files beside what the manifest knows of them, the new ones probed and cut into batches."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any

from foleygram.envelope.files import CHOICES
from foleygram.media.guarded import MediaError, guarded
from foleygram.production.manifest import FAILED, SKIPPED, TODO, Manifest, Row, cut_batches
from foleygram.production.reading import Length, read_length
from foleygram.production.wishes import Wish
from foleygram.spec import ClipSpec

PROBE_TIMEOUT_SEC = 60.0
PROBED_AT_ONCE = 4
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
    fresh: list[Job] = []
    for job in jobs:
        row = manifest.rows.get(job.name)
        reason = "" if overwrite else _why_kept(manifest, row, job)
        if reason:
            kept[job.name] = reason
            if row is None or row.state == SKIPPED:
                manifest.rows[job.name] = Row(job.name, str(job.video.absolute()), SKIPPED, reason)
        elif row and not overwrite and row.batch >= 0 and (row.settings, row.size) == (job.settings, _size(job.video)):
            manifest.rows[job.name] = replace(row, file=str(job.video.absolute()), state=TODO, reason="")
        else:
            fresh.append(job)
    first = 1 + max((row.batch for row in manifest.rows.values()), default=-1)
    with ThreadPoolExecutor(PROBED_AT_ONCE) as threads:
        probed = []
        for done, row in enumerate(threads.map(lambda job: _probed(manifest, job, spec), fresh), start=1):
            probed.append(row)
            if progress:
                progress(done)
    manifest.rows.update({row.name: row for row in cut_batches(probed, batch_size, first=first)})
    return kept


def _why_kept(manifest: Manifest, row: Row | None, job: Job) -> str:
    if row is None or row.state == SKIPPED:  # nothing here is ours
        there = [job.name + suffix for suffix in RESULT_SUFFIXES if (manifest.out / (job.name + suffix)).exists()]
        own = [name for name in there if (manifest.out / name).resolve() == job.video.resolve()]
        return f"{there[0]} was there before; --overwrite replaces it" if there and not own else ""
    if not manifest.is_done(row):
        return ""
    if row.video.name != job.video.name or row.size != _size(job.video):
        return f"already there, made of another {row.video.name}; --overwrite replaces it"
    return "already there" if row.settings == job.settings else "already there, under other settings"


def _probed(manifest: Manifest, job: Job, spec: ClipSpec) -> Row:
    row = Row(
        job.name,
        str(job.video.absolute()),
        settings=job.settings,
        size=_size(job.video),
        envelope=job.wish.envelope if job.wish.envelope in CHOICES else "given",
    )
    if any((manifest.out / (job.name + suffix)).resolve() == job.video.resolve() for suffix in RESULT_SUFFIXES):
        return replace(row, state=FAILED, reason=f"{job.video}: the output would overwrite it; choose another --out")
    try:
        length: Length = guarded(read_length, job.video, job.wish, spec, timeout_sec=PROBE_TIMEOUT_SEC)
    except MediaError as error:
        return replace(row, state=FAILED, reason=str(error))
    return replace(row, seconds=length.seconds, latents=length.latents, windows=length.windows)


def _size(video: Path) -> int:
    return video.stat().st_size if video.is_file() else 0
