"""Loads published encoder weights into our classes; every key is accounted for."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import BertModel

from foleygram.alignment.beats import BeatsConfig, BeatsModel
from foleygram.alignment.encoders import AudioEncoder, EncoderConfig, TextEncoder, VideoEncoder
from foleygram.files import read_json
from foleygram.spec import FrameTransform
from foleygram.weights.hub import load_network
from foleygram.weights.state_dict import load_state, num_layers, read_state, read_weights, sub_state

BEATS_NAMES = {
    "encoder.pos_conv.0.weight_g": "encoder.pos_conv.gain",
    "encoder.pos_conv.0.weight_v": "encoder.pos_conv.direction",
    "encoder.pos_conv.0.bias": "encoder.pos_conv.bias",
}
"""Microsoft's names and `BeatsModel`'s, where they differ."""


def beats_state(state: Mapping[str, Tensor], source: str = "BEATs") -> dict[str, Tensor]:
    """Microsoft's BEATs state dict with `BeatsModel`'s names, tensors by key; a fine-tuned classifier is left out.

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
    fields = BeatsConfig.__annotations__.keys() & cfg.keys()
    return BeatsConfig(**{key: cfg[key] for key in sorted(fields)})


@contextmanager
def sizes_of(path: str | Path, fault: str) -> Iterator[None]:
    """Raise ValueError naming `path` and the `fault` where no network can be built from the sizes in a file."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{path}: {fault} ({error}); check that it is the right file") from error


def load_beats(path: str | Path) -> BeatsModel:
    """BEATs from Microsoft's `.pt` (`cfg` and `model`), fine-tuned or not; raises ValueError when it does not fit."""
    checkpoint = read_weights(path)
    if not isinstance(checkpoint, dict) or not {"cfg", "model"} <= checkpoint.keys():
        raise ValueError(
            f"{path}: no `cfg` or `model` in it, so it is not BEATs; get BEATs_iter3+ from Microsoft's page"
        )
    with sizes_of(path, "no BEATs can be built from its `cfg`"):
        model = BeatsModel(beats_config(checkpoint["cfg"]))
    load_state(model, beats_state(checkpoint["model"], str(path)), str(path))
    return model.eval()


def eva_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of EVA01-CLIP's vision tower with `Blip2VisionModel`'s names; the classifier is left out."""
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


def video_encoder_from_eva(path: str, embedding_dim: int = 512, num_attention_heads: int = 16) -> VideoEncoder:
    """A video encoder with a fresh head on EVA01-CLIP's published `.pt`, whose text tower is left out; for YAML.

    Raises FileNotFoundError for an absent file, ValueError naming it where it does not fit.
    """
    state = read_state(path)
    with sizes_of(path, "no vision tower of EVA-CLIP"):
        network = eva_state(sub_state("visual.", state) or state)
        encoder = VideoEncoder(
            EncoderConfig(network=_vision_sizes(network, num_attention_heads), embedding_dim=embedding_dim)
        )
    load_state(encoder.network, network, path)
    return encoder


BERTS_HEADS = ("cls.", "bert.pooler.", "pooler.")
"""Prefixes of BERT's own heads, which are not used here."""


def text_encoder_from_bert(
    pretrained_model_name_or_path: str, embedding_dim: int = 512, add_cross_attention: bool = False
) -> TextEncoder:
    """A text encoder with a fresh head on a BERT from a folder or hub id; for YAML.

    Its cross-attention, when asked for, is fresh too: BERT has none.
    """
    bert = load_network(BertModel, pretrained_model_name_or_path, left_out=BERTS_HEADS, add_pooling_layer=False)
    crossed = {"is_decoder": True, "add_cross_attention": True} if add_cross_attention else {}
    encoder = TextEncoder(EncoderConfig(network=bert.config.to_diff_dict() | crossed, embedding_dim=embedding_dim))
    fresh = {k: v for k, v in encoder.network.state_dict().items() if ".crossattention." in k}
    load_state(encoder.network, bert.state_dict() | fresh, pretrained_model_name_or_path)
    return encoder


