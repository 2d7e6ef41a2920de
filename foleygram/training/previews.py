"""Validation previews of a few clips: sounds, spectrograms and envelopes in TensorBoard or W&B."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure
from torch import Tensor


class Preview(NamedTuple):
    """One clip: its sounds by name, each mono (samples,) at `sample_rate`, and curves by name, each (values,)."""

    sounds: Mapping[str, Tensor]
    curves: Mapping[str, Tensor]
    sample_rate: int
    curve_rate: float


class Previews(Callback):
    """After each validation logs what a stage makes of the first `num_clips` clips, to TensorBoard and W&B.

    `make` runs in every process, because sharded networks need them all; the first process logs.
    """

    def __init__(self, num_clips: int = 4) -> None:
        self.num_clips = num_clips

    def make(self, stage: Any, batch: dict[str, Any]) -> list[Preview]:
        """Previews of the clips of a validation batch, tensors (B, ...), without gradients, networks in eval.

        Subclasses implement it; raises NotImplementedError here.
        """
        raise NotImplementedError

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Log the first batch's previews; a check before training is not shown."""
        if batch_idx or trainer.sanity_checking:
            return
        previews = self.make(pl_module, {name: values[: self.num_clips] for name, values in batch.items()})
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                for number, preview in enumerate(previews):
                    show(logger, f"clip {number}", preview, trainer.global_step)


def show(logger: Logger, name: str, preview: Preview, step: int) -> None:
    """Log a preview's sounds and its plot to TensorBoard or W&B; other loggers get nothing."""
    if isinstance(logger, TensorBoardLogger):
        for kind, sound in preview.sounds.items():
            samples = sound.clamp(-1, 1)[None]
            logger.experiment.add_audio(f"{name}/{kind}", samples, step, sample_rate=preview.sample_rate)
        logger.experiment.add_figure(f"{name}/plot", draw_preview(preview), step)
    elif isinstance(logger, WandbLogger):
        for kind, sound in preview.sounds.items():
            logger.log_audio(f"{name}/{kind}", [sound.numpy()], step, sample_rate=[preview.sample_rate])
        logger.log_image(f"{name}/plot", [draw_preview(preview)], step)


def draw_preview(preview: Preview) -> Figure:
    """A spectrogram of each sound above all curves, over seconds."""
    figure = Figure(figsize=(8, 1.8 * (len(preview.sounds) + 1)), layout="constrained")
    axes = figure.subplots(len(preview.sounds) + 1, 1, squeeze=False)[:, 0]
    for area, (kind, sound) in zip(axes, preview.sounds.items(), strict=False):
        quiet = torch.randn(sound.shape, generator=torch.Generator().manual_seed(0)) * 1e-5  # silence has no logarithm
        area.specgram((sound + quiet).numpy(), NFFT=512, noverlap=384, Fs=preview.sample_rate, vmin=-140, vmax=-30)
        area.set_ylabel(f"{kind}\n(Hz)")
    for kind, values in preview.curves.items():
        axes[-1].plot(torch.arange(len(values)) / preview.curve_rate, values, lw=1, label=kind)
    axes[-1].set_ylabel("RMS")
    axes[-1].set_xlabel("seconds")
    axes[-1].legend(loc="upper right")
    return figure
