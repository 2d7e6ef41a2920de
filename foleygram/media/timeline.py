"""Timelines as OpenTimelineIO files (extra `otio`): a film, clips of its sound and markers, in and out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from foleygram.files import atomic_path
from foleygram.media.markers import Marker
from foleygram.media.timecode import TimeCode

OWN = "foleygram"
"""Key of this project's metadata: exact seconds, the frame rate as a fraction, drop-frame counting."""
LEAD_IN = "lead-in"
"""Name of what lies before the first event."""
MAX_BYTES = 64 * 2**20


class Clip(NamedTuple):
    """A span of the film's sound in seconds from its first frame, and the sound file that it plays, from there on."""

    name: str
    start: float
    end: float
    media: str = ""


@dataclass(frozen=True)
class Timeline:
    """A film counted by `clock`, with clips and markers of its sound, in ascending order."""

    title: str
    clock: TimeCode
    clips: tuple[Clip, ...] = ()
    markers: tuple[Marker, ...] = ()
    film: str = ""
    seconds: float = 0.0


def event_clips(markers: Sequence[Marker], seconds: float, media: str = "") -> tuple[Clip, ...]:
    """A sound of `seconds` cut at its events, from each marker to the next; before the first lies `LEAD_IN`."""
    starts = [Marker(0.0, LEAD_IN)] if not markers or markers[0].time > 0 else []
    starts += sorted(markers)
    ends = [*(marker.time for marker in starts[1:]), seconds]
    pieces = zip(starts, ends, strict=True)
    return tuple(Clip(marker.label, marker.time, end, media) for marker, end in pieces if end > marker.time)


