"""Runs a batch of requests through the model, several takes of each; an error fails only the clip that caused it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foleygram.generation.sampling import SamplerSettings
from foleygram.pipeline.conditions import EncodedRequest
from foleygram.pipeline.parts import DTYPES
from foleygram.pipeline.pipeline import BatchPlaceholder, FoleyGRAMPipeline, FoleyOutput
from foleygram.pipeline.request import SoundRequest, check_control_scale, total_latents, window_seconds
from foleygram.production.inputs import clip_seed
from foleygram.production.takes import TakeScore, rank_takes, score_take
from foleygram.spec import ClipSpec

BatchItem = SoundRequest | EncodedRequest | BatchPlaceholder
CLIP_ERRORS = (ValueError, RuntimeError, OSError, MemoryError)
"""Errors that fail one clip; any other ends the run."""


@dataclass(frozen=True)
class Sampling:
    """Sampling options, the same for all clips of a batch; `sampling_of` takes them from a release.

    Raises ValueError for an unknown dtype.
    """

    num_inference_steps: int = SamplerSettings.num_inference_steps
    guidance_scale: float = SamplerSettings.guidance_scale
    controlnet_conditioning_scale: float = 1.0
    solver: str = SamplerSettings.solver
    dtype: str = "float32"
    """Name in `DTYPES` of what the networks compute in."""
    apg_scale: float = SamplerSettings.apg_scale

    def __post_init__(self) -> None:
        check_control_scale(self.controlnet_conditioning_scale)
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.dtype!r}; give one of {', '.join(DTYPES)}")

    def options(self) -> dict[str, Any]:
        """Keyword arguments of `FoleyGRAMPipeline.generate`; the dtype is a property of its networks."""
        return {name: value for name, value in asdict(self).items() if name != "dtype"}


def sampling_of(
    release: SamplerSettings, control_scale: float = 1.0, *, dtype: str = "float32", **overrides: Any
) -> Sampling:
    """A release's sampling options with those of `overrides` that are not None; raises ValueError for unusable ones."""
    chosen = release.override(**overrides)
    return Sampling(
        chosen.num_inference_steps, chosen.guidance_scale, control_scale, chosen.solver, dtype, chosen.apg_scale
    )


@dataclass(frozen=True)
class TakeRule:
    """Number of takes per clip, and of further ones while all of them miss the envelope."""

    takes: int = 1
    max_relative_l1: float | None = None
    """E-L1 relative to the mean level asked for; None accepts every take."""
    retries: int = 4

    @property
    def scored(self) -> bool:
        """Whether takes need a score."""
        return self.takes > 1 or self.max_relative_l1 is not None


@dataclass(frozen=True)
class Take:
    """A generated sound, its seed, and its score if the rule needs one."""

    number: int
    seed: int
    output: FoleyOutput
    score: TakeScore | None = None


def take_seed(seed: int, number: int) -> int:
    """The seed of take `number`, from 1; take 1 has the clip's own seed."""
    return seed if number == 1 else clip_seed(seed, f"take {number}")


def render_takes(
    pipeline: FoleyGRAMPipeline,
    items: Sequence[BatchItem],
    sampling: Sampling,
    rule: TakeRule,
    *,
    callback: Callable[[int], None] | None = None,
) -> list[list[Take] | Exception | None]:
    """Per item of a batch its takes, best first; or the error of a clip without any; or None for a placeholder.

    Placeholders stand in for clips that are not rendered, so a clip rendered again in its slot has the same bytes.
    """
    encoded, errors = _encode(pipeline, items)
    made: list[list[Take]] = [[] for _ in items]
    for number in range(1, 1 + rule.takes + (rule.retries if rule.max_relative_l1 is not None else 0)):
        batch: list[EncodedRequest | BatchPlaceholder] = []
        for index, item in enumerate(encoded):
            wanted = index not in errors and (number <= rule.takes or _all_miss(made[index], rule))
            if wanted and isinstance(item, EncodedRequest):
                batch.append(item.with_seed(take_seed(item.request.seed, number)))
            else:
                batch.append(placeholder_of(item, pipeline.spec))
        if not any(isinstance(item, EncodedRequest) for item in batch):
            break
        for index, outcome in enumerate(generate_each(pipeline, batch, sampling, callback=callback)):
            item = batch[index]
            if isinstance(outcome, FoleyOutput) and isinstance(item, EncodedRequest):
                try:
                    made[index].append(_scored_take(pipeline, item.request, outcome, number, rule))
                except CLIP_ERRORS as error:
                    errors[index] = error
            elif isinstance(outcome, Exception):
                errors[index] = outcome
    return [errors.get(index) or (_ranked(takes, rule) if takes else None) for index, takes in enumerate(made)]


