"""A request encoded for the networks: embeddings, the envelope, conditions window by window."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from foleygram.envelope.envelope import Envelope
from foleygram.generation.conditioning import MODALITIES, Conditions, control_latents, duration_conditions
from foleygram.generation.windows import Window
from foleygram.pipeline.parts import PlacedParts
from foleygram.pipeline.request import REFERENCE_RATE, SoundRequest, VideoInput, window_seconds
from foleygram.spec import ClipSpec

ROWS_AT_ONCE = 16
"""Windows that go through the networks together, whatever the batch: memory does not grow with a video's length."""


class EncodedRequest(NamedTuple):
    """A request and what the networks made of it, a row of conditions per window: enough for any number of takes."""

    request: SoundRequest
    envelope: Envelope
    windows: list[Window]
    conditions: Conditions
    null: Conditions

    def with_seed(self, seed: int) -> "EncodedRequest":
        """The same under another seed."""
        return self._replace(request=replace(self.request, seed=seed))


class ConditionEncoding(PlacedParts):
    """The encoding half of the pipeline: everything that does not depend on the timestep."""

    def __init__(self, parts: Mapping[str, Any], spec: ClipSpec) -> None:
        super().__init__(parts)
        self.spec = spec

    @torch.inference_mode()
    def embed(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Unit embeddings (B, D) of `frames`, `caption` and `envelope_audio`; zeros for what the batch lacks."""
        embedded: dict[str, Tensor] = {}
        if "frames" in batch:
            embedded["video"] = self.video_encoder(batch["frames"].to(self.device))
        if "caption" in batch:
            embedded["text"] = self.text_encoder.embed_texts(self.tokenizer, batch["caption"])
        if "envelope_audio" in batch:
            embedded["audio"] = self.audio_encoder.embed_waveform(batch["envelope_audio"].to(self.device))
        like = next(iter(embedded.values()))
        return {modality: embedded.get(modality, torch.zeros_like(like)) for modality in MODALITIES}

    def _embed_text(self, prompt: str) -> Tensor:
        return self.text_encoder.embed_texts(self.tokenizer, [prompt])

    def _embed_reference(self, audio: Tensor | np.ndarray) -> Tensor:
        """Unit embedding (1, D) of a reference (samples,) or (channels, samples): the mean over clips as in training.

        A shorter reference is repeated until it fills a clip: silence after it would be embedded as well.
        """
        length = round(self.spec.seconds * REFERENCE_RATE)
        mono = torch.as_tensor(audio).float()
        mono = mono.mean(0) if mono.ndim == 2 else mono
        if mono.ndim != 1 or not len(mono) or not mono.isfinite().all():
            raise ValueError(
                f"a reference sound of shape {tuple(mono.shape)}: give finite samples at 16 kHz, (samples,) or "
                "(channels, samples)"
            )
        count = max(1, round(len(mono) / length))
        whole = mono.repeat(-(-count * length // len(mono)))
        clips = whole[: count * length].reshape(count, length)
        rows = [self.audio_encoder.embed_waveform(some.to(self.device)) for some in clips.split(ROWS_AT_ONCE)]
        return functional.normalize(torch.cat(rows).mean(0, keepdim=True), dim=-1)

    @torch.inference_mode()
    def predict_envelope(self, motion: Tensor, motion_ages: Tensor) -> Tensor:
        """RMS envelopes (B, values) of frames on the predictor's time grid."""
        return self.envelope_predictor.predict(motion.to(self.device), motion_ages.to(self.device))

    @torch.inference_mode()
    def envelope_of(self, seen: VideoInput, envelope: str | Envelope = "predicted") -> Envelope:
        """The envelope of a whole video, predicted in one piece; one that is given is passed on.

        Raises ValueError for any other word than "predicted".
        """
        if isinstance(envelope, Envelope):
            return envelope
        if not isinstance(envelope, str) or envelope != "predicted":
            raise ValueError(f"envelope is {envelope!r:.50}: give 'predicted' or an Envelope; 'audio' needs a file")
        values = self.envelope_predictor.predict_long(
            seen.motion[None].to(self.device), seen.motion_ages[None].to(self.device)
        )
        kept = round(seen.seconds * self.spec.envelope_rate) + 1
        return Envelope(values[0, :kept].float().cpu().numpy(), self.spec.envelope_rate)

    @torch.inference_mode()
    def encode(self, request: SoundRequest) -> EncodedRequest:
        """What the networks make of a request; raises ValueError for an envelope or a reference that cannot be."""
        curve, windows = self.envelope_of(request.seen, request.envelope), request.windows(self.spec)
        return EncodedRequest(request, curve, windows, *self._request_conditions(request, curve, windows))

    def _request_conditions(
        self, request: SoundRequest, curve: Envelope, windows: Sequence[Window]
    ) -> tuple[Conditions, Conditions]:
        """Conditions of a request and guidance's other branch, one row per window."""
        rows, region = [w.row for w in windows], [w.region for w in windows]
        regions = request.regions()
        video = torch.cat([self.video_encoder(f.to(self.device)) for f in request.seen.frames.split(ROWS_AT_ONCE)])
        absent = torch.zeros_like(video[:1])
        texts = [self._embed_text(r.prompt) if r.prompt else absent for r in regions]
        sounds = [absent if r.reference_audio is None else self._embed_reference(r.reference_audio) for r in regions]
        weights = torch.tensor([
            [request.weights.video, request.weights.text * bool(r.prompt),
             request.weights.audio * (r.reference_audio is not None)] for r in regions
        ])  # fmt: skip
        embeddings = [video[rows], torch.cat(texts)[region], torch.cat(sounds)[region]]
        control = self._control_latents(self._window_envelopes(curve, request.seen.seconds))[rows]
        conditions = self._conditions(embeddings, weights[region], control)
        null = conditions.null()
        if request.negative_prompt is not None:
            null = self._negative(conditions, embeddings, request.negative_prompt)
        return conditions, null

    def _window_envelopes(self, curve: Envelope, seconds: float) -> Tensor:
        """The whole video's one envelope, cut to windows (W, values); zero past its end."""
        times = np.arange(self.spec.num_envelope_values) / self.spec.envelope_rate
        starts = window_seconds(seconds, self.spec)
        return torch.stack([torch.from_numpy(curve.at(start + times)) for start in starts])

    def _control_latents(self, envelopes: Tensor) -> Tensor:
        chunks = envelopes.to(self.device).split(ROWS_AT_ONCE)
        return torch.cat([control_latents(self.vae, rows, self.spec.num_samples) for rows in chunks])

    def _conditions(self, embeddings: Sequence[Tensor], weights: Tensor, control: Tensor) -> Conditions:
        """Conditions (B, ...) from embeddings (B, D) of each modality, weights (B, 3) of their tokens, control."""
        tokens = self.projectors(*embeddings, weights.to(self.device))
        start = torch.zeros(len(control), device=self.device)
        durations, global_states = duration_conditions(self.projection_model, start, start + self.spec.seconds)
        return Conditions(torch.cat([tokens, durations], dim=1), global_states, control)

    def _negative(self, conditions: Conditions, embeddings: Sequence[Tensor], negative_prompt: str) -> Conditions:
        """Guidance's other branch under a negative prompt: it fills the text slot, all else is zero."""
        text = self._embed_text(negative_prompt).expand_as(embeddings[0])
        only_text = torch.tensor([False, True, False], device=self.device).expand(len(text), -1)
        tokens = self.projectors(embeddings[0], text, embeddings[2], only_text)
        null = conditions.null()
        null.cross_tokens[:, : len(MODALITIES)] = tokens
        return null
