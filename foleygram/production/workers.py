"""Batches of a manifest through the pipeline, the next one read and the last one written while the model works."""

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
from foleygram.production.export import Delivery
from foleygram.production.job import Wish
from foleygram.production.manifest import DONE, TODO, Manifest, Row
from foleygram.production.provenance import Surroundings, sidecar
from foleygram.production.requests import read_request
from foleygram.production.results import remove_results, write_results

READ_AT_ONCE = WRITTEN_AT_ONCE = 2
"""Processes that read and that write beside the model."""

Progress = Callable[[int, str], None]
"""Told how many sampling steps are done, and of which files."""


class FolderRun:
    """Renders batches and writes what comes of them; each row is recorded as soon as its files are there."""

    def __init__(
        self,
        pipeline: FoleyGRAMPipeline,
        manifest: Manifest,
        wishes: Mapping[str, Wish],
        sampling: Sampling,
        rule: TakeRule,
        delivery: Delivery,
        here: Surroundings,
        *,
        rank: int = 0,
        progress: Progress = lambda steps, names: None,
    ) -> None:
        self.pipeline, self.manifest, self.wishes = pipeline, manifest, wishes
        self.delivery, self.here = delivery, here
        self.sampling, self.rule, self.rank, self.progress = sampling, rule, rank, progress
        self._journal = threading.Lock()

    def run(self, batches: Sequence[Sequence[Row]]) -> None:
        """Do what is to do in `batches`, in their order; a row's error is recorded and stops nothing."""
        with ThreadPoolExecutor(READ_AT_ONCE) as readers, ThreadPoolExecutor(WRITTEN_AT_ONCE) as writers:
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
            while len(ahead) < 2 and number + len(ahead) < len(batches):
                ahead.append([self._submit(readers, row) for row in batches[number + len(ahead)]])
            read = [future.result() if future else None for future in ahead.popleft()]
            begun = time.monotonic()
            outcomes = self._render(number, batch, read)
            for pending in writing:  # what was written meanwhile; so memory holds two batches at most
                pending.result()
            spent = (time.monotonic() - begun) / max(1, sum(isinstance(r, SoundRequest) for r in read))
            writing = [
                writers.submit(
                    self._finish, row, batch, _edges(request), outcome, spent
                )  # not the request: its frames are freed
                for row, request, outcome in zip(batch, read, outcomes, strict=True)
                if row.state == TODO
            ]
            if self.rank == 0:
                self.manifest.merge()
                self.manifest.write()
        for pending in writing:
            pending.result()

    def _submit(self, readers: ThreadPoolExecutor, row: Row) -> Future[SoundRequest | Exception] | None:
        return readers.submit(self._read, row) if row.state == TODO else None

    def _read(self, row: Row) -> SoundRequest | Exception:
        wish, spec = self.wishes[row.name], self.pipeline.spec
        try:
            envelope = chosen_envelope(wish.envelope)
            return run_isolated(read_request, row.video, wish, spec, envelope, timeout_sec=time_limit(row.seconds))
        except (ValueError, OSError) as error:
            return error

    def _render(
        self, number: int, batch: Sequence[Row], read: Sequence[SoundRequest | Exception | None]
    ) -> list[list[Take] | Exception | None]:
        """Takes or the error of every row that is to do."""
        places = [
            request if isinstance(request, SoundRequest) else BatchPlaceholder(row.latents, row.windows)
            for row, request in zip(batch, read, strict=True)
        ]
        names = ", ".join(row.video.name for row in batch if row.state == TODO)
        before = number * self.sampling.num_inference_steps * self.rule.takes
        done = 0

        def step(_: int) -> None:
            nonlocal done
            done += 1
            self.progress(before + min(done, self.sampling.num_inference_steps * self.rule.takes), names)

        outcomes = render_takes(self.pipeline, places, self.sampling, self.rule, callback=step)
        return [
            request if isinstance(request, Exception) else outcome
            for request, outcome in zip(read, outcomes, strict=True)
        ]

    def _finish(
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
                written, notes = self._write(row, batch, edges, outcome)
                remove_results(self.manifest.out, set(row.written) - set(written))
                row = replace(
                    row, state=DONE, reason="; ".join(notes), written=written,
                    onsets=len(outcome[0].output.envelope.onsets()),
                    takes=tuple(_figures(take) for take in outcome if take.score),
                    seconds_spent=round(spent + time.monotonic() - begun, 2),
                )  # fmt: skip
            except CLIP_ERRORS as error:
                outcome = error
        if not isinstance(outcome, list):
            row = row.failed(_reason(row, outcome))
        with self._journal:
            self.manifest.record(row, self.rank)

    def _write(
        self, row: Row, batch: Sequence[Row], edges: Sequence[float], takes: Sequence[Take]
    ) -> tuple[tuple[str, ...], list[str]]:
        extents = [BatchPlaceholder(other.latents, other.windows) for other in batch]

        def record(results: Mapping[str, Path]) -> dict[str, Any]:
            return sidecar(
                self.here, row.video, self.wishes[row.name], self.sampling, takes[0], place=batch.index(row),
                extents=extents, delivery=asdict(self.delivery), results=results,
            )  # fmt: skip

        return write_results(
            row.video, row.name, takes, self.delivery, record, edges=edges, work=self.manifest.work,
            out=self.manifest.out,
        )  # fmt: skip


def _edges(request: SoundRequest | Exception | None) -> list[float]:
    """Where the segments of what was asked meet, in seconds."""
    return [region.end for region in request.regions()[:-1]] if isinstance(request, SoundRequest) else []


def _figures(take: Take) -> tuple[float, ...]:
    score = take.score
    if score is None:
        return ()
    figures = (score.envelope_l1, score.relative_l1, score.volume, score.lag_ms, score.leak_db)
    return (take.number, *(math.nan if figure is None else float(f"{figure:.4g}") for figure in figures))


def _reason(row: Row, error: BaseException | None) -> str:
    message = error_text(error or RuntimeError("nothing came of it"))
    return message if row.video.name in message else f"{row.video}: {message}"
