"""FoleyGRAMPipeline: video, and perhaps text, reference sound and an envelope, to a waveform."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foleygram.checkpoints import load_release, save_release
from foleygram.envelope.curve import Envelope
from foleygram.generation.backbone import decode_latents
from foleygram.generation.conditioning import MODALITIES, Conditions, control_latents, duration_conditions
from foleygram.generation.controlnet import controlled_forward
from foleygram.generation.sampling import SOLVERS, ClipNoise, denoiser_from_v, exponential_sigmas, windowed
from foleygram.inputs import VideoInput, read_video, total_latents, window_hop, window_seconds
from foleygram.media.audio import fit_length
from foleygram.spec import ClipSpec

DEFAULT_STEPS = 50
DEFAULT_GUIDANCE = 5.0
DEFAULT_SOLVER = "dpmpp_2m"
ROWS_AT_ONCE = 16
DECODE_MARGIN = 16
"""Latents decoded on each side of a chunk of a long clip and thrown away: more than the decoder's reach."""

TOGETHER = frozenset({"transformer", "controlnet"})
"""Parts that take turns within one step, so that offloading keeps both on the device."""


@dataclass(frozen=True)
class FoleyOutput:
    """A generated track: audio (channels, samples), its rate in Hz, and the envelope that steered it."""

    audio: Tensor
    sample_rate: int
    envelope: Envelope


