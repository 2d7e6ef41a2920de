"""Distillation to few steps (Lightning): stage 2's networks learn to reach a trajectory's end in one call."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foleygram.generation.backbone import Backbone
from foleygram.generation.controlnet import EnvelopeControlNet
from foleygram.generation.model import SemanticProjectors
from foleygram.generation.module import GenerationModule
from foleygram.generation.objective import alpha_sigma

ADAPTED = r"transformer_blocks\..*(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)"
"""Linear layers of the DiT that get adapters: those of attention and of the feed-forward networks."""


class DistillationModule(GenerationModule):
    """Trains a trained stage 2 on its own trajectories: from any state, the clean end in one call, guidance included.

    This is the warm-up on cached trajectories of ARC (arXiv 2505.08175), without its adversarial step. Batches hold
    what `foleygram trajectories` caches. Projectors and ControlNet learn, and with an `adapter_rank` above 0 low-rank
    adapters (LoRA, arXiv 2106.09685) on the DiT, whose own weights stay frozen; `adapters_lr` is their learning rate,
    `lr` where None. The rest is as for `GenerationModule`. Sample the result by `ping_pong` with a guidance scale of 1.
    Raises ValueError for a negative rank, ImportError where adapters are asked for and peft is missing.
    """

    def __init__(
        self,
        backbone: Backbone,
        projectors: SemanticProjectors,
        controlnet: EnvelopeControlNet,
        *,
        out: str,
        adapter_rank: int = 0,
        lr: float = 1e-4,
        projectors_lr: float | None = None,
        adapters_lr: float | None = None,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 1e-3,
        warmup_steps: int = 100,
        total_steps: int = 5_000,
        seed: int = 0,
        gradient_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(
            backbone, projectors, out=out, controlnet=controlnet, lr=lr, projectors_lr=projectors_lr, betas=betas,
            weight_decay=weight_decay, warmup_steps=warmup_steps, total_steps=total_steps, seed=seed,
            gradient_checkpointing=gradient_checkpointing, compile=compile,
        )  # fmt: skip
        if adapter_rank < 0:
            raise ValueError(f"adapter_rank is {adapter_rank}: give 0 for none, or a rank such as 8")
        # In a list: a module of its own would put the DiT into the state twice.
        self._adapters = [add_adapters(self.transformer, adapter_rank, seed)] if adapter_rank else []

    def _with_silence(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
        return batch  # trajectories are the teacher's; silence is among its clips

    def _loss(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        conditions = self.conditions(batch, batch["present"])
        velocity = self.model.velocity(batch["state"], batch["timestep"], conditions)
        alpha, sigma = alpha_sigma(batch["timestep"])
        clean = alpha * batch["state"] - sigma * velocity.float()
        return ((clean - batch["end"]) ** 2).mean((1, 2))

    def is_trained(self, key: str) -> bool:
        """Whether a key of the state belongs to what learns."""
        return super().is_trained(key) or ".lora_" in key

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of projectors, ControlNet and adapters."""
        adapters = [parameter for name, parameter in self.transformer.named_parameters() if ".lora_" in name]
        more = [{"params": adapters, "lr": self.hparams.adapters_lr or self.hparams.lr}] if adapters else []
        return [*super().parameter_groups(), *more]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the parts for export; those of a run with adapters come from the folder `out` only."""
        if not self._adapters:
            super().on_save_checkpoint(checkpoint)

    def export(self) -> None:
        """Save what learned; a DiT with adapters as a DiT with their products added to its weights."""
        super().export()
        for adapters in self._adapters:
            merged = copy.deepcopy(adapters).merge_and_unload()
            merged.save_pretrained(Path(self.hparams.out) / "transformer")


def add_adapters(transformer: nn.Module, rank: int, seed: int) -> Any:
    """Put low-rank adapters on the layers `ADAPTED` of a DiT, in place; its output is unchanged until they learn.

    Returns peft's `LoraModel`, which can merge them. Raises ImportError without peft.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise ImportError("adapter_rank needs peft; install it: pip install 'foleygram[adapters]'") from error
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=ADAPTED)
        return LoraModel(transformer, config, "default")
