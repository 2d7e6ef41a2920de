"""Video, text and audio encoders into one shared space: a network, a linear head, unit length (GRAM, section 4)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import field
from os import PathLike
from pathlib import Path
from string import ascii_lowercase, digits
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizer,
    Blip2VisionConfig,
    Blip2VisionModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers import initialization as init

from foleygram.alignment.beats import BeatsConfig, BeatsModel
from foleygram.datasets.captions import cached_captions
from foleygram.files import shipped
from foleygram.media.audio import beats_fbank
from foleygram.weights.hub import check_folder, explained, load_network
from foleygram.weights.location import cache_only_if_offline, hub_id

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MAX_TOKENS = 40
"""Longest caption, in tokens (GRAM)."""
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def clip_pixels(frames: Tensor) -> Tensor:
    """Frames (..., 3, H, W), uint8 or in [0, 1], normalised by the mean and deviation of CLIP's training."""
    # Not buffers: those that are not saved stay unset when transformers builds on the meta device.
    mean, std = (torch.tensor(v, device=frames.device)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return ((frames.float() / 255 if frames.dtype == torch.uint8 else frames) - mean) / std


class EncoderConfig(PretrainedConfig):
    """An aligned encoder: the config of its network as a dictionary, and the shared dimension."""

    model_type = "foleygram_encoder"

    network: dict[str, Any] = field(default_factory=dict)
    embedding_dim: int = 512
    num_mel_bins: int = 64
    num_fbank_frames: int = 1024


class _AlignedEncoder(PreTrainedModel):
    config_class = EncoderConfig
    supports_gradient_checkpointing = True

    def __init__(self, config: EncoderConfig, network: nn.Module, width: int) -> None:
        super().__init__(config)
        self.network = network
        self.head = nn.Linear(width, config.embedding_dim, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.head:
            init.normal_(module.weight, std=module.in_features**-0.5)

    def embed(self, pooled: Tensor) -> Tensor:
        """Unit embeddings (B, embedding_dim) of pooled features (B, width), float32 in every precision."""
        # In float32: the volume of nearly equal vectors lies in their last digits.
        with torch.autocast(pooled.device.type, enabled=False):
            return F.normalize(F.linear(pooled.float(), self.head.weight.float()), dim=-1)


class VideoEncoder(_AlignedEncoder):
    """EVA-CLIP's tower as `Blip2VisionModel`: [CLS] per frame, mean over frames, head."""

    main_input_name = "frames"

    def __init__(self, config: EncoderConfig) -> None:
        network = Blip2VisionConfig(**config.network)
        super().__init__(config, Blip2VisionModel(network), network.hidden_size)

    @classmethod
    def build(
        cls,
        embedding_dim: int = 512,
        image_size: int = 224,
        patch_size: int = 14,
        hidden_size: int = 1408,
        intermediate_size: int = 6144,
        num_hidden_layers: int = 40,
        num_attention_heads: int = 16,
    ) -> "VideoEncoder":
        """An encoder with random weights; the defaults are ViT-g/14's sizes."""
        network = {
            "image_size": image_size,
            "patch_size": patch_size,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": num_hidden_layers,
            "num_attention_heads": num_attention_heads,
            "initializer_range": 0.02,  # the class's own default, 1e-10, is for weights that are loaded
        }
        return cls(EncoderConfig(network=network, embedding_dim=embedding_dim))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **kwargs: Any) -> "VideoEncoder":  # type: ignore[override]
        """The encoder of a folder or hub id, as `load_network` loads it: no key is missing, unexpected or misshapen."""
        return load_network(cls, pretrained_model_name_or_path, **kwargs)

    def forward(self, frames: Tensor) -> Tensor:
        """Unit embeddings (B, D) of frames (B, N, 3, H, W), uint8 or float in [0, 1]."""
        return self.pool(self.tokens(frames))

    def tokens(self, frames: Tensor) -> Tensor:
        """Tokens (B, N, patches + 1, width) of frames (B, N, 3, H, W), uint8 or float in [0, 1]; [CLS] first."""
        pixels = rearrange(clip_pixels(frames), "b n c h w -> (b n) c h w").to(self.dtype)
        tokens = self.network(pixel_values=pixels).last_hidden_state
        return rearrange(tokens, "(b n) patches d -> b n patches d", b=len(frames))

    def pool(self, tokens: Tensor) -> Tensor:
        """Unit embeddings (B, D) of a video's tokens."""
        # `pooler_output` would apply the last norm twice.
        return self.embed(tokens[:, :, 0].float().mean(1))


class TextEncoder(_AlignedEncoder):
    """BERT: [CLS], head."""

    main_input_name = "input_ids"

    def __init__(self, config: EncoderConfig) -> None:
        network = BertConfig(**config.network)
        super().__init__(config, BertModel(network, add_pooling_layer=False), network.hidden_size)

    @classmethod
    def build(
        cls,
        embedding_dim: int = 512,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        intermediate_size: int = 3072,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        add_cross_attention: bool = False,
    ) -> "TextEncoder":
        """An encoder with random weights; the defaults are BERT-base's sizes.

        `add_cross_attention` gives it the layers by which data-anchor matching reads video and audio.
        """
        network: dict[str, Any] = {
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": num_hidden_layers,
            "num_attention_heads": num_attention_heads,
        }
        if add_cross_attention:
            network |= {"is_decoder": True, "add_cross_attention": True}  # transformers allows no other combination
        return cls(EncoderConfig(network=network, embedding_dim=embedding_dim))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **kwargs: Any) -> "TextEncoder":  # type: ignore[override]
        """The encoder of a folder or hub id, as `load_network` loads it: no key is missing, unexpected or misshapen."""
        return load_network(cls, pretrained_model_name_or_path, **kwargs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Unit embeddings (B, D) of token ids and their mask, both (B, N)."""
        return self.pool(self.tokens(input_ids, attention_mask))

    def tokens(self, input_ids: Tensor, attention_mask: Tensor, context: Tensor | None = None) -> Tensor:
        """Tokens (B, N, width) of ids and their mask; `context` (B, M, width) is what cross-attention reads."""
        # A mask of the full form, because BERT with cross-attention is causal by itself.
        visible = attention_mask[:, None, None, :].expand(-1, 1, input_ids.shape[1], -1).bool()
        mask = torch.zeros_like(visible, dtype=self.dtype).masked_fill(~visible, torch.finfo(self.dtype).min)
        more = {} if context is None else {"encoder_hidden_states": context, "use_cache": False}
        return self.network(input_ids, attention_mask=mask, **more).last_hidden_state

    def pool(self, tokens: Tensor) -> Tensor:
        """Unit embeddings (B, D) of a text's tokens."""
        return self.embed(tokens[:, 0])

    def embed_texts(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (B, D) of texts, each cut to `MAX_TOKENS`."""
        encoded = tokenizer(list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        return self(encoded["input_ids"].to(self.device), encoded["attention_mask"].to(self.device))


class AudioEncoder(_AlignedEncoder):
    """BEATs: mean over tokens, head."""

    main_input_name = "fbank"

    def __init__(self, config: EncoderConfig) -> None:
        network = BeatsConfig(**config.network)
        super().__init__(config, BeatsModel(network), network.encoder_embed_dim)

    @classmethod
    def build(
        cls,
        embedding_dim: int = 512,
        num_mel_bins: int = 64,
        num_fbank_frames: int = 1024,
        embed_dim: int = 512,
        encoder_embed_dim: int = 768,
        encoder_ffn_embed_dim: int = 3072,
        encoder_layers: int = 12,
        encoder_attention_heads: int = 12,
        conv_pos: int = 128,
        conv_pos_groups: int = 16,
    ) -> "AudioEncoder":
        """An encoder with random weights; the defaults are the base model's sizes with GRAM's filterbank."""
        network = {
            "embed_dim": embed_dim,
            "encoder_embed_dim": encoder_embed_dim,
            "encoder_ffn_embed_dim": encoder_ffn_embed_dim,
            "encoder_layers": encoder_layers,
            "encoder_attention_heads": encoder_attention_heads,
            "conv_pos": conv_pos,
            "conv_pos_groups": conv_pos_groups,
        }
        return cls(
            EncoderConfig(
                network=network,
                embedding_dim=embedding_dim,
                num_mel_bins=num_mel_bins,
                num_fbank_frames=num_fbank_frames,
            )
        )

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike[str], **kwargs: Any) -> "AudioEncoder":  # type: ignore[override]
        """The encoder of a folder or hub id, as `load_network` loads it: no key is missing, unexpected or misshapen."""
        return load_network(cls, pretrained_model_name_or_path, **kwargs)

    def forward(self, fbank: Tensor) -> Tensor:
        """Unit embeddings (B, D) of BEATs' filterbank (B, frames, mels)."""
        return self.pool(self.network(fbank.to(self.dtype)))

    def tokens(self, audio: Tensor) -> Tensor:
        """Tokens (B, M, width) of mono sound (B, samples) at 16 kHz."""
        bins, frames = self.config.num_mel_bins, self.config.num_fbank_frames
        with torch.autocast(audio.device.type, enabled=False):
            fbank = beats_fbank(audio.float(), num_mel_bins=bins, num_frames=frames)
        return self.network(fbank.to(self.dtype))

    def pool(self, tokens: Tensor) -> Tensor:
        """Unit embeddings (B, D) of a sound's tokens."""
        return self.embed(tokens.float().mean(1))

    def embed_waveform(self, audio: Tensor) -> Tensor:
        """Unit embeddings (B, D) of mono sound (B, samples) at 16 kHz."""
        return self.pool(self.tokens(audio))


def train_wordpiece(captions: Iterable[str], vocab_size: int = 256) -> BertTokenizer:
    """A lower-casing WordPiece tokenizer of captions' characters and most frequent words, in BERT's form.

    The same captions give the same ids in every run, which `tokenizers`' trainer does not promise.
    Raises ValueError when `vocab_size` has no room for the characters.
    """
    splitter = BertTokenizer().backend_tokenizer
    lowered = (splitter.normalizer.normalize_str(text) for text in captions)
    words = Counter(word for text in lowered for word, _ in splitter.pre_tokenizer.pre_tokenize_str(text))
    characters = sorted({*ascii_lowercase, *digits, *"".join(words)})
    pieces = [*SPECIAL_TOKENS, *characters, *("##" + character for character in characters)]
    if len(pieces) > vocab_size:
        raise ValueError(f"vocab_size is {vocab_size}, but the captions' characters already need {len(pieces)}")
    frequent = sorted(words.keys() - set(pieces), key=lambda word: (-words[word], word))
    vocabulary = {piece: index for index, piece in enumerate([*pieces, *frequent][:vocab_size])}
    return BertTokenizer(vocab=vocabulary, model_max_length=MAX_TOKENS)


def wordpiece_from_captions(cache: str, vocab_size: int = 256) -> BertTokenizer:
    """`train_wordpiece` on the captions of a cache of clips; for YAML."""
    return train_wordpiece(cached_captions(cache), vocab_size)


def load_tokenizer(folder: str) -> BertTokenizer:
    """The tokenizer of a folder or hub id; for YAML, because transformers' own loader has no type annotation."""
    identifier = hub_id(folder)
    name = identifier or str(shipped(folder))
    if identifier is None:
        check_folder(Path(name))
    with explained(f"{folder} (tokenizer)", name):
        return BertTokenizer.from_pretrained(name, **(cache_only_if_offline() if identifier else {}))