def generate_each(
    pipeline: FoleyGRAMPipeline,
    items: Sequence[BatchItem],
    sampling: Sampling,
    *,
    callback: Callable[[int], None] | None = None,
) -> list[FoleyOutput | Exception | None]:
    """The output of every request, None for a placeholder; if the batch fails, each request is tried by itself."""
    indices = [index for index, item in enumerate(items) if not isinstance(item, BatchPlaceholder)]
    results: list[FoleyOutput | Exception | None] = [None] * len(items)
    try:
        outputs = pipeline.generate(items, **sampling.options(), callback=callback)
    except CLIP_ERRORS as error:
        if len(indices) == 1:
            results[indices[0]] = error
            return results
        for index in indices:
            single = [item if i == index else placeholder_of(item, pipeline.spec) for i, item in enumerate(items)]
            results[index] = generate_each(pipeline, single, sampling)[index]
        return results
    for index, output in zip(indices, outputs, strict=True):
        results[index] = output
    return results


def placeholder_of(item: BatchItem, spec: ClipSpec) -> BatchPlaceholder:
    """A placeholder of the item's size."""
    if isinstance(item, BatchPlaceholder):
        return item
    request = item.request if isinstance(item, EncodedRequest) else item
    return BatchPlaceholder(total_latents(request.video.seconds, spec), len(request.windows(spec)))


def _encode(
    pipeline: FoleyGRAMPipeline, items: Sequence[BatchItem]
) -> tuple[list[EncodedRequest | BatchPlaceholder], dict[int, Exception]]:
    """Every request encoded once for all its takes; where that fails, a placeholder, and the error by index."""
    encoded: list[EncodedRequest | BatchPlaceholder] = []
    errors: dict[int, Exception] = {}
    for index, item in enumerate(items):
        try:
            encoded.append(pipeline.encode(item) if isinstance(item, SoundRequest) else item)
        except CLIP_ERRORS as error:
            errors[index] = error
            encoded.append(placeholder_of(item, pipeline.spec))
    return encoded, errors


def _all_miss(takes: Sequence[Take], rule: TakeRule) -> bool:
    tolerance = rule.max_relative_l1
    return tolerance is not None and all(take.score and take.score.relative_l1 > tolerance for take in takes)


def _scored_take(
    pipeline: FoleyGRAMPipeline, request: SoundRequest, output: FoleyOutput, number: int, rule: TakeRule
) -> Take:
    prompts = window_prompts(request, pipeline.spec)
    score = score_take(pipeline, request.video, output, prompts=prompts) if rule.scored else None
    return Take(number, request.seed, output, score)


def window_prompts(request: SoundRequest, spec: ClipSpec) -> list[str | None]:
    """The prompt at the middle of each of a video's windows."""
    half = min(spec.seconds, request.video.seconds) / 2
    regions = request.regions()
    middles = [start + half for start in window_seconds(request.video.seconds, spec)]
    return [next((r.prompt for r in regions if middle < r.end), regions[-1].prompt) for middle in middles]


def _ranked(takes: Sequence[Take], rule: TakeRule) -> list[Take]:
    """Takes, best first; those within the tolerance before the others."""
    scores = [take.score for take in takes if take.score is not None]
    ranked = [takes[i] for i in rank_takes(scores)] if scores else list(takes)
    return sorted(ranked, key=lambda take: _all_miss([take], rule))
