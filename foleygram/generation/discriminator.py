"""An adversary for the autoencoder: judges complex spectra at several resolutions."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import weight_norm


class AdversarialLosses(NamedTuple):
    """The discriminator's own loss, the decoder's against it, and the distance of its features."""

    discriminator: Tensor
    generator: Tensor
    features: Tensor


class SpectralDiscriminator(nn.Module):
    """Convolutions over complex spectra of several window lengths (EnCodec, arXiv 2210.13438, sec. 3.4), small."""

    def __init__(self, windows: Sequence[int] = (2048, 1024, 512), width: int = 12, num_layers: int = 3) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.networks = nn.ModuleList()
        for _ in self.windows:
            layers = [weight_norm(nn.Conv2d(2, width, (3, 9), padding=(1, 4)))]
            for number in range(num_layers):
                dilation = 2**number
                layers.append(
                    weight_norm(nn.Conv2d(width, width, (3, 9), (1, 2), padding=(dilation, 4), dilation=(dilation, 1)))
                )
            layers.append(weight_norm(nn.Conv2d(width, 1, 3, padding=1)))
            self.networks.append(nn.ModuleList(layers))

    def forward(self, audio: Tensor) -> list[list[Tensor]]:
        """Outputs of every layer for audio (B, channels, samples), the last of each window its logits."""
        outputs = []
        for window, layers in zip(self.windows, self.networks, strict=True):
            flat = rearrange(audio, "b c samples -> (b c) samples").float()
            shape = torch.hann_window(window, device=audio.device)
            spectrum = torch.stft(flat, window, window // 4, window=shape, normalized=True, return_complex=True)
            hidden = rearrange(torch.view_as_real(spectrum), "b bins frames parts -> b parts frames bins")
            activations = []
            for layer in list(layers)[:-1]:  # type: ignore[call-overload]
                hidden = leaky_relu(layer(hidden), 0.2)
                activations.append(hidden)
            outputs.append([*activations, layers[-1](hidden)])  # type: ignore[index]
        return outputs

    def losses(self, audio_hat: Tensor, audio: Tensor) -> AdversarialLosses:
        """Hinge losses and relative distance of features for audio (B, channels, samples).

        The discriminator's weights get gradients from its own loss only, so that one optimiser can hold both sides.
        """
        own = self(audio)
        judged = self(audio_hat.detach())
        held = {name: value.detach() for name, value in self.named_parameters()}
        against = functional_call(self, held, (audio_hat,))
        scale = len(self.windows)
        discriminator = sum(
            (1 - real[-1]).relu().mean() + (1 + fake[-1]).relu().mean() for real, fake in zip(own, judged, strict=True)
        )
        generator = -sum(fake[-1].mean() for fake in against)
        features = sum(
            (a - b.detach()).abs().mean() / (b.detach().abs().mean() + 1e-6)
            for fake, real in zip(against, own, strict=True)
            for a, b in zip(fake[:-1], real[:-1], strict=True)
        )
        layers = scale * (len(own[0]) - 1)
        return AdversarialLosses(discriminator / scale, generator / scale, features / layers)  # type: ignore[operator]
