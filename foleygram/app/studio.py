"""Actions of the page's buttons: from its fields to a session and back to what it shows, with readable errors."""

import html
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from foleygram.app.drawing import draw_take, draw_timeline
from foleygram.app.limits import Limits
from foleygram.app.session import (
    RenderedTake,
    Session,
    close_session,
    make_take,
    open_session,
    own_sound,
    region_edit,
)
from foleygram.app.uploads import read_mono
from foleygram.envelope.editing.files import read_envelope
from foleygram.files import error_text
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import REFERENCE_RATE, ModalityWeights, SoundRequest
from foleygram.production.batch_runner import CLIP_ERRORS, sampling_of
from foleygram.production.takes import rank_takes

MAX_TAKES = 6
NO_TAKES = ("", *[gr.update(visible=False)] * MAX_TAKES)
"""Status and cards before the first take."""
SOURCES = PREDICTED, OWN_SOUND = "predicted from the video", "measured on the video's own sound"
"""Envelopes that edits start from."""
PLAYABLE = frozenset({"h264", "vp8", "vp9", "av1"})
"""Video codecs that current browsers play."""
HINT = (
    "Drag over the film strip to select a time span; click to set From, where a hit is added or removed. Orange: "
    "envelope; blue: its onsets; dashed: before your edits."
)
SCORES_NOTE = (
    "Orange: envelope asked for; blue: envelope of the sound. The scores come from the encoders that condition the "
    "model: they measure how well a take follows its inputs, not how good it sounds."
)


@contextmanager
def shown_errors(folder: Path) -> Iterator[None]:
    """Show user errors as a message; others are logged to the terminal, and the message says so."""
    try:
        yield
    except CLIP_ERRORS as error:
        raise _shown(error_message(error, folder)) from None
    except Exception:
        traceback.print_exc(file=sys.stderr)
        raise _shown("Internal error; the terminal in which foleygram runs shows the details.") from None


def _shown(message: str) -> gr.Error:
    return gr.Error(message, duration=20, title="Error", print_exception=False)


def error_message(error: BaseException, folder: Path) -> str:
    """The text of an error as escaped HTML, with file names but without the page's folder."""
    message = error_text(error)
    return html.escape(re.sub(rf"{re.escape(str(folder))}/(?:[\w-]+/)*", "", message), quote=False)


@dataclass(frozen=True)
class Studio:
    """The page's actions, shared by all users; gradio keeps their sessions."""

    pipeline: FoleyGRAMPipeline
    folder: Path
    limits: Limits

    def open(self, video: str | None, old: Session | None) -> tuple[Any, ...]:
        """Video, session, timeline, summary, region, source, visibility of the editor, and no takes.

        Without a video the editor is hidden. A video that cannot be used is cleared with a warning.
        """
        close_session(old)
        try:
            with shown_errors(self.folder):
                session = None if video is None else open_session(self.pipeline, Path(video), self.folder, self.limits)
        except gr.Error as error:
            gr.Warning(error.message, duration=error.duration, title=error.title)
            session = None
        if session is None:
            return None, None, "", "", 0.0, 0.0, PREDICTED, *[gr.update(visible=False)] * 2, *NO_TAKES
        region = (0.0, round(session.seconds, 3))
        return gr.skip(), *_view(session, *region), *region, PREDICTED, *[gr.update(visible=True)] * 2, *NO_TAKES

    def edit(self, name: str) -> Callable[..., tuple[Any, ...]]:
        """The action of an edit button; returns session, timeline and summary after the edit."""

        def act(session: Session | None, start: float, end: float, amount: float | None = None) -> tuple[Any, ...]:
            with shown_errors(self.folder):
                opened = _opened(session)
                return _view(opened.edited(*region_edit(opened, name, start, end, amount)), start, end)

        return act

    def undo(self, session: Session | None, start: float, end: float) -> tuple[Any, ...]:
        """Session, timeline and summary without the last edit."""
        with shown_errors(self.folder):
            return _view(_opened(session).undone(), start, end)

    def start_over(self, source: str, session: Session | None, start: float, end: float) -> tuple[Any, ...]:
        """Session, timeline and summary without edits, with the envelope named by `source`."""
        with shown_errors(self.folder):
            opened = _opened(session)
            if source == OWN_SOUND:
                opened = opened.started_from(own_sound(opened, self.pipeline.spec, self.limits))
            else:
                opened = opened.started_from(self.pipeline.envelope_of(opened.content.seen))
            return _view(opened, start, end)

    def load(self, path: str, session: Session | None, start: float, end: float) -> tuple[Any, ...]:
        """Session, timeline and summary without edits, with the envelope in a file."""
        with shown_errors(self.folder):
            return _view(_opened(session).started_from(read_envelope(path)), start, end)

    def redraw(self, session: Session | None, start: float | None, end: float | None) -> str:
        """The timeline with another selection."""
        return "" if session is None else _timeline(session, start, end)

    def choose(self, event: gr.EventData) -> tuple[float, float]:
        """The fields From and To for a selection on the timeline."""
        return round(float(event.start), 3), round(float(event.end), 3)

    def make(
        self,
        session: Session | None,
        prompt: str,
        negative: str,
        reference: str | None,
        count: float,
        seed: float,
        steps: float,
        guidance: float,
        control: float,
        video: float,
        text: float,
        audio: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by its default
    ) -> Iterator[list[Any]]:
        """Status and cards after each finished take, ranked after the last."""
        with shown_errors(self.folder):
            opened = _opened(session)
            sound = read_mono(Path(reference), REFERENCE_RATE, self.limits) if reference else None
            weights = ModalityWeights(video, text, audio)
            request = SoundRequest(
                opened.content.seen, int(seed or 0), prompt.strip() or None, negative.strip() or None, sound,
                opened.envelope, weights=weights,
            )  # fmt: skip
            sampling = sampling_of(
                self.pipeline.sampler, control, num_inference_steps=int(steps), guidance_scale=guidance
            )
            total = int(count)
            takes: list[RenderedTake] = []
            for number in range(1, total + 1):

                def report(step: int, number: int = number) -> None:
                    share = (number - 1 + step / sampling.num_inference_steps) / total
                    progress(share, desc=f"take {number} of {total}, step {step} of {sampling.num_inference_steps}")

                takes.append(make_take(self.pipeline, opened, request, sampling, number=number, progress=report))
                note = SCORES_NOTE if number == total else f"take {number} of {total} is done"
                yield [f'<p class="note">{note}</p>', *_cards(opened, takes, ranked=number == total)]


