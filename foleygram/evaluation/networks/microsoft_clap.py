"""Microsoft CLAP 2023 from its published weights, without its package: FAD-C and CLAP-scores.

The audio network is an HTSAT, which transformers' LAION-CLAP also is: only its tensors' names differ.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers import ClapAudioConfig, ClapAudioModel, GPT2Config, GPT2Model, GPT2Tokenizer

from foleygram.evaluation.embedders import Tail
from foleygram.evaluation.networks.mel import MelDecibels
from foleygram.files import file_hash
from foleygram.weights.state_dict import load_state, read_state, sub_state, without_chatter

HOP_SIZE = 320
MAX_TOKENS = 77
PADDING = 0
"""GPT-2's token "!", with which the package pads, and which it therefore does not count."""
HEAD_WIDTH = 64
"""Attention heads of GPT-2, in all of its sizes; the weights do not hold their number."""
AUDIO, TEXT = "audio_encoder.base.htsat.", "caption_encoder.base."
UNUSED = ("spectrogram_extractor.", "logmel_extractor.", "tscam_conv.", "head.")
"""The front end, which is read apart, and the classifier of AudioSet."""
RENAMED = (
    ("attn.proj.", "attention.output.dense."), ("attn.relative", "attention.self.relative"), ("bn0.", "batch_norm."),
    ("norm1.", "layernorm_before."), ("norm2.", "layernorm_after."), ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
)  # fmt: skip
WHERE_TOKENIZER = "get GPT-2's with `foleygram weights fetch gpt2-tokenizer`"
WHERE = "get it with `foleygram weights fetch microsoft-clap`"


class Projection(nn.Module):
    """From a network's features to the common space, its modules named as in the published weights."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(features, width, bias=False)
        self.linear2 = nn.Linear(width, width, bias=False)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, features: Tensor) -> Tensor:
        """Embeddings (N, width) of features (N, features)."""
        embedded = self.linear1(features)
        return self.layer_norm(embedded + self.linear2(gelu(embedded)))


class TextBranch(nn.Module):
    """GPT-2, read off at a text's end mark, and its projection."""

    def __init__(self, network: GPT2Model, projection: Projection, tokenizer: Any) -> None:
        super().__init__()
        self.network, self.projection, self.tokenizer = network, projection, tokenizer

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (N, width) of texts."""
        ends = self.tokenizer.eos_token_id
        tokens = [[*self.tokenizer(f"{text} ")["input_ids"][: MAX_TOKENS - 1], ends] for text in texts]
        longest = max(map(len, tokens))
        padded = [[*row, *[PADDING] * (longest - len(row))] for row in tokens]
        ids = torch.tensor(padded, device=self.network.device)
        hidden = self.network(ids).last_hidden_state  # causal: padding on the right changes nothing before it
        embeddings: Tensor = self.projection(hidden[torch.arange(len(ids)), ids.ne(PADDING).sum(1) - 1])
        return embeddings


class MicrosoftClap(nn.Module):
    """Microsoft CLAP 2023: sound and text as embeddings in one space, 1024 wide, not normalised.

    Windows of 7 s at 44.1 kHz, one each second, a short last one filled with silence: the package repeats short sounds
    and crops long ones at random. Its filters are laid out for 32 kHz and used at 44.1, as it was trained.
    """

    sample_rate = 44_100
    window_sec = 7.0
    hop_sec = 1.0
    tail: Tail = "pad"

    def __init__(
        self,
        network: ClapAudioModel,
        projection: Projection,
        mel: MelDecibels,
        identity: Mapping[str, Any],
        *,
        text: TextBranch | None = None,
    ) -> None:
        super().__init__()
        self.network, self.projection, self.mel = network, projection, mel
        self.text = text
        self.identity = dict(identity)
        self.eval().requires_grad_(False)

    @classmethod
    def from_weights(cls, path: str | Path, *, tokenizer: str | Path | None = None) -> "MicrosoftClap":
        """From `CLAP_weights_2023.pth`; `tokenizer`, a folder or hub id with GPT-2's, is needed only for text.

        Raises FileNotFoundError with how to get them, ValueError for a file that is damaged or holds other weights.
        """
        path = Path(path)
        state = read_state(path, WHERE).get("model")
        if not isinstance(state, dict) or not any(str(key).startswith(AUDIO) for key in state):
            raise ValueError(f"{path}: not Microsoft CLAP 2023, whose tensors lie under `model` as {AUDIO}*; {WHERE}")
        try:
            sound = sub_state(AUDIO, state)
            network, mel = _audio_network(sound, str(path)), _front_end(sound)
            projection = _projection(state, "audio_encoder.projection.", str(path))
            text = None if tokenizer is None else _text_branch(state, str(path), tokenizer)
        except KeyError as error:
            raise ValueError(f"{path}: lacks {error.args[0]}, which Microsoft CLAP 2023 has; {WHERE}") from error
        identity = {"name": "microsoft-clap", "checkpoint": path.name, "sha256": file_hash(path)}
        return cls(network, projection, mel, identity, text=text)

    @torch.inference_mode()
    def forward(self, windows: Tensor) -> Tensor:
        """Embeddings (N, 1024) of windows (N, samples)."""
        mels = self.mel(windows.to(self.network.device))[:, None]
        features = self.network(input_features=mels).pooler_output
        embeddings: Tensor = self.projection(features)
        return embeddings.float().cpu()

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Embeddings (N, 1024) of texts, at most 76 tokens each; raises ValueError where no tokenizer was given."""
        if self.text is None:
            raise ValueError("Microsoft CLAP was loaded without a tokenizer; for texts give GPT-2's, `tokenizer`")
        embeddings: Tensor = self.text(texts)
        return embeddings.float().cpu()


