"""What is asked of one file: words, envelope, reference sound, seed, weights, segments."""

from dataclasses import dataclass
from pathlib import Path

from foleygram.inputs import EVEN, ModalityWeights


@dataclass(frozen=True)
class SegmentWish:
    """A stretch of a video, in seconds, with words or a reference sound of its own."""

    start: float
    end: float
    prompt: str | None = None
    reference: Path | None = None


@dataclass(frozen=True)
class Wish:
    """What is asked of one file's sound."""

    prompt: str | None = None
    negative_prompt: str | None = None
    envelope: str = "predicted"
    """`predicted`, `audio` for the video's own sound's, or a file."""
    seed: int = 0
    reference: Path | None = None
    """A sound file, or a video with sound, of any length and rate."""
    weights: ModalityWeights = EVEN
    segments: tuple[SegmentWish, ...] = ()
