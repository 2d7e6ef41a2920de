"""Tiny weight files in every form that the world publishes them in, on the goldens' random weights."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    RobertaTokenizer,
    T5Config,
    T5EncoderModel,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from foleygram.alignment.encoders import train_wordpiece
from foleygram.evaluation.networks.mel import slaney_filters

DATA = Path(__file__).parent / "data"
T5_TOKENIZER = Path(__file__).parents[1] / "checkpoints" / "mini" / "prompt_tokenizer"
BEATS_CFG = {
    "input_patch_size": 16, "embed_dim": 32, "conv_bias": False, "encoder_layers": 2, "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 96, "encoder_attention_heads": 4, "deep_norm": True, "conv_pos": 16, "conv_pos_groups": 4,
    "num_buckets": 16, "max_distance": 64, "encoder_layerdrop": 0.05, "finetuned_model": True, "predictor_class": 527,
}  # fmt: skip
"""What the golden was computed with, and fields of real checkpoints that are not modelled."""


def golden(name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All tensors of a golden, and its weights under their own names."""
    tensors = load_file(DATA / f"{name}_tiny.safetensors")
    return tensors, {key[3:]: value for key, value in tensors.items() if key.startswith("sd.")}


def write_beats(path: Path) -> Path:
    """Microsoft's `.pt` of a fine-tuned variant."""
    state = golden("beats")[1] | {"predictor.weight": torch.zeros(527, 48), "predictor.bias": torch.zeros(527)}
    torch.save({"cfg": BEATS_CFG, "model": state}, path)
    return path


def write_eva(path: Path) -> Path:
    """EVA01-CLIP's `.pt`: the vision tower below `visual.`, some of the text tower beside it."""
    state = {f"visual.{key}": value for key, value in golden("eva_vit")[1].items()}
    torch.save(state | {"logit_scale": torch.ones(()), "text.positional_embedding": torch.zeros(4, 4)}, path)
    return path


def bert() -> BertForMaskedLM:
    """A BERT with cross-attention, as GRAM has it."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertForMaskedLM(
        BertConfig(**sizes, intermediate_size=48, is_decoder=True, add_cross_attention=True)  # type: ignore[arg-type]
    ).eval()


def write_bert(folder: Path) -> Path:
    """BERT as the hub has it, `bert.` before its names, `gamma` and `beta`, its task's head; and a tokenizer."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 80, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForMaskedLM(BertConfig(**sizes, intermediate_size=24))  # type: ignore[arg-type]
    model.save_pretrained(folder)
    old_names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    state = {}
    for key, value in load_file(folder / "model.safetensors").items():
        for new, old in old_names.items():
            key = key.replace(new, old)
        state[key] = value
    state |= {"bert.pooler.dense.weight": torch.zeros(16, 16), "bert.pooler.dense.bias": torch.zeros(16)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    train_wordpiece(["A person hits wood with a wooden stick."], vocab_size=80).save_pretrained(folder)
    return folder


def gram_state() -> dict[str, Tensor]:
    """Key names as in GRAM's release, `module.` before some, and parts that only other tasks use."""
    vision, beats = golden("eva_vit"), golden("beats")
    contra = vision[0]["in.contra_W"]
    dim = len(contra)
    state = {f"module.vision_encoder.visual.{key}": value for key, value in vision[1].items()}
    state |= {f"audio_encoder.{key}": value for key, value in beats[1].items()}
    state |= {f"multimodal_encoder.{key}": value for key, value in bert().state_dict().items()}
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator)

    for name, width in (("vision", 44), ("audio", 48)):
        state |= {
            f"hidden_trans_{name}_multimodal.0.weight": drawn(32, width),
            f"hidden_trans_{name}_multimodal.0.bias": drawn(32),
            f"hidden_trans_{name}_multimodal.1.weight": 1 + drawn(32),
            f"hidden_trans_{name}_multimodal.1.bias": drawn(32),
            f"{name}_type_embeddings": drawn(1, 1, 32),
        }
    head = {"linear1": (32, 32), "layernorm": (32,), "linear2": (2, 32)}
    state |= {f"itm_head.{name}.weight": drawn(*shape) for name, shape in head.items()}
    state |= {f"itm_head.{name}.bias": drawn(shape[0]) for name, shape in head.items()}
    generator = torch.Generator().manual_seed(0)
    return state | {
        "contra_head_v.linear.weight": contra,
        "contra_head_t.linear.weight": torch.randn(dim, 32, generator=generator),
        "contra_head_a.linear.weight": torch.randn(dim, 48, generator=generator),
        "contra_head_s.linear.weight": torch.randn(dim, 32, generator=generator),
        "contra_temp": torch.tensor(0.05),
        "vision_frame_embedding": torch.linspace(-1, 1, 256).view(1, 8, 32),
        "audio_frame_embedding": torch.linspace(-1, 1, 64).view(1, 2, 32),
        "hidden_trans_subtitle_multimodal.0.weight": torch.zeros(2, 2),
        "vision_encoder.logit_scale": torch.tensor(4.0),
    }


