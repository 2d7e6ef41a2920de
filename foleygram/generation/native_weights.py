"""Converts state dicts between stable-audio-tools and diffusers, both ways by one table of names."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

from foleygram.weights.state_dict import num_layers

StateDict = dict[str, Tensor]
PREFIXES = {
    "transformer": "model.model.",
    "vae": "pretransform.model.",
    "projection_model": "conditioner.conditioners.",
}
"""Key prefix of each diffusers part in a full native checkpoint."""
ROTARY = "transformer.rotary_pos_emb.inv_freq"

# A native tensor is one of diffusers', or several of one height stacked.
AROUND_THE_BLOCKS = {
    "timestep_features.weight": ("time_proj.weight",),
    "to_timestep_embed.0.weight": ("timestep_proj.0.weight",),
    "to_timestep_embed.0.bias": ("timestep_proj.0.bias",),
    "to_timestep_embed.2.weight": ("timestep_proj.2.weight",),
    "to_timestep_embed.2.bias": ("timestep_proj.2.bias",),
    "to_global_embed.0.weight": ("global_proj.0.weight",),
    "to_global_embed.2.weight": ("global_proj.2.weight",),
    "to_cond_embed.0.weight": ("cross_attention_proj.0.weight",),
    "to_cond_embed.2.weight": ("cross_attention_proj.2.weight",),
    "preprocess_conv.weight": ("preprocess_conv.weight",),
    "postprocess_conv.weight": ("postprocess_conv.weight",),
    "transformer.project_in.weight": ("proj_in.weight",),
    "transformer.project_out.weight": ("proj_out.weight",),
}
IN_A_BLOCK = {
    "pre_norm.gamma": ("norm1.weight",),
    "pre_norm.beta": ("norm1.bias",),
    "self_attn.to_qkv.weight": ("attn1.to_q.weight", "attn1.to_k.weight", "attn1.to_v.weight"),
    "self_attn.to_out.weight": ("attn1.to_out.0.weight",),
    "cross_attend_norm.gamma": ("norm2.weight",),
    "cross_attend_norm.beta": ("norm2.bias",),
    "cross_attn.to_q.weight": ("attn2.to_q.weight",),
    "cross_attn.to_kv.weight": ("attn2.to_k.weight", "attn2.to_v.weight"),
    "cross_attn.to_out.weight": ("attn2.to_out.0.weight",),
    "ff_norm.gamma": ("norm3.weight",),
    "ff_norm.beta": ("norm3.bias",),
    "ff.ff.0.proj.weight": ("ff.net.0.proj.weight",),
    "ff.ff.0.proj.bias": ("ff.net.0.proj.bias",),
    "ff.ff.2.weight": ("ff.net.2.weight",),
    "ff.ff.2.bias": ("ff.net.2.bias",),
}
CONDITIONERS: dict[str, tuple[str, ...]] = {
    "prompt.proj_out.weight": ("text_projection.weight",),
    "prompt.proj_out.bias": ("text_projection.bias",),
    **{
        f"seconds_{native}.embedder.embedding.{tensor}": (
            f"{diffusers}_number_conditioner.time_positional_embedding.{tensor}",
        )
        for native, diffusers in (("start", "start"), ("total", "end"))
        for tensor in ("0.weights", "1.weight", "1.bias")
    },
}
CONVOLUTION, SNAKE = ("weight_g", "weight_v", "bias"), ("alpha", "beta")
RESIDUAL_UNIT = {0: ("snake1", SNAKE), 1: ("conv1", CONVOLUTION), 2: ("snake2", SNAKE), 3: ("conv2", CONVOLUTION)}


def from_native(state_dict: Mapping[str, Tensor]) -> dict[str, StateDict]:
    """A stable-audio-tools state dict as diffusers' `transformer`, `vae` and `projection_model`, those it holds.

    Tensors are split, joined or reshaped between the two forms, never changed in value. Takes a full checkpoint, or
    the bare keys of a DiT or an autoencoder alone; any depth, any number of strides.
    Raises ValueError for a key that has no counterpart.
    """
    parts: dict[str, StateDict] = {}
    for name, native in _split(state_dict).items():
        names = _names(name, native)
        unknown = sorted(native.keys() - names.keys() - {ROTARY})
        if unknown:
            raise ValueError(
                f"{name}: no counterpart in diffusers for {unknown[:5]}; only Stable Audio Open 1.0's kind of model "
                "(v-objective, prepended global condition) can be converted"
            )
        rotary = native.get(ROTARY)
        if rotary is not None and not torch.allclose(rotary.float(), _rotary(2 * rotary.numel()), rtol=1e-2):
            raise ValueError(f"{ROTARY}: not the base 10,000 that diffusers computes with, so the outputs would differ")
        parts[name] = {
            theirs: piece.contiguous()
            for key in names.keys() & native.keys()
            for theirs, piece in zip(names[key], native[key].chunk(len(names[key])), strict=True)
        }
        parts[name] = {key: _reshaped(key, value, native=False) for key, value in parts[name].items()}
    return parts


def to_native(parts: Mapping[str, Mapping[str, Tensor]], *, attention_head_dim: int = 64) -> StateDict:
    """A full stable-audio-tools state dict from diffusers' `transformer`, `vae`, `projection_model`, any of them.

    `attention_head_dim` sets the rotary frequencies, a buffer that only the native form stores.
    Raises ValueError for an unknown part, or a key that has no counterpart.
    """
    result: StateDict = {}
    for name, state in parts.items():
        if name not in PREFIXES:
            raise ValueError(f"{name}: not a part of a native checkpoint; there are {', '.join(PREFIXES)}")
        names = _names(name, state)
        unknown = sorted(state.keys() - {theirs for group in names.values() for theirs in group})
        if unknown:
            raise ValueError(f"{name}: no native counterpart for {unknown[:5]}")
        for native, group in names.items():
            if group[0] in state:
                tensor = torch.cat([state[theirs] for theirs in group])
                result[PREFIXES[name] + native] = _reshaped(group[0], tensor, native=True)
        if name == "transformer":
            result[PREFIXES[name] + ROTARY] = _rotary(max(attention_head_dim // 2, 32))
    return result


def with_context_width(transformer: Mapping[str, Tensor], width: int) -> StateDict:
    """A DiT's state dict (diffusers' names) with the input of its cross-attention widened to `width` values.

    The added values are always zero and so are the weights that read them, so its outputs stay the same.
    """
    padded = dict(transformer)
    for key, value in transformer.items():
        writes = key.startswith("cross_attention_proj.")
        reads = key == "cross_attention_proj.2.weight" or key.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
        if writes or reads:
            rows, columns = value.shape
            padded[key] = pad(value, (0, width - columns if reads else 0, 0, width - rows if writes else 0))
    return padded


def _reshaped(key: str, value: Tensor, *, native: bool) -> Tensor:
    """A tensor with the shape of the other form: two kinds of vector differ in their number of dimensions."""
    if ".snake" in key:
        return value.flatten() if native else value.reshape(1, -1, 1)
    if key == "time_proj.weight":
        return value.reshape(-1, 1) if native else value.flatten()
    return value


def _split(state_dict: Mapping[str, Tensor]) -> dict[str, StateDict]:
    """The parts of a native checkpoint, their prefixes removed."""
    if not any(key.startswith(tuple(PREFIXES.values())) for key in state_dict):
        is_vae = any(key.startswith("encoder.layers.") for key in state_dict)
        return {"vae" if is_vae else "transformer": dict(state_dict)}
    parts: dict[str, StateDict] = {}
    unknown = []
    for key, value in state_dict.items():
        name = next((part for part, prefix in PREFIXES.items() if key.startswith(prefix)), None)
        if name is None:
            unknown.append(key)
        else:
            parts.setdefault(name, {})[key.removeprefix(PREFIXES[name])] = value
    if unknown:
        raise ValueError(
            f"not part of a model for inference: {sorted(unknown)[:5]}; a training checkpoint is first made into "
            "one with stable-audio-tools' unwrap_model.py"
        )
    return parts


def _names(part: str, keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Native name -> names in diffusers, for a part of the depth of `keys`, which may be of either form."""
    if part == "projection_model":
        return CONDITIONERS
    if part == "transformer":
        depth = num_layers(keys, r"(?:transformer\.layers|transformer_blocks)\.(\d+)\.")
        blocks = {
            f"transformer.layers.{i}.{native}": tuple(f"transformer_blocks.{i}.{name}" for name in group)
            for i in range(depth)
            for native, group in IN_A_BLOCK.items()
        }
        return AROUND_THE_BLOCKS | blocks
    keys = list(keys)
    # Natively the strides stand between a first convolution and a last activation and convolution.
    strides = max(num_layers(keys, r"encoder\.block\.(\d+)\."), num_layers(keys, r"encoder\.layers\.(\d+)\.") - 3)
    return {native: (name,) for native, name in (*_encoder_names(strides), *_decoder_names(strides))}


