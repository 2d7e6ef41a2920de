"""Base of the training stages: sharding, reproducible draws, and the export at the end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LRScheduler

from foleygram.files import share
from foleygram.training.steps import step_generator
from foleygram.weights.checkpoint_parts import PARTS, part_description


class Stage(lightning.LightningModule):
    """A LightningModule that writes its networks by `export` once training has ended.

    Nothing is written by a trial (`fast_dev_run`) nor by a run that was interrupted. Under `ModelParallelStrategy`
    every block of every network, frozen ones too, is sharded over all processes (FSDP2).
    """

    exported: ClassVar[Mapping[str, str]] = {}
    """Parts of a release that the stage trains, and the attribute that holds each."""

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """The module of a checkpoint; parts are given by name, as to the class. No code in the file is run.

        Raises TypeError naming a part that is not given, ValueError for weights that do not fit.
        """
        return super().load_from_checkpoint(checkpoint_path, **{"weights_only": True, **kwargs})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the trained parts, so that a checkpoint can be exported."""
        checkpoint[PARTS] = {
            name: part_description(getattr(self, attribute), f"{attribute}.")
            for name, attribute in self.exported.items()
        }

    @contextmanager
    def draws(self, batch_index: int) -> Iterator[torch.Generator]:
        """The generator of a training batch, from (seed, step, place); dropout draws from the same within the block.

        The place is the batch's among those that make a step: accumulated ones of one process get the draws that as
        many processes would, so the same run may be spread either way. Needs `seed` among the hyperparameters.
        """
        accumulated = self.trainer.accumulate_grad_batches  # type: ignore[attr-defined]
        place = batch_index % accumulated * self.trainer.world_size + self.global_rank  # type: ignore[attr-defined]
        generator = step_generator(self.hparams.seed, self.global_step, place)  # type: ignore[attr-defined]
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())
            yield generator

    def configure_model(self) -> None:
        """Shard each block, then what is left; called by Lightning before it builds the optimiser."""
        mesh = self.device_mesh
        if mesh is None or any(isinstance(parameter, DTensor) for parameter in self.parameters()):
            return
        for block in outermost_blocks(self):
            fully_shard(block, mesh=mesh["data_parallel"])
        # The rest belongs to the module itself: parts are called by more than `forward`. Its steps gather that rest,
        # which stays whole until the next backward pass, for what validation does after its step too.
        fully_shard(self, mesh=mesh["data_parallel"], reshard_after_forward=False)
        for step in ("training_step", "validation_step"):
            register_fsdp_forward_method(self, step)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a checkpoint's weights; raises ValueError naming the first keys that do not fit."""
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:  # torch names every key in a line of its own
            raise ValueError(
                f"the checkpoint is of another network: {' '.join(str(error).split())[:300]}; resume with the sizes "
                "that it was trained with"
            ) from None

    def on_fit_end(self) -> None:
        """Write what was trained, from the first process."""
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        gather_shards(self)
        if self.global_rank == 0:
            self.export()
            share(Path(self.hparams["out"]))

    def export(self) -> None:
        """Write the trained networks in the format they load from; raises NotImplementedError here."""
        raise NotImplementedError


def stepwise(optimizer: torch.optim.Optimizer, schedule: LRScheduler) -> OptimizerLRScheduler:
    """The return value of `configure_optimizers` for a schedule per step."""
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def outermost_blocks(network: nn.Module) -> list[nn.Module]:
    """The elements of every `ModuleList` that lies in no other."""
    if isinstance(network, nn.ModuleList):
        return list(network)
    return [block for part in network.children() for block in outermost_blocks(part)]


def gather_shards(network: nn.Module) -> None:
    """Put whole tensors in the place of sharded trainable parameters; every process must take part."""
    for part in network.modules():
        if isinstance(part, FSDPModule):
            part.reshard()  # what a validation has left whole
    for part in network.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if isinstance(parameter, DTensor) and parameter.requires_grad:
                setattr(part, name, nn.Parameter(parameter.data.full_tensor()))  # type: ignore[attr-defined]