def write_gram(folder: Path, state: dict[str, Tensor] | None = None, step: int = 200) -> Path:
    """GRAM's released folder: `log/hps.json` and `ckpt/*.pt`."""
    for name in ("log", "ckpt"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = {"run_cfg": {}, "model_cfg": {"audio_melbins": 64, "audio_target_length": 1024, "contra_dim": 512}}
    settings["data_cfg"] = {"train": [{"vision_transforms": "crop_flip"}]}
    (folder / "log" / "hps.json").write_text(json.dumps(settings))
    torch.save(gram_state() if state is None else state, folder / "ckpt" / f"model_step_{step}.pt")
    return folder


# ---- Stable Audio ----------------------------------------------------------------------------------------------------
NATIVE_CONFIG = {
    "model_type": "diffusion_cond", "sample_size": 24 * 32, "sample_rate": 16_000, "audio_channels": 2,
    "model": {
        "pretransform": {"type": "autoencoder", "config": {
            "encoder": {"type": "oobleck", "config": {
                "in_channels": 2, "channels": 16, "c_mults": [1, 2, 4], "strides": [2, 4, 4], "latent_dim": 16,
                "use_snake": True}},
            "decoder": {"type": "oobleck", "config": {
                "out_channels": 2, "channels": 16, "c_mults": [1, 2, 4], "strides": [2, 4, 4], "latent_dim": 8,
                "use_snake": True, "final_tanh": False}},
            "bottleneck": {"type": "vae"}, "latent_dim": 8, "downsampling_ratio": 32, "io_channels": 2}},
        "conditioning": {"configs": [
            {"id": "prompt", "type": "t5", "config": {"t5_model_name": "t5-base", "max_length": 128}},
            {"id": "seconds_start", "type": "number", "config": {"min_val": 0, "max_val": 512}},
            {"id": "seconds_total", "type": "number", "config": {"min_val": 0, "max_val": 512}}], "cond_dim": 64},
        "diffusion": {"type": "dit", "config": {
            "io_channels": 8, "embed_dim": 128, "depth": 2, "num_heads": 2, "cond_token_dim": 64,
            "global_cond_dim": 96, "project_cond_tokens": False, "transformer_type": "continuous_transformer"}},
        "io_channels": 8,
    },
}  # fmt: skip


def native_state() -> dict[str, Tensor]:
    """A checkpoint in the published layout: the goldens' weights below its prefixes, and duration embedders."""
    generator = torch.Generator().manual_seed(0)
    state = {f"model.model.{key}": value for key, value in golden("dit")[1].items()}
    state |= {f"pretransform.model.{key}": value for key, value in golden("oobleck")[1].items()}
    for name in ("seconds_start", "seconds_total"):
        embedder = f"conditioner.conditioners.{name}.embedder.embedding"
        state[f"{embedder}.0.weights"] = torch.randn(128, generator=generator)
        state[f"{embedder}.1.weight"] = torch.randn(64, 257, generator=generator)
        state[f"{embedder}.1.bias"] = torch.randn(64, generator=generator)
    return state


def write_native(folder: Path, *, as_ckpt: bool = False) -> Path:
    """stable-audio-tools' `model.safetensors`, or a training wrapper's `model.ckpt`, and `model_config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    if as_ckpt:
        torch.save({"state_dict": native_state()}, folder / "model.ckpt")
    else:
        save_file(native_state(), folder / "model.safetensors")
    (folder / "model_config.json").write_text(json.dumps(NATIVE_CONFIG))
    return folder


def transformer(**kwargs: int) -> StableAudioDiTModel:
    """A tiny DiT whose heads have the 64 values that both forms agree on."""
    sizes = {
        "sample_size": 24, "in_channels": 8, "out_channels": 8, "num_layers": 2, "attention_head_dim": 64,
        "num_attention_heads": 2, "num_key_value_attention_heads": 1, "cross_attention_dim": 64,
        "cross_attention_input_dim": 64, "global_states_input_dim": 128,
    }  # fmt: skip
    return StableAudioDiTModel(**sizes | kwargs)


def vae(**kwargs: object) -> AutoencoderOobleck:
    """A tiny Oobleck."""
    sizes = {
        "encoder_hidden_size": 16, "downsampling_ratios": [2, 4, 4], "channel_multiples": [1, 2, 4],
        "decoder_channels": 16, "decoder_input_channels": 8, "audio_channels": 2, "sampling_rate": 16_000,
    }  # fmt: skip
    return AutoencoderOobleck(**sizes | kwargs)


def durations(text_encoder_dim: int = 64) -> StableAudioProjectionModel:
    """Duration embedders of the tiny DiT."""
    return StableAudioProjectionModel(text_encoder_dim, conditioning_dim=64, min_value=0, max_value=512)


def write_diffusers(folder: Path) -> Path:
    """A backbone in diffusers' layout, as `foleygram weights fetch stable-audio-open` leaves it."""
    torch.manual_seed(0)
    transformer().save_pretrained(folder / "transformer")
    vae().save_pretrained(folder / "vae")
    durations().save_pretrained(folder / "projection_model")
    t5 = T5EncoderModel(T5Config(vocab_size=256, d_model=64, num_layers=1, num_heads=2, d_kv=8, d_ff=32))
    t5.save_pretrained(folder / "text_encoder")
    shutil.copytree(T5_TOKENIZER, folder / "tokenizer")
    return folder


# ---- CLAP ------------------------------------------------------------------------------------------------------------
HTSAT = "audio_encoder.base.htsat."
LAION_SIZES = {
    "text_config": {"vocab_size": 261, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "intermediate_size": 32, "max_position_embeddings": 90},
    "audio_config": {"patch_embeds_hidden_size": 4, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
                     "hidden_size": 32},
    "projection_dim": 12,
}  # fmt: skip


def write_laion_clap(folder: Path) -> Path:
    """LAION-CLAP without fusion as the hub has it."""
    torch.manual_seed(0)
    model = ClapModel(ClapConfig(**LAION_SIZES))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5) if parameter.dim() > 1 else None
    model.audio_model.audio_encoder.batch_norm.running_var.fill_(400)
    model.save_pretrained(folder)
    ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc").save_pretrained(folder)
    characters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *bytes_to_unicode().values()]
    RobertaTokenizer(vocab={c: i for i, c in enumerate(characters)}, merges=[]).save_pretrained(folder)
    return folder


