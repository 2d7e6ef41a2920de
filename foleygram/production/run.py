"""A file or a folder of videos to files with sound: planned, split over processes, resumable after a kill."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from foleygram.distributed import ALONE, Place, from_all, from_first
from foleygram.files import file_hash
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import INDEX, read_index
from foleygram.production.batch_runner import Sampling, TakeRule
from foleygram.production.batches import jobs_of, plan
from foleygram.production.export import Delivery
from foleygram.production.job import Wish
from foleygram.production.manifest import WORK, Manifest, Row
from foleygram.production.provenance import surroundings
from foleygram.production.requests import output_names
from foleygram.production.workers import FolderRun, Progress
from foleygram.spec import ClipSpec


@dataclass(frozen=True)
class Outcome:
    """Rows of the files that were asked for, and why some were left as they are, by name."""

    rows: list[Row]
    kept: Mapping[str, str]

    @property
    def num_failed(self) -> int:
        """How many files have no result."""
        return sum(row.state == "failed" for row in self.rows)


def generate_files(
    wishes: Mapping[Path, Wish],
    out: Path,
    checkpoint: Path,
    load: Callable[[], FoleyGRAMPipeline],
    *,
    sampling: Sampling,
    rule: TakeRule,
    delivery: Delivery,
    batch_size: int,
    overwrite: bool = False,
    dry_run: bool = False,
    place: Place = ALONE,
    planned: Callable[[int], None] | None = None,
    begun: Callable[[int], Progress] | None = None,
) -> Outcome:
    """Generate a track for every video of `wishes`; one row per file, failures among them.

    Batches are dealt to the processes in turn; the result does not depend on their number. `planned` is told how many
    files were probed; `begun` how many sampling steps this process has to do, and returns who is told of each. Raises
    ValueError or OSError when nothing can be done at all.
    """
    index = read_index(checkpoint)
    settings = (file_hash(checkpoint / INDEX), sampling, rule, delivery, batch_size)
    names = output_names(list(wishes))
    spec = ClipSpec(**index["spec"])
    if dry_run:
        manifest, jobs = Manifest(out), jobs_of(wishes, names, *settings)
        kept = plan(manifest, jobs, spec, batch_size=batch_size, overwrite=overwrite, progress=planned)
        return Outcome([manifest.rows[name] for name in names], kept)
    with _claimed(out) if place.first else nullcontext():
        pipeline, kept = None, {}
        if place.first:
            manifest, jobs = Manifest(out), jobs_of(wishes, names, *settings)
            kept = plan(manifest, jobs, spec, batch_size=batch_size, overwrite=overwrite, progress=planned)
            pipeline = load() if manifest.batches(names) else None  # before anything is written
            manifest.begin()
        kept = from_first(kept)
        manifest = Manifest(out)
        batches = place.share(manifest.batches(names))
        if batches:
            steps = len(batches) * rule.takes * sampling.num_inference_steps
            pipeline = pipeline or load()
            run = FolderRun(
                pipeline, manifest, dict(zip(names, wishes.values(), strict=True)), sampling, rule, delivery,
                surroundings(checkpoint, pipeline.device), rank=place.rank,
                progress=begun(steps) if begun else lambda steps, names: None,
            )  # fmt: skip
            run.run(batches)
        from_all(None)  # wait for the others' last files
        if place.first:
            manifest.finish()
    return Outcome([manifest.rows[name] for name in names], kept)


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Hold `out` for this run; raises ValueError while another one works there, OSError when it cannot be written."""
    try:
        (out / WORK).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    lock = FileLock(out / WORK / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"{out}: another run is writing there; wait for it or choose another --out") from None
    try:
        yield
    finally:
        if not list((out / WORK).glob("journal-*")):  # nothing was begun, or the table holds it all
            shutil.rmtree(out / WORK)
        lock.release()
        with suppress(OSError):  # empty, where nothing could be begun
            out.rmdir()
