"""ImageBind's video, text and audio towers (Girdhar et al. 2023, arXiv 2305.05665) as conditioning encoders."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from foleygram.alignment.encoders import clip_pixels
from foleygram.media.audio import kaldi_fbank
from foleygram.weights.hub import load_network
from foleygram.weights.state_dict import load_state, num_layers, read_state

SAMPLE_RATE, CLIP_SEC, NUM_CLIPS = 16_000, 2.0, 3
"""A sound is read as three clips of two seconds."""
FBANK_MEAN, FBANK_STD = -4.268, 9.138
NORM_EPS = 1e-6


class ImageBindConfig(PretrainedConfig):
    """Sizes of one tower: `image_size` and `patch_size` of the video's, those of the filterbank of the audio's."""

    model_type = "foleygram_imagebind"

    width: int = 1280
    num_layers: int = 32
    num_heads: int = 16
    embedding_dim: int = 1024
    image_size: int = 224
    patch_size: int = 14
    frames_per_patch: int = 2
    num_mel_bins: int = 128
    num_fbank_frames: int = 204
    fbank_patch_size: int = 16
    fbank_stride: int = 10
    vocab_size: int = 49_408
    max_tokens: int = 77


class _Block(nn.Module):
    """Attention and a GELU network, each after a norm; `bias_kv` adds a learnt key and value."""

    def __init__(self, width: int, num_heads: int, bias_kv: bool) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=NORM_EPS), nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = nn.MultiheadAttention(width, num_heads, add_bias_kv=bias_kv, batch_first=True)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Tokens (B, N, width); `mask` (N, N) is True where a token does not see another."""
        normed = self.norm_1(tokens)
        tokens = tokens + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        return tokens + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm_2(tokens))))


