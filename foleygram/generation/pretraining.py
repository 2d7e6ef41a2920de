"""Pretraining of a small backbone (Lightning): DiT, prompt encoder and duration projection."""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableAudioDiTModel, StableAudioProjectionModel
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel, T5TokenizerFast  # type: ignore[attr-defined]

from foleygram.datasets.captions import cached_captions
from foleygram.generation.backbone import PromptTokens, encode_prompts, load_backbone, tokenize_prompts
from foleygram.generation.controlnet import controlled_forward
from foleygram.generation.model import drop_tokens, with_durations
from foleygram.generation.objective import TimestepDistribution, add_noise, sample_timesteps
from foleygram.training.stage import Stage, stepwise
from foleygram.training.steps import compile_blocks, cosine_schedule, step_generator


class BackbonePretraining(Stage):
    """v-objective on cached latents with captions as prompts, conditioned as Stable Audio Open (arXiv 2407.14358).

    The share `unconditional_share` of the clips loses prompt and duration tokens (`drop_tokens`). Validation logs the
    loss per decile of t, from which the sampler's noise range is chosen. `start_from` is a backbone folder, such as one
    for another autoencoder, whose tensors of the same name and shape are copied first. `gradient_checkpointing`
    recomputes the DiT's blocks in the backward pass to save memory; `compile` compiles each block. Batches hold
    `latents_mean` and `latents_scale` (B, C, T), `caption` (B strings), `seconds_start` and `seconds_total` (B,).
    """

    hparams: Any
    exported = {  # noqa: RUF012
        name: name for name in ("transformer", "projection_model", "prompt_encoder", "prompt_tokenizer")
    }

    def __init__(
        self,
        transformer: StableAudioDiTModel,
        projection_model: StableAudioProjectionModel,
        prompt_encoder: T5EncoderModel,
        prompt_tokenizer: T5TokenizerFast,
        *,
        out: str,
        start_from: str | None = None,
        max_prompt_length: int = 24,
        lr: float = 1e-3,
        warmup_steps: int = 200,
        total_steps: int = 12_000,
        unconditional_share: float = 0.1,
        timesteps: TimestepDistribution = "uniform",
        seed: int = 0,
        gradient_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.transformer, self.projection_model = transformer, projection_model
        self.prompt_encoder, self.prompt_tokenizer = prompt_encoder, prompt_tokenizer
        if start_from is not None:
            start = load_backbone(start_from)
            copy_matching_tensors(start.transformer, transformer)
            copy_matching_tensors(start.projection_model, projection_model)
            if start.prompt_encoder is not None:
                copy_matching_tensors(start.prompt_encoder, prompt_encoder)
        if gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        if compile:
            compile_blocks(transformer.transformer_blocks)
        self.save_hyperparameters(ignore=["transformer", "projection_model", "prompt_encoder", "prompt_tokenizer"])

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The v-objective (scalar) of a batch."""
        with self.draws(batch_index) as generator:
            loss = self._loss(batch, generator)[0].mean()
        self.log("loss", loss, prog_bar=True, sync_dist=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Log the v-objective of a batch, also per decile of t, with the same draws in every validation."""
        loss_per_clip, timestep = self._loss(batch, step_generator(self.hparams.seed, -1 - batch_index, 0))
        self.log("val_loss", loss_per_clip.mean(), batch_size=len(timestep), prog_bar=True, sync_dist=True)
        for decile in range(10):
            inside = (timestep * 10).long() == decile
            count = int(inside.sum())  # every process logs it, or they would wait for one another
            mean = loss_per_clip[inside].sum() / max(1, count)
            self.log(f"val_loss_t{decile}", mean, batch_size=count, sync_dist=True)

    def _loss(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        mean, scale = batch["latents_mean"], batch["latents_scale"]
        latents = mean + scale * torch.randn(mean.shape, generator=generator).to(mean)
        timestep = sample_timesteps(len(latents), self.hparams.timesteps, generator=generator).to(mean)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        dropped = torch.rand(len(latents), generator=generator).to(mean) < self.hparams.unconditional_share
        tokens, global_states = self._conditions(batch)
        noised = add_noise(latents, noise, timestep)
        velocity = controlled_forward(
            self.transformer, noised.latents, timestep, drop_tokens(tokens, dropped), global_states
        )
        return ((velocity.float() - noised.target) ** 2).mean((1, 2)), timestep

    def _conditions(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        prompts = tokenize_prompts(self.prompt_tokenizer, batch["caption"], self.hparams.max_prompt_length)
        prompts = PromptTokens(*(ids.to(self.device) for ids in prompts))
        text = encode_prompts(self.prompt_encoder, self.projection_model, prompts)
        return with_durations(self.projection_model, text, batch["seconds_start"], batch["seconds_total"])

    def export(self) -> None:
        """Save what was trained, in diffusers' layout."""
        for name in self.exported:
            getattr(self, name).save_pretrained(Path(self.hparams.out) / name)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine decay, per step."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=self.hparams.lr, betas=(0.9, 0.99), weight_decay=1e-3)
        steps = {"warmup_steps": self.hparams.warmup_steps, "total_steps": self.hparams.total_steps}
        return stepwise(optimizer, cosine_schedule(optimizer, **steps))


def copy_matching_tensors(source: nn.Module, target: nn.Module) -> list[str]:
    """Copy the tensors of `source` whose name and shape `target` has; returns the names of `target`'s other tensors."""
    own, given = target.state_dict(), source.state_dict()
    matching = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    target.load_state_dict(own | matching)
    return sorted(own.keys() - matching.keys())


def build_prompt_encoder(
    vocab_size: int, hidden_size: int, intermediate_size: int, num_hidden_layers: int, num_attention_heads: int
) -> T5EncoderModel:
    """A T5 encoder of the given sizes with random weights; gated GELU, as the backbone's published one."""
    return T5EncoderModel(
        T5Config(
            vocab_size=vocab_size,
            d_model=hidden_size,
            d_kv=hidden_size // num_attention_heads,
            d_ff=intermediate_size,
            num_layers=num_hidden_layers,
            num_heads=num_attention_heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )


def prompt_tokenizer_from_captions(cache: str, vocab_size: int = 256) -> T5TokenizerFast:
    """A Unigram tokenizer in T5's form, trained on the captions of a cache."""
    captions = sorted(set(cached_captions(cache)))
    base = T5TokenizerFast(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)], extra_ids=0)
    return base.train_new_from_iterator(captions, vocab_size=vocab_size)


def load_prompt_tokenizer(folder: str) -> T5TokenizerFast:
    """The tokenizer in a folder such as a release's `prompt_tokenizer`."""
    return T5TokenizerFast.from_pretrained(folder)
