"""Adversarial step of few-step training (Lightning): students against a discriminator of latents (arXiv 2505.08175)."""

from typing import Any, NamedTuple

import torch
from diffusers import StableAudioDiTModel
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from foleygram.generation.backbone import Backbone
from foleygram.generation.controlnet import EnvelopeControlNet, embed_inputs, rotary_embedding, run_block
from foleygram.generation.distillation import FewStepModule
from foleygram.generation.model import Conditions, SemanticProjectors
from foleygram.generation.objective import add_noise, sample_timesteps
from foleygram.training.steps import step_generator


class AdversarialLosses(NamedTuple):
    """Scalars: the discriminator's relativistic and contrastive losses, and the student's loss against it."""

    discriminator: Tensor
    contrast: Tensor
    student: Tensor


class LatentDiscriminator(nn.Module):
    """Logits of noised latents under conditions, from copies of the first `num_layers` blocks of a DiT.

    The copy is an `EnvelopeControlNet` without its outgoing convolutions, so it is conditioned on the envelope as well
    as the tokens; a head of two convolutions of width 1 with SiLU between gives one logit per latent. Raises ValueError
    for more layers than the DiT has.
    """

    def __init__(self, transformer: StableAudioDiTModel, num_layers: int) -> None:
        super().__init__()
        available = transformer.config.num_layers
        if not 1 <= num_layers <= available:
            raise ValueError(f"a discriminator of {num_layers} blocks of a DiT of {available}: give 1 to {available}")
        self.network = EnvelopeControlNet.from_transformer(transformer, min(1.0, (num_layers + 0.5) / available))
        del self.network.control_out
        width = transformer.config.num_attention_heads * transformer.config.attention_head_dim
        self.head = nn.Sequential(nn.Conv1d(width, width // 2, 1), nn.SiLU(), nn.Conv1d(width // 2, 1, 1))

    def forward(self, latents: Tensor, timestep: Tensor, conditions: Conditions) -> Tensor:
        """Mean logits (B,) of noised latents (B, C, T) at t (B,) in [0, 1]; high where they look real."""
        network = self.network
        control = network.control_in(conditions.control_latents)
        tokens = conditions.cross_tokens, conditions.global_states
        hidden, cross = embed_inputs(network, latents, timestep, *tokens, control)
        rotary = rotary_embedding(network.config.attention_head_dim, latents.shape[-1], latents.device)
        for block in network.transformer_blocks:
            hidden = run_block(network, block, hidden, cross, rotary)
        return self.head(hidden.transpose(1, 2)[:, :, 1:]).mean((1, 2))

    def losses(self, real: Tensor, fake: Tensor, timestep: Tensor, conditions: Conditions) -> AdversarialLosses:
        """Relativistic losses of pairs, real and generated latents (B, C, T) noised alike, and the contrastive one.

        The contrast compares real latents under their own tokens and under those of the next clip of the batch. The
        discriminator's weights get gradients from its own two losses only, and the student from `student` only, so that
        one optimiser can hold both sides.
        """
        fixed = Conditions(*(part.detach() for part in conditions))
        of_real = self(real, timestep, fixed)
        of_fake = self(fake.detach(), timestep, fixed)
        rolled = fixed._replace(cross_tokens=fixed.cross_tokens.roll(1, 0))
        of_rolled = self(real, timestep, rolled)
        frozen = {name: value.detach() for name, value in self.named_parameters()}
        against = functional_call(self, frozen, (fake, timestep, fixed))
        return AdversarialLosses(
            discriminator=softplus(of_fake - of_real).mean(),
            contrast=softplus(of_rolled - of_real).mean(),
            student=softplus(of_real.detach() - against).mean(),
        )


class AdversarialModule(FewStepModule):
    """Trains a distilled stage 2 against a discriminator of noised latents (ARC, arXiv 2505.08175).

    Batches are those of `GenerationModule`. The student predicts clean latents from noised ones in one call; real and
    predicted latents are then noised alike, and a `LatentDiscriminator` of `discriminator_layers` blocks, with the
    learning rate `discriminator_lr`, learns to tell them apart. `contrast_weight` weights its contrast of right and
    wrong tokens, `distance_weight` the student's squared distance to the real latents, the loss that validation logs.
    The rest is as for `FewStepModule`. Raises ValueError for more layers than the DiT has.
    """

    def __init__(
        self,
        backbone: Backbone,
        projectors: SemanticProjectors,
        controlnet: EnvelopeControlNet,
        *,
        out: str,
        discriminator_layers: int = 2,
        discriminator_lr: float = 1e-4,
        contrast_weight: float = 1.0,
        distance_weight: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(backbone, projectors, controlnet, out=out, **options)
        self.save_hyperparameters("discriminator_lr", "contrast_weight", "distance_weight")
        self.discriminator = LatentDiscriminator(backbone.transformer, discriminator_layers)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The sum (scalar) of the student's and the discriminator's losses of a batch, a share of it silent."""
        options = self.hparams
        with self.draws(batch_index) as generator:
            real, predicted, conditions = self._pair(self._with_silence(batch, generator), generator)
            timestep = sample_timesteps(len(real), "logit_normal", generator=generator).to(real.device)
            noise = torch.randn(real.shape, generator=generator).to(real)
        noised_real, noised = (add_noise(latents, noise, timestep).latents for latents in (real, predicted))
        losses = self.discriminator.losses(noised_real, noised, timestep, conditions)
        distance = ((predicted - real) ** 2).mean()
        self.log_dict(losses._asdict() | {"distance": distance}, prog_bar=True, sync_dist=True)
        of_discriminator = losses.discriminator + options.contrast_weight * losses.contrast
        return of_discriminator + losses.student + options.distance_weight * distance

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Log the squared distance to the real latents of a batch, with the same draws in every validation."""
        real, predicted, _ = self._pair(batch, step_generator(self.hparams.seed, -1 - batch_index, 0))
        self.log("val_loss", ((predicted - real) ** 2).mean(), batch_size=len(real), prog_bar=True, sync_dist=True)

    def _pair(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, Tensor, Conditions]:
        """Real latents (B, C, T) of a batch, those predicted from them noised, and the conditions drawn for both."""
        mean, scale = batch["latents_mean"], batch["latents_scale"]
        real = mean + scale * torch.randn(mean.shape, generator=generator).to(mean)
        noise = torch.randn(real.shape, generator=generator).to(real)
        timestep = sample_timesteps(len(real), self.hparams.timesteps, generator=generator).to(real.device)
        conditions = self._drawn_conditions(batch, generator)
        return real, self.predicted_end(add_noise(real, noise, timestep).latents, timestep, conditions), conditions

    def is_trained(self, key: str) -> bool:
        """Whether a key of the state dict belongs to a trained part, the discriminator included."""
        return super().is_trained(key) or key.startswith("discriminator.")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the student and the discriminator."""
        own = {"params": list(self.discriminator.parameters()), "lr": self.hparams.discriminator_lr}
        return [*super().parameter_groups(), own]
