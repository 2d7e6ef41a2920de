"""Envelope ControlNet for Stable Audio's DiT, and the DiT's forward pass with residuals (arXiv 2510.05829, III-B)."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin, StableAudioDiTModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import Tensor, nn
from torch.nn import functional

Rotary = tuple[Tensor, Tensor]
SHARED_SIZES = (
    "in_channels", "attention_head_dim", "num_attention_heads", "num_key_value_attention_heads", "cross_attention_dim",
    "time_proj_dim", "global_states_input_dim", "cross_attention_input_dim",
)  # fmt: skip
"""Sizes in which a ControlNet must equal the DiT that it steers."""


def rotary_embedding(attention_head_dim: int, num_latents: int, device: torch.device) -> Rotary:
    """Rotary tables of the DiT for `num_latents` latents and the prepended global token: two (T + 1, head_dim / 2)."""
    cos, sin = get_1d_rotary_pos_embed(
        attention_head_dim // 2, num_latents + 1, use_real=True, repeat_interleave_real=False
    )
    return cos.to(device), sin.to(device)


def embed_time(net: Any, timestep: Tensor) -> Tensor:
    """Embedding (B, D) of times (B) in [0, 1], at least float32: bf16 keeps 64 of 100 schedule values apart."""
    first, activation, second = net.timestep_proj
    precise = torch.promote_types(first.weight.dtype, torch.float32)
    with torch.autocast(timestep.device.type, enabled=False):
        angles = (2 * torch.pi * timestep.to(precise))[:, None] * net.time_proj.weight.to(precise)[None, :]
        hidden = torch.cat([angles.cos(), angles.sin()], dim=-1)
        hidden = activation(functional.linear(hidden, first.weight.to(precise), first.bias.to(precise)))
        return functional.linear(hidden, second.weight.to(precise), second.bias.to(precise))


def embed_inputs(
    net: Any,
    latents: Tensor,
    timestep: Tensor,
    cross_tokens: Tensor,
    global_states: Tensor,
    control: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Input side of a DiT or of its ControlNet: hidden states (B, 1 + T, D) and projected cross-attention tokens."""
    cross = net.cross_attention_proj(cross_tokens)
    prepended = net.global_proj(global_states[:, None])  # (B, 1, D)
    prepended = (prepended + embed_time(net, timestep)[:, None]).to(prepended.dtype)
    hidden = net.preprocess_conv(latents) + latents
    if control is not None:
        hidden = hidden + control
    hidden = net.proj_in(hidden.transpose(1, 2))
    return torch.cat([prepended, hidden], dim=1), cross


def controlled_forward(
    transformer: StableAudioDiTModel,
    latents: Tensor,
    timestep: Tensor,
    cross_tokens: Tensor,
    global_states: Tensor,
    residuals: Sequence[Tensor] = (),
) -> Tensor:
    """The DiT's v for noised latents (B, C, T) at t in [0, 1], `residuals[i]` (B, 1 + T, D) added before block i.

    Without residuals, or with zero ones, equal to `StableAudioDiTModel.forward`. Raises ValueError when there are
    more residuals than blocks.
    """
    if len(residuals) > len(transformer.transformer_blocks):
        raise ValueError(f"{len(residuals)} residuals for {len(transformer.transformer_blocks)} DiT blocks")
    hidden, cross = embed_inputs(transformer, latents, timestep, cross_tokens, global_states)
    rotary = rotary_embedding(transformer.config.attention_head_dim, latents.shape[-1], latents.device)
    for index, block in enumerate(transformer.transformer_blocks):
        if index < len(residuals):
            hidden = hidden + residuals[index]
        hidden = run_block(transformer, block, hidden, cross, rotary)
    hidden = transformer.proj_out(hidden).transpose(1, 2)[:, :, 1:]
    return transformer.postprocess_conv(hidden) + hidden


def run_block(owner: Any, block: nn.Module, hidden: Tensor, cross: Tensor, rotary: Rotary) -> Tensor:
    """Hidden states (B, 1 + T, D) after `block`, whose activations are recomputed where `owner` checkpoints them."""
    arguments = (hidden, None, cross, None, rotary)
    if torch.is_grad_enabled() and owner.gradient_checkpointing:
        return owner._gradient_checkpointing_func(block, *arguments)
    return block(*arguments)


class EnvelopeControlNet(ModelMixin, ConfigMixin):
    """Trainable copy of a DiT's first blocks that steers it by a control latent (stable-audio-controlnet's layout).

    The control latent (B, control_channels, T) enters through a zero convolution; block i's output leaves through
    another one and is added before DiT block i, so at initialisation the DiT is unchanged.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        num_layers: int = 4,
        in_channels: int = 64,
        control_channels: int = 64,
        attention_head_dim: int = 64,
        num_attention_heads: int = 24,
        num_key_value_attention_heads: int = 12,
        cross_attention_dim: int = 768,
        time_proj_dim: int = 256,
        global_states_input_dim: int = 1536,
        cross_attention_input_dim: int = 768,
    ) -> None:
        super().__init__()
        sizes = {name: self.config[name] for name in SHARED_SIZES}
        dit = StableAudioDiTModel(num_layers=num_layers, out_channels=in_channels, **sizes)
        self.time_proj = dit.time_proj
        self.timestep_proj = dit.timestep_proj
        self.global_proj = dit.global_proj
        self.cross_attention_proj = dit.cross_attention_proj
        self.preprocess_conv = dit.preprocess_conv
        self.proj_in = dit.proj_in
        self.transformer_blocks = dit.transformer_blocks
        width = num_attention_heads * attention_head_dim
        self.control_in = nn.Conv1d(control_channels, in_channels, 1)
        self.control_out = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(num_layers))
        for convolution in (self.control_in, *self.control_out):
            nn.init.zeros_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        self.gradient_checkpointing = False

    @classmethod
    def from_transformer(cls, dit: StableAudioDiTModel, depth_factor: float = 0.2) -> "EnvelopeControlNet":
        """Copy `max(1, int(depth_factor * num_layers))` blocks and the embedders of `dit`; zero convolutions at zero.

        Raises ValueError when `depth_factor` is outside (0, 1].
        """
        if not 0 < depth_factor <= 1:
            raise ValueError(f"depth_factor is {depth_factor}: it must lie in (0, 1]")
        config = dit.config
        controlnet = cls(
            num_layers=max(1, int(depth_factor * config.num_layers)),
            control_channels=config.in_channels,
            **{name: config[name] for name in SHARED_SIZES},
        )
        nn.Module.to(controlnet, dit.dtype)  # diffusers' own warns of modules kept in float32, of which there is none
        own = controlnet.state_dict().keys()
        controlnet.load_state_dict(
            {name: value for name, value in dit.state_dict().items() if name in own}, strict=False
        )
        return controlnet.requires_grad_(True)

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        cross_tokens: Tensor,
        global_states: Tensor,
        control_latents: Tensor,
        conditioning_scale: float = 1.0,
    ) -> list[Tensor]:
        """Residuals (B, 1 + T, D), one per copied block, of noised latents (B, C, T) and control latents (B, Cc, T)."""
        control = self.control_in(control_latents)
        hidden, cross = embed_inputs(self, latents, timestep, cross_tokens, global_states, control)
        rotary = rotary_embedding(self.config.attention_head_dim, latents.shape[-1], latents.device)
        residuals = []
        for block, convolution in zip(self.transformer_blocks, self.control_out, strict=True):
            hidden = run_block(self, block, hidden, cross, rotary)
            residuals.append(conditioning_scale * convolution(hidden.transpose(1, 2)).transpose(1, 2))
        return residuals
