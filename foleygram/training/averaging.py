"""A moving average of the weights (Lightning's), for stages that have frozen parts."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel


class Learned(nn.Module):
    """A view of the parameters of `network` that learn, under their own names with "/" for "."."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                self.register_parameter(name.replace(".", "/"), parameter)


class LearnedWeightAveraging(EMAWeightAveraging):
    """`EMAWeightAveraging` over what learns: frozen parts are neither copied nor averaged, and stay bit for bit.

    As there, validation and the exported networks use the average; the checkpoint keeps the current weights as its
    `state_dict` and the average beside them. Not with sharded networks.
    """

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Begin the average at the weights as they are; raises ValueError for sharded networks."""
        if stage == "fit":
            if pl_module.device_mesh is not None:
                raise ValueError(f"{type(self).__name__} does not average sharded networks: use DDP, or leave it out")
            device = self._device or pl_module.device
            self._average_model = AveragedModel(Learned(pl_module), device=device, use_buffers=False, **self._kwargs)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *rest: Any) -> None:
        """Average after the step, over what learns."""
        super().on_train_batch_end(trainer, Learned(pl_module), *rest)  # type: ignore[arg-type]

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Average after the pass, where that is asked for."""
        super().on_train_epoch_end(trainer, Learned(pl_module))  # type: ignore[arg-type]

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Put the average in place for a run gone on at its last step too, which trains no more and has no end."""
        self._copy_average_to_current(pl_module)

    def _swap_models(self, pl_module: Any) -> None:
        super()._swap_models(Learned(pl_module))  # type: ignore[arg-type]

    def _copy_average_to_current(self, pl_module: Any) -> None:
        super()._copy_average_to_current(Learned(pl_module))  # type: ignore[arg-type]

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep the average beside the current weights, as `averaging_state`."""
        if self._average_model is not None:
            checkpoint["averaging_state"] = self._average_model.state_dict()

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raises ValueError for a checkpoint without an average, which a resumed run could not go on with."""
        if self._average_model is not None:
            if "averaging_state" not in checkpoint:
                raise ValueError("the checkpoint holds no averaged weights: resume without weight averaging")
            self._average_model.load_state_dict(checkpoint["averaging_state"])
