"""Plans a run: compares the jobs with the manifest, probes what is new and cuts it into batches."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from foleygram.envelope.editing.files import CHOICES
from foleygram.files import error_text, file_hash
from foleygram.media.isolate import MediaError, run_isolated
from foleygram.production.inputs import VideoLength, read_length
from foleygram.production.job import Job, JobOptions
from foleygram.production.manifest import SKIPPED, TODO, Manifest, Row
from foleygram.spec import ClipSpec

PROBE_TIMEOUT_SEC, SLOWEST_BYTES_PER_SEC = 60.0, 10e6
"""Time limit of a probe, plus the time to read every packet of the file."""
PARALLEL_PROBES = 4
ALREADY_DONE = "already there"
"""Why a job is skipped whose result is complete and current."""
LONGEST_STEM = 200
"""Bytes of a result's name; file systems take 255 with its suffix."""
RESULT_SUFFIXES = (".wav", ".mp4", ".mov", ".mkv", ".webm", ".json")


def make_jobs(options: Mapping[Path, JobOptions], manifest: Manifest, *settings: Any) -> list[Job]:
    """A job per video. Its settings hash covers `settings`, its options, and the content of every file they name."""
    earlier = {row.file: row.name for row in manifest.rows.values()}
    content = cache(_content_hash)
    return [
        Job(video, name, asked, settings_hash(*settings, asked, [content(path) for path in asked.files()]))
        for (video, asked), name in zip(options.items(), output_names(list(options), earlier), strict=True)
    ]


def settings_hash(*parts: Any) -> str:
    """16 hex digits over dataclasses and plain values."""
    plain = [asdict(part) if is_dataclass(part) and not isinstance(part, type) else part for part in parts]
    return hashlib.sha256(json.dumps(plain, default=str, sort_keys=True).encode()).hexdigest()[:16]


def output_names(videos: Sequence[Path], earlier: Mapping[str, str] | None = None) -> list[str]:
    """Unique names of the results: the stem, or `stem_suffix` where videos differ only in their suffix.

    `earlier` maps files to the names that earlier runs gave them, which they keep, also in another folder. Long stems
    are shortened, and bytes that are not UTF-8 are written as hexadecimal.
    """
    files = [readable(str(video.absolute())) for video in videos]
    earlier = earlier or {}
    moved = {Path(file).name: name for file, name in earlier.items() if file not in files}
    taken, stems = set(earlier.values()), [video.stem for video in videos]
    names: list[str] = []
    for video, file in zip(videos, files, strict=True):
        name = earlier.get(file) or moved.get(Path(file).name, "")
        if not name or name in names:
            name = _short_name(video.stem)
            if stems.count(video.stem) > 1 or name in taken:
                name = _short_name(video.name.replace(".", "_"))
            while name in taken:
                name += "_"
        taken.add(name)
        names.append(name)
    return names


def _short_name(stem: str) -> str:
    """A stem in UTF-8 that leaves space for suffixes, with a hash of what is cut off."""
    encoded = readable(stem).encode()
    if len(encoded) <= LONGEST_STEM:
        return encoded.decode()
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: LONGEST_STEM - 9].decode(errors='ignore')}-{digest}"


