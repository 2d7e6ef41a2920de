"""Trains the three encoders into one shared space (Lightning, stage 1)."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from transformers import BertTokenizer

from foleygram.alignment.augmentation import augment_audio, augment_frames, draw_frames
from foleygram.alignment.encoders import MAX_TOKENS, AudioEncoder, TextEncoder, VideoEncoder
from foleygram.alignment.losses import ContrastiveObjective
from foleygram.alignment.matching import DataAnchorMatching
from foleygram.alignment.retrieval import Embeddings, loss_over_blocks, retrieval_report
from foleygram.distributed import broadcast, gather
from foleygram.training.stage import Stage, stepwise
from foleygram.training.steps import compile_blocks, linear_schedule


class Tokens(NamedTuple):
    """Outputs of the three networks for a batch, before pooling, and the text's ids with their mask."""

    video: Tensor
    text: Tensor
    audio: Tensor
    input_ids: Tensor
    attention_mask: Tensor


SHOWN = ("material_video_to_audio", "auc_other_text")


class AlignmentModule(Stage):
    """Fine-tunes video, text and audio encoders by one contrastive objective (FoleyGRAM, section 3; GRAM, section 4).

    Batches hold `frames` uint8 (B, N, 3, S, S), `envelope_audio` (B, samples) mono at 16 kHz, `caption` and
    `materials` (B strings; several materials joined by commas). AdamW with a linear warm-up, then linear to 0;
    `vision_lr` is the video network's rate. `frames_per_step` of the N frames are drawn for each step (all by default).
    With `matching`, data-anchor matching is added to the loss; `gradient_checkpointing` computes the video network's
    blocks again in the backward pass, for memory; `compile` compiles them. The encoders and the tokenizer are saved
    below `out` at the end.
    """

    hparams: Any
    exported = {name: name for name in ("video_encoder", "text_encoder", "tokenizer", "audio_encoder")}  # noqa: RUF012

    def __init__(
        self,
        video_encoder: VideoEncoder,
        text_encoder: TextEncoder,
        audio_encoder: AudioEncoder,
        tokenizer: BertTokenizer,
        objective: ContrastiveObjective,
        *,
        out: str,
        total_steps: int,
        matching: DataAnchorMatching | None = None,
        lr: float = 2e-5,
        vision_lr: float = 5e-7,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
        warmup_share: float = 0.1,
        max_caption_length: int = MAX_TOKENS,
        seed: int = 0,
        augment: bool = True,
        frames_per_step: int | None = None,
        gradient_checkpointing: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.video_encoder, self.text_encoder, self.audio_encoder = video_encoder, text_encoder, audio_encoder
        self.tokenizer, self.objective, self.matching = tokenizer, objective, matching
        for encoder in (video_encoder, text_encoder, audio_encoder):
            encoder.train()  # `from_pretrained` hands them over in eval, and Lightning leaves that as it is
        if gradient_checkpointing:
            video_encoder.gradient_checkpointing_enable()
        if compile:
            compile_blocks(video_encoder.network.encoder.layers)  # type: ignore[union-attr, arg-type]
        parts = ("video_encoder", "text_encoder", "audio_encoder", "tokenizer", "objective", "matching")
        self.save_hyperparameters(ignore=parts)
        self._collected: list[tuple[Embeddings, list[str], list[str]]] = []

    def _encode(self, frames: Tensor, captions: list[str], audio: Tensor) -> Tokens:
        """Of frames (B, N, 3, S, S), captions (B) and mono sound (B, samples) at 16 kHz."""
        text = self.tokenizer(
            captions, padding=True, truncation=True, max_length=self.hparams.max_caption_length, return_tensors="pt"
        ).to(self.device)
        ids, mask = text["input_ids"], text["attention_mask"]
        return Tokens(
            self.video_encoder.tokens(frames), self.text_encoder.tokens(ids, mask), self.audio_encoder.tokens(audio),
            ids, mask,
        )  # fmt: skip

    def _pool(self, tokens: Tokens) -> Embeddings:
        """Unit embeddings (B, d)."""
        return Embeddings(
            video=self.video_encoder.pool(tokens.video),
            text=self.text_encoder.pool(tokens.text),
            audio=self.audio_encoder.pool(tokens.audio),
        )

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """The objective (scalar) over the batches of all processes, plus data-anchor matching if it is enabled."""
        frames, audio = batch["frames"], batch["envelope_audio"]
        with self.draws(batch_index) as generator:
            if self.hparams.frames_per_step:
                frames = draw_frames(frames, self.hparams.frames_per_step, generator)
            if self.hparams.augment:
                frames, audio = augment_frames(frames, generator), augment_audio(audio, generator)
            tokens = self._encode(frames, batch["caption"], audio)
            embeddings = self._pool(tokens)
            loss = self.objective(*embeddings, batch["caption"])
            if self.matching is not None:
                matching = self.matching(
                    self.text_encoder, tokens.input_ids, tokens.attention_mask, (tokens.video, tokens.audio),
                    tuple(embeddings), batch["caption"], temperature=self.objective.temperature, generator=generator,
                )  # fmt: skip
                self.log("matching_loss", matching, sync_dist=True)
                loss = loss + matching
        self.log("loss", loss, prog_bar=True, sync_dist=True)
        self.log("temperature", self.objective.temperature)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Collect a batch's embeddings, which are judged all together at the end."""
        embeddings = self._pool(self._encode(batch["frames"], batch["caption"], batch["envelope_audio"]))
        on_cpu = Embeddings(*(part.float().cpu() for part in embeddings))
        self._collected.append((on_cpu, batch["caption"], batch["materials"]))

    def on_validation_epoch_end(self) -> None:
        """Log retrieval over all validation clips, and the objective; the first process computes them for all."""
        gathered, self._collected = gather(self._collected), []
        values = broadcast(None if gathered is None else self._judged([clips for part in gathered for clips in part]))
        for name, value in values.items():
            self.log(name, value, prog_bar=name in SHOWN, sync_dist=True)  # equal everywhere

    def _judged(self, collected: list[tuple[Embeddings, list[str], list[str]]]) -> dict[str, float]:
        parts = zip(*(part for part, _, _ in collected), strict=True)
        embeddings = Embeddings(*(torch.cat(part).to(self.device) for part in parts))
        captions = [caption for _, part, _ in collected for caption in part]
        materials = [name for _, _, part in collected for name in part]
        loss = loss_over_blocks(self.objective, embeddings, captions)
        return {"val_loss": loss} | retrieval_report(embeddings, captions, materials)

    def export(self) -> None:
        """Save what was trained, in transformers' layout."""
        for name in self.exported:
            getattr(self, name).save_pretrained(Path(self.hparams.out) / name)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW; linear warm-up, then linear to 0."""
        optimizer = torch.optim.AdamW(self._parameter_groups(), betas=self.hparams.betas)
        total = self.hparams.total_steps
        warmup_steps = round(self.hparams.warmup_share * total)
        return stepwise(optimizer, linear_schedule(optimizer, warmup_steps=warmup_steps, total_steps=total))

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Matrices decay, vectors (biases, norms, the temperature) do not; the video network has its own rate."""
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                lr = self.hparams.vision_lr if name.startswith("video_encoder.network.") else self.hparams.lr
                decay = self.hparams.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((lr, decay), []).append(parameter)
        return [{"params": group, "lr": lr, "weight_decay": decay} for (lr, decay), group in groups.items()]
