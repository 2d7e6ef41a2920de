"""The LightningModule that trains the envelope predictor."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from foleygram.envelope.augmentation import augment_motion
from foleygram.envelope.envelope import onset_times, pair_times
from foleygram.envelope.objective import envelope_loss
from foleygram.envelope.predictor import EnvelopePredictor, delayed, grid_lead
from foleygram.envelope.rms import rms_envelope, smooth
from foleygram.training.stage import Stage, stepwise
from foleygram.training.steps import cosine_schedule

SMOOTHING_SEC = 0.05
TOLERANCE_SEC = 0.05
INAUDIBLE = 1e-4
"""True envelopes that stay below this RMS (-80 dB) are left out of the correlation."""


class EnvelopeModule(Stage):
    """Fits `predictor` to the envelopes of clips' own sound and saves it to `out`.

    Batches hold "motion" uint8 (B, N, 3, M, M), "motion_ages" (B, N) and "envelope_audio" (B, samples), mono at the
    rate for which `frame_length` and `hop_length` are given. Every random draw derives from (seed, step, rank).
    """

    exported = {"envelope_predictor": "predictor"}  # noqa: RUF012

    def __init__(
        self,
        predictor: EnvelopePredictor,
        *,
        out: str,
        frame_length: int = 512,
        hop_length: int = 128,
        lr: float = 2e-3,
        weight_decay: float = 0.02,
        warmup_steps: int = 50,
        total_steps: int = 2000,
        label_sigma: float = 1.0,
        onset_weight: float = 4.0,
        expected_weight: float = 1.0,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.predictor = predictor
        self.out, self.augment = Path(out), augment
        self.frame_length, self.hop_length = frame_length, hop_length
        self.lr, self.weight_decay, self.warmup_steps, self.total_steps = lr, weight_decay, warmup_steps, total_steps
        self.loss_weights = {
            "label_sigma": label_sigma, "onset_weight": onset_weight, "expected_weight": expected_weight
        }  # fmt: skip
        self.save_hyperparameters(ignore=["predictor"])
        self.onset_counts = {"matched": 0, "found": 0, "true": 0}

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Loss (scalar) of one batch, its frames augmented."""
        motion, ages, envelope = batch["motion"], batch["motion_ages"], self.true_envelope(batch)
        with self.draws(batch_index) as generator:
            if self.augment:
                frame_rate = self.predictor.config.motion_frame_rate
                motion, ages, still = augment_motion(motion, ages, generator, frame_rate=frame_rate)
                envelope = envelope.masked_fill(still[:, None], 0.0)
            loss = self._loss(self.predictor(motion, ages), envelope, ages)
        self.log("loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Loss, E-L1, correlation after 50 ms smoothing, and agreement of the two envelopes' onsets."""
        truth = self.true_envelope(batch)
        logits = self.predictor(batch["motion"], batch["motion_ages"])
        predicted = self.predictor.levels(logits, batch["motion_ages"])
        over: dict[str, Any] = {"batch_size": len(truth), "sync_dist": True}
        self.log("val_loss", self._loss(logits, truth, batch["motion_ages"]), prog_bar=True, **over)
        self.log("val_e_l1", (predicted - truth).abs().mean(), **over)
        width = round(SMOOTHING_SEC * self.predictor.config.envelope_rate)
        correlation = correlations(smooth(predicted, width), smooth(truth, width))
        mean = correlation.sum() / max(1, len(correlation))  # every process logs it, or they would wait for one another
        self.log("val_correlation", mean, batch_size=len(correlation), prog_bar=True, sync_dist=True)
        self._count_onsets(predicted.cpu().numpy(), truth.cpu().numpy())

    def on_validation_epoch_start(self) -> None:
        """Forget the onsets of the last validation."""
        self.onset_counts = dict.fromkeys(self.onset_counts, 0)

    def on_validation_epoch_end(self) -> None:
        """F1 at 50 ms over all clips of the predicted envelopes' onsets against the true envelopes'."""
        totals = torch.tensor([self.onset_counts[name] for name in ("matched", "found", "true")], device=self.device)
        gathered = torch.as_tensor(self.all_gather(totals))  # (3,), or (processes, 3)
        matched, found, true = gathered.reshape(-1, 3).sum(0).tolist()
        self.log("val_onset_f1", 2 * matched / max(1, found + true), prog_bar=True)

    def true_envelope(self, batch: dict[str, Any]) -> Tensor:
        """Envelopes (B, values) of a batch's own sound; raises ValueError when they do not fit its frames."""
        envelope = rms_envelope(batch["envelope_audio"], self.frame_length, self.hop_length)
        expected = self.predictor.num_values(batch["motion"].shape[1])
        if envelope.shape[-1] != expected:
            raise ValueError(
                f"{envelope.shape[-1]} envelope values, but {batch['motion'].shape[1]} motion frames make {expected}: "
                "motion_frame_rate, envelope_rate, hop_length and the cached clips must agree"
            )
        return envelope

    def _loss(self, logits: Tensor, envelope: Tensor, ages: Tensor) -> Tensor:
        """Loss against the true envelope moved earlier by `grid_lead`, as the network predicts it from these ages."""
        config = self.predictor.config
        early = delayed(envelope, -config.envelope_rate * grid_lead(ages, config.motion_frame_rate))
        return envelope_loss(logits, early, rate=config.envelope_rate, **self.loss_weights)

    def _count_onsets(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        rate = self.predictor.config.envelope_rate
        for ours, theirs in zip(predicted, truth, strict=True):
            found, true = onset_times(ours, rate), onset_times(theirs, rate)
            self.onset_counts["matched"] += len(pair_times(found, true, TOLERANCE_SEC))
            self.onset_counts["found"] += len(found)
            self.onset_counts["true"] += len(true)

    def export(self) -> None:
        """Save the predictor (config.json, model.safetensors)."""
        self.predictor.save_pretrained(self.out)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW; linear warm-up, then a cosine."""
        optimizer = torch.optim.AdamW(
            self.predictor.parameters(), lr=self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay
        )
        schedule = cosine_schedule(optimizer, warmup_steps=self.warmup_steps, total_steps=self.total_steps)
        return stepwise(optimizer, schedule)


def correlations(predicted: Tensor, truth: Tensor) -> Tensor:
    """Pearson correlation of each pair of envelopes (B, values) whose truth is audible and not flat: (clips,)."""
    audible = truth.amax(-1) > INAUDIBLE
    ours, theirs = (rows - rows.mean(-1, keepdim=True) for rows in (predicted[audible], truth[audible]))
    norms = ours.norm(dim=-1) * theirs.norm(dim=-1)
    return (ours * theirs).sum(-1) / norms.clamp(min=1e-12)
