"""What the page's buttons do: from its fields to a session and back to what it shows; errors in words."""

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
from foleygram.app.regions import region_edit
from foleygram.app.session import MadeTake, Session, close_session, make_take, open_session, own_sound
from foleygram.app.uploads import read_mono
from foleygram.envelope.editing.files import read_envelope
from foleygram.files import error_text
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import REFERENCE_RATE, ModalityWeights, SoundRequest
from foleygram.production.batch_runner import CLIP_ERRORS, Sampling
from foleygram.production.takes import rank_takes

MOST_TAKES = 6
NO_TAKES = ("", *[gr.update(visible=False)] * MOST_TAKES)
"""Status and cards before there is a take."""
SOURCES = PREDICTED, OWN_SOUND = "predicted from the picture", "of the video's own sound"
"""Envelopes that edits may start from."""
PLAYABLE = frozenset({"h264", "vp8", "vp9", "av1"})
"""Pictures that current browsers show."""
HINT = (
    "Drag over the picture to choose a stretch, click to set From, where a hit is added or removed. Orange: the "
    "envelope that the sound will follow; blue: its onsets; dashed: before your edits."
)
INDEPENDENT = (
    "Orange: the envelope asked for; blue: the sound's own. The scores come from the very encoders that steer the "
    "sound: they say whether a take does what was asked, not whether a listener would agree."
)


@contextmanager
def in_words(folder: Path) -> Iterator[None]:
    """Show what a visitor can mend as a message; what he cannot goes to the terminal, and he is told so."""
    try:
        yield
    except CLIP_ERRORS as error:
        raise _shown(words(error, folder)) from None
    except Exception:
        traceback.print_exc(file=sys.stderr)
        raise _shown("Something failed that should not have; the terminal that foleygram runs in says what.") from None


def _shown(message: str) -> gr.Error:
    return gr.Error(message, duration=20, title="That did not work", print_exception=False)


def words(error: BaseException, folder: Path) -> str:
    """An error's message as harmless HTML, naming files as the visitor does, without the page's folder."""
    message = error_text(error)
    return html.escape(re.sub(rf"{re.escape(str(folder))}/(?:[\w-]+/)*", "", message), quote=False)


@dataclass(frozen=True)
class Studio:
    """The page's actions; one for all visitors, whose sessions gradio keeps apart."""

    pipeline: FoleyGRAMPipeline
    folder: Path
    limits: Limits

    def open(self, video: str | None, old: Session | None) -> tuple[Any, ...]:
        """Video, session, timeline, summary, region, source, whether the rest is seen, and no takes yet.

        Without a video the rest is hidden. A video that cannot be used is said and taken away again.
        """
        close_session(old)
        try:
            with in_words(self.folder):
                session = None if video is None else open_session(self.pipeline, Path(video), self.folder, self.limits)
        except gr.Error as error:
            gr.Warning(error.message, duration=error.duration, title=error.title)
            session = None
        if session is None:
            return None, None, "", "", 0.0, 0.0, PREDICTED, *[gr.update(visible=False)] * 2, *NO_TAKES
        region = (0.0, round(session.seconds, 3))
        return gr.skip(), *_view(session, *region), *region, PREDICTED, *[gr.update(visible=True)] * 2, *NO_TAKES

    def edit(self, name: str) -> Callable[..., tuple[Any, ...]]:
        """What a button does that edits the chosen stretch: session, timeline and summary after it."""

        def act(session: Session | None, start: float, end: float, amount: float | None = None) -> tuple[Any, ...]:
            with in_words(self.folder):
                opened = _opened(session)
                return _view(opened.edited(*region_edit(opened, name, start, end, amount)), start, end)

        return act

    def undo(self, session: Session | None, start: float, end: float) -> tuple[Any, ...]:
        """Session, timeline and summary without the last edit."""
        with in_words(self.folder):
            return _view(_opened(session).undone(), start, end)

    def start_over(self, source: str, session: Session | None, start: float, end: float) -> tuple[Any, ...]:
        """Session, timeline and summary without edits, from the envelope that `source` names."""
        with in_words(self.folder):
            opened = _opened(session)
            if source == OWN_SOUND:
                opened = opened.started_from(own_sound(opened, self.pipeline.spec, self.limits))
            else:
                opened = opened.started_from(self.pipeline.envelope_of(opened.picture.seen))
            return _view(opened, start, end)

    def load(self, path: str, session: Session | None, start: float, end: float) -> tuple[Any, ...]:
        """Session, timeline and summary without edits, from an envelope that the visitor brings as a file."""
        with in_words(self.folder):
            return _view(_opened(session).started_from(read_envelope(path)), start, end)

    def redraw(self, session: Session | None, start: float | None, end: float | None) -> str:
        """The timeline with another stretch chosen."""
        return "" if session is None else _timeline(session, start, end)

    def choose(self, event: gr.EventData) -> tuple[float, float]:
        """The fields From and To for a stretch that was drawn on the timeline."""
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
        progress: gr.Progress = gr.Progress(),  # noqa: B008  it is how gradio finds out who reports
    ) -> Iterator[list[Any]]:
        """What status and cards show, again with each take that is finished, and ranked with the last."""
        with in_words(self.folder):
            opened = _opened(session)
            sound = read_mono(Path(reference), REFERENCE_RATE, self.limits) if reference else None
            weights = ModalityWeights(video, text, audio)
            words_for, against = prompt.strip() or None, negative.strip() or None
            request = SoundRequest(
                opened.picture.seen, int(seed or 0), words_for, against, sound, opened.envelope, weights=weights
            )
            sampling = Sampling(int(steps), guidance, control)
            wanted = int(count)
            takes: list[MadeTake] = []
            for number in range(1, wanted + 1):

                def told(step: int, number: int = number) -> None:
                    share = (number - 1 + step / sampling.num_inference_steps) / wanted
                    progress(share, desc=f"take {number} of {wanted}, step {step} of {sampling.num_inference_steps}")

                takes.append(make_take(self.pipeline, opened, request, sampling, number=number, progress=told))
                note = INDEPENDENT if number == wanted else f"take {number} of {wanted} is done"
                yield [f'<p class="note">{note}</p>', *_cards(opened, takes, ranked=number == wanted)]


