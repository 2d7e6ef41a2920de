"""Stage 2 (Lightning): projectors and envelope ControlNet on a frozen backbone (arXiv 2510.05829, sec. III-B)."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from foleygram.generation.autoencoder import AudioLatents, encode_audio
from foleygram.generation.backbone import Backbone
from foleygram.generation.controlnet import EnvelopeControlNet
from foleygram.generation.model import MODALITIES, MODALITY_SUBSETS, Conditions, FoleyModel, SemanticProjectors
from foleygram.generation.objective import TimestepDistribution, add_noise, sample_timesteps
from foleygram.training.stage import Stage, stepwise
from foleygram.training.steps import compile_blocks, cosine_schedule, step_generator


class GenerationModule(Stage):
    """Trains `projectors` and `controlnet` by the v-objective; every other part is frozen and left out of checkpoints.

    Batches hold cached features: `latents_mean` and `latents_scale` (B, C, T), `control_latents` (B, V, C, T) of V
    envelopes, the true one first, `video_embedding`, `text_embedding` and `audio_embedding` (B, D), `seconds_start` and
    `seconds_total` (B,).
    `controlnet` continues from a trained one; None copies the share `depth_factor` of the DiT's first blocks.
    `projectors_lr` is the projectors' learning rate, `lr` where None. `gradient_checkpointing` recomputes the blocks of
    DiT and ControlNet in the backward pass to save memory; `compile` compiles each block. The share `silent_share` of
    the clips keeps its embeddings but gets silence as latents and envelope, so that a zero envelope stays silent
    whatever the prompt. Raises ValueError when projectors or ControlNet do not fit the backbone.
    """

    hparams: Any
    exported = {"projectors": "projectors", "controlnet": "controlnet"}  # noqa: RUF012

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
        silent_share: float = 0.05,
        timesteps: TimestepDistribution = "mixed",
        seed: int = 0,
        gradient_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        controlnet = controlnet or EnvelopeControlNet.from_transformer(backbone.transformer, depth_factor)
        self.model = FoleyModel(backbone, projectors, controlnet.requires_grad_(True))
        # Registered one by one, so that checkpoint keys stay; the autoencoder is not: it waits on the CPU for previews.
        self.projectors, self.controlnet = projectors, controlnet
        self.transformer, self.projection_model = backbone.transformer, backbone.projection_model
        for network in (self.transformer, self.controlnet):
            if gradient_checkpointing:
                network.enable_gradient_checkpointing()
            if compile:
                compile_blocks(network.transformer_blocks)
        self.save_hyperparameters(ignore=["backbone", "projectors", "controlnet"])
        self.strict_loading = False
        self._silent_latents: AudioLatents | None = None

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The v-objective (scalar) of a batch, as the class describes it, a share of it silent."""
        with self.draws(batch_index) as generator:
            loss = self._loss(self._with_silence(batch, generator), generator).mean()
        self.log("loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Log the v-objective of a batch, with the same draws in every validation."""
        loss = self._loss(batch, step_generator(self.hparams.seed, -1 - batch_index, 0))
        self.log("val_loss", loss.mean(), batch_size=len(loss), prog_bar=True, sync_dist=True)

    def _with_silence(self, batch: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
        """The batch with the latents and control latents of some clips, drawn, replaced by those of silence."""
        mean, control = batch["latents_mean"], batch["control_latents"]
        silent = (torch.rand(len(mean), generator=generator) < self.hparams.silent_share).to(mean.device)
        silence = self._silence(mean.shape[-1])
        return batch | {
            "latents_mean": torch.where(silent[:, None, None], silence.mean.to(mean), mean),
            "latents_scale": torch.where(silent[:, None, None], silence.scale.to(mean), batch["latents_scale"]),
            "control_latents": torch.where(silent[:, None, None, None], silence.mean.to(control)[:, None], control),
        }

    def _silence(self, num_latents: int) -> AudioLatents:
        """Posterior of digital silence (1, C, T), which is also the control latents of a zero envelope."""
        if self._silent_latents is None or self._silent_latents.mean.shape[-1] != num_latents:
            vae = self.model.backbone.vae
            zeros = torch.zeros(1, vae.config.audio_channels, num_latents * vae.hop_length, dtype=vae.dtype)
            with torch.no_grad():
                self._silent_latents = encode_audio(vae, zeros.to(vae.device))
        return self._silent_latents

    def _loss(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        mean, scale = batch["latents_mean"], batch["latents_scale"]
        latents = mean + scale * torch.randn(mean.shape, generator=generator).to(mean)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        timestep = sample_timesteps(len(latents), self.hparams.timesteps, generator=generator).to(mean.device)
        conditions = self._drawn_conditions(batch, generator)
        noised = add_noise(latents, noise, timestep)
        velocity = self.model.velocity(noised.latents, timestep, conditions)
        return ((velocity.float() - noised.target) ** 2).mean((1, 2))

    def conditions(
        self, batch: dict[str, Any], present: Tensor | None = None, variant: Tensor | None = None
    ) -> Conditions:
        """Conditions of a batch with the modalities `present` (B, 3) and each clip's envelope `variant` (B,).

        Where None: all modalities, and variant 0, the true envelope.
        """
        embeddings = [batch[f"{modality}_embedding"] for modality in MODALITIES]
        variants = batch["control_latents"]  # (B, V, C, T)
        present = variants.new_ones(len(variants), len(MODALITIES)) if present is None else present
        chosen = torch.zeros(len(variants), dtype=torch.long) if variant is None else variant
        control = variants[torch.arange(len(variants), device=variants.device), chosen.to(variants.device)]
        return self.model.conditions(embeddings, present, control, batch["seconds_start"], batch["seconds_total"])

    def _drawn_conditions(self, batch: dict[str, Any], generator: torch.Generator) -> Conditions:
        """Conditions with modalities, dropped clips and envelope variants drawn at random."""
        count, num_variants = batch["control_latents"].shape[:2]
        device = batch["control_latents"].device
        present = MODALITY_SUBSETS[torch.randint(len(MODALITY_SUBSETS), (count,), generator=generator)].to(device)
        # The same clips lose all tokens in ControlNet and DiT; the envelope is never dropped.
        dropped = torch.rand(count, generator=generator) < self.hparams.unconditional_share
        augmented = torch.randint(1, num_variants, (count,), generator=generator)
        is_true = torch.rand(count, generator=generator) < self.hparams.true_envelope_share
        return self.conditions(batch, present, torch.where(is_true, 0, augmented)).null(dropped.to(device))

    def is_trained(self, key: str) -> bool:
        """Whether a key of the state dict belongs to a trained part."""
        return key.startswith(("projectors.", "controlnet."))

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Only the trained parts: the frozen ones load from the backbone's folder."""
        state = super().state_dict(*args, **kwargs)
        return {key: value for key, value in state.items() if self.is_trained(key)}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load the trained parts; raises ValueError unless exactly the frozen ones are missing."""
        outcome = super().load_state_dict(state_dict, strict=False, assign=assign)
        missing = [key for key in outcome.missing_keys if self.is_trained(key)]
        if missing or outcome.unexpected_keys:
            raise ValueError(
                f"checkpoint does not fit: missing {missing[:5]}, unexpected {outcome.unexpected_keys[:5]}"
            )
        return outcome

    def export(self) -> None:
        """Save only the trained parts."""
        self.projectors.save_pretrained(Path(self.hparams.out) / "projectors")
        self.controlnet.save_pretrained(Path(self.hparams.out) / "controlnet")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of projectors and ControlNet with their learning rates."""
        return [
            {"params": list(self.controlnet.parameters())},
            {"params": list(self.projectors.parameters()), "lr": self.hparams.projectors_lr or self.hparams.lr},
        ]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay, per step."""
        optimizer = torch.optim.AdamW(
            self.parameter_groups(),
            lr=self.hparams.lr,
            betas=self.hparams.betas,
            weight_decay=self.hparams.weight_decay,
        )
        steps = {"warmup_steps": self.hparams.warmup_steps, "total_steps": self.hparams.total_steps}
        return stepwise(optimizer, cosine_schedule(optimizer, **steps))
