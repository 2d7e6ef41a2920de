"""Trains a decoder for an autoencoder whose encoder stays as it is (Lightning)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderOobleck
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from foleygram.envelope.rms import rms_envelope
from foleygram.generation.autoencoder import encode_audio
from foleygram.generation.autoencoder_training import POSTERIOR_STD, initialise_layers
from foleygram.generation.backbone import load_autoencoder
from foleygram.generation.discriminator import SpectralDiscriminator
from foleygram.generation.oobleck import AsymmetricOobleck
from foleygram.generation.spectral import WINDOWS, MultiResolutionSpectra
from foleygram.training.stage import Stage, stepwise
from foleygram.training.steps import cosine_schedule

AUDIO_SCALE = 0.04
"""About the RMS of the sounds trained on: what the decoder's last layer begins with, and its learning rate's scale."""


def with_new_decoder(
    folder: str, *, decoder_channels: int, decoder_ratios: Sequence[int], decoder_multiples: Sequence[int]
) -> AsymmetricOobleck:
    """The autoencoder in `folder` with its encoder's weights and a random decoder of other sizes; for YAML.

    Raises FileNotFoundError for an absent folder, ValueError for sizes that do not give the encoder's hop.
    """
    trained = load_autoencoder(folder)
    sizes = {name: value for name, value in trained.config.items() if not name.startswith(("_", "decoder_"))}
    vae = AsymmetricOobleck(
        **sizes,
        decoder_input_channels=trained.config.decoder_input_channels,
        decoder_channels=decoder_channels,
        decoder_ratios=list(decoder_ratios),
        decoder_multiples=list(decoder_multiples),
    )
    vae.encoder.load_state_dict(trained.encoder.state_dict())
    initialise_layers(vae.decoder)
    with torch.no_grad():
        vae.decoder.conv2.weight_g.mul_(0.3 * AUDIO_SCALE)
    return vae


def balanced_gradient(losses: Mapping[str, Tensor], weights: Mapping[str, float], output: Tensor) -> Tensor:
    """The weighted mean of the losses' gradients at `output` (B, ...), each brought to one size (B, ...).

    After EnCodec (arXiv 2210.13438, sec. 3.4): a weight is a share of the gradient, whatever the loss's scale. Per
    item, gradients larger than the batch's median are scaled down to unit norm with it, so that a nearly silent item,
    whose logarithms are steep, does not outweigh the others.
    """
    total = torch.zeros_like(output)
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, output, retain_graph=True)
        norms = gradient.flatten(1).norm(dim=1)
        norms = norms.clamp(min=norms.median() + 1e-12).view(-1, *[1] * (output.ndim - 1))
        total += weights[name] * gradient / norms
    return total / len(output)


class DecoderTraining(Stage):
    """Trains the decoder on its encoder's latents: what was trained on those latents stays valid.

    Distances of spectra (`MultiResolutionSpectra`: `spectral`, `bins`, `level`), and hinge and feature losses against a
    `discriminator`, `windows_per_step` of its windows a step; `weights` are their shares of the gradient
    (`balanced_gradient`). Latents carry noise of deviation `POSTERIOR_STD`. Raises ValueError for other names in
    `weights`.
    """

    hparams: Any

    def __init__(
        self,
        autoencoder: AutoencoderOobleck,
        discriminator: SpectralDiscriminator,
        *,
        out: str,
        weights: dict[str, float],
        windows: Sequence[int] = (*WINDOWS, 4096),
        windows_per_step: int = 2,
        lr: float = 7e-4,
        discriminator_lr: float = 5e-4,
        warmup_steps: int = 100,
        total_steps: int = 5000,
        frame_length: int = 512,
        hop_length: int = 128,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        names = ("spectral", "bins", "level", "generator", "features")
        if set(weights) != set(names):
            raise ValueError(f"weights of {', '.join(weights)}: they must be of {', '.join(names)}")
        self.autoencoder, self.discriminator = autoencoder, discriminator
        self.autoencoder.encoder.requires_grad_(False)
        if compile:  # in place, so that weights keep their names; needs a C++ compiler on a CPU
            self.autoencoder.encoder.compile()
            self.autoencoder.decoder.compile()
        self.distance = MultiResolutionSpectra(sample_rate=autoencoder.config.sampling_rate, windows=windows)
        self.save_hyperparameters(ignore=["autoencoder", "discriminator"])

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """A scalar of crops `audio` (B, channels, samples) with the balanced gradient and the discriminator's own."""
        audio = batch["audio"]
        with torch.no_grad():
            latents = encode_audio(self.autoencoder, audio).mean
        with self.draws(batch_index) as generator:
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            chosen = torch.randperm(len(self.discriminator.windows), generator=generator)
        decoded = self.autoencoder.decode(latents + POSTERIOR_STD * noise).sample.float()
        output = decoded.detach().requires_grad_()
        windows = [self.discriminator.windows[place] for place in chosen[: self.hparams.windows_per_step]]
        sides = self.discriminator.losses(output, audio, windows)
        losses = {
            "spectral": self.distance(output, audio),
            "bins": self.distance.bins(output, audio),
            "level": self.distance.level(output, audio),
            "generator": sides.generator,
            "features": sides.features,
        }
        gradient = balanced_gradient(losses, self.hparams.weights, output)
        self.log_dict(losses | {"discriminator": sides.discriminator}, prog_bar=True, sync_dist=True)
        return (decoded * gradient).sum() + sides.discriminator

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Log the spectral distances and the envelope correlation of clips (B, channels, samples)."""
        audio = batch["audio"]
        audio_hat = self.autoencoder.decode(encode_audio(self.autoencoder, audio).mean).sample.float()
        sizes = {"frame_length": self.hparams.frame_length, "hop_length": self.hparams.hop_length}
        pairs = zip(*(rms_envelope(one, **sizes).flatten(1) for one in (audio, audio_hat)), strict=True)
        correlation = torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]).nan_to_num(0).mean()
        distances = {name: getattr(self.distance, name)(audio_hat, audio) for name in ("bins", "level")}
        distances |= {"spectral": self.distance(audio_hat, audio), "correlation": correlation}
        values = {f"val_{name}": value for name, value in distances.items()}
        self.log_dict(values, prog_bar=True, batch_size=len(audio), sync_dist=True)

    def export(self) -> None:
        """Save the autoencoder, its encoder unchanged."""
        self.autoencoder.save_pretrained(Path(self.hparams.out) / "vae")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay; the last layer's gain, as small as audio is, takes smaller steps."""
        options, decoder = self.hparams, self.autoencoder.decoder
        gain = decoder.conv2.weight_g
        groups = [
            {"params": [parameter for parameter in decoder.parameters() if parameter is not gain], "lr": options.lr},
            {"params": [gain], "lr": options.lr * AUDIO_SCALE},
            {"params": list(self.discriminator.parameters()), "lr": options.discriminator_lr},
        ]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=1e-4)
        steps = {"warmup_steps": options.warmup_steps, "total_steps": options.total_steps}
        return stepwise(optimizer, cosine_schedule(optimizer, **steps))
