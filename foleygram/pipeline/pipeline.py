"""FoleyGRAMPipeline: video, and perhaps text, reference sound and an envelope, to a waveform."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from foleygram.envelope.envelope import Envelope
from foleygram.generation.backbone import decode_latents
from foleygram.generation.conditioning import MODALITIES, Conditions
from foleygram.generation.controlnet import controlled_forward
from foleygram.generation.sampling import (
    SOLVERS,
    ClipNoise,
    Denoiser,
    Noise,
    Velocity,
    denoiser_from_v,
    exponential_sigmas,
    guided,
)
from foleygram.generation.windows import NoiseEndToEnd, Window, end_to_end, windowed
from foleygram.pipeline.conditions import ROWS_AT_ONCE, ConditionEncoding, EncodedRequest
from foleygram.pipeline.release import find_release, licences_of, load_release, read_index, save_release
from foleygram.pipeline.request import (
    DEFAULT_WEIGHTS,
    ModalityWeights,
    Segment,
    SoundRequest,
    VideoInput,
    envelope_of_video,
    read_video,
    total_latents,
)
from foleygram.spec import ClipSpec

DEFAULT_STEPS = 25
"""The miniature's figures do not change past 16 (`benchmarks/steps.py`)."""
DEFAULT_GUIDANCE = 5.0
DEFAULT_SOLVER = "dpmpp_2m"


class Extent(NamedTuple):
    """How much of a batch a clip takes up; given instead of a request it keeps the clip's place, and makes no sound.

    A row of a matrix product may round otherwise in a batch of another size. With places kept, a clip done again,
    alone, has the same bytes.
    """

    num_latents: int
    num_windows: int


@dataclass(frozen=True)
class FoleyOutput:
    """A generated track: audio (channels, samples), its rate in Hz, and the envelope that steered it."""

    audio: Tensor
    sample_rate: int
    envelope: Envelope


