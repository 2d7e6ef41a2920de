"""Stage 2 (Lightning): projectors and envelope ControlNet on a frozen backbone (FoleyGRAM, section 3)."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from foleygram.generation.backbone import Backbone
from foleygram.generation.conditioning import Conditions, SemanticProjectors, duration_conditions
from foleygram.generation.controlnet import EnvelopeControlNet, controlled_forward
from foleygram.generation.objective import TimestepDistribution, add_noise, sample_timesteps
from foleygram.training.stage import Stage, stepwise
from foleygram.training.steps import compile_blocks, cosine_schedule, step_generator

MODALITY_SUBSETS = torch.tensor(
    [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]], dtype=torch.bool
)
"""Which of video, text and audio a clip keeps; video alone twice, because that is what most people have."""


class GenerationModule(Stage):
    """Trains `projectors` and `controlnet` by the v-objective; every other part is frozen and left out of checkpoints.

    Batches hold cached features: latents, control latents of several envelope variants, three embeddings.
    `controlnet` is one to go on from; where None, a copy of the DiT's first blocks (`depth_factor` of them). Raises
    ValueError when it or the projectors are of another backbone's sizes.
    `projectors_lr` is the projectors' own rate, the ControlNet's where None. `gradient_checkpointing` computes the
    blocks of DiT and ControlNet again in the backward pass, for memory; `compile` compiles them, each by itself.
    """

    hparams: Any

    def __init__(
        self,
        backbone: Backbone,
        projectors: SemanticProjectors,
        *,
        out: str,
        controlnet: EnvelopeControlNet | None = None,
        depth_factor: float = 0.2,
        lr: float = 1e-4,
        projectors_lr: float | None = None,
        betas: tuple[float, float] = (0.95, 0.999),
        weight_decay: float = 1e-3,
        warmup_steps: int = 100,
        total_steps: int = 20_000,
        unconditional_share: float = 0.1,
        true_envelope_share: float = 0.5,
        timesteps: TimestepDistribution = "mixed",
        seed: int = 0,
        gradient_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        check_fits(backbone, projectors, controlnet)
        self.projectors = projectors
        controlnet = controlnet or EnvelopeControlNet.from_transformer(backbone.transformer, depth_factor)
        self.controlnet = controlnet.requires_grad_(True)
        self.transformer, self.projection_model = backbone.transformer, backbone.projection_model
        self.backbone = backbone  # no module by itself: its autoencoder stays on the CPU until previews call for it
        for network in (self.transformer, self.controlnet):
            if gradient_checkpointing:
                network.enable_gradient_checkpointing()
            if compile:
                compile_blocks(network.transformer_blocks)
        self.save_hyperparameters(ignore=["backbone", "projectors", "controlnet"])
        self.strict_loading = False

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        with self.draws(batch_index) as generator:
            loss = self._loss(batch, generator).mean()
        self.log("loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        loss = self._loss(batch, step_generator(self.hparams.seed, -1 - batch_index, 0))
        self.log("val_loss", loss.mean(), batch_size=len(loss), prog_bar=True, sync_dist=True)

    def _loss(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        mean, scale = batch["latents_mean"], batch["latents_scale"]
        latents = mean + scale * torch.randn(mean.shape, generator=generator).to(mean)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        timestep = sample_timesteps(len(latents), self.hparams.timesteps, generator=generator).to(mean.device)
        conditions = self._drawn_conditions(batch, generator)
        noised = add_noise(latents, noise, timestep)
        velocity = self.velocity(noised.latents, timestep, conditions)
        return ((velocity.float() - noised.target) ** 2).mean((1, 2))

    def velocity(self, latents: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        """v (B, C, T) that the controlled DiT predicts of noised latents at t (B,)."""
        latents = latents.to(self.transformer.dtype)  # the time stays float32 in every precision
        residuals = self.controlnet(latents, timestep, *conditions)
        return controlled_forward(
            self.transformer, latents, timestep, conditions.cross_tokens, conditions.global_states, residuals
        )

    def conditions(
        self, batch: dict[str, Any], present: Tensor | None = None, variant: Tensor | None = None
    ) -> Conditions:
        """Conditions of a batch with the modalities `present` (B, 3) and the envelopes `variant` (B,) of each clip.

        All modalities where None, and the true envelope.
        """
        video, text, audio = (batch[f"{name}_embedding"] for name in ("video", "text", "audio"))
        tokens = self.projectors(video, text, audio, video.new_ones(len(video), 3) if present is None else present)
        durations, global_states = duration_conditions(
            self.projection_model, batch["seconds_start"], batch["seconds_total"]
        )
        variants = batch["control_latents"]  # (B, V, C, T), the true envelope first
        chosen = torch.zeros(len(variants), dtype=torch.long) if variant is None else variant
        control = variants[torch.arange(len(variants), device=variants.device), chosen.to(variants.device)]
        return Conditions(torch.cat([tokens, durations], dim=1), global_states, control)

    def _drawn_conditions(self, batch: dict[str, Any], generator: torch.Generator) -> Conditions:
        video = batch["video_embedding"]
        count, num_variants = len(video), batch["control_latents"].shape[1]
        present = MODALITY_SUBSETS[torch.randint(len(MODALITY_SUBSETS), (count,), generator=generator)].to(video.device)
        # The same clips lose all tokens in ControlNet and DiT; the envelope is never dropped.
        keep = (torch.rand(count, generator=generator) >= self.hparams.unconditional_share).to(video)
        augmented = torch.randint(1, num_variants, (count,), generator=generator)
        is_true = torch.rand(count, generator=generator) < self.hparams.true_envelope_share
        told = self.conditions(batch, present, torch.where(is_true, 0, augmented))
        return told._replace(cross_tokens=told.cross_tokens * keep[:, None, None])

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Only what is trained: the frozen parts are named by the backbone's folder."""
        state = super().state_dict(*args, **kwargs)
        return {key: value for key, value in state.items() if key.startswith(("projectors.", "controlnet."))}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load the trained parts; raises ValueError unless exactly the frozen ones are missing."""
        outcome = super().load_state_dict(state_dict, strict=False, assign=assign)
        strangers = [k for k in outcome.missing_keys if not k.startswith(("transformer.", "projection_model."))]
        if strangers or outcome.unexpected_keys:
            raise ValueError(
                f"checkpoint does not fit: missing {strangers[:5]}, unexpected {outcome.unexpected_keys[:5]}"
            )
        return outcome

    def export(self) -> None:
        """Save the trained parts alone."""
        self.projectors.save_pretrained(Path(self.hparams.out) / "projectors")
        self.controlnet.save_pretrained(Path(self.hparams.out) / "controlnet")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = [
            {"params": list(self.controlnet.parameters())},
            {"params": list(self.projectors.parameters()), "lr": self.hparams.projectors_lr or self.hparams.lr},
        ]
        optimizer = torch.optim.AdamW(
            groups, lr=self.hparams.lr, betas=self.hparams.betas, weight_decay=self.hparams.weight_decay
        )
        steps = {"warmup_steps": self.hparams.warmup_steps, "total_steps": self.hparams.total_steps}
        return stepwise(optimizer, cosine_schedule(optimizer, **steps))


def check_fits(backbone: Backbone, projectors: SemanticProjectors, controlnet: EnvelopeControlNet | None) -> None:
    """Raise ValueError naming the sizes in which trained parts differ from the backbone that they are to steer."""
    dit = backbone.transformer.config
    told = [
        f"{name}.{key} {part.config[key]} where the backbone has {dit[key]}"
        for name, part in (("projectors", projectors), ("controlnet", controlnet))
        if part is not None
        for key in part.config
        if key in dit and key != "num_layers" and not key.startswith("_") and part.config[key] != dit[key]
    ]
    if controlnet is not None and controlnet.config.num_layers > dit.num_layers:
        told.append(f"controlnet.num_layers {controlnet.config.num_layers} for a backbone of {dit.num_layers}")
    if told:
        raise ValueError(
            f"trained parts of another backbone: {', '.join(told)}; name the backbone they were trained on"
        )
