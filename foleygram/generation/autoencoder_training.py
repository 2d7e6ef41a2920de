"""Trains a small Oobleck autoencoder (Lightning); the full-size one is a published network."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderOobleck
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from foleygram.envelope.rms import envelope_curve, rms_envelope
from foleygram.generation.autoencoder import encode_audio
from foleygram.generation.discriminator import SpectralDiscriminator
from foleygram.generation.spectral import MultiResolutionSpectra, relative_l1
from foleygram.training.stage import Stage, stepwise
from foleygram.training.steps import cosine_schedule

POSTERIOR_STD = 0.05
"""Standard deviation of the posterior: fixed noise on latents of unit variance while training."""
FIRST_ITEMS = 64
"""Number of training items from whose latents mean and variance are measured before the first step."""


def fold_latent_statistics(vae: AutoencoderOobleck, mean: Tensor, std: Tensor) -> None:
    """Give latents of per-channel `mean`, `std` (C,) zero mean and unit variance, by rewriting two convolutions.

    The encoder's last convolution is shifted and scaled, the decoder's first undoes it, so audio in to audio out is
    unchanged away from the ends (there the padding means another value). Posterior deviations below 1 scale to first
    order. `AutoencoderOobleck` has no scaling field; the v-objective assumes unit variance.
    """
    last, first, channels = vae.encoder.conv2, vae.decoder.conv1, len(mean)
    with torch.no_grad():
        # In place on weight norm's own tensors, so that an optimiser keeps its hold on them.
        last.weight_g[:channels] /= std[:, None, None]
        last.bias[:channels] = (last.bias[:channels] - mean) / std
        last.bias[channels:] -= std.log()  # softplus(s) is e^s where it is small
        weight = first.weight_g * first.weight_v / first.weight_v.flatten(1).norm(dim=1)[:, None, None]
        first.bias += (weight * mean[None, :, None]).sum((1, 2))
        first.weight_v.copy_(weight * std[None, :, None])
        first.weight_g.copy_(first.weight_v.flatten(1).norm(dim=1)[:, None, None])


@torch.no_grad()
def initialise_autoencoder(vae: Any) -> AutoencoderOobleck:
    """Random weights from which an Oobleck learns quickly: unit variance through every layer, quiet residual branches.

    With diffusers' own initialisation a small Oobleck has gradient norms of 100 and learns silence (docs/log.md).
    """
    layers: list[Any] = [m for m in vae.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    for layer in layers:
        transposed = isinstance(layer, nn.ConvTranspose1d)
        fan_in = layer.weight_v[:, 0].numel() / layer.stride[0] if transposed else layer.weight_v[0].numel()
        layer.weight_v.normal_(0, fan_in**-0.5)
        layer.weight_g.copy_(layer.weight_v.flatten(1).norm(dim=1).view_as(layer.weight_g))
        if layer.bias is not None:
            layer.bias.zero_()
    for block in (*vae.encoder.block, *vae.decoder.block):
        for unit in (block.res_unit1, block.res_unit2, block.res_unit3):
            unit.conv2.weight_g.mul_(0.3)
    vae.decoder.conv2.weight_g.mul_(0.1)
    channels = vae.config.decoder_input_channels
    fix_posterior(vae, torch.full((channels,), POSTERIOR_STD))
    return vae


@torch.no_grad()
def fix_posterior(vae: AutoencoderOobleck, std: Tensor) -> None:
    """Make the posterior's deviation `std` (C,) for every input: training adds fixed noise and never learns it."""
    channels, last = len(std), vae.encoder.conv2
    last.weight_g[channels:] = 0.0
    last.bias[channels:] = std.expm1().log()


