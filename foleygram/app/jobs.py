"""Work that takes long, one job after another in one thread, with progress and cancelling."""

import queue
import secrets
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from foleygram.app.limits import MAX_WAITING_JOBS
from foleygram.files import error_text
from foleygram.production.batch_runner import CLIP_ERRORS

State = Literal["waiting", "running", "done", "failed", "cancelled"]
KEPT_JOBS = 200
"""Finished jobs that are remembered."""


class CancelledError(Exception):
    """Raised inside a job's work after it was cancelled."""


@dataclass
class Job:
    """One piece of work: its state, its progress from 0 to 1 with a text, and what it returned."""

    id: str
    kind: str
    film: str | None
    work: Callable[["Job"], Any]
    state: State = "waiting"
    progress: float = 0.0
    text: str = ""
    result: Any = None
    error: str | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    def report(self, progress: float, text: str | None = None) -> None:
        """Set the progress; raises CancelledError if the job was cancelled."""
        if self.stop.is_set():
            raise CancelledError
        self.progress = min(1.0, max(0.0, progress))
        self.text = self.text if text is None else text


class JobQueue:
    """Runs jobs in the order in which they were added."""

    def __init__(self, message: Callable[[BaseException], str] = error_text) -> None:
        self._message = message
        self._jobs: dict[str, Job] = {}
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def add(self, kind: str, work: Callable[[Job], Any], *, film: str | None = None) -> Job:
        """Append a job; raises ValueError if too many are waiting."""
        with self._lock:
            if sum(job.state == "waiting" for job in self._jobs.values()) >= MAX_WAITING_JOBS:
                raise ValueError(f"{MAX_WAITING_JOBS} jobs are waiting; wait for one to finish, or cancel one")
            job = Job(secrets.token_urlsafe(9), kind, film, work)
            finished = [key for key, old in self._jobs.items() if old.state in ("done", "failed", "cancelled")]
            for key in finished[: max(0, len(finished) - KEPT_JOBS)]:
                del self._jobs[key]
            self._jobs[job.id] = job
        self._waiting.put(job)
        return job

    def get(self, key: str) -> Job:
        """The job with this id; raises KeyError if there is none."""
        return self._jobs[key]

    def all(self) -> list[Job]:
        """Every job that is remembered, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def cancel(self, key: str) -> Job:
        """Cancel a job: at once if it waits, at its next report if it runs."""
        job = self._jobs[key]
        with self._lock:
            job.stop.set()
            if job.state == "waiting":
                job.state = "cancelled"
        return job

    def close(self, timeout_sec: float = 10.0) -> None:
        """Cancel everything and wait for the running job's next report."""
        for job in self.all():
            self.cancel(job.id)
        self._waiting.put(None)
        self._thread.join(timeout_sec)

    def _run(self) -> None:
        while (job := self._waiting.get()) is not None:
            with self._lock:
                if job.state != "waiting":
                    continue
                job.state = "running"
            state: State = "done"
            try:
                job.result = job.work(job)
                job.progress = 1.0
            except CancelledError:
                state = "cancelled"
            except CLIP_ERRORS as error:
                state, job.error = "failed", self._message(error)
            except Exception:
                traceback.print_exc(file=sys.stderr)
                state, job.error = "failed", "internal error; the terminal in which foleygram runs shows the details"
            job.work = _finished  # frees the film's frames
            job.state = state


def _finished(job: Job) -> None:
    raise RuntimeError(f"job {job.id} has already run")
