"""A batch of requests through the model: takes of each, the best first; an error stays with the clip that caused it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foleygram.pipeline.conditions import EncodedRequest
from foleygram.pipeline.parts import DTYPES
from foleygram.pipeline.pipeline import (
    DEFAULT_GUIDANCE,
    DEFAULT_SOLVER,
    DEFAULT_STEPS,
    BatchPlaceholder,
    FoleyGRAMPipeline,
    FoleyOutput,
)
from foleygram.pipeline.request import SoundRequest, total_latents, window_seconds
from foleygram.production.requests import clip_seed
from foleygram.production.takes import TakeScore, disobeys, rank_takes, score_take
from foleygram.spec import ClipSpec

BatchItem = SoundRequest | EncodedRequest | BatchPlaceholder
CLIP_ERRORS = (ValueError, RuntimeError, OSError, MemoryError)
"""What one clip may fail by without the others; anything else ends the run."""


@dataclass(frozen=True)
class Sampling:
    """How noise becomes sound, the same for all clips of a batch."""

    num_inference_steps: int = DEFAULT_STEPS
    guidance_scale: float = DEFAULT_GUIDANCE
    controlnet_conditioning_scale: float = 1.0
    solver: str = DEFAULT_SOLVER
    dtype: str = "float32"
    """What the pipeline computes in: a name in `DTYPES`."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.dtype!r}; there are {', '.join(DTYPES)}")

    def options(self) -> dict[str, Any]:
        """The keyword arguments of `FoleyGRAMPipeline.generate`; the dtype is its parts' own."""
        return {name: value for name, value in asdict(self).items() if name != "dtype"}


@dataclass(frozen=True)
class TakeRule:
    """How many takes are made, and how many more of a clip whose best one strays too far from its envelope."""

    takes: int = 1
    max_relative_l1: float | None = None
    """E-L1 as a share of the mean level asked for; None accepts every take."""
    retries: int = 4

    @property
    def scored(self) -> bool:
        """Whether takes are compared with anything."""
        return self.takes > 1 or self.max_relative_l1 is not None


@dataclass(frozen=True)
class Take:
    """A sound, the seed it came from, and its score where takes are compared."""

    number: int
    seed: int
    output: FoleyOutput
    score: TakeScore | None = None


def take_seed(seed: int, number: int) -> int:
    """The seed of a clip's take, counted from 1: the first take is the clip without takes."""
    return seed if number == 1 else clip_seed(seed, f"take {number}")


def render_takes(
    pipeline: FoleyGRAMPipeline,
    places: Sequence[BatchItem],
    sampling: Sampling,
    rule: TakeRule,
    *,
    callback: Callable[[int], None] | None = None,
) -> list[list[Take] | Exception | None]:
    """Takes of each place of a batch, best first; the error of a clip that has none, None for a place kept.

    Every take is made in the batch's full extent, so a clip done again in its place has the same bytes.
    """
    encoded, errors = _encoded(pipeline, places)
    made: list[list[Take]] = [[] for _ in places]
    for number in range(1, 1 + rule.takes + (rule.retries if rule.max_relative_l1 is not None else 0)):
        items = [
            _item(place, number, pipeline.spec, wanted=number <= rule.takes or _strays(made[index], rule))
            for index, place in enumerate(encoded)
        ]
        for index in errors:
            items[index] = placeholder_of(items[index], pipeline.spec)
        if not any(isinstance(item, EncodedRequest) for item in items):
            break
        for index, outcome in enumerate(generate_each(pipeline, items, sampling, callback=callback)):
            item = items[index]
            if isinstance(outcome, FoleyOutput) and isinstance(item, EncodedRequest):
                try:
                    made[index].append(_scored(pipeline, item.request, outcome, number, rule))
                except CLIP_ERRORS as error:
                    errors[index] = error
            elif isinstance(outcome, Exception):
                errors[index] = outcome
    return [errors.get(index) or (_ranked(takes, rule) if takes else None) for index, takes in enumerate(made)]


def generate_each(
    pipeline: FoleyGRAMPipeline,
    places: Sequence[BatchItem],
    sampling: Sampling,
    *,
    callback: Callable[[int], None] | None = None,
) -> list[FoleyOutput | Exception | None]:
    """The sound of every request, None for an extent; where the batch fails, each is tried alone in its place."""
    indices = [index for index, place in enumerate(places) if not isinstance(place, BatchPlaceholder)]
    results: list[FoleyOutput | Exception | None] = [None] * len(places)
    try:
        outputs = pipeline.generate(places, **sampling.options(), callback=callback)
    except CLIP_ERRORS as error:
        if len(indices) == 1:
            results[indices[0]] = error
            return results
        for index in indices:
            alone = [p if i == index else placeholder_of(p, pipeline.spec) for i, p in enumerate(places)]
            results[index] = generate_each(pipeline, alone, sampling)[index]
        return results
    for index, output in zip(indices, outputs, strict=True):
        results[index] = output
    return results


def placeholder_of(place: BatchItem, spec: ClipSpec) -> BatchPlaceholder:
    """The room that a place takes up in a batch."""
    if isinstance(place, BatchPlaceholder):
        return place
    request = place.request if isinstance(place, EncodedRequest) else place
    return BatchPlaceholder(total_latents(request.seen.seconds, spec), len(request.windows(spec)))


def _encoded(
    pipeline: FoleyGRAMPipeline, places: Sequence[BatchItem]
) -> tuple[list[EncodedRequest | BatchPlaceholder], dict[int, Exception]]:
    """Every request encoded once, whatever the number of its takes; where that fails, its extent, and the error."""
    encoded: list[EncodedRequest | BatchPlaceholder] = []
    errors: dict[int, Exception] = {}
    for index, place in enumerate(places):
        try:
            encoded.append(pipeline.encode(place) if isinstance(place, SoundRequest) else place)
        except CLIP_ERRORS as error:
            errors[index] = error
            encoded.append(placeholder_of(place, pipeline.spec))
    return encoded, errors


def _item(
    place: EncodedRequest | BatchPlaceholder, number: int, spec: ClipSpec, *, wanted: bool
) -> EncodedRequest | BatchPlaceholder:
    if wanted and isinstance(place, EncodedRequest):
        return place.with_seed(take_seed(place.request.seed, number))
    return placeholder_of(place, spec)


def _strays(takes: Sequence[Take], rule: TakeRule) -> bool:
    tolerance = rule.max_relative_l1
    return tolerance is not None and all(take.score is not None and disobeys(take.score, tolerance) for take in takes)


def _scored(
    pipeline: FoleyGRAMPipeline, request: SoundRequest, output: FoleyOutput, number: int, rule: TakeRule
) -> Take:
    score = None
    if rule.scored:
        score = score_take(pipeline, request.seen, output, prompts=window_prompts(request, pipeline.spec))
    return Take(number, request.seed, output, score)


def window_prompts(request: SoundRequest, spec: ClipSpec) -> list[str | None]:
    """The words that hold in the middle of each of a video's windows."""
    half = min(spec.seconds, request.seen.seconds) / 2
    regions = request.regions()
    middles = [start + half for start in window_seconds(request.seen.seconds, spec)]
    return [next((r.prompt for r in regions if middle < r.end), regions[-1].prompt) for middle in middles]


def _ranked(takes: Sequence[Take], rule: TakeRule) -> list[Take]:
    """Takes, best first; those within the tolerance come before the others."""
    scores = [take.score for take in takes if take.score is not None]
    order = [takes[i] for i in rank_takes(scores)] if scores else list(takes)
    return sorted(order, key=lambda take: _strays([take], rule))