def _opened(session: Session | None) -> Session:
    if session is None:
        raise ValueError("no video yet; drop one at the top of the page")
    return session


def _view(session: Session, start: float | None, end: float | None) -> tuple[Session, str, str]:
    return session, _timeline(session, start, end), _summary(session)


def _timeline(session: Session, start: float | None, end: float | None) -> str:
    first = start or 0.0
    return draw_timeline(
        session.content.frames,
        session.seconds,
        session.envelope,
        before=session.source if session.edits else None,
        region=(first, max(first, end or 0.0)),
    )


def _summary(session: Session) -> str:
    info, onsets = session.content.info, len(session.envelope.onsets())
    facts = f"{info.width} × {info.height}, {session.seconds:.2f} s, {info.frame_rate:.4g} frames/s"
    edits = f" Edits: <code>{html.escape(session.command())}</code>" if session.edits else ""
    return f'<p class="note">{HINT}</p><p class="note">{facts}; {onsets} onset{"" if onsets == 1 else "s"}.{edits}</p>'


def _cards(session: Session, takes: Sequence[RenderedTake], *, ranked: bool) -> list[Any]:
    """Updates of the components of every card; cards without a take are hidden."""
    order = rank_takes([take.score for take in takes])
    shown = session.content.info.video_codec in PLAYABLE
    updates: list[Any] = []
    for index in range(MAX_TAKES):
        if index >= len(takes):
            updates += [gr.update(visible=False), "", None, None, None, None, None]
            continue
        take = takes[index]
        rank = order.index(index) + 1 if ranked and len(takes) > 1 else None
        updates += [
            gr.update(visible=True),
            take_head(take, session.seconds, rank, len(takes)),
            gr.update(value=str(take.video) if shown else None, visible=shown),
            gr.update(value=None if shown else str(take.sound), visible=not shown),
            *(gr.update(value=str(path)) for path in (take.video, take.sound, take.curve)),
        ]
    return updates


def take_head(made: RenderedTake, seconds: float, rank: int | None, count: int) -> str:
    """Title, rank among `count` if ranked, envelopes and scores of a take."""
    score, take = made.score, made.take
    badge = "" if rank is None else f'<span class="rank">rank {rank} of {count}</span>'
    badge = '<span class="best">best score</span>' if rank == 1 else badge
    rows = {
        "envelope error (E-L1)": f"{100 * score.relative_l1:.0f}% of the level",
        "lag": "not measurable" if score.lag_ms is None else f"{round(score.lag_ms) + 0:+d} ms",
        "leak into silence": "no silent span" if score.leak_db is None else f"{score.leak_db:.0f} dB",
        "GRAM volume": f"{score.volume:.3f}",
        "seed": str(take.seed),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows.items()).replace("-", "−")
    return (
        f"<h3>Take {take.number}{badge}</h3>{draw_take(take.output.envelope, made.obtained, seconds)}"
        f"<dl>{listed.replace('E−L1', 'E-L1')}</dl>"
    )