def audio_encoder_from_beats(path: str, embedding_dim: int = 512, num_mel_bins: int = 64) -> AudioEncoder:
    """An audio encoder with a fresh head on Microsoft's BEATs; GRAM gives it 64 mel bins of its 128; for YAML."""
    beats = load_beats(path)
    config = EncoderConfig(network=beats.config.to_dict(), embedding_dim=embedding_dim, num_mel_bins=num_mel_bins)
    encoder = AudioEncoder(config)
    load_state(encoder.network, beats.state_dict(), path)
    return encoder


LEFT_OUT = (
    "vision_encoder.logit_scale", "vision_encoder.text", "vision_encoder.visual.head.", "multimodal_encoder.cls.",
    "multimodal_encoder.bert.pooler.", "multimodal_encoder.bert.embeddings.position_ids", "audio_encoder.predictor.",
    "contra_head_s.", "contra_head_d.", "contra_head_va.", "contra_head_vs.", "contra_head_vas.",
    "hidden_trans_subtitle_", "hidden_trans_depth_", "subtitle_type_embeddings", "depth_type_embeddings",
    "depth_frame_embedding",
)  # fmt: skip
"""Prefixes of GRAM's other tasks, which are not used here: captioning, subtitles, depth."""
TAKEN = (
    "vision_encoder.visual.", "multimodal_encoder.bert.", "audio_encoder.", "contra_head_t.linear.weight",
    "contra_head_v.linear.weight", "contra_head_a.linear.weight", "contra_temp",
)  # fmt: skip
MATCHING = (
    "itm_head.", "hidden_trans_vision_multimodal.", "hidden_trans_audio_multimodal.", "vision_frame_embedding",
    "audio_frame_embedding", "vision_type_embeddings", "audio_type_embeddings",
)  # fmt: skip
"""Data-anchor matching's, which `gram_matching` reads."""


class GramEncoders(NamedTuple):
    """The three aligned encoders, in eval mode, and with what they were trained."""

    video: VideoEncoder
    text: TextEncoder
    audio: AudioEncoder
    temperature: float
    frame_transform: FrameTransform
    """`ClipSpec.frame_transform` of its training."""


def load_gram_checkpoint(folder: str | Path, *, num_vision_heads: int = 16, num_text_heads: int = 12) -> GramEncoders:
    """GRAM's released folder as three encoders; sizes are read off the weights, but for the numbers of heads.

    The text network's cross-attention is left out. Raises FileNotFoundError for an absent file, ValueError naming the
    file and the keys that are missing, unexpected or of another shape.
    """
    folder = Path(folder)
    settings = _settings(folder)
    state, path = read_gram_state(folder)
    text = {k: v for k, v in sub_state("multimodal_encoder.bert.", state).items() if ".crossattention." not in k}
    audio = beats_state(sub_state("audio_encoder.", state), str(path))
    with sizes_of(path, f"no encoders can be built from it and {folder / 'log' / 'hps.json'}"):
        bins, frames = int(settings.get("audio_melbins", 64)), int(settings.get("audio_target_length", 1024))
        video = eva_state(sub_state("vision_encoder.visual.", state))
        config = partial(EncoderConfig, embedding_dim=len(state["contra_head_t.linear.weight"]))
        encoders = GramEncoders(
            VideoEncoder(config(network=_vision_sizes(video, num_vision_heads))),
            TextEncoder(config(network=text_sizes(text, num_text_heads))),
            AudioEncoder(config(network=_audio_sizes(audio), num_mel_bins=bins, num_fbank_frames=frames)),
            temperature=float(state["contra_temp"]),
            frame_transform=_frame_transform(settings),
        )
    for letter, encoder, network in zip("vta", encoders[:3], (video, text, audio), strict=True):
        weights = {f"network.{key}": value for key, value in network.items()}
        load_state(encoder, weights | {"head.weight": state[f"contra_head_{letter}.linear.weight"]}, str(path))
        encoder.eval()
    return encoders


