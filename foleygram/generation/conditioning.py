"""What the DiT is told: projected embeddings, durations and the envelope's control latent (paper notes, section 3)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from diffusers import AutoencoderOobleck, ConfigMixin, ModelMixin, StableAudioProjectionModel
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from foleygram.envelope.rms import envelope_curve
from foleygram.generation.backbone import encode_audio

MODALITIES = ("video", "text", "audio")


class Conditions(NamedTuple):
    """All the DiT and its ControlNet are told, independent of the timestep."""

    cross_tokens: Tensor
    """(B, N, cross_attention_input_dim)."""
    global_states: Tensor
    """(B, global_states_input_dim)."""
    control_latents: Tensor
    """(B, control_channels, T)."""

    def null(self) -> "Conditions":
        """The unconditional branch of guidance: cross-attention tokens zero, durations and envelope kept."""
        return self._replace(cross_tokens=torch.zeros_like(self.cross_tokens))

    def rows(self, index: slice | list[int]) -> "Conditions":
        """Those of the rows that `index` names, in its order."""
        return Conditions(*(part[index] for part in self))

    @classmethod
    def joined(cls, parts: Iterable["Conditions"]) -> "Conditions":
        """The rows of several, one after another."""
        return cls(*map(torch.cat, zip(*parts, strict=True)))


class SemanticProjectors(ModelMixin, ConfigMixin):
    """Three linear projectors, one cross-attention token for each of video, text and audio (FoleyGRAM, section 3).

    Embeddings have unit length, so `token_std` is the deviation of a fresh token's values: near that of the prompt
    tokens the backbone knows, whose cross-attention hardly hears smaller ones. None starts as `nn.Linear` does.
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

    def forward(self, video: Tensor, text: Tensor, audio: Tensor, present: Tensor) -> Tensor:
        """Tokens (B, 3, cross_attention_input_dim) from unit embeddings (B, D); `present` (B, 3) zeroes the absent.

        Zeroed after the projector, whose bias would leak, and by multiplication, so every projector keeps a gradient.
        """
        embeddings = dict(zip(MODALITIES, (video, text, audio), strict=True))
        tokens = [self.projectors[modality](embeddings[modality].to(self.dtype)) for modality in MODALITIES]
        return torch.stack(tokens, dim=1) * present[..., None].to(tokens[0])


def duration_conditions(
    projection_model: StableAudioProjectionModel, seconds_start: Tensor, seconds_total: Tensor
) -> tuple[Tensor, Tensor]:
    """Duration tokens (B, 2, D) and the global condition (B, 2 D) of clips that start at and last so many seconds."""
    output = projection_model(start_seconds=seconds_start, end_seconds=seconds_total)
    tokens = torch.cat([output.seconds_start_hidden_states, output.seconds_end_hidden_states], dim=1)
    return tokens, tokens.flatten(1)


def control_latents(vae: AutoencoderOobleck, envelope: Tensor, num_samples: int) -> Tensor:
    """Control latents (B, C, T) of RMS envelopes (B, values) that span `num_samples` at the audio rate.

    The curve is drawn at that rate, zero-padded to whole latents and sent through the frozen encoder's mean.
    """
    curve = envelope_curve(envelope, num_samples)
    padded = functional.pad(curve, (0, -num_samples % vae.hop_length))
    return encode_audio(vae, padded[:, None].expand(-1, vae.config.audio_channels, -1).to(vae.dtype)).mean