class AutoencoderTraining(Stage):
    """Reconstruction by multi-resolution spectra and waveform distance, with a bound on the latents' power.

    `initialise` draws new weights (`initialise_autoencoder`); without it, training continues from `autoencoder`'s own.
    Latents carry fixed noise of deviation `POSTERIOR_STD`; a channel's mean square above 1 is penalised. A share of
    each batch is replaced by its own RMS curves, because the ControlNet encodes curves (FoleyGRAM, arXiv 2510.05829,
    sec. III-B). At `normalise_at` steps and at the end the latents are made unit variance over the crops trained on;
    whole clips, quieter than those crops, lie below (the miniature's: 0.69). With `decoder_only` the encoder is frozen,
    so that networks trained on its latents stay valid. A `discriminator` adds hinge and feature losses, `level_weight`
    the distance of band powers. Raises ValueError for `decoder_only` with new weights.
    """

    hparams: Any
    latent_mean: Tensor
    latent_power: Tensor

    def __init__(
        self,
        autoencoder: AutoencoderOobleck,
        *,
        out: str,
        lr: float = 1.5e-3,
        warmup_steps: int = 100,
        total_steps: int = 4000,
        normalise_at: int = 3000,
        curve_share: float = 0.125,
        waveform_weight: float = 0.1,
        power_weight: float = 0.1,
        level_weight: float = 0.0,
        discriminator: SpectralDiscriminator | None = None,
        adversarial_weight: float = 0.1,
        feature_weight: float = 1.0,
        decoder_only: bool = False,
        frame_length: int = 512,
        hop_length: int = 128,
        compile: bool = False,
        initialise: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if decoder_only and initialise:
            raise ValueError("decoder_only: true keeps the encoder as it is: set initialise: false as well")
        self.autoencoder = initialise_autoencoder(autoencoder) if initialise else autoencoder
        if compile:  # in place, so that weights keep their names; needs a C++ compiler on a CPU
            self.autoencoder.encoder.compile()
            self.autoencoder.decoder.compile()
        self.autoencoder.encoder.requires_grad_(not decoder_only)
        self.discriminator = discriminator
        self.distance = MultiResolutionSpectra(sample_rate=autoencoder.config.sampling_rate)
        self.save_hyperparameters(ignore=["autoencoder", "discriminator"])
        channels = autoencoder.config.decoder_input_channels
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_power", torch.ones(channels))

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Loss (scalar) of crops `audio` (B, channels, samples): distances, and the bound on the latents' power."""
        audio = self._with_curves(batch["audio"])
        latents = encode_audio(self.autoencoder, audio)
        with self.draws(batch_index) as generator:
            noise = torch.randn(latents.mean.shape, generator=generator).to(latents.mean)
        audio_hat = self.autoencoder.decode(latents.mean + POSTERIOR_STD * noise).sample
        # Sounds alone decide the latents' scale: curves have tens of times their energy.
        self._track(latents.mean[self._num_curves(len(audio)) :].detach().float())
        losses = self._losses(audio_hat, audio, latents.mean.float())
        self.log_dict(losses, prog_bar=True, sync_dist=True)
        return losses["loss"]

    def _losses(self, audio_hat: Tensor, audio: Tensor, latents: Tensor) -> dict[str, Tensor]:
        options = self.hparams
        # A KL term shrinks latents until the noise hides them, or lets them grow to 38 (docs/log.md): bound the power.
        excess = (latents.square().mean((0, 2)) - 1).relu().mean()
        losses = {
            "spectral": self.distance(audio_hat, audio),
            "waveform": relative_l1(audio_hat.float(), audio),
            "level": self.distance.level(audio_hat, audio),
            "excess": excess,
        }
        weighted = {"waveform": options.waveform_weight, "level": options.level_weight, "excess": options.power_weight}
        loss = losses["spectral"] + sum(weight * losses[name] for name, weight in weighted.items())
        if self.discriminator is not None:
            sides = self.discriminator.losses(audio_hat, audio)
            losses |= sides._asdict()
            loss = loss + sides.discriminator + options.adversarial_weight * sides.generator
            loss = loss + options.feature_weight * sides.features
        return losses | {"loss": loss}

    def _with_curves(self, audio: Tensor) -> Tensor:
        count = self._num_curves(len(audio))
        if not count:
            return audio
        envelope = rms_envelope(audio[:count], self.hparams.frame_length, self.hparams.hop_length)
        return torch.cat([envelope_curve(envelope, audio.shape[-1]), audio[count:]])

    def _num_curves(self, batch_size: int) -> int:
        return round(self.hparams.curve_share * batch_size)

    def _track(self, mean: Tensor) -> None:
        weight = max(0.01, 1 / (self.global_step + 1))
        moments = torch.stack([mean.mean((0, 2)), (mean**2).mean((0, 2))])
        moments = self.trainer.strategy.reduce(moments, reduce_op="mean")  # one autoencoder in all processes
        self.latent_mean.lerp_(moments[0], weight)
        self.latent_power.lerp_(moments[1], weight)

    @torch.no_grad()
    def on_train_start(self) -> None:
        """Normalise the latents before the first step, by those of `FIRST_ITEMS` items: one batch may be all quiet."""
        if self.global_step or self.hparams.decoder_only:
            return
        items: Any = self.trainer.train_dataloader
        audio = [items.dataset[index]["audio"] for index in range(min(FIRST_ITEMS, len(items.dataset)))]
        latents = [encode_audio(self.autoencoder, one[None].to(self.device)).mean.float() for one in audio]
        self._track(torch.cat(latents))
        self.normalise_latents()

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Normalise before a step, not after one: a checkpoint is written in between."""
        if batch_index % self.trainer.accumulate_grad_batches:
            return
        if self.global_step == self.hparams.normalise_at:
            self.normalise_latents()

    def normalise_latents(self) -> None:
        """Fold the tracked statistics into the autoencoder and restart tracking; a frozen encoder stays as it is."""
        if self.hparams.decoder_only:
            return
        std = (self.latent_power - self.latent_mean**2).clamp(min=1e-8).sqrt()
        fold_latent_statistics(self.autoencoder, self.latent_mean, std)
        self.latent_mean.zero_()
        self.latent_power.fill_(1)

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Log spectral distance, envelope correlation and the latents' deviation of clips (B, channels, samples)."""
        audio = batch["audio"]
        latents = encode_audio(self.autoencoder, audio).mean
        audio_hat = self.autoencoder.decode(latents).sample
        sizes = {"frame_length": self.hparams.frame_length, "hop_length": self.hparams.hop_length}
        truth, obtained = rms_envelope(audio, **sizes).flatten(1), rms_envelope(audio_hat.float(), **sizes).flatten(1)
        correlation = torch.stack(
            [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(truth, obtained, strict=True)]
        )
        over: dict[str, Any] = {"batch_size": len(audio), "sync_dist": True}
        self.log("val_spectral", self.distance(audio_hat, audio), prog_bar=True, **over)
        self.log("val_correlation", correlation.nan_to_num(0).mean(), prog_bar=True, **over)
        self.log("val_latent_std", latents.float().std(), **over)

    def export(self) -> None:
        """Save only the trained part, its latents at unit variance."""
        self.normalise_latents()
        self.autoencoder.save_pretrained(Path(self.hparams.out) / "vae")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay, per step."""
        optimizer = torch.optim.AdamW(
            [parameter for parameter in self.parameters() if parameter.requires_grad],
            lr=self.hparams.lr,
            betas=(0.9, 0.99),
            weight_decay=1e-4,
        )
        steps = {"warmup_steps": self.hparams.warmup_steps, "total_steps": self.hparams.total_steps}
        return stepwise(optimizer, cosine_schedule(optimizer, **steps))
