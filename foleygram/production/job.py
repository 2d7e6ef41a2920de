"""What is asked of one file: words, envelope, reference, seed, weights, segments, as options and tables say it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foleygram.envelope.editing.files import CHOICES
from foleygram.pipeline.request import DEFAULT_WEIGHTS, ModalityWeights


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
    weights: ModalityWeights = DEFAULT_WEIGHTS
    segments: tuple[SegmentWish, ...] = ()


FIELDS = ("prompt", "negative_prompt", "envelope", "seed", "reference", "weights")
"""What a table or a file beside a video may say of it, besides `segments`."""
SEGMENT_FIELDS = ("from", "to", "prompt", "reference")


def told_wish(wish: Wish, told: Mapping[str, Any], folder: Path) -> Wish:
    """`wish` with what `told` says instead; empty values say nothing, paths count from `folder`.

    Raises ValueError naming the field and the value.
    """
    said = {name: value for name, value in told.items() if value not in (None, "")}
    unknown = sorted(str(name) for name in said.keys() - {*FIELDS, "segments"})
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}; there are {', '.join(FIELDS)}, segments")
    changes: dict[str, Any] = {name: _words(name, said[name]) for name in ("prompt", "negative_prompt") if name in said}
    if "envelope" in said:
        envelope = str(said["envelope"])
        changes["envelope"] = envelope if envelope in CHOICES else str(folder / envelope)
    if "seed" in said:
        changes["seed"] = parse_seed(said["seed"])
    if "reference" in said:
        changes["reference"] = folder / str(said["reference"])
    if "weights" in said:
        changes["weights"] = parse_weights(said["weights"])
    if "segments" in said:
        if not isinstance(said["segments"], list):
            raise ValueError(f"segments {said['segments']!r}: write a list, as - {{from: 1.5, to: 3, prompt: metal}}")
        changes["segments"] = tuple(told_segment(segment, folder) for segment in said["segments"])
    return replace(wish, **changes)


def told_segment(told: Mapping[str, Any], folder: Path) -> SegmentWish:
    """The segment that a mapping with `from`, `to`, `prompt`, `reference` describes; raises ValueError for another."""
    if not isinstance(told, Mapping) or not {"from", "to"} <= told.keys() <= {*SEGMENT_FIELDS}:
        raise ValueError(f"segment {told!r}: its fields are {', '.join(SEGMENT_FIELDS)}, the first two needed")
    prompt, reference = (None if told.get(name) == "" else told.get(name) for name in ("prompt", "reference"))
    start, end = (_seconds(told[name]) for name in ("from", "to"))
    return SegmentWish(
        start,
        end,
        None if prompt is None else _words("prompt", prompt),
        None if reference is None else folder / str(reference),
    )


def parse_segment(text: str) -> SegmentWish:
    """The segment that `FROM:TO:PROMPT` asks for, in seconds; raises ValueError showing how it is written."""
    start, _, rest = text.partition(":")
    end, _, prompt = rest.partition(":")
    if not prompt.strip():
        raise ValueError(f"--segment {text}: write FROM:TO:PROMPT, as 1.5:3:A person hits metal")
    return SegmentWish(_seconds(start), _seconds(end), prompt.strip())


def parse_weights(text: Any) -> ModalityWeights:
    """The weights that `video=1,text=0.5,audio=0` or a mapping names, the default for the others; raises ValueError."""
    if isinstance(text, Mapping):
        pairs = {str(name): value for name, value in text.items()}
    else:
        pairs = dict(part.strip().partition("=")[::2] for part in str(text).split(","))
    try:
        weights = ModalityWeights(**{name.strip(): float(value) for name, value in pairs.items()})
    except (TypeError, ValueError):
        weights = ModalityWeights(math.nan)
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ValueError(f"weights {text!r}: write video=1,text=0.5,audio=0, numbers of 0 or more")
    return weights


def parse_seed(value: Any) -> int:
    """A seed, a whole number of 0 or more; raises ValueError for anything else."""
    try:
        seed = int(str(value))
    except ValueError:
        seed = -1
    if seed < 0:
        raise ValueError(f"seed {value!r}: give a whole number of 0 or more")
    return seed


def _words(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} {value!r}: no words; put them in quotes")
    return value


def _seconds(value: Any) -> float:
    try:
        seconds = float(str(value).strip())
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{value!r} is no time in seconds")
    return seconds


def plain_wish(wish: Wish) -> dict[str, Any]:
    """A wish as `told_wish` reads it, paths absolute."""
    plain: dict[str, Any] = {name: getattr(wish, name) for name in ("prompt", "negative_prompt", "envelope", "seed")}
    if wish.envelope not in CHOICES:
        plain["envelope"] = str(Path(wish.envelope).absolute())
    plain["reference"] = _absolute(wish.reference)
    plain["weights"] = wish.weights._asdict()
    plain["segments"] = [
        {"from": s.start, "to": s.end, "prompt": s.prompt, "reference": _absolute(s.reference)} for s in wish.segments
    ]
    return plain


def wish_files(wish: Wish) -> list[Path]:
    """The files that a wish names, each once."""
    named = [wish.reference, *(segment.reference for segment in wish.segments)]
    named += [] if wish.envelope in CHOICES else [Path(wish.envelope)]
    return sorted({path for path in named if path is not None})


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
