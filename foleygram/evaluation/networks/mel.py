"""The mel spectrogram that the CLAP networks read, on their device."""

import numpy as np
import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

FLOOR = 1e-10
"""Power below which sound counts as silence: -100 dB."""


def slaney_filters(sample_rate: int, fft_size: int, num_mels: int, min_hertz: float, max_hertz: float) -> Tensor:
    """librosa's mel filters (fft_size / 2 + 1, num_mels): Slaney's scale, each of unit area."""
    filters = mel_filter_bank(
        fft_size // 2 + 1, num_mels, min_hertz, max_hertz, sample_rate, norm="slaney", mel_scale="slaney"
    )
    return torch.from_numpy(np.asarray(filters, np.float32))


class MelDecibels(nn.Module):
    """Mel power spectrogram in dB (B, frames, mels) of sound (B, samples), as librosa and torchlibrosa compute it.

    Frames are centred, their ends mirrored; nothing limits the range but a floor of -100 dB.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, filters: Tensor, window: Tensor, hop_size: int) -> None:
        """`filters` (bins, mels) for the transform of a `window` (2 * (bins - 1),), one every `hop_size` samples."""
        super().__init__()
        self.hop_size = hop_size
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", window, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """dB (B, frames, mels); frame i is centred on sample i * hop_size."""
        bins = torch.stft(audio, len(self.window), self.hop_size, window=self.window, return_complex=True)
        power = bins.real.square() + bins.imag.square()
        return 10 * torch.log10((power.transpose(1, 2) @ self.filters).clamp(min=FLOOR))
