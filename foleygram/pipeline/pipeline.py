"""FoleyGRAMPipeline: video, and perhaps text, reference sound and an envelope, to a waveform."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from foleygram.envelope.envelope import Envelope
from foleygram.files import write_json
from foleygram.generation.backbone import Backbone
from foleygram.generation.model import MODALITIES, Conditions, FoleyModel
from foleygram.generation.sampling import (
    ClipNoise,
    Denoiser,
    SamplerSettings,
    Velocity,
    Window,
    denoiser_from_v,
    end_to_end,
    guided,
    windowed,
)
from foleygram.pipeline.card import SCORES, read_scores
from foleygram.pipeline.conditions import WINDOWS_AT_ONCE, ConditionEncoder, EncodedRequest
from foleygram.pipeline.output import FoleyOutput
from foleygram.pipeline.parts import Parts
from foleygram.pipeline.push import push_release
from foleygram.pipeline.release import find_release, licences_of, load_release, read_index, write_index
from foleygram.pipeline.request import (
    DEFAULT_WEIGHTS,
    KINDS,
    ModalityWeights,
    Segment,
    SoundRequest,
    VideoInput,
    check_control_scale,
    check_kind,
    make_requests,
    total_latents,
)
from foleygram.spec import ClipSpec


class BatchPlaceholder(NamedTuple):
    """Batch placeholder; generates nothing, and keeps the batch's size when only some of its clips are done again.

    A matrix product may round differently in a batch of another size: with placeholders a clip has the same bytes.
    """

    num_latents: int
    num_windows: int


class FoleyGRAMPipeline:
    """Video to synchronised sound with a release's parts; inference only."""

    def __init__(
        self,
        parts: Parts,
        spec: ClipSpec,
        sampler: SamplerSettings,
        licences: Mapping[str, str] = MappingProxyType({}),
        trained_on: Mapping[str, Any] = MappingProxyType({}),
        scores: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.parts, self.spec, self.sampler = parts, spec, sampler
        self.licences, self.trained_on, self.scores = licences, trained_on, scores
        backbone = Backbone(parts.transformer, parts.vae, parts.projection_model)
        self.model = FoleyModel(backbone, parts.projectors, parts.controlnet)
        self.encoder = ConditionEncoder(parts, self.model, spec)

    @classmethod
    def from_pretrained(cls, folder: str | Path, torch_dtype: torch.dtype = torch.float32) -> "FoleyGRAMPipeline":
        """Load a release folder or hub id to compute in `torch_dtype`; envelope, t and its embedding, solvers: float32.

        Raises FileNotFoundError or ValueError naming the part that is missing or damaged, PermissionError for a gated
        hub id, ConnectionError without a network.
        """
        folder = find_release(folder)
        loaded, index = load_release(folder, torch_dtype), read_index(folder)
        return cls(*loaded, licences_of(folder), index.get("trained_on", {}), read_scores(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a release folder with its model card."""
        folder = Path(folder)
        for name, part in self.parts.present().items():
            part.save_pretrained(folder / name)
        if self.scores:
            write_json(folder / SCORES, dict(self.scores))
        write_index(folder, self.spec, self.sampler, self.licences, self.trained_on)  # last: half a release has none

    def push_to_hub(self, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the release to the hub as `repo_id` (OWNER/NAME), created if absent; returns the commit's address.

        Raises ValueError for a malformed id, PermissionError without a login that may write, ConnectionError without a
        network.
        """
        return push_release(self.save_pretrained, repo_id, private=private, token=token)

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self.parts.device

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> "FoleyGRAMPipeline":
        """Move every network to `device`, and with `dtype` have all but the envelope predictor compute in it.

        Where that fails, the pipeline stays as it was. Raises TypeError for a `device` that is not one.
        """
        check_kind("device", device)
        self.parts.to(device, dtype)
        return self

    def enable_model_cpu_offload(self, device: str | torch.device = "cuda") -> "FoleyGRAMPipeline":
        """Keep networks on the CPU and each on `device` for its own step only."""
        self.parts.enable_model_cpu_offload(device)
        return self

    def envelope_of(self, video: VideoInput, envelope: str | Envelope = "predicted") -> Envelope:
        """The envelope that the sound generated for a video follows; see `envelope_of_request`."""
        return self.encoder.envelope_of(video, envelope)

    def encode(self, request: SoundRequest) -> EncodedRequest:
        """Encode a request once, for any number of takes; raises ValueError for what cannot be used."""
        return self.encoder.encode(request)

    @overload
    def __call__(self, video: str | Path | VideoInput, *arguments: Any, **options: Any) -> FoleyOutput: ...

    @overload
    def __call__(self, video: list[Any] | tuple[Any, ...], *arguments: Any, **options: Any) -> list[FoleyOutput]: ...

    def __call__(
        self,
        video: Any,
        prompt: str | Sequence[str | None] | None = None,
        negative_prompt: str | Sequence[str | None] | None = None,
        reference_audio: Tensor | np.ndarray | Sequence[Tensor | np.ndarray | None] | None = None,
        envelope: str | Envelope | Sequence[str | Envelope] = "predicted",
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        controlnet_conditioning_scale: float = 1.0,
        generator: torch.Generator | int | Sequence[int] | None = 0,
        solver: str | None = None,
        callback: Callable[[int], None] | None = None,
        *,
        apg_scale: float | None = None,
        weights: ModalityWeights = DEFAULT_WEIGHTS,
        segments: Sequence[Segment] = (),
    ) -> Any:
        """Generate a track as long as `video`; for a list of videos, a list of tracks.

        Steps, guidance, APG scale and solver that are None are the release's own. `video` is a path or what
        `read_video` returns. With a list, `prompt`, `negative_prompt`, `reference_audio`, `envelope` and `generator`
        are for all videos or lists with one for each; the videos are sampled together.
        `reference_audio` is (samples,) or (channels, samples) at 16 kHz, of any length; `generator` a CPU generator, a
        seed, or None for torch's own generator; `envelope` "predicted", "audio" for that of the video's own sound, or
        an Envelope; `callback` is called with the number of each finished step. Raises MediaError for a video that
        cannot be read, TypeError and ValueError for arguments that cannot be used.
        """
        several = isinstance(video, (list, tuple))
        requests = make_requests(
            self.spec, video, prompt=prompt, negative_prompt=negative_prompt,
            reference_audio=reference_audio, envelope=envelope, generator=generator, weights=weights, segments=segments,
        )  # fmt: skip
        outputs = self.generate(
            requests, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
            controlnet_conditioning_scale=controlnet_conditioning_scale, solver=solver, apg_scale=apg_scale,
            callback=callback,
        )  # fmt: skip
        return outputs if several else outputs[0]

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[SoundRequest | EncodedRequest | BatchPlaceholder],
        *,
        controlnet_conditioning_scale: float = 1.0,
        callback: Callable[[int], None] | None = None,
        **sampling: Any,
    ) -> list[FoleyOutput]:
        """Tracks for several videos of any length, sampled together; one per request, none for a BatchPlaceholder.

        A clip's sound depends on the others of its batch by rounding alone. A request may be encoded already.
        `sampling` are fields of `SamplerSettings`; those that are absent or None are the release's own. Raises
        ValueError without any request, TypeError for steps or scales that are not numbers.
        """
        check_control_scale(controlnet_conditioning_scale)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback is {callback!r}: give a function of the finished step's number, or None")
        sampler = self._sampler(sampling)
        slots = [self.encode(one) if isinstance(one, SoundRequest) else one for one in requests]
        sounding = [slot for slot in slots if isinstance(slot, EncodedRequest)]
        if not sounding:
            raise ValueError("no clip to generate: give at least one request")
        conditions, null, windows, lengths = self._gathered(slots, sounding[0])
        velocity = self._velocity(conditions, null, sampler, controlnet_conditioning_scale)
        latents = sampler.sample(
            _counted(windowed(denoiser_from_v(velocity), windows), callback),
            ClipNoise([p.request.seed if isinstance(p, EncodedRequest) else 0 for p in slots], lengths),
            torch.empty(1, self.parts.transformer.config.in_channels, sum(lengths), device=self.device),
        )
        self.parts.bring("vae")
        clips = zip(slots, latents.split(lengths, dim=-1), strict=True)
        return [
            FoleyOutput(self._decoded(clip, slot.request.video.seconds), self.spec.sample_rate, slot.envelope)
            for slot, clip in clips
            if isinstance(slot, EncodedRequest)
        ]

    def _decoded(self, latents: Tensor, seconds: float) -> Tensor:
        return self.model.decode(latents, round(seconds * self.spec.sample_rate))[0]

    def _gathered(
        self, slots: Sequence[EncodedRequest | BatchPlaceholder], filling: EncodedRequest
    ) -> tuple[Conditions, Conditions, list[Window], list[int]]:
        """Conditions and their null branch, one row per window of the batch; its windows; each clip's latents.

        A placeholder is filled with the first row of `filling`; its sound is dropped.
        """
        plans, lengths = [], []
        branches: list[tuple[Conditions, Conditions]] = []
        for slot in slots:
            if isinstance(slot, EncodedRequest):
                plans.append(slot.windows)
                lengths.append(total_latents(slot.request.video.seconds, self.spec))
                branches.append((slot.conditions, slot.null))
            else:
                plans.append([Window(0, torch.ones(self.spec.num_latents), 0, 0)] * slot.num_windows)
                lengths.append(slot.num_latents)
                first = [0] * slot.num_windows
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
        controlnet_conditioning_scale: float = 1.0,
        seeds: Sequence[int],
        **sampling: Any,
    ) -> Tensor:
        """Audio (B, channels, samples) for a batch of clips of `spec.seconds`.

        `envelopes` (B, values) or "predicted"; `present` names the modalities whose tokens are kept; one seed per clip.
        `sampling` as in `generate`.
        """
        check_control_scale(controlnet_conditioning_scale)
        sampler = self._sampler(sampling)
        embedded, count = self.parts.embed(batch), len(seeds)
        keep = torch.tensor([modality in present for modality in MODALITIES]).expand(count, -1)
        if isinstance(envelopes, str):
            self.parts.bring("envelope_predictor")
            motion, ages = batch["motion"].to(self.device), batch["motion_ages"].to(self.device)
            envelopes = self.parts.envelope_predictor.predict(motion, ages)
        control = self.encoder.control_latents(envelopes)
        conditions = self.encoder.conditions([embedded[modality] for modality in MODALITIES], keep, control)
        velocity = self._velocity(conditions, conditions.null(), sampler, controlnet_conditioning_scale)
        like = torch.empty(count, self.parts.transformer.config.in_channels, self.spec.num_latents, device=self.device)
        latents = sampler.sample(denoiser_from_v(velocity), ClipNoise(seeds), like)
        self.parts.bring("vae")
        return self.model.decode(latents, self.spec.num_samples)

    def _sampler(self, overrides: Mapping[str, Any]) -> SamplerSettings:
        """The release's sampler settings with `overrides`; raises TypeError or ValueError for one that is unusable."""
        for name in overrides.keys() & KINDS.keys():
            check_kind(name, overrides[name])
        return self.sampler.override(**overrides)

    def _velocity(
        self, conditions: Conditions, null: Conditions, sampler: SamplerSettings, control_scale: float
    ) -> Velocity:
        """v of the controlled DiT under guidance."""
        self.parts.bring("transformer", "controlnet")
        velocity = partial(self.model.velocity, control_scale=control_scale)
        return guided(
            velocity, conditions, null, sampler.guidance_scale, rows_at_once=WINDOWS_AT_ONCE,
            apg_scale=sampler.apg_scale,
        )  # fmt: skip


def _counted(denoise: Denoiser, callback: Callable[[int], None] | None) -> Denoiser:
    """`denoise`, with `callback` called with the number of each finished step."""
    if callback is None:
        return denoise
    numbers = count(1)

    def counted(latents: Tensor, sigma: Tensor) -> Tensor:
        clean = denoise(latents, sigma)
        callback(next(numbers))
        return clean

    return counted
