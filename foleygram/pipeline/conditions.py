"""A request encoded for the networks: embeddings, the envelope, conditions window by window."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from foleygram.envelope.envelope import Envelope
from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.generation.autoencoder import control_latents
from foleygram.generation.model import Conditions, FoleyModel
from foleygram.generation.sampling import Window
from foleygram.pipeline.parts import Parts
from foleygram.pipeline.request import REFERENCE_RATE, SoundRequest, VideoInput, window_seconds
from foleygram.spec import ClipSpec

WINDOWS_AT_ONCE = 16
"""Windows that go through the networks together, whatever the batch: memory does not grow with a video's length."""


class EncodedRequest(NamedTuple):
    """A request with its envelope and one row of conditions per window: enough for any number of takes."""

    request: SoundRequest
    envelope: Envelope
    windows: list[Window]
    conditions: Conditions
    null: Conditions

    def with_seed(self, seed: int) -> "EncodedRequest":
        """The same under another seed."""
        return self._replace(request=replace(self.request, seed=seed))


@torch.inference_mode()
def envelope_of_request(
    predictor: EnvelopePredictor, video: VideoInput, envelope: str | Envelope, spec: ClipSpec
) -> Envelope:
    """The envelope of a whole video: predicted in one piece for "predicted", or the given one.

    Raises ValueError for any other string.
    """
    if isinstance(envelope, Envelope):
        return envelope
    if not isinstance(envelope, str) or envelope != "predicted":
        raise ValueError(f"envelope is {envelope!r:.50}: give 'predicted' or an Envelope; 'audio' needs a file")
    device = predictor.device
    values = predictor.predict_long(video.motion[None].to(device), video.motion_ages[None].to(device))
    num_values = round(video.seconds * spec.envelope_rate) + 1
    return Envelope(values[0, :num_values].float().cpu().numpy(), spec.envelope_rate)


class ConditionEncoder:
    """Turns requests into conditions: everything that does not depend on the timestep."""

    def __init__(self, parts: Parts, model: FoleyModel, spec: ClipSpec) -> None:
        self.parts, self.model, self.spec = parts, model, spec

    def envelope_of(self, video: VideoInput, envelope: str | Envelope = "predicted") -> Envelope:
        """See `envelope_of_request`."""
        self.parts.bring("envelope_predictor")
        return envelope_of_request(self.parts.envelope_predictor, video, envelope, self.spec)

    @torch.inference_mode()
    def encode(self, request: SoundRequest) -> EncodedRequest:
        """Encode a request; raises ValueError for an envelope or a reference that cannot be used."""
        envelope, windows = self.envelope_of(request.video, request.envelope), request.windows(self.spec)
        regions, region = request.regions(), [window.region for window in windows]
        rows = [window.row for window in windows]
        self.parts.bring("video_encoder")
        frames = request.video.frames.split(WINDOWS_AT_ONCE)
        video = torch.cat([self.parts.video_encoder(some.to(self.parts.device)) for some in frames])
        absent = torch.zeros_like(video[:1])
        texts = [self._embed_text(r.prompt) if r.prompt else absent for r in regions]
        sounds = [absent if r.reference_audio is None else self._embed_reference(r.reference_audio) for r in regions]
        weights = torch.tensor([
            [request.weights.video, request.weights.text * bool(r.prompt),
             request.weights.audio * (r.reference_audio is not None)] for r in regions
        ])  # fmt: skip
        embeddings = [video[rows], torch.cat(texts)[region], torch.cat(sounds)[region]]
        control = self.control_latents(self._window_envelopes(envelope, request.video.seconds))[rows]
        conditions = self.conditions(embeddings, weights[region], control)
        null = self.model.null(conditions)
        if request.negative_prompt is not None:
            text = self._embed_text(request.negative_prompt)
            self.parts.bring("projectors")
            null = self.model.null(conditions, text)
        return EncodedRequest(request, envelope, windows, conditions, null)

    def control_latents(self, envelopes: Tensor) -> Tensor:
        """Control latents (W, C, T) of envelopes (W, values), each of one window."""
        self.parts.bring("vae")
        chunks = envelopes.to(self.parts.device).split(WINDOWS_AT_ONCE)
        return torch.cat([control_latents(self.parts.vae, some, self.spec.num_samples) for some in chunks])

    def conditions(self, embeddings: Sequence[Tensor], weights: Tensor, control: Tensor) -> Conditions:
        """`FoleyModel.conditions` of W windows from 0 s: embeddings (W, D), weights (W, 3), control (W, C, T)."""
        self.parts.bring("projectors", "projection_model")
        start = torch.zeros(len(control), device=self.parts.device)
        return self.model.conditions(
            embeddings,
            weights.to(self.parts.device),
            control,
            start,
            start + self.spec.seconds,
        )

    def _embed_text(self, prompt: str) -> Tensor:
        self.parts.bring("text_encoder")
        return self.parts.text_encoder.embed_texts(self.parts.tokenizer, [prompt])

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
        clips = whole[: count * length].reshape(count, length).split(WINDOWS_AT_ONCE)
        self.parts.bring("audio_encoder")
        vectors = [self.parts.audio_encoder.embed_waveform(some.to(self.parts.device)) for some in clips]
        return functional.normalize(torch.cat(vectors).mean(0, keepdim=True), dim=-1)

    def _window_envelopes(self, envelope: Envelope, seconds: float) -> Tensor:
        """The whole video's one envelope, cut to windows (W, values); zero past its end."""
        times = np.arange(self.spec.num_envelope_values) / self.spec.envelope_rate
        starts = window_seconds(seconds, self.spec)
        return torch.stack([torch.from_numpy(envelope.at(start + times)) for start in starts])
