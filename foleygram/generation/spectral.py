"""A multi-resolution STFT distance whose shortest windows hear transients."""

import torch
from torch import Tensor, nn

WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
FLOOR = 3e-4
"""Added to magnitudes (full-scale sine: 0.5) before the logarithm: differences below -64 dB weigh little."""


def relative_l1(obtained: Tensor, wanted: Tensor) -> Tensor:
    """Mean over items of |obtained - wanted| over |wanted|, taken as half the batch's median at least.

    Without that bound a nearly silent item's gradient is hundreds of times a loud one's: training diverges (LOG.md).
    """
    difference, size = (obtained - wanted).abs().flatten(1).mean(1), wanted.abs().flatten(1).mean(1)
    return (difference / (size.clamp(min=0.5 * size.median()) + FLOOR)).mean()


class MultiResolutionSTFT(nn.Module):
    """Mean over several STFTs of log-magnitude L1 and relative magnitude L1 (Yamamoto et al. 2020)."""

    def __init__(self, windows: tuple[int, ...] = WINDOWS) -> None:
        super().__init__()
        self.windows = windows

    def forward(self, audio_hat: Tensor, audio: Tensor) -> Tensor:
        """Distance (scalar) between two batches of audio (B, channels, samples); zero only where spectra agree."""
        total = audio.new_zeros(())
        for window in self.windows:
            spectrum_hat, spectrum = self._magnitude(audio_hat, window), self._magnitude(audio, window)
            logs = ((spectrum_hat + FLOOR).log() - (spectrum + FLOOR).log()).abs().mean()
            total = total + logs + relative_l1(spectrum_hat, spectrum)
        return total / len(self.windows)

    def _magnitude(self, audio: Tensor, window: int) -> Tensor:
        shape = torch.hann_window(window, device=audio.device)
        flat = audio.reshape(-1, audio.shape[-1]).float()
        spectrum = torch.stft(flat, window, window // 4, window=shape / shape.sum(), return_complex=True)
        return (spectrum.real**2 + spectrum.imag**2 + 1e-12).sqrt().unflatten(0, (len(audio), -1))