def _layer(native: str, name: str, tensors: Iterable[str]) -> Iterator[tuple[str, str]]:
    return ((f"{native}.{tensor}", f"{name}.{tensor}") for tensor in tensors)


def _encoder_names(strides: int) -> Iterator[tuple[str, str]]:
    yield from _layer("encoder.layers.0", "encoder.conv1", CONVOLUTION)
    for i in range(strides):
        native, block = f"encoder.layers.{i + 1}.layers", f"encoder.block.{i}"
        for unit in range(3):
            for k, (name, tensors) in RESIDUAL_UNIT.items():
                yield from _layer(f"{native}.{unit}.layers.{k}", f"{block}.res_unit{unit + 1}.{name}", tensors)
        yield from _layer(f"{native}.3", f"{block}.snake1", SNAKE)
        yield from _layer(f"{native}.4", f"{block}.conv1", CONVOLUTION)
    yield from _layer(f"encoder.layers.{strides + 1}", "encoder.snake1", SNAKE)
    yield from _layer(f"encoder.layers.{strides + 2}", "encoder.conv2", CONVOLUTION)


def _decoder_names(strides: int) -> Iterator[tuple[str, str]]:
    yield from _layer("decoder.layers.0", "decoder.conv1", CONVOLUTION)
    for i in range(strides):
        native, block = f"decoder.layers.{i + 1}.layers", f"decoder.block.{i}"
        yield from _layer(f"{native}.0", f"{block}.snake1", SNAKE)
        yield from _layer(f"{native}.1", f"{block}.conv_t1", CONVOLUTION)
        for unit in range(3):
            for k, (name, tensors) in RESIDUAL_UNIT.items():
                yield from _layer(f"{native}.{unit + 2}.layers.{k}", f"{block}.res_unit{unit + 1}.{name}", tensors)
    yield from _layer(f"decoder.layers.{strides + 1}", "decoder.snake1", SNAKE)
    yield from _layer(f"decoder.layers.{strides + 2}", "decoder.conv2", CONVOLUTION[:2])


def _rotary(dim: int) -> Tensor:
    return 1.0 / (10_000 ** (torch.arange(0, dim, 2).float() / dim))
