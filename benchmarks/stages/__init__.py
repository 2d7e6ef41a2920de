"""Both stages of the paper with random weights and random clips, at the miniature's sizes or the paper's.

Nothing is read from a disk and nothing is drawn by dropout or augmentation, so that runs can be compared to the digit.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning
import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel, StableAudioProjectionModel
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import Dataset

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder, train_wordpiece
from foleygram.alignment.losses import GramLoss
from foleygram.alignment.module import AlignmentModule
from foleygram.datasets.captions import caption
from foleygram.datasets.clip import Event
from foleygram.datasets.datamodule import ClipDataModule
from foleygram.generation.backbone import Backbone
from foleygram.generation.model import SemanticProjectors
from foleygram.generation.module import GenerationModule
from foleygram.training.stage import Stage

MATERIALS = ("wood", "metal", "water", "cloth", "glass", "rock", "dirt", "paper")
ALIGNMENT_FIELDS = {"frames": (2, 3, 64, 64), "envelope_audio": (64_000,)}  # as many frames as a step sees


def stage_two_fields(channels: int, latents: int, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what a cache holds of a clip for stage 2."""
    embeddings = {f"{name}_embedding": (width,) for name in ("video", "text", "audio")}
    sound = (channels, latents)
    return {"latents_mean": sound, "latents_scale": sound, "control_latents": (3, *sound), **embeddings}


class RandomClips(Dataset):
    """Clips of noise, the same for the same index."""

    def __init__(self, fields: dict[str, tuple[int, ...]], count: int = 4096) -> None:
        self.fields, self.count = fields, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        draws = torch.Generator().manual_seed(index % self.count)
        clip: dict[str, Any] = {name: torch.randn(size, generator=draws) for name, size in self.fields.items()}
        if "frames" in clip:
            clip["frames"] = torch.randint(256, self.fields["frames"], generator=draws, dtype=torch.uint8)
        material = MATERIALS[index % len(MATERIALS)]
        captioned = {"caption": caption([Event(0.1, material, "hit")]), "materials": material}
        return clip | {"seconds_start": 0.0, "seconds_total": 4.0} | captioned


def alignment_stage(**options: Any) -> tuple[AlignmentModule, RandomClips]:
    """Stage 1 at the miniature's sizes (configs/mini/alignment_start.yaml)."""
    torch.manual_seed(0)
    tokenizer = train_wordpiece([caption([Event(0.1, name, "hit")]) for name in MATERIALS], 256)
    stage = AlignmentModule(
        VideoEncoder.build(128, 64, 8, 128, 384, 4, 4),
        TextEncoder.build(128, 256, 96, 384, 2, 4),
        AudioEncoder.build(128, 64, 400, 128, 128, 384, 4, 4, 32, 8),
        tokenizer, GramLoss(), out=tempfile.mkdtemp(), total_steps=100, lr=1e-3, augment=False, **options,
    )  # fmt: skip
    for part in stage.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return stage, RandomClips(ALIGNMENT_FIELDS)


def generation_stage(*, full_size: bool = False, **options: Any) -> tuple[GenerationModule, RandomClips]:
    """Stage 2 at the miniature's sizes (4 s), or the paper's (10 s, 24 blocks, 4 of them copied)."""
    torch.manual_seed(0)
    small = AutoencoderOobleck(
        encoder_hidden_size=8, downsampling_ratios=[8, 8, 8], channel_multiples=[1, 1, 1], decoder_channels=4,
        decoder_input_channels=16, audio_channels=1, sampling_rate=16_000,
    )  # fmt: skip  # latents come from the clips: the autoencoder takes no part in a step
    if full_size:
        transformer, width, latents = StableAudioDiTModel(), 768, 216
        projectors, depth = SemanticProjectors(512, width), 0.2
        durations = StableAudioProjectionModel(width, width, 0, 512)
    else:
        width, latents = 128, 125
        transformer = StableAudioDiTModel(
            sample_size=latents, in_channels=16, out_channels=16, num_layers=6, attention_head_dim=64,
            num_attention_heads=4, num_key_value_attention_heads=2, cross_attention_dim=width, time_proj_dim=64,
            global_states_input_dim=2 * width, cross_attention_input_dim=width,
        )  # fmt: skip
        projectors, depth = SemanticProjectors(128, width), 0.5
        durations = StableAudioProjectionModel(width, width, 0, 64)
    stage = GenerationModule(
        Backbone(transformer, small, durations), projectors, out=tempfile.mkdtemp(), depth_factor=depth, **options
    )
    embedding_dim = projectors.config.embedding_dim
    return stage, RandomClips(stage_two_fields(transformer.config.in_channels, latents, embedding_dim))


class Pace(Callback):
    """The loss and the seconds of each step, and the highest memory of the run."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        _wait(pl_module)
        self._begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        _wait(pl_module)
        self.seconds.append(time.perf_counter() - self._begun)
        self.losses.append(float(trainer.strategy.reduce(outputs["loss"].detach(), reduce_op="mean")))


def _wait(stage: lightning.LightningModule) -> None:
    if stage.device.type == "cuda":
        torch.cuda.synchronize()


class Measured(NamedTuple):
    """Losses and seconds, step after step."""

    losses: list[float]
    seconds: list[float]


def train(
    stage: Stage, clips: RandomClips, *, steps: int, batch_size: int, callbacks: Sequence[Callback] = (), **options: Any
) -> Measured:
    """Train for some steps and measure; `options` are the Trainer's."""
    pace = Pace()
    trainer = lightning.Trainer(
        max_steps=steps, callbacks=[pace, *callbacks], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip
    trainer.fit(stage, ClipDataModule(clips, batch_size=batch_size))
    return Measured(pace.losses, pace.seconds)


def peak_mebibytes() -> float:
    """Highest memory of this process so far: on the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
