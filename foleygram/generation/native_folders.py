"""Backbone folders in stable-audio-tools' form: `model.safetensors` or `.ckpt`, and `model_config.json`."""

import math
from pathlib import Path
from typing import Any

from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel
from safetensors.torch import save_file
from torch import nn

from foleygram.files import atomic_path, error_text, read_json, write_json
from foleygram.generation.native_weights import from_native, to_native, with_context_width
from foleygram.generation.oobleck import AsymmetricOobleck
from foleygram.weights.state_dict import load_state, read_state

CONFIG = "model_config.json"
CLASSES = {
    "transformer": StableAudioDiTModel,
    "vae": AutoencoderOobleck,
    "projection_model": StableAudioProjectionModel,
}


def load_native(folder: str | Path) -> dict[str, nn.Module]:
    """The transformer, vae and projection_model of a native checkpoint: `model.safetensors` or `.ckpt` and its config.

    Raises FileNotFoundError for an absent file, ValueError for weights or a config that do not fit each other.
    """
    folder = Path(folder)
    weights = next((p for name in ("model.safetensors", "model.ckpt") if (p := folder / name).is_file()), None)
    if weights is None or not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder}: it needs model.safetensors or model.ckpt, and {CONFIG} beside it")
    configs = _diffusers_configs(folder / CONFIG)
    state = read_state(weights)
    try:
        states = from_native(state.get("state_dict", state))
    except ValueError as error:
        raise ValueError(f"{weights}: {error}") from error
    # Only a T5 of another width than the conditions' has a projection.
    if (projection := states.get("projection_model", {}).get("text_projection.weight")) is not None:
        configs["projection_model"]["text_encoder_dim"] = projection.shape[1]
    parts = {}
    for name, part_class in CLASSES.items():
        part_class = AsymmetricOobleck if "decoder_ratios" in configs[name] else part_class
        try:
            parts[name] = part_class(**configs[name]).eval()
        except (TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError) as error:
            problem = f"no {part_class.__name__} can be built from its sizes ({error})"
            raise ValueError(f"{folder / CONFIG}: {problem}") from error
        load_state(parts[name], states.get(name, {}), f"{weights} ({name})")
    return parts


def save_native(
    folder: str | Path,
    *,
    transformer: StableAudioDiTModel,
    vae: AutoencoderOobleck,
    projection_model: StableAudioProjectionModel,
    t5_model_name: str = "t5-base",
) -> None:
    """Write a backbone as stable-audio-tools reads it: `model.safetensors` and `model_config.json`.

    That form holds only the name of the T5 prompt encoder, not its weights. The package derives the number of
    key-value heads from the width of the conditions: where the transformer has more, the conditions are widened by
    zeros, which changes no output. Raises ValueError for a number of heads that no width gives.
    """
    dit, width = transformer.config, _native_context_width(transformer)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    states = {
        "transformer": with_context_width(transformer.state_dict(), width),
        "vae": vae.state_dict(),
        "projection_model": projection_model.state_dict(),
    }
    state = to_native(states, attention_head_dim=dit.attention_head_dim)
    with atomic_path(folder / "model.safetensors") as path:
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    config = _native_config(transformer, vae, projection_model, t5_model_name)
    write_json(folder / CONFIG, config)


def _native_context_width(transformer: StableAudioDiTModel) -> int:
    """Width of cross-attention's conditions in the native form: heads x head size, or the model's."""
    dit = transformer.config
    width = dit.num_key_value_attention_heads * dit.attention_head_dim
    model_width = dit.num_attention_heads * dit.attention_head_dim
    if width not in (dit.cross_attention_input_dim, model_width) or width < dit.cross_attention_dim:
        raise ValueError(
            f"transformer: {dit.num_key_value_attention_heads} key-value heads of {dit.attention_head_dim} for a "
            f"cross_attention_dim of {dit.cross_attention_dim}; stable-audio-tools has as many as fit a condition's "
            f"{dit.cross_attention_input_dim} values, or the model's {model_width}"
        )
    return width


