"""BEATs, the audio tower: tokens of a mel filterbank (arXiv 2212.09058), computed as Microsoft's code does."""

import math
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN


class BeatsConfig(PreTrainedConfig):
    """Sizes of a BEATs tower, named as in Microsoft's checkpoints; the defaults are those of BEATs iter3.

    Raises ValueError for a size that the heads do not divide, or an activation that transformers does not have.
    """

    model_type = "beats"

    input_patch_size: int = 16
    embed_dim: int = 512
    conv_bias: bool = False
    encoder_layers: int = 12
    encoder_embed_dim: int = 768
    encoder_ffn_embed_dim: int = 3072
    encoder_attention_heads: int = 12
    activation_fn: str = "gelu"
    layer_wise_gradient_decay_ratio: float = 0.6
    layer_norm_first: bool = False
    deep_norm: bool = True
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    dropout_input: float = 0.0
    conv_pos: int = 128
    conv_pos_groups: int = 16
    relative_position_embedding: bool = True
    num_buckets: int = 320
    max_distance: int = 800
    gru_rel_pos: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if self.encoder_embed_dim % self.encoder_attention_heads:
            raise ValueError(
                f"{self.encoder_attention_heads} heads do not divide encoder_embed_dim {self.encoder_embed_dim}"
            )
        if self.activation_fn not in ACT2FN:
            raise ValueError(f"activation_fn is {self.activation_fn!r}: transformers has no such activation")
        super().__post_init__(**kwargs)


