"""What one visitor of the page works on: a video, the envelope he edits, the takes made of it; no web in here."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from foleygram.app.limits import Limits
from foleygram.app.uploads import Picture, read_picture
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
    """An edit as the command line writes it: `--mute 1.0:1.5` is ("mute", "1.0:1.5")."""

    name: str
    text: str


@dataclass(frozen=True)
class Session:
    """An opened video with the envelope that its sound shall follow; its takes lie in `folder`."""

    folder: Path
    video: Path
    picture: Picture
    source: Envelope
    """The envelope that edits start from."""
    envelope: Envelope
    """The envelope after the edits."""
    edits: tuple[NamedEdit, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the picture lasts."""
        return self.picture.seen.seconds

    def edited(self, name: str, text: str) -> "Session":
        """With one more edit; raises ValueError, in the words of the command's option, for one that cannot be."""
        after = parse_edit(name, text)(self.envelope)
        check_levels(after)
        return replace(self, envelope=after, edits=(*self.edits, NamedEdit(name, text)))

    def undone(self) -> "Session":
        """Without the last edit; raises ValueError where there is none."""
        if not self.edits:
            raise ValueError("there is no edit to undo")
        kept = self.edits[:-1]
        return replace(self, envelope=apply_edits(self.source, [parse_edit(*edit) for edit in kept]), edits=kept)

    def started_from(self, source: Envelope) -> "Session":
        """Without any edit, from another envelope, cut or followed by silence to last as long as the picture.

        Raises ValueError for levels above full scale.
        """
        fitted = source.resampled(RATE).slice(0.0, self.seconds)
        check_levels(fitted)
        return replace(self, source=fitted, envelope=fitted, edits=())

    def command(self) -> str:
        """The edits as options of a command."""
        return " ".join(f"--{name} {text}" for name, text in self.edits)

    def frame_rate(self) -> str:
        """The picture's frames per second as a command's option has them; raises ValueError where it has no rate."""
        if not self.picture.info.frame_rate:
            raise ValueError("the picture has no frame rate to snap to")
        return str(Fraction(self.picture.info.frame_rate).limit_denominator(1001))


def open_session(pipeline: FoleyGRAMPipeline, video: Path, root: Path, limits: Limits) -> Session:
    """Read a video and predict its envelope, its folder made in `root`.

    Raises MediaError when it cannot be read or lasts too long.
    """
    picture = read_picture(video, pipeline.spec, limits)
    predicted = pipeline.envelope_of(picture.seen)
    return Session(Path(tempfile.mkdtemp(prefix="session-", dir=root)), video, picture, predicted, predicted)


def close_session(session: Session | None) -> None:
    """Remove the takes of a session that is over."""
    if session is not None:
        shutil.rmtree(session.folder, ignore_errors=True)


def own_sound(session: Session, spec: ClipSpec, limits: Limits) -> Envelope:
    """The envelope of the video's own sound; raises MediaError for a video that is silent."""
    return run_isolated(envelope_of_video, session.video, spec, limits.seconds, timeout_sec=time_limit(limits.seconds))


class MadeTake(NamedTuple):
    """A take of a session, the envelope that its sound has, and its files."""

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
) -> MadeTake:
    """Render take `number` of a request into the session's folder: video with its sound, WAV and envelope.

    `progress` is told the number of each finished step. Raises what the pipeline raises, and MediaError when the
    picture cannot be copied.
    """
    seeded = replace(request, seed=take_seed(request.seed, number))
    [output] = pipeline.generate([seeded], **sampling.options(), callback=progress)
    score = score_take(pipeline, request.seen, output, prompts=[request.prompt])
    _, obtained = envelopes_of_take(output.audio.mean(0), output.sample_rate, output.envelope)
    place = Path(tempfile.mkdtemp(prefix="take-", dir=session.folder))
    track = Track(f"{session.video.stem}-take{number}", output.audio.numpy(), output.sample_rate)
    run_isolated(write_track, session.video, track, ExportOptions(), place, timeout_sec=time_limit(session.seconds))
    sound, curve = place / f"{track.name}.wav", place / f"{track.name}.csv"
    [video] = set(place.iterdir()) - {sound}  # its suffix is what can carry the picture
    write_envelope(curve, output.envelope)
    take = Take(number, seeded.seed, output, score)
    return MadeTake(take, score, Envelope(obtained.numpy(), ENVELOPE_RATE), video, sound, curve)
