"""FoleyModel: the conditioned, controlled DiT that training, generation and previews share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from foleygram.generation.backbone import Backbone, decode_latents
from foleygram.generation.conditioning import MODALITIES, Conditions, SemanticProjectors, with_durations
from foleygram.generation.controlnet import EnvelopeControlNet, controlled_forward


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
