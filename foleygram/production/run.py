"""Generates sound for one or many videos: planned, divided among processes, resumed after a kill."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from foleygram.distributed import SINGLE_PROCESS, Process, all_gather, broadcast
from foleygram.files import file_hash
from foleygram.media.isolate import preload
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import INDEX, read_index
from foleygram.production.batch_runner import Sampling, TakeRule
from foleygram.production.export import ExportOptions, write_track
from foleygram.production.job import JobOptions
from foleygram.production.manifest import DONE, FAILED, TODO, WORK, Manifest, Row
from foleygram.production.plan import make_jobs, plan_run
from foleygram.production.provenance import current_environment
from foleygram.production.workers import FolderRun, Progress
from foleygram.spec import ClipSpec

DONE_BUT, KEPT = "done, but", "already there"
"""States of the closing table: outside the tolerances of `comparison`; not generated again."""


class RunOutcome(NamedTuple):
    """The manifest row of each video, and the reason for each that was skipped, by name."""

    rows: list[Row]
    skipped: Mapping[str, str]

    @property
    def num_failed(self) -> int:
        """Number of videos without a result."""
        return sum(row.state == FAILED for row in self.rows)

    @property
    def num_deviating(self) -> int:
        """Number of results that are not what was asked for, those of earlier runs among them."""
        return sum(row.state == DONE and bool(row.deviations) for row in self.rows)

    def state(self, row: Row) -> str:
        """The state of a row in the closing table."""
        if row.state == DONE and row.deviations:
            return DONE_BUT
        return KEPT if row.name in self.skipped else row.state

    def counts(self) -> dict[str, int]:
        """Number of rows in each state."""
        states = [self.state(row) for row in self.rows]
        return {state: states.count(state) for state in (DONE, DONE_BUT, KEPT, TODO, FAILED)}


def generate_files(
    options: Mapping[Path, JobOptions],
    out: Path,
    checkpoint: Path,
    load: Callable[[], FoleyGRAMPipeline],
    *,
    sampling: Sampling,
    rule: TakeRule,
    export: ExportOptions,
    batch_size: int,
    overwrite: bool = False,
    dry_run: bool = False,
    process: Process = SINGLE_PROCESS,
    planned: Callable[[int], None] | None = None,
    begun: Callable[[int], Progress] | None = None,
) -> RunOutcome:
    """Generate a track for every video in `options`; a failure is recorded in its row.

    Processes take batches in turn; the results do not depend on their number. `planned(n)` is called after n videos are
    probed; `begun(n)` before this process starts on its n sampling steps, and returns the callback for each step.
    Raises ValueError or OSError if nothing can be generated.
    """
    preload(write_track.__module__)  # by the first process that reads: the server imports for the writers, too
    spec = ClipSpec(**read_index(checkpoint)["spec"])
    settings = file_hash(checkpoint / INDEX), sampling, rule, export, batch_size
    with nullcontext() if dry_run or not process.first else _locked(out):
        pipeline, skipped, jobs = None, {}, []
        if dry_run or process.first:
            manifest = Manifest(out)
            jobs = make_jobs(options, manifest, *settings)
            names = [job.name for job in jobs]
            skipped = plan_run(manifest, jobs, spec, batch_size=batch_size, overwrite=overwrite, progress=planned)
            if dry_run:
                return RunOutcome([manifest.rows[name] for name in names], skipped)
            pipeline = load() if manifest.batches(names) else None  # before anything is written
            manifest.begin()
        skipped, jobs = broadcast((skipped, jobs))
        names = [job.name for job in jobs]
        manifest = Manifest(out)
        batches = process.share(manifest.batches(names))
        if batches:
            steps = len(batches) * rule.takes * sampling.num_inference_steps
            pipeline = pipeline or load()
            FolderRun(
                pipeline, manifest, {job.name: job.options for job in jobs}, sampling, rule, export,
                current_environment(checkpoint, pipeline.device), rank=process.rank,
                progress=begun(steps) if begun else lambda steps, names: None,
            ).run(batches)  # fmt: skip
        all_gather(None)  # wait for the other processes' last files
        if process.first:
            manifest.finish()
    return RunOutcome([manifest.rows[name] for name in names], skipped)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Lock `out` for this run; raises ValueError while another run holds it, OSError if it cannot be written."""
    try:
        (out / WORK).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    lock = FileLock(out / WORK / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"{out}: another run writes there; wait for it or choose another --out") from None
    try:
        yield
    finally:
        if not list((out / WORK).glob("journal-*")):  # nothing was begun, or the table holds everything
            shutil.rmtree(out / WORK)
        lock.release()
        with suppress(OSError):  # not empty
            out.rmdir()
