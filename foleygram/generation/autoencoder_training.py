"""Trains a small Oobleck autoencoder of its own (Lightning); the full-size one comes trained."""

from pathlib import Path
from typing import Any

import lightning
import torch
from diffusers import AutoencoderOobleck
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.utils import remove_weight_norm

from foleygram.envelope.rms import envelope_curve, rms_envelope
from foleygram.generation.backbone import encode_audio
from foleygram.generation.spectral import MultiResolutionSTFT


def fold_latent_statistics(vae: AutoencoderOobleck, mean: Tensor, std: Tensor) -> None:
    """Give latents of per-channel `mean`, `std` (C,) zero mean and unit variance, by rewriting two convolutions.

    The encoder's last convolution is shifted and scaled, the decoder's first undoes it, so audio in to audio out is
    unchanged away from the ends (there the padding means another value). Posterior deviations below 1 scale to first
    order. `AutoencoderOobleck` has no scaling field; the v-objective assumes unit variance (paper notes, section 3).
    """
    last, first, channels = vae.encoder.conv2, vae.decoder.conv1, len(mean)
    for convolution in (last, first):
        remove_weight_norm(convolution)
    with torch.no_grad():
        last.weight[:channels] /= std[:, None, None]
        last.bias[:channels] = (last.bias[:channels] - mean) / std
        last.bias[channels:] -= std.log()  # softplus(s) is e^s where it is small
        first.bias += (first.weight * mean[None, :, None]).sum((1, 2))
        first.weight *= std[None, :, None]
    for convolution in (last, first):
        torch.nn.utils.weight_norm(convolution)


class AutoencoderTraining(lightning.LightningModule):
    """Reconstruction by multi-resolution STFT and waveform distance, with a light KL term on the latents.

    A share of each batch is replaced by its own RMS curves, because the ControlNet later sends curves through the
    encoder (paper notes, section 3). At `normalise_at` steps and at the end the latents are made unit variance.
    """

    hparams: Any
    latent_mean: Tensor
    latent_power: Tensor

    def __init__(
        self,
        autoencoder: AutoencoderOobleck,
        *,
        out: str,
        lr: float = 1e-3,
        warmup_steps: int = 100,
        total_steps: int = 4000,
        normalise_at: int = 3000,
        curve_share: float = 0.125,
        waveform_weight: float = 5.0,
        kl_weight: float = 1e-4,
        frame_length: int = 512,
        hop_length: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.distance = MultiResolutionSTFT()
        self.save_hyperparameters(ignore=["autoencoder"])
        channels = autoencoder.config.decoder_input_channels
        self.register_buffer("latent_mean", torch.zeros(channels))
        self.register_buffer("latent_power", torch.ones(channels))

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        audio = self._with_curves(batch["audio"])
        latents = encode_audio(self.autoencoder, audio)
        noise = torch.randn(latents.mean.shape, generator=self._generator()).to(latents.mean)
        audio_hat = self.autoencoder.decode(latents.mean + latents.scale * noise).sample
        self._track(latents.mean.detach().float())
        spectral = self.distance(audio_hat, audio)
        waveform = (audio_hat.float() - audio).abs().mean()
        variance = latents.scale.float() ** 2
        divergence = 0.5 * (latents.mean.float() ** 2 + variance - variance.log() - 1).mean()
        loss = spectral + self.hparams.waveform_weight * waveform + self.hparams.kl_weight * divergence
        self.log_dict({"loss": loss, "spectral": spectral, "waveform": waveform, "kl": divergence}, prog_bar=True)
        return loss

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed((self.hparams.seed << 40) + (self.global_step << 12) + self.global_rank)

    def _with_curves(self, audio: Tensor) -> Tensor:
        count = round(self.hparams.curve_share * len(audio))
        if not count:
            return audio
        envelope = rms_envelope(audio[:count], self.hparams.frame_length, self.hparams.hop_length)
        return torch.cat([envelope_curve(envelope, audio.shape[-1]), audio[count:]])

    def _track(self, mean: Tensor) -> None:
        weight = max(0.01, 1 / (self.global_step + 1))
        self.latent_mean.lerp_(mean.mean((0, 2)), weight)
        self.latent_power.lerp_((mean**2).mean((0, 2)), weight)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        if self.global_step == self.hparams.normalise_at:
            self.normalise_latents()

    def normalise_latents(self) -> None:
        """Fold the tracked statistics into the autoencoder and start tracking anew."""
        std = (self.latent_power - self.latent_mean**2).clamp(min=1e-8).sqrt()
        trained = list(self.autoencoder.parameters())
        fold_latent_statistics(self.autoencoder, self.latent_mean, std)
        self._readopt(trained)
        self.latent_mean.zero_()
        self.latent_power.fill_(1)

    def _readopt(self, trained: list[Tensor]) -> None:
        # Weight norm was removed and put back: the optimiser must hold the new tensors, without their old moments.
        optimizer = self.optimizers()
        if isinstance(optimizer, list) or optimizer is None:
            return
        fresh = list(self.autoencoder.parameters())
        kept = {id(p) for p in fresh}
        for old in trained:
            if id(old) not in kept:
                optimizer.state.pop(old, None)
        optimizer.param_groups[0]["params"] = fresh

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        audio = batch["audio"]
        latents = encode_audio(self.autoencoder, audio).mean
        audio_hat = self.autoencoder.decode(latents).sample
        sizes = {"frame_length": self.hparams.frame_length, "hop_length": self.hparams.hop_length}
        truth, obtained = rms_envelope(audio, **sizes).flatten(1), rms_envelope(audio_hat.float(), **sizes).flatten(1)
        correlation = torch.stack(
            [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(truth, obtained, strict=True)]
        )
        self.log("val_spectral", self.distance(audio_hat, audio), batch_size=len(audio), prog_bar=True)
        self.log("val_correlation", correlation.nan_to_num(0).mean(), batch_size=len(audio), prog_bar=True)
        self.log("val_latent_std", latents.float().std(), batch_size=len(audio))

    def on_fit_end(self) -> None:
        """Save the trained part alone."""
        if self.global_rank == 0:
            self.autoencoder.save_pretrained(Path(self.hparams.out) / "vae")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(
            self.autoencoder.parameters(), lr=self.hparams.lr, betas=(0.8, 0.99), weight_decay=1e-4
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _lr_factor(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.hparams.warmup_steps)
        progress = min(1.0, step / self.hparams.total_steps)
        return warm * (0.02 + 0.98 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * progress)).item()))
