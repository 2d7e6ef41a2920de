"""FoleyModel: the conditioned, controlled DiT that training, generation and previews share; its projectors."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin, StableAudioProjectionModel
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import Tensor, nn

from foleygram.generation.autoencoder import decode_latents
from foleygram.generation.backbone import Backbone
from foleygram.generation.controlnet import EnvelopeControlNet, controlled_forward

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
        """The unconditional branch of guidance, for all clips or those in `dropped` (B,); see `drop_tokens`."""
        return self._replace(cross_tokens=drop_tokens(self.cross_tokens, dropped))

    def rows(self, index: slice | list[int]) -> "Conditions":
        """The conditions of the clips at `index`, in that order."""
        return Conditions(*(part[index] for part in self))

    @classmethod
    def joined(cls, parts: Iterable["Conditions"]) -> "Conditions":
        """Concatenate along the batch."""
        return cls(*map(torch.cat, zip(*parts, strict=True)))


def drop_tokens(cross_tokens: Tensor, dropped: Tensor | None = None) -> Tensor:
    """Cross-attention tokens (B, N, D), zero for the clips in `dropped` (B,), or for all clips where it is None.

    The unconditional input of classifier-free guidance (arXiv 2207.12598). The global condition, which holds
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


class FoleyModel:
    """Semantic projectors and an envelope ControlNet on a frozen backbone (FoleyGRAM, arXiv 2510.05829, sec. III-B).

    A plain class, not an `nn.Module`: the LightningModule and the pipeline register or place the networks themselves,
    so checkpoint keys do not depend on this class. Raises ValueError for trained parts whose sizes differ from the
    backbone's.
    """

    def __init__(self, backbone: Backbone, projectors: SemanticProjectors, controlnet: EnvelopeControlNet) -> None:
        _check_sizes(backbone, projectors, controlnet)
        self.backbone, self.projectors, self.controlnet = backbone, projectors, controlnet

    def conditions(
        self,
        embeddings: Sequence[Tensor],
        weights: Tensor,
        control_latents: Tensor,
        seconds_start: Tensor,
        seconds_total: Tensor,
    ) -> Conditions:
        """Conditions of B clips from unit embeddings (B, D) of video, text and audio.

        `weights` (B, 3) scales each modality's token, 0 removes it; `seconds_start` and `seconds_total` are (B,).
        """
        tokens = self.projectors(*embeddings, weights)
        cross_tokens, global_states = with_durations(
            self.backbone.projection_model, tokens, seconds_start, seconds_total
        )
        return Conditions(cross_tokens, global_states, control_latents)

    def null(self, conditions: Conditions, negative_text: Tensor | None = None) -> Conditions:
        """Guidance's unconditional branch: every token zero, or the text token that of `negative_text` (1, D)."""
        null = conditions.null()
        if negative_text is None:
            return null
        text = negative_text.expand(len(null.cross_tokens), -1)
        weights = text.new_tensor([modality == "text" for modality in MODALITIES]).expand(len(text), -1)
        tokens = self.projectors(text, text, text, weights)
        return null._replace(cross_tokens=torch.cat([tokens, null.cross_tokens[:, len(MODALITIES) :]], dim=1))

    def velocity(
        self, latents: Tensor, timestep: Tensor, conditions: Conditions, *, control_scale: float = 1.0
    ) -> Tensor:
        """v (B, C, T) of noised latents (B, C, T) at t (B,) in [0, 1]; `control_scale` weights the ControlNet."""
        transformer = self.backbone.transformer
        latents = latents.to(transformer.dtype)  # t stays float32 in every precision
        residuals = (
            self.controlnet(latents, timestep, *conditions, conditioning_scale=control_scale) if control_scale else []
        )
        return controlled_forward(
            transformer, latents, timestep, conditions.cross_tokens, conditions.global_states, residuals
        )

    def decode(self, latents: Tensor, num_samples: int) -> Tensor:
        """Audio (B, channels, num_samples), float32 on the CPU, from latents (B, C, T)."""
        return decode_latents(self.backbone.vae, latents, num_samples).float().cpu()


def _check_sizes(backbone: Backbone, projectors: SemanticProjectors, controlnet: EnvelopeControlNet) -> None:
    dit = backbone.transformer.config
    differences = [
        f"{name}.{key} {part.config[key]} where the backbone has {dit[key]}"
        for name, part in (("projectors", projectors), ("controlnet", controlnet))
        for key in part.config
        if key in dit and key != "num_layers" and not key.startswith("_") and part.config[key] != dit[key]
    ]
    if controlnet.config.num_layers > dit.num_layers:
        differences.append(f"controlnet.num_layers {controlnet.config.num_layers} for a backbone of {dit.num_layers}")
    if differences:
        raise ValueError(
            f"trained parts of another backbone: {', '.join(differences)}; use the backbone they were trained on"
        )