class _Tower(PreTrainedModel):
    config_class = ImageBindConfig

    def __init__(self, config: ImageBindConfig, num_positions: int, *, bias_kv: bool = False) -> None:
        super().__init__(config)
        config.class_path = f"{type(self).__module__}.{type(self).__name__}"  # a release loads its encoders by it
        width = config.width
        self.positions = nn.Parameter(torch.zeros(1, num_positions, width))
        self.blocks = nn.ModuleList(_Block(width, config.num_heads, bias_kv) for _ in range(config.num_layers))
        self.head_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = nn.Linear(width, config.embedding_dim, bias=False)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The tower of a folder or hub id, as `load_network` loads it."""
        return load_network(cls, pretrained_model_name_or_path, **kwargs)

    def _run(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, mask)
        return tokens

    def _embed(self, chosen: Tensor) -> Tensor:
        """Unit embeddings (B, D), float32, of one token (B, width) each."""
        return F.normalize(self.head(self.head_norm(chosen)).float(), dim=-1)


class ImageBindVideoEncoder(_Tower):
    """ViT-H on pairs of frames; a video's embedding is the mean of its pairs'.

    ImageBind's own reading takes five clips of two frames and three crops of each; here the frames are those of the
    clip's spec, square, in the order of time.
    """

    main_input_name = "frames"

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__(config, 1 + (config.image_size // config.patch_size) ** 2)
        size = (config.frames_per_patch, config.patch_size, config.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.patches = nn.Conv3d(3, config.width, size, size, bias=False)
        self.input_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.post_init()

    def forward(self, frames: Tensor) -> Tensor:
        """Unit embeddings (B, D) of frames (B, N, 3, S, S), uint8 or float in [0, 1]; an odd last one counts twice.

        Raises ValueError for frames of another size than the tower's.
        """
        if frames.shape[-2:] != (self.config.image_size,) * 2:
            raise ValueError(
                f"frames of {frames.shape[-1]} x {frames.shape[-2]} pixels: ImageBind takes "
                f"{self.config.image_size} x {self.config.image_size}; set image_size in the clip's spec"
            )
        pixels = clip_pixels(frames)
        depth = self.config.frames_per_patch
        if left := -pixels.shape[1] % depth:
            pixels = torch.cat([pixels, pixels[:, -1:].expand(-1, left, -1, -1, -1)], dim=1)
        pairs = rearrange(pixels, "b (n t) c h w -> (b n) c t h w", t=depth).to(self.dtype)
        tokens = self.patches(pairs).flatten(2).mT
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions
        embedded = self._embed(self._run(self.input_norm(tokens))[:, 0])
        return F.normalize(rearrange(embedded, "(b n) d -> b n d", b=len(frames)).mean(1), dim=-1)


class ImageBindTextEncoder(_Tower):
    """CLIP's causal text tower, read at the end token, which has the highest id."""

    main_input_name = "input_ids"

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__(config, config.max_tokens)
        self.tokens = nn.Embedding(config.vocab_size, config.width)
        self.post_init()

    def forward(self, input_ids: Tensor) -> Tensor:
        """Unit embeddings (B, D) of ids (B, N), at most `max_tokens` of them, of CLIP's tokenizer."""
        length = input_ids.shape[1]
        hidden = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).triu(1)
        states = self._run(self.tokens(input_ids) + self.positions[:, :length], hidden)
        return self._embed(states[torch.arange(len(input_ids)), input_ids.argmax(-1)])

    def embed_texts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (B, D) of texts, each cut to `max_tokens`."""
        encoded = tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.config.max_tokens, return_tensors="pt"
        )
        return self(encoded["input_ids"].to(self.device))


class ImageBindAudioEncoder(_Tower):
    """A ViT on overlapping patches of a filterbank; a sound's embedding is the mean of its clips'."""

    main_input_name = "fbank"

    def __init__(self, config: ImageBindConfig) -> None:
        size, stride = config.fbank_patch_size, config.fbank_stride
        grid = [(length - size) // stride + 1 for length in (config.num_mel_bins, config.num_fbank_frames)]
        super().__init__(config, 1 + grid[0] * grid[1], bias_kv=True)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.patches = nn.Conv2d(1, config.width, size, stride, bias=False)
        self.patch_norm = nn.LayerNorm(config.width)
        self.post_init()

    def forward(self, fbank: Tensor) -> Tensor:
        """Unit embeddings (B, D) of normalised filterbanks (B, mels, frames)."""
        tokens = self.patch_norm(self.patches(fbank[:, None].to(self.dtype)).flatten(2).mT)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.positions
        return self._embed(self._run(tokens)[:, 0])

    def embed_waveform(self, audio: Tensor) -> Tensor:
        """Unit embeddings (B, D) of mono sound (B, samples) at 16 kHz, from three clips of 2 s evenly spread."""
        size = min(round(CLIP_SEC * SAMPLE_RATE), audio.shape[-1])
        starts = [(audio.shape[-1] - size) * i // (NUM_CLIPS - 1) for i in range(NUM_CLIPS)]
        clips = torch.stack([audio[:, start : start + size] for start in starts], dim=1).float()
        with torch.autocast(audio.device.type, enabled=False):
            clips = clips - clips.mean(-1, keepdim=True)
            fbank = kaldi_fbank(clips, SAMPLE_RATE, self.config.num_mel_bins, window="hanning").mT
        fbank = fbank[..., : self.config.num_fbank_frames]
        fbank = F.pad(fbank, (0, self.config.num_fbank_frames - fbank.shape[-1]))
        embedded = self((fbank.flatten(0, 1) - FBANK_MEAN) / FBANK_STD)
        return F.normalize(rearrange(embedded, "(b n) d -> b n d", b=len(audio)).mean(1), dim=-1)


class ImageBindEncoders(NamedTuple):
    """The three towers, in eval mode."""

    video: ImageBindVideoEncoder
    text: ImageBindTextEncoder
    audio: ImageBindAudioEncoder


NAMES = {
    r"modality_preprocessors\.(vision|audio)\.cls_token": "class_token",
    r"modality_preprocessors\.(vision|audio)\.rgbt_stem\.proj\.(1\.)?weight": "patches.weight",
    r"modality_preprocessors\.audio\.rgbt_stem\.norm_layer\.": "patch_norm.",
    r"modality_preprocessors\.(vision|audio)\.pos_embedding_helper\.pos_embed": "positions",
    r"modality_preprocessors\.text\.token_embedding\.": "tokens.",
    r"modality_preprocessors\.text\.pos_embed": "positions",
    r"modality_trunks\.vision\.pre_transformer_layer\.0\.": "input_norm.",
    r"modality_trunks\.(vision|text|audio)\.blocks\.": "blocks.",
    r"modality_heads\.(vision|audio)\.0\.": "head_norm.",
    r"modality_heads\.(vision|audio)\.2\.": "head.",
    r"modality_heads\.text\.proj\.0\.": "head_norm.",
    r"modality_heads\.text\.proj\.1\.": "head.",
}
"""ImageBind's names of the three towers' tensors, and ours."""
LEFT_OUT = r"modality_postprocessors\.|modality_\w+\.(depth|thermal|imu)\.|modality_preprocessors\.text\.mask$"
"""The other modalities, the scales of its logits, and a mask that is no weight."""


def load_imagebind(path: str | Path, *, num_heads: tuple[int, int, int] = (16, 16, 12)) -> ImageBindEncoders:
    """The towers of `imagebind_huge.pth` (CC BY-NC-SA 4.0); sizes are read off the weights, but for numbers of heads.

    `num_heads` are video's, text's and audio's. Raises FileNotFoundError for an absent file, ValueError naming the
    file and the keys that are missing, unexpected or of another shape.
    """
    state = read_state(path, "get imagebind_huge.pth from ImageBind's page")
    renamed = [_renamed(state, modality) for modality in ("vision", "text", "audio")]
    num_renamed = sum(len(part) for part in renamed)
    if num_renamed != sum(not re.match(LEFT_OUT, key) for key in state) or not all(renamed):
        strange = [k for k in state if not re.match(LEFT_OUT, k) and not any(re.match(name, k) for name in NAMES)]
        raise ValueError(f"{path}: not the weights of ImageBind: unexpected {strange[:5]}; is it the right file?")
    kinds = (ImageBindVideoEncoder, ImageBindTextEncoder, ImageBindAudioEncoder)
    towers = [
        kind(ImageBindConfig(num_heads=heads, **_sizes(part, str(path))))
        for kind, part, heads in zip(kinds, renamed, num_heads, strict=True)
    ]
    for tower, part in zip(towers, renamed, strict=True):
        load_state(tower, part, str(path))
        tower.eval()
    return ImageBindEncoders(*towers)  # type: ignore[arg-type]


def _renamed(state: Mapping[str, Tensor], modality: str) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state.items():
        if f".{modality}." in key and not re.match(LEFT_OUT, key):
            for theirs, ours in NAMES.items():
                if re.match(theirs, key):
                    renamed[re.sub(theirs, ours, key, count=1)] = value
                    break
    return renamed


def _sizes(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    try:
        embedding_dim, width = state["head.weight"].shape
        num_positions = state["positions"].shape[1]
        sizes = {
            "width": width, "embedding_dim": embedding_dim, "num_layers": num_layers(state, r"blocks\.(\d+)\."),
        }  # fmt: skip
        if "tokens.weight" in state:
            return sizes | {"vocab_size": len(state["tokens.weight"]), "max_tokens": num_positions}
        shape = state["patches.weight"].shape
        if len(shape) == 5:
            side = round((num_positions - 1) ** 0.5) * shape[-1]
            return sizes | {"image_size": side, "patch_size": shape[-1], "frames_per_patch": shape[2]}
        return sizes | {"fbank_patch_size": shape[-1]}
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{source}: not the weights of ImageBind ({error}); is it the right file?") from error