def _front_end(state: Mapping[str, Tensor]) -> MelDecibels:
    """The filters of the file itself; its row of frequency 0 is the window."""
    window = state["spectrogram_extractor.stft.conv_real.weight"][0, 0]
    return MelDecibels(state["logmel_extractor.melW"].float(), window.float(), HOP_SIZE)


def _audio_network(state: Mapping[str, Tensor], source: str) -> ClapAudioModel:
    """transformers' HTSAT with the sizes and values of the weights."""
    depths = Counter(key.split(".")[1] for key in state if key.startswith("layers.") and key.endswith("norm1.weight"))
    stages = [str(stage) for stage in range(max(1, len(depths)))]
    tables = [state[f"layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in stages]
    sizes = ClapAudioConfig(
        patch_embeds_hidden_size=len(state["patch_embed.proj.weight"]),
        hidden_size=len(state["norm.weight"]),
        depths=[depths[stage] for stage in stages],
        num_attention_heads=[table.shape[1] for table in tables],
    )
    network = ClapAudioModel(sizes)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith(UNUSED) or key.endswith("attn_mask"):
            continue
        for theirs, ours in RENAMED:
            key = key.replace(theirs, ours)
        if "attn.qkv." in key:
            names = (key.replace("attn.qkv.", f"attention.self.{name}.") for name in ("query", "key", "value"))
            renamed |= zip(names, value.chunk(3), strict=True)
        else:
            renamed[key] = value
    load_state(network.audio_encoder, renamed, source)
    return network


def _text_branch(state: Mapping[str, Any], source: str, tokenizer: str | Path) -> TextBranch:
    weights = sub_state(TEXT, state)
    masks = (".attn.bias", ".attn.masked_bias")  # what older versions of transformers saved beside the weights
    weights = {key: value for key, value in weights.items() if not key.endswith(masks)}
    vocabulary, width = weights["wte.weight"].shape
    sizes = GPT2Config(
        vocab_size=vocabulary,
        n_positions=len(weights["wpe.weight"]),
        n_embd=width,
        n_layer=len({key.split(".")[1] for key in weights if key.startswith("h.")}),
        n_head=max(1, width // HEAD_WIDTH),
        bos_token_id=None,
        eos_token_id=None,
    )
    network = GPT2Model(sizes)
    load_state(network, weights, source)
    loaded = _load_tokenizer(tokenizer)
    if len(loaded) != vocabulary:
        raise ValueError(f"{tokenizer}: {len(loaded)} tokens, but {source} has {vocabulary}; {WHERE_TOKENIZER}")
    return TextBranch(network, _projection(state, "caption_encoder.projection.", source), loaded)


def _load_tokenizer(name: str | Path) -> Any:
    try:
        with without_chatter():
            return GPT2Tokenizer.from_pretrained(name)
    except (OSError, ValueError, TypeError) as error:
        raise FileNotFoundError(f"{name}: no tokenizer of GPT-2 ({error}); {WHERE_TOKENIZER}") from error


def _projection(state: Mapping[str, Any], prefix: str, source: str) -> Projection:
    weights = sub_state(prefix, state)
    width, features = state[f"{prefix}linear1.weight"].shape
    projection = Projection(features, width)
    load_state(projection, weights, source)
    return projection