class FoleyGRAMPipeline:
    """Video to synchronised sound with a release folder's parts; inference only, nothing in it trains."""

    def __init__(self, parts: Mapping[str, Any], spec: ClipSpec, sigmas: tuple[float, float]) -> None:
        self.parts, self.spec, self.sigmas = dict(parts), spec, sigmas
        self.device = torch.device("cpu")
        self._resident: frozenset[str] | None = None  # parts on the device under offloading; None: all of them
        for part in self._networks().values():
            part.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "FoleyGRAMPipeline":
        """Load a release folder; raises FileNotFoundError or ValueError naming the part that is missing or damaged."""
        return cls(*load_release(Path(folder)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a release folder."""
        save_release(Path(folder), self.parts, self.spec, self.sigmas)

    def to(self, device: str | torch.device) -> "FoleyGRAMPipeline":
        """Move every network to `device`."""
        self.device, self._resident = torch.device(device), None
        for part in self._networks().values():
            part.to(self.device)
        return self

    def enable_model_cpu_offload(self, device: str | torch.device = "cuda") -> "FoleyGRAMPipeline":
        """Keep networks on the CPU, each on `device` for its own step alone: slower, and the largest part must fit."""
        self.to("cpu")
        self.device, self._resident = torch.device(device), frozenset()
        return self

    def _networks(self) -> dict[str, nn.Module]:
        return {name: part for name, part in self.parts.items() if isinstance(part, nn.Module)}

    def _bring(self, name: str) -> None:
        wanted = TOGETHER if name in TOGETHER else frozenset({name})
        if wanted != self._resident:
            for other, part in self._networks().items():  # first out, then in: never both
                if other not in wanted:
                    part.to("cpu")
            for other in wanted & self._networks().keys():
                self.parts[other].to(self.device)
            self._resident = wanted

    def __getattr__(self, name: str) -> Any:
        if name != "parts" and name in self.parts:
            if self._resident is not None and isinstance(self.parts[name], nn.Module):
                self._bring(name)
            return self.parts[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    @torch.inference_mode()
    def __call__(
        self,
        video: str | Path | VideoInput,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        reference_audio: Tensor | None = None,
        envelope: str | Envelope = "predicted",
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float = DEFAULT_GUIDANCE,
        controlnet_conditioning_scale: float = 1.0,
        generator: torch.Generator | int = 0,
        solver: str = DEFAULT_SOLVER,
        callback: Callable[[int], None] | None = None,
    ) -> FoleyOutput:
        """Generate a track as long as `video`.

        `reference_audio` is mono (samples,) at 16 kHz; `generator` a CPU generator or a seed; `envelope` "predicted",
        or an Envelope; `callback` is told the number of each finished step.
        """
        seen = video if isinstance(video, VideoInput) else read_video(Path(video), self.spec)
        curve = self._envelope(seen, envelope)
        embeddings, present = self._window_embeddings(seen, prompt, reference_audio)
        conditions = self._conditions(embeddings, present, self._window_envelopes(curve, seen.seconds))
        null = conditions.null() if negative_prompt is None else self._negative(conditions, embeddings, negative_prompt)
        seed = generator if isinstance(generator, int) else int(torch.randint(2**62, (), generator=generator))
        velocity = self._velocity(conditions, null, guidance_scale, controlnet_conditioning_scale)
        denoise = windowed(denoiser_from_v(velocity), window=self.spec.num_latents, hop=window_hop(self.spec))
        latents = self._sample(
            denoise, [seed], total_latents(seen.seconds, self.spec), num_inference_steps, solver, callback
        )
        audio = self._decode(latents, round(seen.seconds * self.spec.sample_rate))
        return FoleyOutput(audio[0].cpu(), self.spec.sample_rate, curve)

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
        conditions = self._conditions([embedded[modality] for modality in MODALITIES], keep, curve)
        velocity = self._velocity(conditions, conditions.null(), guidance_scale, controlnet_conditioning_scale)
        latents = self._sample(
            denoiser_from_v(velocity), seeds, self.spec.num_latents, num_inference_steps, solver, None
        )
        return decode_latents(self.vae, latents, self.spec.num_samples).float().cpu()

    @torch.inference_mode()
    def embed(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Unit embeddings (B, D) of `frames`, `caption` and `envelope_audio`; zeros for what the batch lacks."""
        embedded: dict[str, Tensor] = {}
        if "frames" in batch:
            embedded["video"] = self.video_encoder(batch["frames"].to(self.device))
        if "caption" in batch:
            embedded["text"] = self._embed_text(batch["caption"])
        if "envelope_audio" in batch:
            embedded["audio"] = self.audio_encoder.embed_waveform(batch["envelope_audio"].to(self.device))
        like = next(iter(embedded.values()))
        return {modality: embedded.get(modality, torch.zeros_like(like)) for modality in MODALITIES}

    def _embed_text(self, prompts: Sequence[str]) -> Tensor:
        encoded = self.tokenizer(list(prompts), padding=True, truncation=True, max_length=40, return_tensors="pt")
        return self.text_encoder(encoded["input_ids"].to(self.device), encoded["attention_mask"].to(self.device))

    @torch.inference_mode()
    def predict_envelope(self, motion: Tensor, motion_ages: Tensor) -> Tensor:
        """RMS envelopes (B, values) of frames on the predictor's time grid."""
        return self.envelope_predictor.predict(motion.to(self.device), motion_ages.to(self.device))

    def _envelope(self, seen: VideoInput, envelope: str | Envelope) -> Envelope:
        if isinstance(envelope, Envelope):
            return envelope
        if envelope != "predicted":
            raise ValueError(f"envelope is {envelope!r}: give 'predicted' or an Envelope")
        values = self.envelope_predictor.predict_long(
            seen.motion[None].to(self.device), seen.motion_ages[None].to(self.device)
        )
        kept = round(seen.seconds * self.spec.envelope_rate) + 1
        return Envelope(values[0, :kept].float().cpu().numpy(), self.spec.envelope_rate)

    def _window_envelopes(self, curve: Envelope, seconds: float) -> Tensor:
        """The whole video's one envelope, cut to windows (W, values); zero past its end."""
        rate, count = self.spec.envelope_rate, self.spec.num_envelope_values
        times = torch.arange(count) / rate
        known = torch.from_numpy(curve.values)
        rows = []
        for start in window_seconds(seconds, self.spec):
            place = (start + times) * curve.rate
            low = place.floor().long()
            inside = low < len(known)
            low, high = low.clamp(max=len(known) - 1), (low + 1).clamp(max=len(known) - 1)
            rows.append(torch.lerp(known[low], known[high], (place - place.floor()).float()) * inside)
        return torch.stack(rows)

    def _window_embeddings(
        self, seen: VideoInput, prompt: str | None, reference_audio: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        video = self.video_encoder(seen.frames.to(self.device))
        text = self._embed_text([prompt]).expand_as(video) if prompt else torch.zeros_like(video)
        audio = torch.zeros_like(video)
        if reference_audio is not None:
            length = round(self.spec.seconds * 16_000)
            audio = self.audio_encoder.embed_waveform(
                fit_length(reference_audio[None], length).to(self.device)
            ).expand_as(video)
        present = torch.tensor([True, bool(prompt), reference_audio is not None])
        return [video, text, audio], present.expand(len(video), -1)

    def _conditions(self, embeddings: Sequence[Tensor], present: Tensor, envelopes: Tensor) -> Conditions:
        count = len(envelopes)
        tokens = self.projectors(*embeddings, present.to(self.device))
        start = torch.zeros(count, device=self.device)
        durations, global_states = duration_conditions(self.projection_model, start, start + self.spec.seconds)
        chunks = [
            control_latents(self.vae, rows.to(self.device), self.spec.num_samples)
            for rows in envelopes.split(ROWS_AT_ONCE)
        ]
        return Conditions(torch.cat([tokens, durations], dim=1), global_states, torch.cat(chunks))

    def _negative(self, conditions: Conditions, embeddings: Sequence[Tensor], negative_prompt: str) -> Conditions:
        """Guidance's other branch under a negative prompt: it fills the text slot, all else is zero."""
        text = self._embed_text([negative_prompt]).expand_as(embeddings[0])
        only_text = torch.tensor([False, True, False], device=self.device).expand(len(text), -1)
        tokens = self.projectors(embeddings[0], text, embeddings[2], only_text)
        null = conditions.null()
        null.cross_tokens[:, : len(MODALITIES)] = tokens
        return null

    def _velocity(
        self, conditions: Conditions, null: Conditions, guidance_scale: float, control_scale: float
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """v of the controlled DiT under classifier-free guidance, a bounded number of rows at a time."""

        def plain(latents: Tensor, timestep: Tensor, told: Conditions) -> Tensor:
            residuals = (
                self.controlnet(latents, timestep, *told, conditioning_scale=control_scale) if control_scale else []
            )
            return controlled_forward(
                self.transformer, latents, timestep, told.cross_tokens, told.global_states, residuals
            )

        def guided(latents: Tensor, timestep: Tensor) -> Tensor:
            rows = []
            for first in range(0, len(latents), ROWS_AT_ONCE):
                span = slice(first, first + ROWS_AT_ONCE)
                some, when = latents[span], timestep[span]
                told, untold = Conditions(*(c[span] for c in conditions)), Conditions(*(c[span] for c in null))
                if guidance_scale == 1:
                    rows.append(plain(some, when, told))
                    continue
                both = Conditions(*(torch.cat(pair) for pair in zip(told, untold, strict=True)))
                positive, negative = plain(torch.cat([some, some]), torch.cat([when, when]), both).chunk(2)
                rows.append(negative + guidance_scale * (positive - negative))
            return torch.cat(rows)

        return guided

    def _sample(
        self,
        denoise: Callable[[Tensor, Tensor], Tensor],
        seeds: Sequence[int],
        num_latents: int,
        num_inference_steps: int,
        solver: str,
        callback: Callable[[int], None] | None,
    ) -> Tensor:
        if solver not in SOLVERS:
            raise ValueError(f"unknown solver {solver!r}; there are {', '.join(SOLVERS)}")
        sigmas = exponential_sigmas(num_inference_steps, sigma_min=self.sigmas[0], sigma_max=self.sigmas[1])
        noise = ClipNoise(seeds)
        like = torch.empty(len(seeds), self.transformer.config.in_channels, num_latents, device=self.device)
        steps = 0

        def counted(latents: Tensor, sigma: Tensor) -> Tensor:
            nonlocal steps
            clean = denoise(latents, sigma)
            steps += 1
            if callback:
                callback(steps)
            return clean

        return SOLVERS[solver](counted, noise(like) * sigmas[0], sigmas, noise=noise)

    def _decode(self, latents: Tensor, num_samples: int) -> Tensor:
        """Decode latents (1, C, T) of any length in chunks that overlap by more than the decoder's reach."""
        chunk, hop, total = 4 * self.spec.num_latents, self.spec.latent_hop, latents.shape[-1]
        pieces = []
        for start in range(0, total, chunk):
            begin, end = max(0, start - DECODE_MARGIN), min(total, start + chunk + DECODE_MARGIN)
            audio = self.vae.decode(latents[..., begin:end]).sample
            pieces.append(audio[..., (start - begin) * hop : (min(total, start + chunk) - begin) * hop])
        return torch.cat(pieces, dim=-1)[..., :num_samples].float()