def _diffusers_configs(path: Path) -> dict[str, dict[str, Any]]:
    """The three parts' configs from a native `model_config.json`; raises ValueError for an unsupported model."""
    try:
        whole = read_json(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; fetch it again") from error
    try:
        model = whole["model"]
        dit, encoder = model["diffusion"]["config"], model["pretransform"]["config"]["encoder"]["config"]
        decoder, conditioning = model["pretransform"]["config"]["decoder"]["config"], model["conditioning"]
        numbers = next(c["config"] for c in conditioning["configs"] if c["id"] == "seconds_start")
        head_dim, width = dit["embed_dim"] // dit["num_heads"], dit["cond_token_dim"]
        attended = dit["embed_dim"] if dit.get("project_cond_tokens", True) else width
        _refuse_what_differs(path, dit, model["diffusion"], encoder, decoder)
        return {
            "transformer": {
                "sample_size": whole["sample_size"] // math.prod(encoder["strides"]),
                "in_channels": dit["io_channels"],
                "out_channels": dit["io_channels"],
                "num_layers": dit["depth"],
                "attention_head_dim": head_dim,
                "num_attention_heads": dit["num_heads"],
                "num_key_value_attention_heads": attended // head_dim,
                "cross_attention_dim": attended,
                "cross_attention_input_dim": width,
                "global_states_input_dim": dit["global_cond_dim"],
            },
            "vae": {
                "encoder_hidden_size": encoder["channels"],
                "downsampling_ratios": encoder["strides"],
                "channel_multiples": encoder["c_mults"],
                "decoder_channels": decoder["channels"],
                "decoder_input_channels": decoder["latent_dim"],
                "audio_channels": encoder["in_channels"],
                "sampling_rate": whole["sample_rate"],
                **_decoder_of_its_own(encoder, decoder),
            },
            "projection_model": {
                "text_encoder_dim": conditioning["cond_dim"],
                "conditioning_dim": conditioning["cond_dim"],
                "min_value": numbers.get("min_val", 0),
                "max_value": numbers.get("max_val", 1),
            },
        }
    except (LookupError, TypeError, AttributeError, StopIteration, ArithmeticError) as error:
        raise ValueError(
            f"{path}: not the config of a conditioned latent diffusion model ({error_text(error)})"
        ) from error


def _decoder_of_its_own(encoder: dict[str, Any], decoder: dict[str, Any]) -> dict[str, Any]:
    """The options that make an autoencoder an AsymmetricOobleck; none where both halves agree."""
    if all(encoder[name] == decoder[name] for name in ("strides", "c_mults")):
        return {}
    return {"decoder_ratios": decoder["strides"], "decoder_multiples": decoder["c_mults"]}


def _refuse_what_differs(
    path: Path, dit: dict[str, Any], diffusion: dict[str, Any], encoder: dict[str, Any], decoder: dict[str, Any]
) -> None:
    head_dim = dit["embed_dim"] // dit["num_heads"]
    differences = {
        f"diffusion_objective {diffusion.get('diffusion_objective', 'v')}": diffusion.get("diffusion_objective", "v")
        != "v",
        f"global_cond_type {dit.get('global_cond_type', 'prepend')}": dit.get("global_cond_type", "prepend")
        != "prepend",
        f"heads of {head_dim} < 64, whose rotary size diffusers computes differently": head_dim < 64,
        f"an encoder {encoder['channels']} wide for {encoder['latent_dim']} latents, which diffusers makes one "
        "number": encoder["channels"] != encoder["latent_dim"],
        "activations other than Snake": not (encoder.get("use_snake") and decoder.get("use_snake")),
        "a final tanh": bool(decoder.get("final_tanh", False)),
    }
    unsupported = [text for text, differs in differences.items() if differs]
    if unsupported:
        raise ValueError(f"{path}: has {', '.join(unsupported)}; diffusers' classes cannot represent this model")


def _native_config(
    transformer: StableAudioDiTModel,
    vae: AutoencoderOobleck,
    projection_model: StableAudioProjectionModel,
    t5_model_name: str,
) -> dict[str, Any]:
    dit, oobleck, durations = transformer.config, vae.config, projection_model.config
    number = {"min_val": durations.min_value, "max_val": durations.max_value}
    ids = ["seconds_start", "seconds_total"]
    return {
        "model_type": "diffusion_cond",
        "sample_size": dit.sample_size * math.prod(oobleck.downsampling_ratios),
        "sample_rate": oobleck.sampling_rate,
        "audio_channels": oobleck.audio_channels,
        "model": {
            "pretransform": {"type": "autoencoder", "iterate_batch": True, "config": _native_autoencoder(oobleck)},
            "conditioning": {
                "configs": [
                    {"id": "prompt", "type": "t5", "config": {"t5_model_name": t5_model_name, "max_length": 128}},
                    *({"id": name, "type": "number", "config": number} for name in ids),
                ],
                "cond_dim": durations.conditioning_dim,
            },
            "diffusion": {
                "cross_attention_cond_ids": ["prompt", *ids],
                "global_cond_ids": ids,
                "type": "dit",
                "config": {
                    "io_channels": dit.in_channels,
                    "embed_dim": dit.attention_head_dim * dit.num_attention_heads,
                    "depth": dit.num_layers,
                    "num_heads": dit.num_attention_heads,
                    "cond_token_dim": dit.cross_attention_input_dim,
                    "global_cond_dim": dit.global_states_input_dim,
                    "project_cond_tokens": _native_context_width(transformer) != dit.cross_attention_input_dim,
                    "transformer_type": "continuous_transformer",
                },
            },
            "io_channels": dit.in_channels,
        },
    }


def _native_autoencoder(oobleck: Any) -> dict[str, Any]:
    strides, latents = list(oobleck.downsampling_ratios), oobleck.decoder_input_channels
    multiples = oobleck.channel_multiples
    encoder = {
        "in_channels": oobleck.audio_channels,
        "channels": oobleck.encoder_hidden_size,
        "c_mults": list(multiples),
        "strides": strides,
        "use_snake": True,
    }
    decoder = {
        "out_channels": oobleck.audio_channels,
        "channels": oobleck.decoder_channels,
        "c_mults": list(oobleck.get("decoder_multiples", multiples)),
        "strides": list(oobleck.get("decoder_ratios", strides)),
        "use_snake": True,
    }
    return {
        "encoder": {"type": "oobleck", "config": encoder | {"latent_dim": oobleck.encoder_hidden_size}},
        "decoder": {"type": "oobleck", "config": decoder | {"latent_dim": latents, "final_tanh": False}},
        "bottleneck": {"type": "vae"},
        "latent_dim": latents,
        "downsampling_ratio": math.prod(strides),
        "io_channels": oobleck.audio_channels,
    }
