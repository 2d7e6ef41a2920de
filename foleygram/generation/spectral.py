"""A multi-resolution spectral distance; its shortest windows resolve transients."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d
from transformers.audio_utils import mel_filter_bank

WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
FLOOR = 3e-4
"""Added to magnitudes (full-scale sine: 0.5) before the logarithm: differences below -64 dB weigh little."""
SILENT_POWER = 1e-10
"""Added to a band's power before the logarithm. Above 8 kHz most hits lie below `FLOOR`."""


def relative_l1(obtained: Tensor, wanted: Tensor) -> Tensor:
    """Mean |obtained - wanted| over mean |wanted| (scalar), both over the whole batch (B, ...).

    Per item, a nearly silent one would have hundreds of times a loud one's gradient: training diverges (docs/log.md).
    """
    return (obtained - wanted).abs().mean() / (wanted.abs().mean() + FLOOR)


def relative_l2(obtained: Tensor, wanted: Tensor) -> Tensor:
    """The same ratio (scalar) of the items' root mean squares: it fits a mean where L1 fits a median.

    Partials are sparse, so the median of a bin whose frequency is still uncertain is nearly zero, and a network
    trained with L1 only stays 15 dB too quiet for thousands of steps (docs/log.md).
    """
    difference, size = (obtained - wanted).flatten(1).square().mean(1), wanted.flatten(1).square().mean(1)
    return difference.clamp(min=1e-14).sqrt().mean() / (size.sqrt().mean() + FLOOR)


class MultiResolutionSpectra(nn.Module):
    """Mean over windows of log-mel L1 (Kumar et al. 2023, section 3.4) and relative L2 of mel bands and of bins.

    Mel bands give gradients for the energy before single partials fit.
    """

    def __init__(self, *, sample_rate: int) -> None:
        super().__init__()
        for window in WINDOWS:
            num_bands = max(4, window * 5 // 64)
            bands = mel_filter_bank(
                window // 2 + 1, num_bands, 0.0, sample_rate / 2, sample_rate, norm=None, mel_scale="slaney"
            )
            pooling = torch.from_numpy(bands.T).float()
            self.register_buffer(f"pooling_{window}", pooling / pooling.sum(1, keepdim=True), persistent=False)

    def forward(self, audio_hat: Tensor, audio: Tensor) -> Tensor:
        """Distance (scalar) between two batches of audio (B, channels, samples); zero only where spectra agree."""
        total = audio.new_zeros(())
        for window in WINDOWS:
            spectrum_hat, spectrum = self._magnitude(audio_hat, window), self._magnitude(audio, window)
            pooling = self.get_buffer(f"pooling_{window}")
            with torch.autocast(audio.device.type, enabled=False):  # bf16 has 0.03 dB steps at best
                mel_hat, mel = pooling @ spectrum_hat, pooling @ spectrum
            logs = ((mel_hat + FLOOR).log() - (mel + FLOOR).log()).abs().mean()
            total = total + logs + (relative_l2(mel_hat, mel) + relative_l2(spectrum_hat, spectrum)) / 2
        return total / len(WINDOWS)

    def level(self, audio_hat: Tensor, audio: Tensor) -> Tensor:
        """Mean difference (scalar) of the logarithms of band power in 40 mel bands, over 25 ms and over the whole crop.

        Power is averaged before the logarithm, so two noises of one level have a distance near 0, while
        every other term here is smallest for a sound that is too quiet. Over the whole crop, attacks that are too
        quiet cannot make up for decays that are too loud.
        """
        window = 512
        with torch.autocast(audio.device.type, enabled=False):
            pooling = self.get_buffer(f"pooling_{window}")
            powers = [(pooling @ self._magnitude(one, window) ** 2).flatten(0, 1) for one in (audio_hat, audio)]
        short = [(avg_pool1d(power, 9, 4) + SILENT_POWER).log() for power in powers]
        whole = [(power.mean(-1) + SILENT_POWER).log() for power in powers]
        return ((short[0] - short[1]).abs().mean() + (whole[0] - whole[1]).abs().mean()) / 2

    def _magnitude(self, audio: Tensor, window: int) -> Tensor:
        shape = torch.hann_window(window, device=audio.device)
        flat = rearrange(audio, "b c samples -> (b c) samples").float()
        spectrum = torch.stft(flat, window, window // 4, window=shape / shape.sum(), return_complex=True)
        magnitude = (spectrum.real**2 + spectrum.imag**2 + 1e-12).sqrt()
        return rearrange(magnitude, "(b c) bins frames -> b c bins frames", b=len(audio))
