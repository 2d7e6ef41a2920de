"""Renders the batches of a manifest; the next batch is read and the last one written while the model works."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from foleygram.envelope.editing.files import chosen_envelope
from foleygram.files import error_text
from foleygram.media.isolate import run_isolated, time_limit
from foleygram.pipeline.pipeline import BatchPlaceholder, FoleyGRAMPipeline
from foleygram.pipeline.request import SoundRequest
from foleygram.production.batch_runner import CLIP_ERRORS, Sampling, Take, TakeRule, render_takes
from foleygram.production.comparison import hits_after_end
from foleygram.production.export import ExportOptions, Written, export_result, remove_results
from foleygram.production.inputs import read_request
from foleygram.production.job import JobOptions
from foleygram.production.manifest import DONE, TODO, Manifest, Row
from foleygram.production.provenance import Environment, make_sidecar

READERS = WRITERS = 2
"""Processes that read and that write while the model works."""
READ_AHEAD = 2
"""Batches in memory before they are rendered, the current one among them."""

Progress = Callable[[int, str], None]
"""Called with the number of finished sampling steps and the names of the current files."""


class FolderRun:
    """Renders batches and writes their results; each row is recorded as soon as its files exist."""

    def __init__(
        self,
        pipeline: FoleyGRAMPipeline,
        manifest: Manifest,
        options: Mapping[str, JobOptions],
        sampling: Sampling,
        rule: TakeRule,
        export: ExportOptions,
        environment: Environment,
        *,
        rank: int = 0,
        progress: Progress = lambda steps, names: None,
    ) -> None:
        self.pipeline, self.manifest, self.options = pipeline, manifest, options
        self.sampling, self.rule, self.export, self.environment = sampling, rule, export, environment
        self.rank, self.progress = rank, progress
        self._journal_lock = threading.Lock()

    def run(self, batches: Sequence[Sequence[Row]]) -> None:
        """Render the rows to do, batch by batch; an error of one row is recorded and does not stop the others."""
        with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
            try:
                self._run(batches, readers, writers)
            except BaseException:
                readers.shutdown(wait=False, cancel_futures=True)
                writers.shutdown(wait=False, cancel_futures=True)
                raise

    def _run(self, batches: Sequence[Sequence[Row]], readers: ThreadPoolExecutor, writers: ThreadPoolExecutor) -> None:
        ahead: deque[list[Future[SoundRequest | Exception] | None]] = deque()
        writing: list[Future[None]] = []
        for number, batch in enumerate(batches):
            while len(ahead) < READ_AHEAD and number + len(ahead) < len(batches):
                rows = batches[number + len(ahead)]
                ahead.append([readers.submit(self._read, row) if row.state == TODO else None for row in rows])
            requests = [future.result() if future else None for future in ahead.popleft()]
            begun = time.monotonic()
            outcomes = self._render(number, batch, requests)
            for pending in writing:  # so that at most two batches are in memory
                pending.result()
            spent = (time.monotonic() - begun) / max(1, sum(isinstance(r, SoundRequest) for r in requests))
            writing = [
                # Not the request itself: its frames are freed.
                writers.submit(self._write, row, batch, segment_edges(request), outcome, spent)
                for row, request, outcome in zip(batch, requests, outcomes, strict=True)
                if row.state == TODO
            ]
            if self.rank == 0:
                self.manifest.merge()
                self.manifest.write()
        for pending in writing:
            pending.result()

    def _read(self, row: Row) -> SoundRequest | Exception:
        options, spec = self.options[row.name], self.pipeline.spec
        try:
            envelope = chosen_envelope(options.envelope)
            return run_isolated(read_request, row.video, options, spec, envelope, timeout_sec=time_limit(row.seconds))
        except (ValueError, OSError) as error:
            return error

    def _render(
        self, number: int, batch: Sequence[Row], requests: Sequence[SoundRequest | Exception | None]
    ) -> list[list[Take] | Exception | None]:
        """The takes or the error of every row that is to do."""
        items = [
            request if isinstance(request, SoundRequest) else BatchPlaceholder(row.latents, row.windows)
            for row, request in zip(batch, requests, strict=True)
        ]
        names = ", ".join(row.video.name for row in batch if row.state == TODO)
        steps = self.sampling.num_inference_steps * self.rule.takes
        done = 0

        def step(_: int) -> None:
            nonlocal done
            done += 1
            self.progress(number * steps + min(done, steps), names)

        outcomes = render_takes(self.pipeline, items, self.sampling, self.rule, callback=step)
        return [
            request if isinstance(request, Exception) else outcome
            for request, outcome in zip(requests, outcomes, strict=True)
        ]

    def _write(
        self,
        row: Row,
        batch: Sequence[Row],
        edges: Sequence[float],
        outcome: list[Take] | Exception | None,
        spent: float,
    ) -> None:
        begun = time.monotonic()
        if isinstance(outcome, list):
            try:
                files, written = self._export(row, batch, edges, outcome)
                remove_results(self.manifest.out, set(row.written) - set(files))
                onsets = outcome[0].output.envelope.onsets()
                row = replace(
                    row, state=DONE, reason="; ".join(written.notes), written=files,
                    deviations=(*self._unmet(row, outcome[0]), *written.deviations),
                    onsets=int((onsets <= row.seconds).sum()),
                    takes=tuple(_score_row(take) for take in outcome if take.score),
                    seconds_spent=round(spent + time.monotonic() - begun, 2),
                )  # fmt: skip
            except CLIP_ERRORS as error:
                outcome = error
        if not isinstance(outcome, list):
            message = error_text(outcome or RuntimeError("no sound was generated"))
            row = row.failed(message if row.video.name in message else f"{row.video}: {message}")
        with self._journal_lock:
            self.manifest.record(row, self.rank)

    def _unmet(self, row: Row, take: Take) -> list[str]:
        """Options that the take does not fulfil."""
        unmet = hits_after_end(take.output.envelope, row.seconds) if row.envelope == "given" else []
        tolerance = self.rule.max_relative_l1
        if tolerance is not None and take.score and take.score.relative_l1 > tolerance:
            unmet.append(f"E-L1 is {take.score.relative_l1:.2f} of the mean level, above --max-e-l1 {tolerance:g}")
        return unmet

    def _export(
        self, row: Row, batch: Sequence[Row], edges: Sequence[float], takes: Sequence[Take]
    ) -> tuple[tuple[str, ...], Written]:
        slots = [BatchPlaceholder(other.latents, other.windows) for other in batch]

        def record(results: Mapping[str, Path], written: Written) -> dict[str, Any]:
            return make_sidecar(
                self.environment, row.video, self.options[row.name], self.sampling, takes[0], slot=batch.index(row),
                slots=slots, export=asdict(self.export), results=results,
                measured=asdict(written.comparison) if written.comparison else {},
            )  # fmt: skip

        return export_result(
            row.video, row.name, takes, self.export, record, edges=edges, work=self.manifest.work,
            out=self.manifest.out,
        )  # fmt: skip


def segment_edges(request: SoundRequest | Exception | None) -> list[float]:
    """Times in seconds at which the regions of a request meet."""
    return [region.end for region in request.regions()[:-1]] if isinstance(request, SoundRequest) else []


def _score_row(take: Take) -> tuple[float, ...]:
    score = take.score
    if score is None:
        return ()
    values = (score.envelope_l1, score.relative_l1, score.volume, score.lag_ms, score.leak_db)
    return (take.number, *(math.nan if value is None else float(f"{value:.4g}") for value in values))
