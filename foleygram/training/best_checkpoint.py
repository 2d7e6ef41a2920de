"""For small data sets: writes the weights of the best validation, and reports overfitting."""

import logging
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging

from foleygram.training.averaging import LearnedWeightAveraging

RISE = 1.01
"""A run overfits if its validation loss ends this much above its lowest, as a share."""

log = logging.getLogger(__name__)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the weights with the lowest `monitor` as `best.ckpt`, and puts them back before the stage writes its own.

    The file lies in the run's folder. At the end the log states where the minimum was and whether the run overfits:
    validation ends above it while training went on falling. With `num_sanity_val_steps: -1` it also compares with the
    loss before training. Not together with averaged weights, nor with sharded networks.
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        super().__init__(filename="best", monitor=monitor, save_weights_only=True, enable_version_counter=False)
        self.before: float | None = None
        self.course: list[tuple[int, float, float]] = []
        self._losses: list[torch.Tensor] = []

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Keep the file in the run's folder; raises ValueError for averaged weights and for sharded networks."""
        averaging = (LearnedWeightAveraging, WeightAveraging)
        if any(isinstance(callback, averaging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            raise ValueError(f"{type(self).__name__} writes weights that are not averaged: leave one of the two out")
        if pl_module.device_mesh is not None:
            raise ValueError(f"{type(self).__name__} does not put back sharded networks: use DDP, or leave it out")
        self.dirpath = trainer.default_root_dir
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the training loss."""
        self._losses.append(outputs["loss"].detach())
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the validation's loss and the mean training loss since the last one."""
        super().on_validation_end(trainer, pl_module)
        value = trainer.callback_metrics.get(str(self.monitor))
        if value is None:
            return
        if trainer.sanity_checking:
            self.before = float(value) if trainer.num_sanity_val_steps == float("inf") else None
        elif self._losses:
            self.course.append((trainer.global_step, float(torch.stack(self._losses).mean()), float(value)))
            self._losses = []

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the best weights back and log how the run went."""
        if self.best_model_path and self.course:
            best = torch.load(Path(self.best_model_path), map_location=pl_module.device, weights_only=True)
            pl_module.load_state_dict(best["state_dict"])
            log.warning("%s", verdict(str(self.monitor), self.course, self.before))

    def state_dict(self) -> dict[str, Any]:
        """The state of a resumed run: Lightning's, and the validations so far."""
        return super().state_dict() | {"course": self.course, "before": self.before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self.course = [(int(step), train, value) for step, train, value in state_dict.get("course", [])]
        self.before = state_dict.get("before")


def verdict(monitor: str, course: list[tuple[int, float, float]], before: float | None) -> str:
    """Summary of a run's validations: (step, training loss since the last, `monitor`) each, and `monitor` before."""
    step, train, lowest = min(course, key=lambda row: row[2])
    last_step, last_train, last = course[-1]
    text = f"{monitor} was lowest at step {step}: {lowest:.4f}, and {last:.4f} at step {last_step}"
    text += "" if before is None else f" (before training {before:.4f})"
    text += f"; the training loss went from {train:.4f} to {last_train:.4f}. The weights of step {step} are written."
    if last > RISE * lowest and last_train < train:
        text += f" It overfits from step {step} on: give it more clips or fewer steps."
    if before is not None and before <= lowest:
        text += " None of them is better than before training: take a lower lr."
    return text
