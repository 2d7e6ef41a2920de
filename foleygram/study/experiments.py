"""The benchmark's conditions: what the model is told, and against whose sound the result is scored."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from foleygram.alignment.retrieval import Embeddings, retrieval_report
from foleygram.datasets.datamodule import collate_clips
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.envelope.rms import rms_envelope
from foleygram.evaluation.material import MaterialJudge
from foleygram.evaluation.scores import ClipScorer, ScoredClip, Scores
from foleygram.spec import ClipSpec

REFERENCE = "reference"
UNHEARD = ("audio", "envelope_audio", "caption", "materials", "event_times", "event_actions")
"""Fields of a clip that a model of silent video must not be given."""
AGAINST_OTHER = " (other's truth)"

Envelopes = Literal["predicted", "true", "flat", "other"]


@dataclass(frozen=True)
class Condition:
    """Which envelope steers the sound, how strongly, and whose video token names the material."""

    name: str
    envelope: Envelopes
    control_scale: float = 1.0
    other_video: bool = False

    @property
    def borrows(self) -> bool:
        """Whether something of another clip goes in, so that the result is scored against that clip as well."""
        return self.other_video or self.envelope == "other"


CONDITIONS = {
    "predicted": Condition("predicted", "predicted"),
    "true": Condition("true", "true"),
}
CONTROLS = (
    Condition("control scale 0", "true", control_scale=0.0),
    Condition("flat envelope", "flat"),
    Condition("other video", "true", other_video=True),
    Condition("other envelope", "other"),
)


class ClipGenerator(Protocol):
    """What the benchmark needs of a pipeline."""

    @property
    def spec(self) -> ClipSpec: ...

    def generate_clips(
        self,
        batch: Mapping[str, Any],
        *,
        envelopes: Tensor | str,
        present: Sequence[str] = ...,
        num_inference_steps: int = ...,
        guidance_scale: float = ...,
        controlnet_conditioning_scale: float = ...,
        seeds: Sequence[int],
    ) -> Tensor: ...

    def embed(self, batch: Mapping[str, Any]) -> dict[str, Tensor]: ...


def pick_clips(num_clips: int, limit: int | None) -> list[int]:
    """Indices of `limit` clips spread evenly over the data set, all of them without a limit."""
    if limit is None or limit >= num_clips:
        return list(range(num_clips))
    if limit < 1:
        raise ValueError(f"a limit of {limit} clips: ask for at least one")
    return [int(i) for i in np.linspace(0, num_clips - 1, limit).round()]


def pick_partners(dataset: GreatestHits, indices: Sequence[int], seed: int) -> dict[int, int]:
    """For each clip another one, of another video and of one other material; drawn from (seed, clip).

    Raises ValueError naming the clip for which there is none.
    """
    partners = {}
    for index in indices:
        own = dataset.clips[index]
        others = [
            i
            for i, clip in enumerate(dataset.clips)
            if clip.video_id != own.video_id
            if len(clip.materials) == 1 and clip.materials[0] not in own.materials
        ]
        if not others:
            raise ValueError(
                f"clip {own.video_id} at {own.start:g} s has no partner of another material in the split; "
                "leave the controls out or take more videos"
            )
        partners[index] = int(np.random.default_rng((seed, index)).choice(others))
    return partners


def scored_clip(generated: Tensor, item: Mapping[str, Any], sample_rate: int) -> ScoredClip:
    """Generated sound (C, samples) beside the item of a data set that it is scored against; channels are averaged."""
    materials = item["materials"].split(",") if item["materials"] else []
    reference = item["audio"].mean(0)
    return ScoredClip(
        generated=generated.mean(0)[: len(reference)],
        reference=reference,
        sample_rate=sample_rate,
        event_times=item["event_times"],
        event_actions=item["event_actions"],
        material=materials[0] if len(materials) == 1 else None,
        video_id=item["video_id"],
        start=item["start"],
    )


def run_conditions(
    pipeline: ClipGenerator,
    judge: MaterialJudge,
    dataset: GreatestHits,
    *,
    conditions: Sequence[Condition],
    indices: Sequence[int],
    num_inference_steps: int,
    guidance_scale: float,
    seed: int,
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Scores]:
    """Generate for the clips that `indices` name and score them; `progress` is told how many are done.

    The sound of clip i comes from the seed `seed + i` in every condition; nothing is done to it after the model. The
    reference sounds themselves are scored first of all, as the ceiling.
    """
    partners = pick_partners(dataset, indices, seed) if any(c.borrows for c in conditions) else {}
    names = [REFERENCE, *(n for c in conditions for n in [c.name] + [c.name + AGAINST_OTHER] * c.borrows)]
    scorers = {name: ClipScorer(judge) for name in names}
    rate = pipeline.spec.sample_rate
    for first in range(0, len(indices), batch_size):
        chosen = indices[first : first + batch_size]
        own = [dataset[i] for i in chosen]
        other = [dataset[partners[i]] for i in chosen] if partners else own
        for item in own:
            scorers[REFERENCE].add(scored_clip(item["audio"], item, rate))
        for condition in conditions:
            sounds = pipeline.generate_clips(
                _told(condition, own, other),
                envelopes=_envelopes(condition, own, other, pipeline.spec),
                present=("video",),
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                controlnet_conditioning_scale=condition.control_scale,
                seeds=[seed + i for i in chosen],
            )
            for sound, item, partner in zip(sounds.float().cpu(), own, other, strict=True):
                scorers[condition.name].add(scored_clip(sound, item, rate))
                if condition.borrows:
                    scorers[condition.name + AGAINST_OTHER].add(scored_clip(sound, partner, rate))
        if progress:
            progress(first + len(chosen))
    return {name: scorer.scores() for name, scorer in scorers.items()}


def alignment_figures(
    pipeline: ClipGenerator, dataset: GreatestHits, *, indices: Sequence[int], batch_size: int
) -> dict[str, float]:
    """Retrieval, material agreement and mismatch AUC of the aligned encoders on the clips that `indices` name."""
    parts: list[dict[str, Tensor]] = []
    captions: list[str] = []
    materials: list[str] = []
    for first in range(0, len(indices), batch_size):
        batch = collate_clips([dataset[i] for i in indices[first : first + batch_size]])
        parts.append({name: rows.float().cpu() for name, rows in pipeline.embed(batch).items()})
        captions += batch["caption"]
        materials += batch["materials"]
    joined = {name: torch.cat([part[name] for part in parts]) for name in Embeddings._fields}
    return retrieval_report(Embeddings(**joined), captions, materials)


def _told(condition: Condition, own: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    """The batch without anything that can be heard or read; under another video's tokens, with that video's frames."""
    batch = {key: value for key, value in collate_clips(own).items() if key not in UNHEARD}
    if condition.other_video:
        batch["frames"] = torch.stack([item["frames"] for item in other])
    return batch


def _envelopes(
    condition: Condition, own: list[dict[str, Any]], other: list[dict[str, Any]], spec: ClipSpec
) -> Tensor | str:
    if condition.envelope == "predicted":
        return "predicted"
    source = other if condition.envelope == "other" else own
    curves = rms_envelope(torch.stack([item["envelope_audio"] for item in source]), spec.frame_length, spec.hop_length)
    return curves.mean(-1, keepdim=True).expand_as(curves).contiguous() if condition.envelope == "flat" else curves