def write_otio(path: Path, timeline: Timeline) -> None:
    """Write a timeline, atomically: the film on a video track, its clips on as few audio tracks as they fit on.

    Clips start on the frame that holds their start and end after the one that holds their end, or where the next
    begins. Raises ImportError without the package, OSError when the file cannot be written.
    """
    content = otio_json(timeline)
    with atomic_path(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def otio_json(timeline: Timeline) -> str:
    """The content of the file that `write_otio` writes."""
    otio = _package()
    clock = timeline.clock
    rate = float(clock.frame_rate)

    def span(first: int, last: int) -> Any:
        return otio.opentime.TimeRange(_time(otio, first, rate), _time(otio, last - first, rate))

    whole = otio.schema.Timeline(timeline.title, global_start_time=_time(otio, clock.start, rate))
    whole.metadata[OWN] = {"frame_rate": str(clock.frame_rate), "drop_frame": clock.drop_frame}
    if timeline.film:
        film = otio.schema.Track("film", kind=otio.schema.TrackKind.Video)
        media = otio.schema.ExternalReference(timeline.film)
        film.append(otio.schema.Clip(timeline.film, media, span(0, _last_frame(clock, timeline.seconds))))
        whole.tracks.append(film)
    starts = {clip.start for clip in timeline.clips}
    reached: list[int] = []
    tracks: list[Any] = []
    for clip in sorted(timeline.clips, key=lambda one: one.start):
        first = _first_frame(clock, clip.start)
        last = _first_frame(clock, clip.end) if clip.end in starts else _last_frame(clock, clip.end)
        last = max(last, first + 1)
        number = next((number for number, end in enumerate(reached) if end <= first), len(tracks))
        if number == len(tracks):
            tracks.append(otio.schema.Track(f"sound {number + 1}", kind=otio.schema.TrackKind.Audio))
            reached.append(0)
        if first > reached[number]:
            tracks[number].append(otio.schema.Gap(source_range=span(0, first - reached[number])))
        media = otio.schema.ExternalReference(clip.media) if clip.media else otio.schema.MissingReference()
        placed = otio.schema.Clip(clip.name, media, span(first, last))
        placed.metadata[OWN] = {"start_sec": clip.start, "end_sec": clip.end}
        tracks[number].append(placed)
        reached[number] = last
    whole.tracks.extend(tracks)
    for marker in sorted(timeline.markers):
        frame = clock.frame_at(marker.time)
        mark = otio.schema.Marker(marker.label, span(frame, frame + 1))
        mark.metadata[OWN] = {"start_sec": marker.time}
        whole.tracks.markers.append(mark)
    return str(whole.to_json_string(indent=1))


def read_otio(path: Path) -> Timeline:
    """The timeline in a file of this project or of an editor; clips are those of audio tracks, or of all without any.

    Seconds that this project wrote are kept exactly as long as their frame is still the same.
    Raises ImportError without the package, ValueError for anything else than a timeline with a rate.
    """
    otio = _package()
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size / 1e6:.0f} MB; a timeline has at most {MAX_BYTES / 1e6:.0f} MB")
    try:
        whole = otio.schema.Timeline.from_json_file(str(path))
    except Exception as error:  # the library raises bare ValueError, OTIOError and RuntimeError
        raise ValueError(f"not an OpenTimelineIO file ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(whole, otio.schema.Timeline):
        raise ValueError(f"it holds a {type(whole).__name__}, not a timeline; export the timeline itself")
    try:
        clock = _clock(whole)
        kinds = [track for track in whole.tracks if isinstance(track, otio.schema.Track)]
        sounds = [track for track in kinds if track.kind == otio.schema.TrackKind.Audio] or kinds
        clips = sorted((clip for track in sounds for clip in _clips(otio, track, clock)), key=lambda one: one.start)
        markers = sorted(_markers(whole, clock))
        films = [clip for track in kinds if track.kind == otio.schema.TrackKind.Video for clip in track.find_clips()]
        film = _media(otio, films[0]) if films else ""
        return Timeline(whole.name, clock, tuple(clips), tuple(markers), film, whole.duration().to_seconds())
    except (otio.exceptions.OTIOError, KeyError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        raise ValueError(f"its timeline cannot be used ({error})") from error


def _clock(whole: Any) -> TimeCode:
    start, own = whole.global_start_time, whole.metadata.get(OWN, {})
    spans = [clip.trimmed_range().duration.rate for clip in whole.find_clips()]
    rate = start.rate if start is not None else next((rate for rate in spans if rate <= 100), 0)
    clock = TimeCode.of(float(Fraction(own["frame_rate"])) if "frame_rate" in own else rate)
    first = clock.start if start is None else round(Fraction(start.value) / Fraction(start.rate) * clock.frame_rate)
    return TimeCode(clock.frame_rate, bool(own.get("drop_frame", clock.drop_frame)), first)


def _clips(otio: Any, track: Any, clock: TimeCode) -> Iterator[Clip]:
    for clip in track.find_clips():
        span = clip.transformed_time_range(clip.trimmed_range(), track)
        start, end = (_checked(time.to_seconds()) for time in (span.start_time, span.end_time_exclusive()))
        own = {name: _checked(value) for name, value in clip.metadata.get(OWN, {}).items()}
        if own and _first_frame(clock, own["start_sec"]) == clock.frame_at(start):
            start = own["start_sec"]
            end = own["end_sec"] if abs(own["end_sec"] - end) * clock.frame_rate < 1.01 else end
        yield Clip(clip.name, start, end, _media(otio, clip))


def _markers(whole: Any, clock: TimeCode) -> Iterator[Marker]:
    for item in (whole.tracks, *whole.tracks.find_children()):
        for marker in getattr(item, "markers", ()):
            time = _checked(item.transformed_time(marker.marked_range.start_time, whole.tracks).to_seconds())
            exact = _checked(marker.metadata.get(OWN, {}).get("start_sec", time))
            yield Marker(exact if clock.frame_at(exact) == clock.frame_at(time) else time, marker.name)


def _media(otio: Any, clip: Any) -> str:
    reference = clip.media_reference
    return str(reference.target_url) if isinstance(reference, otio.schema.ExternalReference) else ""


def _checked(seconds: float) -> float:
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"a clip or marker at {seconds} s; times count from the first frame")
    return float(seconds)


def _first_frame(clock: TimeCode, seconds: float) -> int:
    """The frame that holds a time; one that is a frame's start up to rounding is that frame's."""
    return math.floor(Fraction(seconds) * clock.frame_rate + Fraction(1, 1000))


def _last_frame(clock: TimeCode, seconds: float) -> int:
    """The frame after the one that holds the end of a span."""
    return math.ceil(Fraction(seconds) * clock.frame_rate - Fraction(1, 1000))


def _time(otio: Any, frames: int, rate: float) -> Any:
    return otio.opentime.RationalTime(frames, rate)


def _package() -> Any:
    try:
        import opentimelineio
    except ImportError as error:
        raise ImportError("timelines need OpenTimelineIO: pip install 'foleygram[otio]'") from error
    return opentimelineio