def _opened(session: Session | None) -> Session:
    if session is None:
        raise ValueError("there is no video yet: drop one at the top of the page")
    return session


def _view(session: Session, start: float | None, end: float | None) -> tuple[Session, str, str]:
    return session, _timeline(session, start, end), _summary(session)


def _timeline(session: Session, start: float | None, end: float | None) -> str:
    first = start or 0.0
    return draw_timeline(
        session.picture.frames,
        session.seconds,
        session.envelope,
        before=session.source if session.edits else None,
        region=(first, max(first, end or 0.0)),
    )


def _summary(session: Session) -> str:
    info, onsets = session.picture.info, len(session.envelope.onsets())
    facts = f"{info.width} × {info.height}, {session.seconds:.2f} s, {info.frame_rate:.4g} frames/s"
    edits = f" Edits: <code>{html.escape(session.command())}</code>" if session.edits else ""
    return f'<p class="note">{HINT}</p><p class="note">{facts}; {onsets} onset{"" if onsets == 1 else "s"}.{edits}</p>'


def _cards(session: Session, takes: Sequence[MadeTake], *, ranked: bool) -> list[Any]:
    """Updates of every card's parts, those without a take hidden."""
    order = rank_takes([take.score for take in takes])
    shown = session.picture.info.video_codec in PLAYABLE
    updates: list[Any] = []
    for index in range(MOST_TAKES):
        if index >= len(takes):
            updates += [gr.update(visible=False), "", None, None, None, None, None]
            continue
        take = takes[index]
        place = order.index(index) + 1 if ranked and len(takes) > 1 else None
        updates += [
            gr.update(visible=True),
            take_head(take, session.seconds, place, len(takes)),
            gr.update(value=str(take.video) if shown else None, visible=shown),
            gr.update(value=None if shown else str(take.sound), visible=not shown),
            *(gr.update(value=str(path)) for path in (take.video, take.sound, take.curve)),
        ]
    return updates


def take_head(made: MadeTake, seconds: float, place: int | None, count: int) -> str:
    """A take's title, its place among `count` where it has one, its curves and scores."""
    score, take = made.score, made.take
    badge = "" if place is None else f'<span class="place">place {place} of {count}</span>'
    badge = '<span class="best">best score</span>' if place == 1 else badge
    rows = {
        "off the envelope (E-L1)": f"{100 * score.relative_l1:.0f}% of its level",
        "lag": "none to measure" if score.lag_ms is None else f"{round(score.lag_ms) + 0:+d} ms",
        "leak into silence": "no silence asked for" if score.leak_db is None else f"{score.leak_db:.0f} dB",
        "GRAM volume": f"{score.volume:.3f}",
        "seed": str(take.seed),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows.items()).replace("-", "−")
    return (
        f"<h3>Take {take.number}{badge}</h3>{draw_take(take.output.envelope, made.obtained, seconds)}"
        f"<dl>{listed.replace('E−L1', 'E-L1')}</dl>"
    )
