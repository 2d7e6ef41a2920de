"""A multi-resolution STFT distance whose shortest windows hear transients."""

import torch
from torch import Tensor, nn

WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
FLOOR = 1e-4
"""Added to magnitudes (full-scale sine: 0.5) before the logarithm: differences below -74 dB weigh little."""


class MultiResolutionSTFT(nn.Module):
    """Mean L1 of magnitudes and log magnitudes over STFTs of several window lengths (Yamamoto et al. 2020)."""

    def __init__(self, windows: tuple[int, ...] = WINDOWS, magnitude_weight: float = 10.0) -> None:
        super().__init__()
        self.windows, self.magnitude_weight = windows, magnitude_weight

    def forward(self, audio_hat: Tensor, audio: Tensor) -> Tensor:
        """Distance (scalar) between two batches of audio (..., samples); zero only where spectra agree."""
        total = audio.new_zeros(())
        for window in self.windows:
            spectrum_hat, spectrum = self._magnitude(audio_hat, window), self._magnitude(audio, window)
            logs = ((spectrum_hat + FLOOR).log() - (spectrum + FLOOR).log()).abs().mean()
            total = total + logs + self.magnitude_weight * (spectrum_hat - spectrum).abs().mean()
        return total / len(self.windows)

    def _magnitude(self, audio: Tensor, window: int) -> Tensor:
        shape = torch.hann_window(window, device=audio.device)
        flat = audio.reshape(-1, audio.shape[-1]).float()
        spectrum = torch.stft(flat, window, window // 4, window=shape / shape.sum(), return_complex=True)
        return (spectrum.real**2 + spectrum.imag**2 + 1e-12).sqrt()
