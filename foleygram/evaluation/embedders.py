"""Audio embedders: the protocol, windows, and a release's own encoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, load_tokenizer
from foleygram.files import file_hash
from foleygram.weights.state_dict import without_chatter

Tail = Literal["pad", "drop"]
"""Whether a window that reaches past the sound is zero-padded or left out."""
FBANK_RATE = 100
"""Frames of Kaldi's filterbank per second."""


class AudioEmbedder(Protocol):
    """A frozen network that gives one embedding per window of mono sound.

    One with a text branch also has `embed_text(texts)`: embeddings (N, d) of the same space, float32 on the CPU.
    """

    sample_rate: int
    window_sec: float
    hop_sec: float
    tail: Tail

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON: name, checkpoint, SHA-256 of the weights and all else that changes an embedding."""
        ...

    def __call__(self, windows: Tensor) -> Tensor:
        """Embeddings (N, d), float32 on the CPU, of windows (N, samples), on whichever device the network is."""
        ...


def window_size(embedder: AudioEmbedder) -> int:
    """Samples per window."""
    return round(embedder.window_sec * embedder.sample_rate)


def sound_windows(audio: Tensor, embedder: AudioEmbedder) -> Tensor:
    """Windows (N, size) of mono sound (samples,) at the embedder's rate, one every `hop_sec` from its start.

    With tail `pad` every hop that starts inside the sound gives a window, so 10 s at a hop of 1 s give 10; with `drop`
    only windows that the sound covers, but always one, zero-padded where the sound is shorter. Raises ValueError for
    an empty sound.
    """
    if audio.dim() != 1 or len(audio) == 0:
        raise ValueError(f"sound of shape {tuple(audio.shape)}: windows are cut from (samples,), at least one")
    size, hop = window_size(embedder), round(embedder.hop_sec * embedder.sample_rate)
    count = -(-len(audio) // hop) if embedder.tail == "pad" else num_covered(len(audio), embedder)
    padded = nn.functional.pad(audio, (0, max(0, (count - 1) * hop + size - len(audio))))
    return padded.unfold(0, size, hop)


def num_covered(num_samples: int, embedder: AudioEmbedder) -> int:
    """Number of windows inside a sound of `num_samples`, the first ones; 1 for a sound shorter than a window."""
    hop = round(embedder.hop_sec * embedder.sample_rate)
    return max(0, num_samples - window_size(embedder)) // hop + 1


class AlignedEmbedder(nn.Module):
    """A release's own audio and text encoders: unit embeddings in one space, no download.

    The same encoders condition generation, so they are no independent judge of sounds made from a reference or caption.
    """

    hop_sec = 1.0
    tail: Tail = "pad"
    sample_rate = 16_000

    def __init__(self, encoder: AudioEncoder, text: TextEncoder, tokenizer: Any, identity: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder, self.text = encoder.eval().requires_grad_(False), text.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.window_sec = encoder.config.num_fbank_frames / FBANK_RATE
        self.identity = dict(identity)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "AlignedEmbedder":
        """The `audio_encoder`, `text_encoder` and `tokenizer` of a release folder.

        Raises FileNotFoundError or ValueError naming what is wrong.
        """
        folder = Path(folder)
        audio, text = (folder / part / "model.safetensors" for part in ("audio_encoder", "text_encoder"))
        for weights in (audio, text):
            if not weights.is_file():
                raise FileNotFoundError(f"{weights}: missing; {folder} is not a release folder")
        try:
            with without_chatter():
                encoder = AudioEncoder.from_pretrained(audio.parent, torch_dtype=torch.float32)
                text_encoder = TextEncoder.from_pretrained(text.parent, torch_dtype=torch.float32)
                tokenizer = load_tokenizer(str(folder / "tokenizer"))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ValueError(f"{folder}: cannot be loaded ({error}); fetch the release again") from error
        hashes = {"sha256": file_hash(audio), "text_sha256": file_hash(text)}
        return cls(encoder, text_encoder, tokenizer, {"name": "foleygram-audio", "checkpoint": folder.name, **hashes})

    @torch.inference_mode()
    def forward(self, windows: Tensor) -> Tensor:
        """Unit embeddings (N, d) of windows (N, samples)."""
        return self.encoder.embed_waveform(windows.to(self.encoder.device)).float().cpu()

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Unit embeddings (N, d) of texts, at most 40 tokens each."""
        return self.text.embed_texts(self.tokenizer, texts).float().cpu()
