"""Loads published encoder weights into our classes; every key is accounted for."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Blip2VisionModel

from foleygram.alignment.beats import BeatsConfig, BeatsModel
from foleygram.state_dicts import load_state, read_weights

BEATS_NAMES = {
    "encoder.pos_conv.0.weight_g": "encoder.pos_conv.gain",
    "encoder.pos_conv.0.weight_v": "encoder.pos_conv.direction",
    "encoder.pos_conv.0.bias": "encoder.pos_conv.bias",
}
"""Microsoft's names where `BeatsModel` has others."""


def beats_state(state: Mapping[str, Tensor], source: str = "BEATs") -> dict[str, Tensor]:
    """Microsoft's BEATs as `BeatsModel` names it; the classifier of fine-tuned variants is left out.

    Every layer of a checkpoint carries the one table of position biases that they share. Raises ValueError naming
    `source` when these differ.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("predictor."):
            continue
        if key.endswith("self_attn.relative_attention_bias.weight"):
            shared = renamed.setdefault("encoder.relative_attention_bias.weight", value)
            if not torch.equal(shared, value):
                raise ValueError(
                    f"{source}: {key} is not the first layer's, but BEATs shares one table; fetch it again"
                )
            continue
        renamed[BEATS_NAMES.get(key, key)] = value
    return renamed


def beats_config(cfg: Mapping[str, Any]) -> BeatsConfig:
    """The sizes in a BEATs checkpoint's `cfg`; fields that are not modelled (training, the classifier) are dropped."""
    known = inspect.signature(BeatsConfig.__init__).parameters.keys() & cfg.keys()
    return BeatsConfig(**{key: cfg[key] for key in sorted(known)})


def load_beats(path: str | Path) -> BeatsModel:
    """BEATs from Microsoft's `.pt` (`cfg` and `model`), fine-tuned or not; raises ValueError when it does not fit."""
    checkpoint = read_weights(path)
    if not isinstance(checkpoint, dict) or not {"cfg", "model"} <= checkpoint.keys():
        raise ValueError(
            f"{path}: it lacks `cfg` or `model`, so it is no BEATs; get BEATs_iter3+ from Microsoft's page"
        )
    model = BeatsModel(beats_config(checkpoint["cfg"]))
    load_state(model, beats_state(checkpoint["model"], str(path)), str(path))
    return model.eval()


def eva_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys of EVA01-CLIP's vision tower renamed to `Blip2VisionModel`'s; the classification head is left out."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("head.") or key.endswith(("attn.q_bias", "attn.v_bias")):
            continue
        key = key.replace("cls_token", "embeddings.class_embedding")
        key = key.replace("pos_embed", "embeddings.position_embedding")
        key = key.replace("patch_embed.proj.", "embeddings.patch_embedding.").replace("blocks.", "encoder.layers.")
        key = key.replace(".attn.qkv.", ".self_attn.qkv.").replace(".attn.proj.", ".self_attn.projection.")
        key = key.replace(".norm1.", ".layer_norm1.").replace(".norm2.", ".layer_norm2.")
        renamed["post_layernorm." + key[5:] if key.startswith("norm.") else key] = value
    for key, bias in state.items():
        if key.endswith("attn.q_bias"):
            layer = key.replace("blocks.", "encoder.layers.").replace("attn.q_bias", "self_attn.qkv.bias")
            renamed[layer] = torch.cat([bias, torch.zeros_like(bias), state[key.replace("q_bias", "v_bias")]])
    return renamed


def load_eva(model: Blip2VisionModel, state: Mapping[str, Tensor], source: str) -> Blip2VisionModel:
    """Load EVA01-CLIP's vision tower (its own key names) into `model` of the same sizes."""
    load_state(model, eva_state(state), source)
    return model
