"""Clips, the events in them, and what is read of them; the data set of such clips."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from foleygram.media.audio import fit_length, read_audio
from foleygram.media.motion import read_motion
from foleygram.media.video import read_squares, segment_draws, segment_middles
from foleygram.spec import ClipSpec

FIELDS = ("audio", "envelope_audio", "frames", "motion")
"""Fields that can be read of a clip."""


@dataclass(frozen=True)
class Event:
    """One annotated action: time in seconds; a label is None where the annotators gave none."""

    time: float
    material: str | None
    action: str | None
    reaction: str | None = None


@dataclass(frozen=True)
class Clip:
    """A stretch of a video: where it lies, and its events with times counted from its start."""

    video_id: str
    video_path: Path
    audio_path: Path
    start: float
    seconds: float
    events: tuple[Event, ...] = field(default=())

    @property
    def materials(self) -> tuple[str, ...]:
        """Labelled materials in order of first appearance."""
        return tuple(dict.fromkeys(event.material for event in self.events if event.material))


class MediaClips(Dataset):
    """Clips read from their media, one dictionary each; indices past the end wrap, so that a later pass can draw anew.

    Beside what `fields` name, see `read_clip`: `video_id`, `start`, `seconds_start`, `seconds_total` (seconds),
    `caption`, `materials` (comma-separated), `event_times` (seconds from the clip's start), `event_actions` (empty
    where unlabelled). With `frame_seed` a frame is drawn in each segment, in every pass anew, as GRAM trains; without,
    it is the middle one.
    """

    clips: list[Clip]
    spec: ClipSpec
    fields: tuple[str, ...]
    frame_seed: int | None = None
    trusted = True
    """Whether the media are known to be intact, so that they may be read fast."""

    def caption(self, clip: Clip) -> str:
        """A text that describes the sound of a clip; subclasses implement it, raises NotImplementedError here."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self.clips[index % len(self.clips)]
        rng = None if self.frame_seed is None else np.random.default_rng((self.frame_seed, index))
        return self.labels(index) | read_clip(clip, self.spec, self.fields, fast=self.trusted, frame_rng=rng)

    def labels(self, index: int) -> dict[str, Any]:
        """An item without what is read from media."""
        clip = self.clips[index % len(self.clips)]
        return {
            "video_id": clip.video_id,
            "start": clip.start,
            "seconds_start": 0.0,  # each clip is a sound of its own
            "seconds_total": clip.seconds,
            "caption": self.caption(clip),
            "materials": ",".join(clip.materials),
            "event_times": [event.time for event in clip.events],
            "event_actions": [event.action or "" for event in clip.events],
        }


def parse_events(text: str, source: str) -> list[Event]:
    """Events of a `_times.txt` (`time material action reaction` per line; `None` and odd tokens are accepted).

    Raises ValueError naming `source` and the line when a line has no time.
    """
    events = []
    for number, line in enumerate(text.splitlines(), start=1):
        tokens = line.split()
        if not tokens:
            continue
        try:
            time = float(tokens[0])
        except ValueError:
            time = math.nan
        if not math.isfinite(time):
            raise ValueError(f"{source}, line {number}: {line!r} does not start with a time in seconds; correct it")
        labels = [None if token.lower() == "none" else token for token in (*tokens[1:4], "None", "None", "None")[:3]]
        events.append(Event(time, *labels))
    return sorted(events, key=lambda event: event.time)


def cut_clips(
    video_id: str,
    video_path: Path,
    audio_path: Path,
    *,
    duration_sec: float,
    seconds: float,
    events: Sequence[Event] = (),
) -> list[Clip]:
    """Non-overlapping clips of `seconds`, the remainder dropped, event times counted from the clip's start."""
    clips = []
    for index in range(int(duration_sec / seconds + 1e-6)):
        start, end = index * seconds, (index + 1) * seconds
        inside = tuple(
            Event(event.time - start, event.material, event.action, event.reaction)
            for event in events
            if start <= event.time < end
        )
        clips.append(Clip(video_id, video_path, audio_path, start, seconds, inside))
    return clips


def check_fields(fields: Sequence[str]) -> tuple[str, ...]:
    """`fields` as they are; raises ValueError naming those that no clip has."""
    unknown = set(fields) - set(FIELDS)
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}; there are {', '.join(FIELDS)}")
    return tuple(fields)


def read_clip(
    clip: Clip,
    spec: ClipSpec,
    fields: Sequence[str],
    *,
    fast: bool = True,
    frame_rng: np.random.Generator | None = None,
) -> dict[str, Tensor]:
    """The tensors of a clip that `fields` name, read from its media, frames `fast` where they are known to be intact.

    `audio` (C, num_samples), `envelope_audio` (samples,) mono at the envelope's rate, `frames` uint8 (N, 3, S, S),
    `motion` uint8 (M, 3, S', S') with `motion_ages` (M,) in seconds. `frames` are the middles of equal segments, or
    with `frame_rng` drawn in them. Raises MediaError for what cannot be read.
    """
    item: dict[str, Tensor] = {}
    start, seconds = clip.start, clip.seconds
    if "audio" in fields:
        rate, channels = spec.sample_rate, spec.audio_channels
        audio = read_audio(clip.audio_path, sample_rate=rate, channels=channels, start=start, seconds=seconds)
        item["audio"] = fit_length(audio, spec.num_samples)
    if "envelope_audio" in fields:
        rate = spec.envelope_sample_rate
        mono = read_audio(clip.audio_path, sample_rate=rate, channels=1, start=start, seconds=seconds)
        item["envelope_audio"] = fit_length(mono[0], round(seconds * rate))
    if "frames" in fields:
        stretch = (start, seconds, spec.num_frames)
        times = segment_middles(*stretch) if frame_rng is None else segment_draws(*stretch, frame_rng)
        item["frames"] = read_squares(
            clip.video_path, times, size=spec.image_size, transform=spec.frame_transform, fast=fast
        )
    if "motion" in fields:
        item["motion"], item["motion_ages"] = read_motion(
            clip.video_path, start, seconds, rate=spec.motion_frame_rate, size=spec.motion_size, fast=fast
        )
    return item