def read_gram_state(folder: Path) -> tuple[dict[str, Tensor], Path]:
    """The weights in GRAM's released folder that are modelled here, and the file that holds them.

    Raises FileNotFoundError for an absent file, ValueError naming the file and keys that are unexpected or missing.
    """
    path = _newest(folder / "ckpt")
    state = read_weights(path)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: not a plain state dict")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    unexpected = sorted(key for key in state if not key.startswith((*TAKEN, *MATCHING, *LEFT_OUT)))
    missing = [prefix for prefix in TAKEN if not any(key.startswith(prefix) for key in state)]
    if unexpected or missing:
        raise ValueError(f"{path}: not a checkpoint of GRAM: unexpected {unexpected[:5]}, missing {missing}")
    return {key: value for key, value in state.items() if not key.startswith(LEFT_OUT)}, path


def _frame_transform(settings: Mapping[str, Any]) -> FrameTransform:
    """`crop` where a data set of the run was read with `vision_transforms: crop_flip`, else GRAM's other, `squash`."""
    transforms, left = set(), [settings.get("data_cfg")]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            transforms.add(one.get("vision_transforms"))
            left += one.values()
        elif isinstance(one, list):
            left += one
    return "crop" if "crop_flip" in transforms else "squash"


def _settings(folder: Path) -> Mapping[str, Any]:
    path = folder / "log" / "hps.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; GRAM's released folder has log/hps.json and ckpt/*.pt")
    try:
        settings = read_json(path)
        return {**settings.get("model_cfg", settings), "data_cfg": settings.get("data_cfg")}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not the settings of a run of GRAM ({error})") from error


def _newest(folder: Path) -> Path:
    """The checkpoint of the highest step below `ckpt`; optimiser states are none."""
    files = [path for path in sorted(folder.glob("*.pt")) if not path.name.startswith("optimizer")]
    if not files:
        raise FileNotFoundError(f"{folder}: no .pt file there; GRAM's released folder has log/hps.json and ckpt/*.pt")
    return max(files, key=lambda path: int("".join(re.findall(r"\d+", path.stem)) or 0))


def _shape(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    if key not in state:
        raise ValueError(f"no {key} among the weights, so their sizes are unknown; is the file whole?")
    return tuple(state[key].shape)


def _vision_sizes(state: Mapping[str, Tensor], num_heads: int) -> dict[str, Any]:
    width, _, patch, _ = _shape(state, "embeddings.patch_embedding.weight")
    tokens = _shape(state, "embeddings.position_embedding")[1]
    return {
        "image_size": round((tokens - 1) ** 0.5) * patch,
        "patch_size": patch,
        "hidden_size": width,
        "intermediate_size": _shape(state, "encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": num_layers(state, r"encoder\.layers\.(\d+)\."),
        "num_attention_heads": num_heads,
        "initializer_range": 0.02,
    }


def text_sizes(state: Mapping[str, Tensor], num_heads: int) -> dict[str, Any]:
    """Sizes of BERT in a state dict, whose number of heads the weights do not hold; raises ValueError without one."""
    vocabulary, width = _shape(state, "embeddings.word_embeddings.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "max_position_embeddings": _shape(state, "embeddings.position_embeddings.weight")[0],
        "intermediate_size": _shape(state, "encoder.layer.0.intermediate.dense.weight")[0],
        "num_hidden_layers": num_layers(state, r"encoder\.layer\.(\d+)\."),
        "num_attention_heads": num_heads,
    }


def _audio_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of a BEATs network; the table of position biases gives the number of heads.

    The largest distance with its own bias is not in the weights: 800, as in every published BEATs.
    """
    embed_dim, _, patch, _ = _shape(state, "patch_embedding.weight")
    buckets, heads = _shape(state, "encoder.relative_attention_bias.weight")
    width, group_width, kernel = _shape(state, "encoder.pos_conv.direction")
    return {
        "input_patch_size": patch,
        "embed_dim": embed_dim,
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": _shape(state, "encoder.layers.0.fc1.weight")[0],
        "encoder_layers": num_layers(state, r"encoder\.layers\.(\d+)\."),
        "encoder_attention_heads": heads,
        "conv_pos": kernel,
        "conv_pos_groups": width // group_width,
        "num_buckets": buckets,
    }