def readable(name: str) -> str:
    """A file name as text that can be written: bytes that are not UTF-8 as hexadecimal."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def plan_run(
    manifest: Manifest,
    jobs: Sequence[Job],
    spec: ClipSpec,
    *,
    batch_size: int,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """Bring the manifest's rows up to date; returns the skipped jobs by name, each with the reason.

    A job that an earlier run with the same settings planned keeps its batch and slot, so its result is that of an
    uninterrupted run. New jobs are probed and put into new batches.
    """
    skipped: dict[str, str] = {}
    new: list[Row] = []
    first = 1 + max((row.batch for row in manifest.rows.values()), default=-1)
    with ThreadPoolExecutor(PARALLEL_PROBES) as threads:
        planned = threads.map(lambda job: _plan_job(manifest, job, spec, overwrite=overwrite), jobs)
        for done, (row, reason) in enumerate(planned, start=1):
            if reason:
                skipped[row.name] = reason
            if reason or row.batch >= 0:
                manifest.rows[row.name] = row
            else:
                new.append(row)
            if progress:
                progress(done)
    manifest.rows.update({row.name: row for row in cut_batches(new, batch_size, first=first)})
    return skipped


def cut_batches(rows: Sequence[Row], batch_size: int, *, first: int) -> list[Row]:
    """`rows` with batch numbers from `first` on, -1 for rows that are not to do.

    A batch holds at most `batch_size` windows of the model's length; a video with more is a batch of its own.
    """
    cut, number, filled = [], first - 1, batch_size
    for row in rows:
        if row.state == TODO:
            if filled + row.windows > batch_size:
                number, filled = number + 1, 0
            filled += row.windows
        cut.append(replace(row, batch=number if row.state == TODO else -1))
    return cut


def _plan_job(manifest: Manifest, job: Job, spec: ClipSpec, *, overwrite: bool) -> tuple[Row, str]:
    """A job's row, without a batch if it is new, and why the job is skipped, or an empty string."""
    row, content = manifest.rows.get(job.name), _content_hash(job.video)
    reason = "" if overwrite else _skip_reason(manifest, row, job, content)
    if reason:
        ours = row if row and row.state != SKIPPED else None
        return ours or Row(job.name, readable(str(job.video.absolute())), SKIPPED, reason), reason
    if row and not overwrite and row.batch >= 0 and (row.settings, row.content) == (job.settings, content):
        return replace(row, file=str(job.video.absolute()), state=TODO, reason=""), ""
    return _new_row(manifest, job, content, spec), ""


def _skip_reason(manifest: Manifest, row: Row | None, job: Job, content: str) -> str:
    if row is None or row.state == SKIPPED:  # files there are not from an earlier run
        existing = [path for path in _result_paths(manifest.out, job) if path.exists()]
        is_input = any(path.resolve() == job.video.resolve() for path in existing)
        return f"{existing[0].name} was there before; --overwrite replaces it" if existing and not is_input else ""
    if not manifest.is_done(row):
        return ""
    if row.video.name != job.video.name or row.content != content:
        return f"already there, made from another {row.video.name}; --overwrite replaces it"
    if row.settings != job.settings:
        return "already there, with other settings or from files edited since; --overwrite replaces it"
    return ALREADY_DONE


def _new_row(manifest: Manifest, job: Job, content: str, spec: ClipSpec) -> Row:
    before = manifest.rows.get(job.name)
    file = str(job.video.absolute())
    row = Row(
        job.name,
        readable(file),
        settings=job.settings,
        content=content,
        envelope=job.options.envelope if job.options.envelope in CHOICES else "given",
        written=before.written if before else (),
    )
    if row.file != file:
        return row.failed(f"{row.file}: its name is not UTF-8; rename it")
    if any(path.resolve() == job.video.resolve() for path in _result_paths(manifest.out, job)):
        return row.failed(f"{job.video}: the output would overwrite it; choose another --out")
    try:
        timeout_sec = PROBE_TIMEOUT_SEC + job.video.stat().st_size / SLOWEST_BYTES_PER_SEC
        length: VideoLength = run_isolated(read_length, job.video, job.options, spec, timeout_sec=timeout_sec)
    except (MediaError, OSError) as error:
        return row.failed(error_text(error))
    return replace(row, seconds=length.seconds, latents=length.latents, windows=length.windows)


def _result_paths(out: Path, job: Job) -> list[Path]:
    return [out / (job.name + suffix) for suffix in RESULT_SUFFIXES]


def _content_hash(path: Path) -> str:
    """16 hex digits of a file's hash, empty if there is no file."""
    return file_hash(path)[:16] if path.is_file() else ""