def microsoft_clap_state() -> dict[str, Tensor]:
    """The golden's weights with all that a published file of Microsoft CLAP holds beside them."""
    golden = load_file(DATA / "msclap_tiny.safetensors")
    state = {key: value for key, value in golden.items() if not key.startswith("out.")}
    positions = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    apart = positions[:, None] - positions + 7
    for key in [key for key in state if key.endswith("relative_position_bias_table")]:
        state[key.replace("bias_table", "index")] = 15 * apart[..., 0] + apart[..., 1]
    return state | {
        "logit_scale": torch.tensor(4.6),
        f"{HTSAT}bn0.num_batches_tracked": torch.tensor(0),
        f"{HTSAT}layers.0.blocks.1.attn_mask": torch.zeros(64, 64, 64),
        f"{HTSAT}spectrogram_extractor.stft.conv_real.weight": torch.hann_window(1024).expand(1, 1, 1024),
        f"{HTSAT}logmel_extractor.melW": slaney_filters(32_000, 1024, 64, 50, 14_000),
        f"{HTSAT}tscam_conv.weight": torch.zeros(527, 32, 2, 3),
        f"{HTSAT}head.bias": torch.zeros(527),
        "caption_encoder.base.h.0.attn.bias": torch.ones(1, 1, 128, 128),
    }


def write_microsoft_clap(path: Path) -> Path:
    """Microsoft's `CLAP_weights_2023.pth`."""
    torch.save({"model": microsoft_clap_state(), "epoch": 3}, path)
    return path


def write_gpt2_tokenizer(folder: Path) -> Path:
    """GPT-2's vocabulary of single characters."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = [*bytes_to_unicode().values(), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({character: i for i, character in enumerate(characters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder
