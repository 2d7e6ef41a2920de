"""LanguageBind's video, text and audio towers (Zhu et al. 2024, arXiv 2310.01852) as conditioning encoders."""

import re
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.clip.modeling_clip import CLIPAttention, CLIPEncoderLayer

from foleygram.alignment.encoders import clip_pixels
from foleygram.files import read_json
from foleygram.media.audio import kaldi_fbank
from foleygram.weights.hub import load_network
from foleygram.weights.state_dict import load_state, read_state

SAMPLE_RATE, NUM_CLIPS = 16_000, 3
"""A sound longer than the tower's window is read as three clips, one in each colour channel."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
AT_END = 2
"""As `eos_token_id` it has transformers read CLIP's text tower at the highest id, as LanguageBind does."""


class LanguageBindConfig(PretrainedConfig):
    """A tower's network as LanguageBind's own config has it, and the shared dimension."""

    model_type = "foleygram_languagebind"

    network: dict[str, Any] = field(default_factory=dict)
    embedding_dim: int = 768


class _Loaded(PreTrainedModel):
    config_class = LanguageBindConfig

    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__(config)
        config.class_path = f"{type(self).__module__}.{type(self).__name__}"  # a release loads its encoders by it

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The tower of a folder or hub id, as `load_network` loads it."""
        return load_network(cls, pretrained_model_name_or_path, **kwargs)


class _Layer(CLIPEncoderLayer):
    """CLIP's block behind an attention of each patch over the frames, where there are several."""

    def __init__(self, config: CLIPVisionConfig, num_frames: int) -> None:
        super().__init__(config)
        self.num_frames = num_frames
        if num_frames > 1:
            self.temporal_embedding = nn.Parameter(torch.zeros(1, num_frames, config.hidden_size))
            self.temporal_attn = CLIPAttention(config)
            self.temporal_layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        """Tokens (B * num_frames, N, width)."""
        if self.num_frames > 1:
            patches = tokens.shape[1]
            tokens = rearrange(tokens, "(b t) n d -> (b n) t d", t=self.num_frames) + self.temporal_embedding
            tokens = tokens + self.temporal_attn(self.temporal_layer_norm1(tokens))[0]
            tokens = rearrange(tokens, "(b n) t d -> (b t) n d", n=patches)
        tokens = tokens + self.self_attn(self.layer_norm1(tokens))[0]
        return tokens + self.mlp(self.layer_norm2(tokens))


class _Embeddings(nn.Module):
    def __init__(self, width: int, patch_size: int, num_positions: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.position_embedding = nn.Embedding(num_positions, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).mT
        tokens = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], dim=1)
        return tokens + self.position_embedding.weight


class _VisionTower(_Loaded):
    """CLIP's vision tower with LanguageBind's names, over one or several frames."""

    def __init__(self, config: LanguageBindConfig, size: tuple[int, int], num_frames: int) -> None:
        super().__init__(config)
        network = CLIPVisionConfig(**config.network)
        network._attn_implementation = "sdpa"
        self.size, self.num_frames = size, num_frames
        width, patch, eps = network.hidden_size, network.patch_size, network.layer_norm_eps
        if not isinstance(patch, int):
            raise ValueError(f"patch_size is {patch!r}: give one number, the side of a square patch")
        self.vision_model = nn.ModuleDict({
            "embeddings": _Embeddings(width, patch, 1 + (size[0] // patch) * (size[1] // patch)),
            "pre_layrnorm": nn.LayerNorm(width, eps=eps),
            "encoder": nn.ModuleDict({
                "layers": nn.ModuleList(_Layer(network, num_frames) for _ in range(network.num_hidden_layers))
            }),
            "post_layernorm": nn.LayerNorm(width, eps=eps),
        })  # fmt: skip
        self.visual_projection = nn.Linear(width, config.embedding_dim, bias=False)
        self.post_init()

    def _embed(self, pixels: Tensor) -> Tensor:
        """Unit embeddings (B, D), float32, of normalised pixels (B, T, 3, H, W)."""
        parts: Any = self.vision_model
        tokens = parts["embeddings"](rearrange(pixels, "b t c h w -> (b t) c h w").to(self.dtype))
        tokens = parts["pre_layrnorm"](tokens)
        for layer in parts["encoder"]["layers"]:
            tokens = layer(tokens)
        pooled = rearrange(parts["post_layernorm"](tokens[:, 0]), "(b t) d -> b t d", b=len(pixels)).mean(1)
        return F.normalize(self.visual_projection(pooled).float(), dim=-1)


class LanguageBindVideoEncoder(_VisionTower):
    """The video tower on frames evenly spread over a clip; LanguageBind's own reading crops at random."""

    main_input_name = "frames"

    def __init__(self, config: LanguageBindConfig) -> None:
        size, several = config.network.get("image_size", 224), config.network.get("add_time_attn", False)
        super().__init__(config, (size, size), config.network.get("num_frames", 8) if several else 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Unit embeddings (B, D) of frames (B, N, 3, S, S), uint8 or float in [0, 1], of which `num_frames` are taken.

        Raises ValueError for frames of another size than the tower's, or too few of them.
        """
        count = frames.shape[1]
        if frames.shape[-2:] != self.size or count < self.num_frames:
            raise ValueError(
                f"{count} frames of {frames.shape[-1]} x {frames.shape[-2]} pixels: LanguageBind takes at least "
                f"{self.num_frames} of {self.size[1]} x {self.size[0]}; set them in the clip's spec"
            )
        if self.num_frames > 1:
            frames = frames[:, torch.linspace(0, count - 1, self.num_frames).long()]
        return self._embed(clip_pixels(frames))


class LanguageBindAudioEncoder(_VisionTower):
    """The audio tower, which reads a filterbank as an image of three colour channels."""

    main_input_name = "fbank"

    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__(config, (config.network["num_mel_bins"], config.network["target_length"]), num_frames=1)

    def forward(self, fbank: Tensor) -> Tensor:
        """Unit embeddings (B, D) of normalised filterbanks (B, 3, mels, frames)."""
        return self._embed(fbank[:, None])

    def embed_waveform(self, audio: Tensor) -> Tensor:
        """Unit embeddings (B, D) of mono sound (B, samples) at 16 kHz, repeated or read as three clips to fit."""
        bins, length = self.size
        samples = length * SAMPLE_RATE // 100
        if audio.shape[-1] < samples:
            audio = audio.repeat(1, samples // audio.shape[-1])
            audio = F.pad(audio, (0, samples - audio.shape[-1]))
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.float() - audio.float().mean(-1, keepdim=True)
            fbank = kaldi_fbank(audio, SAMPLE_RATE, bins, window="hanning").mT  # (B, mels, frames)
        fbank = F.pad(fbank, (0, max(0, length - fbank.shape[-1])))
        # Three clips, each at the first of a third of all possible beginnings.
        thirds = torch.arange(fbank.shape[-1] - length + 1).tensor_split(NUM_CLIPS)
        starts = [int(third[0]) if len(third) else 0 for third in thirds]
        fbank = torch.stack([fbank[..., start : start + length] for start in starts], dim=1)
        return self((fbank - self.config.network["audio_mean"]) / self.config.network["audio_std"])


class LanguageBindTextEncoder(_Loaded):
    """CLIP's text tower, frozen in LanguageBind's training."""

    main_input_name = "input_ids"

    def __init__(self, config: LanguageBindConfig) -> None:
        super().__init__(config)
        network = CLIPTextConfig(**config.network | {"eos_token_id": AT_END, "projection_dim": config.embedding_dim})
        self.network = CLIPTextModelWithProjection(network)
        self.post_init()

    def forward(self, input_ids: Tensor) -> Tensor:
        """Unit embeddings (B, D) of ids (B, N) of CLIP's tokenizer."""
        return F.normalize(self.network(input_ids=input_ids).text_embeds.float(), dim=-1)

    def embed_texts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (B, D) of texts, each cut to the tower's length."""
        longest = self.network.config.max_position_embeddings
        encoded = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        return self(encoded["input_ids"].to(self.device))


class LanguageBindEncoders(NamedTuple):
    """The three towers, in eval mode."""

    video: LanguageBindVideoEncoder
    text: LanguageBindTextEncoder
    audio: LanguageBindAudioEncoder


def load_languagebind(video: str | Path, audio: str | Path) -> LanguageBindEncoders:
    """The towers of the folders LanguageBind_Video_FT and LanguageBind_Audio_FT (MIT); the text tower is the video's.

    Raises FileNotFoundError for an absent file, ValueError naming the file and the keys that are missing, unexpected
    or of another shape, or a checkpoint of low-rank adapters, which is not read.
    """
    (video_config, video_state), (audio_config, audio_state) = _read(Path(video)), _read(Path(audio))
    dim = int(video_config.get("projection_dim", 768))
    network = {key: value for key, value in video_config.get("text_config", {}).items() if value is not None}
    towers = (
        LanguageBindVideoEncoder(LanguageBindConfig(network=_vision_config(video_config, video), embedding_dim=dim)),
        LanguageBindTextEncoder(LanguageBindConfig(network=network, embedding_dim=dim)),
        LanguageBindAudioEncoder(LanguageBindConfig(network=_vision_config(audio_config, audio), embedding_dim=dim)),
    )
    text = {f"network.{k}": v for k, v in video_state.items() if k.startswith("text_")}
    states = (_vision(video_state), text, _vision(audio_state))
    for tower, state, source in zip(towers, states, (video, video, audio), strict=True):
        load_state(tower, state, str(source))
        tower.eval()
    return LanguageBindEncoders(*towers)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    config = folder / "config.json"
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), folder / WEIGHTS[1])
    if not config.is_file():
        raise FileNotFoundError(f"{config}: no such file; fetch the whole folder of LanguageBind's tower")
    state = read_state(path, "fetch the whole folder of LanguageBind's tower")
    if any("lora_" in key for key in state):
        raise ValueError(f"{path}: holds low-rank adapters; take the fully tuned tower, whose name ends in _FT")
    return read_json(config), {k: v for k, v in state.items() if not k.endswith("position_ids") and k != "logit_scale"}


def _vision_config(config: dict[str, Any], source: str | Path) -> dict[str, Any]:
    network = {key: value for key, value in config.get("vision_config", {}).items() if value is not None}
    if not re.match("LanguageBind(Video|Audio)", str(config.get("model_type"))) or not network:
        raise ValueError(
            f"{source}/config.json: config of {config.get('model_type')}, not of LanguageBindVideo or LanguageBindAudio"
        )
    return network


def _vision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith(("vision_model.", "visual_projection."))}
