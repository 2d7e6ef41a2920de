"""Distillation to few steps (Lightning): a trained stage 2 learns to reach a trajectory's end in one call."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foleygram.generation.backbone import Backbone
from foleygram.generation.controlnet import EnvelopeControlNet
from foleygram.generation.model import Conditions, SemanticProjectors
from foleygram.generation.module import GenerationModule
from foleygram.generation.objective import add_noise, alpha_sigma

ADAPTED = r"transformer_blocks\..*(to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)"
"""Linear layers of the DiT that get adapters: those of attention and of the feed-forward networks."""


class FewStepModule(GenerationModule):
    """Base of the trainings that make a trained stage 2 need few steps: adapters on the DiT, the end in one call.

    Projectors and ControlNet are trained, with an `adapter_rank` above 0 also low-rank adapters (LoRA, arXiv
    2106.09685) on the DiT, whose own weights stay frozen; `adapters_lr` is their learning rate, `lr` where None. The
    rest is as for `GenerationModule`. Sample the result by `ping_pong`. Raises ValueError for a negative rank,
    ImportError where adapters are asked for and peft is missing.
    """

    def __init__(
        self,
        backbone: Backbone,
        projectors: SemanticProjectors,
        controlnet: EnvelopeControlNet,
        *,
        out: str,
        adapter_rank: int = 0,
        adapters_lr: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, projectors, out=out, controlnet=controlnet, **options)
        if adapter_rank < 0:
            raise ValueError(f"adapter_rank is {adapter_rank}: give 0 for none, or a rank such as 8")
        # In a list: a module of its own would put the DiT into the state twice.
        self._adapters = [add_adapters(self.transformer, adapter_rank, self.hparams.seed)] if adapter_rank else []

    def predicted_end(self, state: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        """Clean latents (B, C, T) that one call predicts from noised ones at t (B,)."""
        alpha, sigma = alpha_sigma(timestep)
        return alpha * state - sigma * self.model.velocity(state, timestep, conditions).float()

    def is_trained(self, key: str) -> bool:
        """Whether a key of the state dict belongs to a trained part."""
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
        """Save the trained parts; adapters are merged into the weights of the DiT."""
        super().export()
        for adapters in self._adapters:
            merged = copy.deepcopy(adapters).merge_and_unload()
            merged.save_pretrained(Path(self.hparams.out) / "transformer")


class DistillationModule(FewStepModule):
    """Trains a trained stage 2 on a teacher's trajectories: from any state, their clean end in one call.

    This is the warm-up of ARC (arXiv 2505.08175); `AdversarialModule` is its second step. Batches hold what
    `foleygram trajectories` caches, the teacher's guidance included, so the student needs a guidance scale of 1. The
    share `silent_share` of the trajectories is replaced by noised silence under a zero envelope, which ends in silence.
    """

    def _with_silence(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
        state, control = batch["state"], batch["control_latents"]
        silent = (torch.rand(len(state), generator=generator) < self.hparams.silent_share).to(state.device)
        noise = torch.randn(state.shape, generator=generator).to(state)
        silence = self._silence(state.shape[-1]).mean.to(state).expand_as(state)
        noised = add_noise(silence, noise, batch["timestep"]).latents
        return batch | {
            "state": torch.where(silent[:, None, None], noised, state),
            "end": torch.where(silent[:, None, None], silence, batch["end"]),
            "control_latents": torch.where(silent[:, None, None, None], silence[:, None], control),
        }

    def _loss(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        conditions = self.conditions(batch, batch["present"])
        return ((self.predicted_end(batch["state"], batch["timestep"], conditions) - batch["end"]) ** 2).mean((1, 2))


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
