"""A moving average of the trained weights, by diffusers' `EMAModel`."""

from typing import Any

import lightning
from diffusers.training_utils import EMAModel
from lightning.pytorch.callbacks import Callback
from torch import nn

from foleygram.weights.checkpoint_parts import AVERAGED


class LearnedWeightAveraging(Callback):
    """Averages the trained parameters after every step, on the training device: `decay` of the average is kept.

    The average begins as the weights after the first step. Validation and the exported networks use it; a checkpoint
    holds the current weights as `state_dict` and the average beside them. Not for sharded networks. Raises
    ValueError for a decay outside [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay {decay}: give a share from 0 to below 1")
        self.decay = decay
        self.average: EMAModel | None = None
        self._resumed: dict[str, Any] = {}

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Raises ValueError for sharded networks."""
        if stage == "fit" and pl_module.device_mesh is not None:
            raise ValueError(f"{type(self).__name__} does not average sharded networks: use DDP, or leave it out")

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raises ValueError for a checkpoint without an average, with which a resumed run could not continue."""
        if AVERAGED not in checkpoint:
            raise ValueError("the checkpoint holds no averaged weights: resume without weight averaging")
        self._resumed = checkpoint[AVERAGED]

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Begin the average, or continue that of a checkpoint; the module is on its device by now."""
        parameters = _trained(pl_module)
        # min_decay: without it the decay would rise from 0.1 by (1 + step) / (10 + step).
        self.average = EMAModel(parameters.values(), decay=self.decay, min_decay=self.decay, foreach=True)
        if self._resumed:
            self.average.optimization_step = int(self._resumed["n_averaged"])
            self.average.shadow_params = [self._resumed[name].to(p.device) for name, p in parameters.items()]
            self._resumed = {}

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the average beside the current weights."""
        if self.average is not None:
            named = zip(_trained(pl_module), self.average.shadow_params, strict=True)
            checkpoint[AVERAGED] = {"n_averaged": self.average.optimization_step, **dict(named)}

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average after a step; a batch that is only accumulated makes none."""
        if self.average is not None and trainer.global_step > self.average.optimization_step:
            self.average.step(_trained(pl_module).values())

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the average in place."""
        if self.average is not None:
            self.average.store(_trained(pl_module).values())
            self.average.copy_to(_trained(pl_module).values())

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the current weights back."""
        if self.average is not None:
            self.average.restore(_trained(pl_module).values())

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the average in place for the export."""
        if self.average is not None:
            self.average.copy_to(_trained(pl_module).values())


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """Trained parameters by their names in a checkpoint: "module." and the name, "/" for "."."""
    return {
        f"module.{name.replace('.', '/')}": parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad
    }
