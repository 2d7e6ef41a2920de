"""The state of one user: a video, its edited envelope and its takes. Independent of gradio."""

import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from foleygram.app.limits import Limits
from foleygram.app.uploads import VideoContent, read_content
from foleygram.envelope.editing.edits import apply_edits
from foleygram.envelope.editing.files import check_levels, write_envelope
from foleygram.envelope.editing.hits import RATE
from foleygram.envelope.editing.options import parse_edit
from foleygram.envelope.envelope import Envelope
from foleygram.evaluation.envelopes import ENVELOPE_RATE
from foleygram.media.isolate import run_isolated, time_limit
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import SoundRequest, envelope_of_video
from foleygram.production.batch_runner import Sampling, Take, take_seed
from foleygram.production.export import ExportOptions, Track, write_track
from foleygram.production.takes import TakeScore, envelopes_of_take, score_take
from foleygram.spec import ClipSpec


class NamedEdit(NamedTuple):
    """An edit in the form of the command line: `--mute 1.0:1.5` is ("mute", "1.0:1.5")."""

    name: str
    text: str


@dataclass(frozen=True)
class Session:
    """An opened video with the envelope for its sound; its takes are written to `folder`."""

    folder: Path
    video: Path
    content: VideoContent
    source: Envelope
    """The envelope before edits."""
    envelope: Envelope
    """The envelope after edits."""
    edits: tuple[NamedEdit, ...] = ()

    @property
    def seconds(self) -> float:
        """Length of the video."""
        return self.content.seen.seconds

    def edited(self, name: str, text: str) -> "Session":
        """With one more edit; raises ValueError, with the command line's message, if it is not possible."""
        after = parse_edit(name, text)(self.envelope)
        check_levels(after)
        return replace(self, envelope=after, edits=(*self.edits, NamedEdit(name, text)))

    def undone(self) -> "Session":
        """Without the last edit; raises ValueError if there is none."""
        if not self.edits:
            raise ValueError("there is no edit to undo")
        kept = self.edits[:-1]
        return replace(self, envelope=apply_edits(self.source, [parse_edit(*edit) for edit in kept]), edits=kept)

    def started_from(self, source: Envelope) -> "Session":
        """Without edits, from another envelope, which is cut or padded with silence to the length of the video.

        Raises ValueError for levels above full scale.
        """
        fitted = source.resampled(RATE).slice(0.0, self.seconds)
        check_levels(fitted)
        return replace(self, source=fitted, envelope=fitted, edits=())

    def command(self) -> str:
        """The edits as command-line options."""
        return " ".join(f"--{name} {text}" for name, text in self.edits)

    def frame_rate(self) -> str:
        """The frame rate in the form of the command line; raises ValueError if the video has none."""
        if not self.content.info.frame_rate:
            raise ValueError("the video has no frame rate to snap to")
        return str(Fraction(self.content.info.frame_rate).limit_denominator(1001))


def open_session(pipeline: FoleyGRAMPipeline, video: Path, root: Path, limits: Limits) -> Session:
    """Read a video, predict its envelope and make a folder for its takes in `root`.

    Raises MediaError if it cannot be read or is too long.
    """
    content = read_content(video, pipeline.spec, limits)
    predicted = pipeline.envelope_of(content.seen)
    return Session(Path(tempfile.mkdtemp(prefix="session-", dir=root)), video, content, predicted, predicted)


def close_session(session: Session | None) -> None:
    """Remove the takes of a session."""
    if session is not None:
        shutil.rmtree(session.folder, ignore_errors=True)


def own_sound(session: Session, spec: ClipSpec, limits: Limits) -> Envelope:
    """The envelope of the video's own sound; raises MediaError if the video is silent."""
    return run_isolated(envelope_of_video, session.video, spec, limits.seconds, timeout_sec=time_limit(limits.seconds))


def region_edit(
    session: Session, name: str, start: float | None, end: float | None, amount: float | str | None
) -> NamedEdit:
    """The edit `name` of the selection from `start` to `end` in seconds, by `amount`.

    `amount` is in dB for a gain, in ms for a shift; for a hit a level in the form of the command line, by default that
    of the other hits. Raises ValueError if a required field is empty.
    """
    if name == "quantise":
        return NamedEdit(name, session.frame_rate())
    begin = _filled(start, "From, in seconds")
    if name == "remove-hit":
        return NamedEdit(name, f"{begin:.3f}")
    if name == "add-hit":
        level = str(amount or "").strip()
        return NamedEdit(name, f"{begin:.3f}:{level}" if level else f"{begin:.3f}")
    stop = _filled(end, "To, in seconds")
    if stop - begin < 0.001:
        raise ValueError("select a time span first: drag over the film strip, or fill in From and To")
    region = f"{begin:.3f}:{stop:.3f}"
    if name == "mute":
        return NamedEdit(name, region)
    unit = {"gain": "dB", "shift": "ms"}[name]
    return NamedEdit(name, f"{region}:{_filled(amount, f'the field beside the button, in {unit}'):g}{unit}")


def _filled(value: float | str | None, field: str) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"fill in {field}")
    return value


class RenderedTake(NamedTuple):
    """A take, the envelope of its sound, and its files."""

    take: Take
    score: TakeScore
    obtained: Envelope
    video: Path
    sound: Path
    curve: Path


def make_take(
    pipeline: FoleyGRAMPipeline,
    session: Session,
    request: SoundRequest,
    sampling: Sampling,
    *,
    number: int,
    progress: Callable[[int], None] = lambda step: None,
) -> RenderedTake:
    """Render take `number` of a request into the session's folder: video with sound, WAV and envelope.

    `progress` is called with the number of each finished step. Raises what the pipeline raises, and MediaError if the
    video cannot be copied.
    """
    seeded = replace(request, seed=take_seed(request.seed, number))
    [output] = pipeline.generate([seeded], **sampling.options(), callback=progress)
    score = score_take(pipeline, request.seen, output, prompts=[request.prompt])
    _, obtained = envelopes_of_take(output.audio.mean(0), output.sample_rate, output.envelope)
    folder = Path(tempfile.mkdtemp(prefix="take-", dir=session.folder))
    track = Track(f"{session.video.stem}-take{number}", output.audio.numpy(), output.sample_rate)
    run_isolated(write_track, session.video, track, ExportOptions(), folder, timeout_sec=time_limit(session.seconds))
    sound, curve = folder / f"{track.name}.wav", folder / f"{track.name}.csv"
    [video] = set(folder.iterdir()) - {sound}  # its suffix depends on the video codec
    write_envelope(curve, output.envelope)
    take = Take(number, seeded.seed, output, score)
    return RenderedTake(take, score, Envelope(obtained.numpy(), ENVELOPE_RATE), video, sound, curve)