class BeatsModel(PreTrainedModel):
    """Filterbank (B, frames, mels) to tokens (B, n, encoder_embed_dim), one for each square patch, time first."""

    config_class = BeatsConfig
    config: BeatsConfig
    base_model_prefix = "beats"
    main_input_name = "fbank"

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__(config)
        patch, dim = config.input_patch_size, config.encoder_embed_dim
        self.patch_embedding = nn.Conv2d(1, config.embed_dim, patch, stride=patch, bias=config.conv_bias)
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        self.post_extract_proj = nn.Linear(config.embed_dim, dim) if config.embed_dim != dim else nn.Identity()
        self.dropout_input = nn.Dropout(config.dropout_input)
        self.encoder = BeatsEncoder(config)
        self.post_init()

    def forward(self, fbank: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Tokens (B, n, encoder_embed_dim) of filterbanks (B, frames, mels).

        `padding_mask` (B, any length) is True where the sound, or its filterbank, is padding.
        Raises ValueError when the filterbank is smaller than a patch.
        """
        patch = self.config.input_patch_size
        if fbank.ndim != 3 or min(fbank.shape[1:]) < patch:
            raise ValueError(f"fbank has shape {tuple(fbank.shape)}: expected (B, frames, mels), each at least {patch}")
        patches = self.patch_embedding(fbank[:, None].to(self.patch_embedding.weight.dtype))
        tokens = self.layer_norm(rearrange(patches, "b c frames mels -> b (frames mels) c"))
        if padding_mask is not None:
            padding_mask = pooled_mask(pooled_mask(padding_mask, fbank.shape[1]), tokens.shape[1])
        return self.encoder(self.dropout_input(self.post_extract_proj(tokens)), padding_mask)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PositionConv):
            std = math.sqrt(4 / (module.kernel_size * self.config.encoder_embed_dim))
            init.normal_(module.direction, std=std)
            init.copy_(module.gain, module.direction.norm(dim=(0, 1), keepdim=True))
            init.zeros_(module.bias)
        elif isinstance(module, GatedAttention):
            if hasattr(module, "grep_a"):
                init.ones_(module.grep_a)
        elif self.config.deep_norm and isinstance(module, LayerLinear):
            init.xavier_normal_(module.weight, gain=module.gain)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class BeatsEncoder(nn.Module):
    """Convolutional positions, then transformer layers that share one table of relative position biases."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.config = config
        self.pos_conv = PositionConv(config.encoder_embed_dim, config.conv_pos, config.conv_pos_groups)
        self.layers = nn.ModuleList(BeatsLayer(config) for _ in range(config.encoder_layers))
        self.layer_norm = nn.LayerNorm(config.encoder_embed_dim)
        self.dropout = nn.Dropout(config.dropout)
        if config.relative_position_embedding:
            self.relative_attention_bias = nn.Embedding(config.num_buckets, config.encoder_attention_heads)

    def forward(self, tokens: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Tokens (B, n, dim) from tokens (B, n, dim); `padding_mask` (B, n) hides those that are True."""
        if padding_mask is not None:
            tokens = tokens.masked_fill(padding_mask[..., None], 0.0)
        tokens = tokens + self.pos_conv(tokens)
        if not self.config.layer_norm_first:
            tokens = self.layer_norm(tokens)
        tokens = self.dropout(tokens)
        bias = self._position_bias(tokens.shape[1]) if self.config.relative_position_embedding else None
        for layer in self.layers:
            tokens = layer(_scale_gradient(tokens, self.config.layer_wise_gradient_decay_ratio), bias, padding_mask)
        return self.layer_norm(tokens) if self.config.layer_norm_first else tokens

    def _position_bias(self, length: int) -> Tensor:
        positions = torch.arange(length, device=self.relative_attention_bias.weight.device)
        buckets = relative_buckets(positions - positions[:, None], self.config.num_buckets, self.config.max_distance)
        return self.relative_attention_bias(buckets).permute(2, 0, 1)  # (heads, n, n)


class BeatsLayer(nn.Module):
    """Attention and feed-forward; normalised after each with the residual scaled (DeepNorm), or before each."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dim = config.encoder_embed_dim
        self.self_attn = GatedAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        beta = deep_norm_gain(config)
        self.fc1 = LayerLinear(dim, config.encoder_ffn_embed_dim, beta)
        self.fc2 = LayerLinear(config.encoder_ffn_embed_dim, dim, beta)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.activation = ACT2FN[config.activation_fn]
        self.dropout = nn.Dropout(config.dropout)
        self.activation_dropout = nn.Dropout(config.activation_dropout)
        self.norm_first = config.layer_norm_first
        self.residual_scale = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0

    def forward(self, tokens: Tensor, bias: Tensor | None, padding_mask: Tensor | None) -> Tensor:
        """Tokens (B, n, dim) from tokens (B, n, dim) and position biases (heads, n, n)."""
        if self.norm_first:
            tokens = tokens + self.dropout(self.self_attn(self.self_attn_layer_norm(tokens), bias, padding_mask))
            return tokens + self._feed_forward(self.final_layer_norm(tokens))
        attended = self.dropout(self.self_attn(tokens, bias, padding_mask))
        tokens = self.self_attn_layer_norm(self.residual_scale * tokens + attended)
        return self.final_layer_norm(self.residual_scale * tokens + self._feed_forward(tokens))

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.fc2(self.activation_dropout(self.activation(self.fc1(tokens)))))


class GatedAttention(nn.Module):
    """Self-attention whose relative position bias each query scales by a gate of its own (as in WavLM)."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        dim, self.num_heads = config.encoder_embed_dim, config.encoder_attention_heads
        beta = deep_norm_gain(config)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (
            LayerLinear(dim, dim, gain) for gain in (1.0, 1.0, beta, beta)
        )
        self.dropout = config.attention_dropout
        self.gated = config.relative_position_embedding and config.gru_rel_pos
        if self.gated:
            self.grep_linear = nn.Linear(dim // self.num_heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, self.num_heads, 1, 1))

    def forward(self, tokens: Tensor, bias: Tensor | None, padding_mask: Tensor | None) -> Tensor:
        """Attended tokens (B, n, dim); `bias` (heads, n, n), `padding_mask` (B, n) True for keys to ignore."""
        query, key, value = (
            rearrange(projection(tokens), "b n (heads d) -> b heads n d", heads=self.num_heads)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask = None if bias is None else (self._gate(query) * bias if self.gated else bias)
        if padding_mask is not None:
            mask = query.new_zeros(1) if mask is None else mask
            mask = mask.expand(len(tokens), -1, -1, -1) if mask.ndim == 4 else mask
            mask = torch.where(padding_mask[:, None, None], -torch.inf, mask)
        mask = None if mask is None else mask.to(query.dtype)
        dropout = self.dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return self.out_proj(rearrange(attended, "b heads n d -> b n (heads d)"))

    def _gate(self, query: Tensor) -> Tensor:
        update, reset = self.grep_linear(query).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)
        return update * (reset * self.grep_a - 1.0) + 2.0  # (B, heads, n, 1)


class LayerLinear(nn.Linear):
    """A linear map with the gain of its random initialisation (DeepNorm, arXiv 2203.00555)."""

    def __init__(self, in_features: int, out_features: int, gain: float) -> None:
        super().__init__(in_features, out_features)
        self.gain = gain


def deep_norm_gain(config: BeatsConfig) -> float:
    """DeepNorm's gain for the maps on the residual branch of an encoder."""
    return (8 * config.encoder_layers) ** -0.25


class PositionConv(nn.Module):
    """Grouped convolution over time whose weight has one learned gain per tap; its output is added as positions."""

    def __init__(self, dim: int, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.kernel_size, self.groups = kernel_size, groups
        self.gain = nn.Parameter(torch.ones(1, 1, kernel_size))
        self.direction = nn.Parameter(torch.randn(dim, dim // groups, kernel_size))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Positions (B, n, dim) of tokens (B, n, dim)."""
        weight = self.gain * self.direction / self.direction.norm(dim=(0, 1), keepdim=True)
        padding = self.kernel_size // 2
        convolved = functional.conv1d(tokens.mT, weight, self.bias, padding=padding, groups=self.groups)
        return functional.gelu(convolved[..., : tokens.shape[1]]).mT


def relative_buckets(distances: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Buckets (...) of signed distances (...): half for each direction, single steps first, then logarithmic (T5)."""
    half = num_buckets // 2
    exact = half // 2
    size = distances.abs()
    ratio = (size.clamp(min=1).float() / exact).log() / math.log(max_distance / exact)
    far = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(size < exact, size, far) + half * (distances > 0)


def pooled_mask(mask: Tensor, length: int) -> Tensor:
    """Mask (B, length) from a longer one (B, any): True where all of its equal share is; a remainder is dropped."""
    share = mask.shape[1] // length
    return mask[:, : share * length].unflatten(1, (length, share)).all(-1)


def _scale_gradient(tokens: Tensor, ratio: float) -> Tensor:
    """The tokens themselves, with their gradient multiplied by `ratio`."""
    if ratio == 1.0 or not tokens.requires_grad:
        return tokens
    return tokens.detach() + ratio * (tokens - tokens.detach())
