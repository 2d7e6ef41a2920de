"""Conditions of the DiT: projected embeddings, durations, control latents (FoleyGRAM, arXiv 2510.05829, sec. III-B)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from diffusers import AutoencoderOobleck, ConfigMixin, ModelMixin, StableAudioProjectionModel
from diffusers.configuration_utils import register_to_config
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

from foleygram.envelope.rms import envelope_curve
from foleygram.generation.backbone import encode_audio

MODALITIES = ("video", "text", "audio")
MODALITY_SUBSETS = torch.tensor(
    [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=torch.bool
)
"""Which of video, text and audio a training clip keeps; video only twice, because most users have only a video."""


class Conditions(NamedTuple):
    """Everything but latents and timestep that the DiT and its ControlNet take; computed once per clip."""

    cross_tokens: Tensor
    """(B, N, cross_attention_input_dim)."""
    global_states: Tensor
    """(B, global_states_input_dim)."""
    control_latents: Tensor
    """(B, control_channels, T)."""

    def null(self, dropped: Tensor | None = None) -> "Conditions":
        """The unconditional branch of guidance, of the clips in `dropped` (B,) only if given; see `drop_tokens`."""
        return self._replace(cross_tokens=drop_tokens(self.cross_tokens, dropped))

    def rows(self, index: slice | list[int]) -> "Conditions":
        """The conditions of the clips at `index`, in that order."""
        return Conditions(*(part[index] for part in self))

    @classmethod
    def joined(cls, parts: Iterable["Conditions"]) -> "Conditions":
        """Concatenate along the batch."""
        return cls(*map(torch.cat, zip(*parts, strict=True)))


def drop_tokens(cross_tokens: Tensor, dropped: Tensor | None = None) -> Tensor:
    """Cross-attention tokens (B, N, D) with all of those of the clips `dropped` (B,) zero, of every clip where None.

    What the DiT knows as "no prompt" (classifier-free guidance, arXiv 2207.12598). The global condition, which holds
    the durations as well, and the envelope are never dropped.
    """
    return torch.zeros_like(cross_tokens) if dropped is None else cross_tokens.masked_fill(dropped[:, None, None], 0)


class SemanticProjectors(ModelMixin, ConfigMixin):
    """Three linear projectors, one cross-attention token per modality (FoleyGRAM, arXiv 2510.05829, sec. III-B).

    Embeddings have unit length, so `token_std` is the standard deviation of an untrained token's values. Choose it
    near that of the backbone's prompt tokens: smaller tokens hardly change its cross-attention. None: `nn.Linear`'s
    own initialisation.
    """

    @register_to_config
    def __init__(
        self, embedding_dim: int = 512, cross_attention_input_dim: int = 768, token_std: float | None = None
    ) -> None:
        super().__init__()
        projectors = {modality: nn.Linear(embedding_dim, cross_attention_input_dim) for modality in MODALITIES}
        self.projectors = nn.ModuleDict(projectors)
        if token_std is not None:
            for projector in projectors.values():
                nn.init.normal_(projector.weight, std=token_std)
                nn.init.zeros_(projector.bias)

    def forward(self, video: Tensor, text: Tensor, audio: Tensor, weights: Tensor) -> Tensor:
        """Tokens (B, 3, cross_attention_input_dim) of unit embeddings (B, D), each scaled by `weights` (B, 3).

        Scaled after the projector, because its bias would leak, and multiplied, so that every projector has a gradient.
        """
        embeddings = zip(MODALITIES, (video, text, audio), strict=True)
        tokens = [self.projectors[modality](embedding.to(self.dtype)) for modality, embedding in embeddings]
        return torch.stack(tokens, dim=1) * weights[..., None].to(tokens[0])


def duration_conditions(
    projection_model: StableAudioProjectionModel, seconds_start: Tensor, seconds_total: Tensor
) -> tuple[Tensor, Tensor]:
    """Duration tokens (B, 2, D) and the global condition (B, 2 D) of clips' start and total length in seconds (B,)."""
    output = projection_model(start_seconds=seconds_start, end_seconds=seconds_total)
    tokens = torch.cat([output.seconds_start_hidden_states, output.seconds_end_hidden_states], dim=1)
    return tokens, rearrange(tokens, "b n d -> b (n d)")


def with_durations(
    projection_model: StableAudioProjectionModel, tokens: Tensor, seconds_start: Tensor, seconds_total: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-attention tokens (B, N + 2, D), `tokens` (B, N, D) and then the durations', and the global condition."""
    durations, global_states = duration_conditions(projection_model, seconds_start, seconds_total)
    return torch.cat([tokens, durations], dim=1), global_states


def control_latents(vae: AutoencoderOobleck, envelope: Tensor, num_samples: int) -> Tensor:
    """Control latents (B, C, T) of RMS envelopes (B, values) that span `num_samples` audio samples.

    The curve is interpolated to the audio rate, padded with zeros to whole latents and encoded by the frozen
    autoencoder; the posterior's mean is the control (arXiv 2510.05829, sec. III-B).
    """
    curve = functional.pad(envelope_curve(envelope, num_samples), (0, -num_samples % vae.hop_length))
    audio = repeat(curve, "b samples -> b channels samples", channels=vae.config.audio_channels)
    return encode_audio(vae, audio.to(vae.dtype)).mean
