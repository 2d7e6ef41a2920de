"""Clips and the events in them."""

from dataclasses import dataclass, field
from pathlib import Path


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
            raise ValueError(f"{source}, line {number}: {line!r} does not start with a time in seconds") from None
        labels = [None if token == "None" else token for token in (*tokens[1:4], "None", "None", "None")[:3]]
        events.append(Event(time, *labels))
    return sorted(events, key=lambda event: event.time)


def cut_clips(
    video_id: str, video_path: Path, audio_path: Path, *, duration_sec: float, seconds: float, events: list[Event]
) -> list[Clip]:
    """Non-overlapping clips of `seconds`, the remainder dropped (paper notes, section 5); event times become relative."""
    clips = []
    for index in range(int(duration_sec / seconds + 1e-6)):
        start = index * seconds
        inside = tuple(
            Event(event.time - start, event.material, event.action, event.reaction)
            for event in events
            if start <= event.time < start + seconds
        )
        clips.append(Clip(video_id, video_path, audio_path, start, seconds, inside))
    return clips
