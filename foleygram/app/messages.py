"""Bodies of the server's requests and responses, which are also its OpenAPI schema."""

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from foleygram.app.limits import MAX_HITS, MAX_TAKES
from foleygram.envelope.editing.files import check_levels
from foleygram.envelope.editing.hits import DECAY_SEC, RATE, Hit, HitEnvelope, find_hits
from foleygram.envelope.envelope import HIGHEST_RATE, Envelope
from foleygram.pipeline.request import DEFAULT_WEIGHTS
from foleygram.production.takes import TakeScore

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
MAX_TEXT = 2000


class Message(BaseModel):
    """A JSON object without unknown fields."""

    model_config = ConfigDict(extra="forbid")


class HitMessage(Message):
    """A hit: time in seconds, linear RMS at its peak, seconds until it is 20 dB down."""

    time: Seconds
    level: Annotated[float, Field(gt=0, le=10)]
    decay: Annotated[float, Field(gt=0, le=60)] = DECAY_SEC


class EnvelopeMessage(Message):
    """Linear RMS values, the first at 0 s, `rate` values per second, and the hits in it."""

    rate: Annotated[float, Field(gt=0, le=HIGHEST_RATE)] = RATE
    values: Annotated[list[float], Field(min_length=1)]
    hits: Annotated[list[HitMessage], Field(max_length=MAX_HITS)] | None = None

    @classmethod
    def of(cls, envelope: Envelope) -> "EnvelopeMessage":
        """The message of an envelope."""
        values = [float(f"{value:.6g}") for value in envelope.values.tolist()]
        hits = [HitMessage(time=round(h.time, 6), level=h.level, decay=h.decay) for h in find_hits(envelope)]
        return cls(rate=envelope.rate, values=values, hits=hits)

    def envelope(self, seconds: float) -> Envelope:
        """The envelope, cut or padded with silence to `seconds`; raises ValueError for levels above full scale."""
        values = np.array(self.values, np.float32)
        whole = Envelope(values, self.rate)
        if self.hits is not None:
            hits = tuple(sorted((Hit(h.time, h.level, h.decay) for h in self.hits), key=lambda hit: hit.time))
            whole = HitEnvelope(whole.values, self.rate, hits)
        fitted = (whole if self.rate == RATE else whole.resampled(RATE)).slice(0.0, seconds)
        check_levels(fitted)
        return fitted


class Edit(Message):
    """An edit as on the command line: `--mute 1.0:1.5` is name `mute`, text `1.0:1.5` (docs/envelope.md)."""

    name: Annotated[str, Field(max_length=40)]
    text: Annotated[str, Field(max_length=200_000)]


class EditRequest(Message):
    """Edits for an envelope, applied in this order."""

    envelope: EnvelopeMessage
    edits: Annotated[list[Edit], Field(min_length=1, max_length=1000)]


class SegmentMessage(Message):
    """A region of the film, in seconds, with its own prompt or reference sound."""

    start: Seconds
    end: Seconds
    prompt: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    reference: str | None = None


class WeightsMessage(Message):
    """Weight of each condition; 0 leaves it out."""

    video: Weight = DEFAULT_WEIGHTS.video
    text: Weight = DEFAULT_WEIGHTS.text
    audio: Weight = DEFAULT_WEIGHTS.audio


class SoundOptions(Message):
    """Options of a sound and its sampling; `steps` and `guidance` default to the release's."""

    prompt: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    negative_prompt: Annotated[str, Field(max_length=MAX_TEXT)] | None = None
    reference: str | None = None
    weights: WeightsMessage = WeightsMessage()
    segments: Annotated[list[SegmentMessage], Field(max_length=500)] = []
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    steps: Annotated[int, Field(ge=1, le=150)] | None = None
    guidance: Annotated[float, Field(ge=0, le=50, allow_inf_nan=False)] | None = None
    control_scale: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 1.0


class TakesRequest(SoundOptions):
    """Takes to generate; without an envelope the predicted one is used."""

    envelope: EnvelopeMessage | None = None
    count: Annotated[int, Field(ge=1, le=MAX_TAKES)] = 1


class RegionRequest(TakesRequest):
    """A region of a take to render again, in seconds; the rest of the take is kept sample for sample."""

    start: Seconds
    end: Seconds
    count: Literal[1] = 1


class OpenRequest(Message):
    """A film of the server's folder by its name, or the example."""

    name: str | None = None
    example: bool = False


class RegionMessage(SegmentMessage):
    """A region of the editor, also without prompt and reference; `reference_name` is the name of the uploaded file."""

    reference_name: Annotated[str, Field(max_length=300)] = ""


class ProjectMessage(TakesRequest):
    """The state of the editor for a film: what takes are made from, and how the envelope came about."""

    segments: Annotated[list[RegionMessage], Field(max_length=500)] = []  # type: ignore[assignment]
    reference_name: Annotated[str, Field(max_length=300)] = ""
    source: EnvelopeMessage | None = None
    edits: Annotated[list[Annotated[str, Field(max_length=200_000)]], Field(max_length=5000)] = []
    take: int | None = None
    other: int | None = None


class QueueRequest(SoundOptions):
    """Films of the server's folder to generate sound for, by name; none means all.

    A film whose editor's state the server keeps is made with that state, every other with these options; `reference`
    is a sound that was uploaded for the open film `film`.
    """

    names: list[str] | None = None
    takes: Annotated[int, Field(ge=1, le=MAX_TAKES)] = 1
    overwrite: bool = False
    film: str | None = None
    segments: Annotated[list[SegmentMessage], Field(max_length=0)] = []


class ScoreMessage(BaseModel):
    """Scores of a take; null for what cannot be measured."""

    relative_l1: float
    lag_ms: float | None
    leak_db: float | None
    volume: float

    @classmethod
    def of(cls, score: TakeScore) -> "ScoreMessage":
        """The message of a score."""

        def finite(value: float | None) -> float | None:
            return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")

        return cls(
            relative_l1=finite(score.relative_l1) or 0.0,
            lag_ms=finite(score.lag_ms),
            leak_db=finite(score.leak_db),
            volume=finite(score.volume) or 0.0,
        )


class TakeMessage(BaseModel):
    """A take: rank 1 is the best; `parent` and `region` name the take and region that it was rendered from."""

    number: int
    seed: int
    rank: int
    score: ScoreMessage
    envelope: EnvelopeMessage
    obtained: EnvelopeMessage
    stems: int
    parent: int | None
    region: tuple[float, float] | None


class FilmMessage(BaseModel):
    """An open film; sizes in pixels as displayed."""

    id: str
    name: str
    seconds: float
    frame_rate: float
    width: int
    height: int
    video_codec: str
    has_sound: bool
    takes: int


class JobMessage(BaseModel):
    """A job: progress from 0 to 1, and the numbers of the takes that it has made so far."""

    id: str
    kind: str
    film: str | None
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    progress: float
    text: str
    result: Any
    error: str | None


class ReferenceMessage(BaseModel):
    """An uploaded reference sound."""

    id: str
    name: str


class FolderFilm(BaseModel):
    """A film of the server's folder, the state of its result, and the result's files."""

    name: str
    state: Literal["todo", "done", "failed"]
    reason: str
    files: list[str]


class ServerMessage(BaseModel):
    """Version, device and limits of the server."""

    version: str
    checkpoint: str
    device: str
    max_seconds: float
    max_megabytes: float
    max_takes: int
    steps: int
    guidance: float
    has_example: bool
    has_folder: bool
    exports: list[str]