class FoleyGRAMPipeline(ConditionEncoding):
    """Video to synchronised sound with a release folder's parts; inference only, nothing in it trains."""

    def __init__(
        self,
        parts: Mapping[str, Any],
        spec: ClipSpec,
        sigmas: tuple[float, float],
        licences: Mapping[str, str] = MappingProxyType({}),
        trained_on: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(parts, spec)
        self.sigmas, self.licences, self.trained_on = sigmas, licences, trained_on

    @classmethod
    def from_pretrained(cls, folder: str | Path, torch_dtype: torch.dtype = torch.float32) -> "FoleyGRAMPipeline":
        """Load a release folder or hub id to compute in `torch_dtype`; envelope, t and its embedding, solvers: float32.

        Raises FileNotFoundError or ValueError naming the part that is missing or damaged, PermissionError for a gated
        hub id, ConnectionError without a network.
        """
        folder = find_release(folder)
        return cls(*load_release(folder, torch_dtype), licences_of(folder), read_index(folder).get("trained_on", {}))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a release folder."""
        save_release(Path(folder), self.parts, self.spec, self.sigmas, self.licences, self.trained_on)

    def __call__(
        self,
        video: str | Path | VideoInput,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        reference_audio: Tensor | np.ndarray | None = None,
        envelope: str | Envelope = "predicted",
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
        controlnet_conditioning_scale: float = 1.0,
        generator: torch.Generator | int | None = 0,
        solver: str = DEFAULT_SOLVER,
        callback: Callable[[int], None] | None = None,
        *,
        weights: ModalityWeights = DEFAULT_WEIGHTS,
        segments: Sequence[Segment] = (),
    ) -> FoleyOutput:
        """Generate a track as long as `video`.

        `reference_audio` is (samples,) or (channels, samples) at 16 kHz, of any length; `generator` a CPU generator, a
        seed, or None for torch's own generator; `envelope` "predicted", "audio" for that of the video's own sound, or
        an Envelope; `callback` is told the number of each finished step. Raises MediaError for a video that cannot be
        read, ValueError for what cannot be asked.
        """
        if isinstance(envelope, str) and envelope == "audio" and not isinstance(video, VideoInput):
            envelope = envelope_of_video(Path(video), self.spec)
        seen = video if isinstance(video, VideoInput) else read_video(Path(video), self.spec)
        if generator is None or isinstance(generator, torch.Generator):
            generator = int(torch.randint(2**62, (), generator=generator))
        seed = operator.index(generator)
        request = SoundRequest(seen, seed, prompt, negative_prompt, reference_audio, envelope, weights, tuple(segments))
        return self.generate(
            [request],
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            controlnet_conditioning_scale=controlnet_conditioning_scale,
            solver=solver,
            callback=callback,
        )[0]

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[SoundRequest | EncodedRequest | Extent],
        *,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
        controlnet_conditioning_scale: float = 1.0,
        solver: str = DEFAULT_SOLVER,
        callback: Callable[[int], None] | None = None,
    ) -> list[FoleyOutput]:
        """Tracks for several videos of any length, sampled together; one per request, none for an Extent.

        A clip's sound depends on its neighbours by rounding alone. A request may come
        encoded. Raises ValueError without any request.
        """
        places = [self.encode(one) if isinstance(one, SoundRequest) else one for one in requests]
        sounding = [place for place in places if isinstance(place, EncodedRequest)]
        if not sounding:
            raise ValueError("no clip to generate: give at least one request")
        conditions, null, windows, lengths = self._gathered(places, sounding[0])
        velocity = self._velocity(conditions, null, guidance_scale, controlnet_conditioning_scale)
        latents = self._sample(
            windowed(denoiser_from_v(velocity), windows),
            NoiseEndToEnd([p.request.seed if isinstance(p, EncodedRequest) else 0 for p in places], lengths),
            torch.empty(1, self.transformer.config.in_channels, sum(lengths), device=self.device),
            num_inference_steps,
            solver,
            callback,
        )
        clips = zip(places, latents.split(lengths, dim=-1), strict=True)
        return [
            FoleyOutput(self._decoded(clip, place.request.seen.seconds), self.spec.sample_rate, place.envelope)
            for place, clip in clips
            if isinstance(place, EncodedRequest)
        ]

    def _decoded(self, latents: Tensor, seconds: float) -> Tensor:
        return decode_latents(self.vae, latents, round(seconds * self.spec.sample_rate))[0].float().cpu()

    def _gathered(
        self, places: Sequence[EncodedRequest | Extent], filling: EncodedRequest
    ) -> tuple[Conditions, Conditions, list[Window], list[int]]:
        """Conditions and their null branch, one row per window of the batch; its windows; each clip's latents.

        An extent is filled with the first row of `filling`: nobody keeps its sound.
        """
        plans, lengths = [], []
        branches: list[tuple[Conditions, Conditions]] = []
        for place in places:
            if isinstance(place, EncodedRequest):
                plans.append(place.windows)
                lengths.append(total_latents(place.request.seen.seconds, self.spec))
                branches.append((place.conditions, place.null))
            else:
                plans.append([Window(0, torch.ones(self.spec.num_latents), 0, 0)] * place.num_windows)
                lengths.append(place.num_latents)
                first = [0] * place.num_windows
                branches.append((filling.conditions.rows(first), filling.null.rows(first)))
        conditions, null = map(Conditions.joined, zip(*branches, strict=True))
        return conditions, null, end_to_end(plans, lengths), lengths

    @torch.inference_mode()
    def generate_clips(
        self,
        batch: Mapping[str, Any],
        *,
        envelopes: Tensor | str,
        present: Sequence[str] = ("video",),
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
        controlnet_conditioning_scale: float = 1.0,
        seeds: Sequence[int],
        solver: str = DEFAULT_SOLVER,
    ) -> Tensor:
        """Audio (B, channels, samples) for a batch of clips of `spec.seconds`.

        `envelopes` (B, values) or "predicted"; `present` names the modalities whose tokens are kept; one seed per clip.
        """
        embedded = self.embed(batch)
        count = len(seeds)
        keep = torch.tensor([modality in present for modality in MODALITIES]).expand(count, -1)
        curve = (
            self.predict_envelope(batch["motion"], batch["motion_ages"]) if isinstance(envelopes, str) else envelopes
        )
        embeddings = [embedded[modality] for modality in MODALITIES]
        conditions = self._conditions(embeddings, keep, self._control_latents(curve))
        velocity = self._velocity(conditions, conditions.null(), guidance_scale, controlnet_conditioning_scale)
        like = torch.empty(count, self.transformer.config.in_channels, self.spec.num_latents, device=self.device)
        latents = self._sample(denoiser_from_v(velocity), ClipNoise(seeds), like, num_inference_steps, solver, None)
        return decode_latents(self.vae, latents, self.spec.num_samples).float().cpu()

    def _velocity(
        self, conditions: Conditions, null: Conditions, guidance_scale: float, control_scale: float
    ) -> Velocity:
        """v of the controlled DiT under guidance; raises ValueError for scales that are not finite."""
        if not (math.isfinite(guidance_scale) and math.isfinite(control_scale)):
            raise ValueError(f"guidance {guidance_scale:g}, control scale {control_scale:g}: give finite numbers")

        def controlled(latents: Tensor, timestep: Tensor, told: Conditions) -> Tensor:
            latents = latents.to(self.transformer.dtype)  # the time stays float32 in every precision
            residuals = (
                self.controlnet(latents, timestep, *told, conditioning_scale=control_scale) if control_scale else []
            )
            return controlled_forward(
                self.transformer, latents, timestep, told.cross_tokens, told.global_states, residuals
            )

        return guided(controlled, conditions, null, guidance_scale, rows_at_once=ROWS_AT_ONCE)

    def _sample(
        self,
        denoise: Denoiser,
        noise: Noise,
        like: Tensor,
        num_inference_steps: int,
        solver: str,
        callback: Callable[[int], None] | None,
    ) -> Tensor:
        if solver not in SOLVERS:
            raise ValueError(f"unknown solver {solver!r}; there are {', '.join(SOLVERS)}")
        sigmas = exponential_sigmas(num_inference_steps, sigma_min=self.sigmas[0], sigma_max=self.sigmas[1])
        steps = 0

        def counted(latents: Tensor, sigma: Tensor) -> Tensor:
            nonlocal steps
            clean = denoise(latents, sigma)
            steps += 1
            if callback:
                callback(steps)
            return clean

        return SOLVERS[solver](counted, noise(like) * sigmas[0], sigmas, noise=noise)
