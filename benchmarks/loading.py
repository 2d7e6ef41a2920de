"""Data loading alone against the miniature's training step, for both stages (target: at most a tenth).

Run: python -m benchmarks.loading [--videos 40] [--repeats 6]. Renders and caches its own videos.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.utils.data import Dataset

from benchmarks.cache_against_media import DERIVED, FIELDS, RELEASE
from foleygram.alignment.losses import GramLoss
from foleygram.alignment.module import AlignmentModule
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import ClipDataModule
from foleygram.datasets.shards import ShardedClips
from foleygram.features.writer import cache_dataset
from foleygram.generation.backbone import load_backbone
from foleygram.generation.module import GenerationModule
from foleygram.pipeline.release import load_controlnet, load_part, load_projectors
from foleygram.synthetic.drumstick.render import render_dataset

MEDIA = ["frames", "envelope_audio"]
BATCHES = {"stage 1": 32, "stage 2": 16}
"""As in configs/mini."""


def stages() -> dict[str, lightning.LightningModule]:
    """Both stages' modules with the shipped weights."""
    encoders = [load_part(RELEASE, name) for name in ("video_encoder", "text_encoder", "audio_encoder", "tokenizer")]
    release = str(RELEASE)
    projectors, controlnet = load_projectors(release), load_controlnet(release)
    return {
        "stage 1": AlignmentModule(*encoders, GramLoss(), out="", total_steps=100, frames_per_step=2),
        "stage 2": GenerationModule(load_backbone(release), projectors, controlnet=controlnet, out="", total_steps=100),
    }


def medians(actions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each action, in alternating runs; the first run of each warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(repeats + 1):
        for name, action in actions.items():
            begun = time.perf_counter()
            action()
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def endless(dataset: Dataset, batch_size: int) -> Iterator[dict[str, Any]]:
    """Batches in this process: what loading costs when nothing hides it."""
    module = ClipDataModule(dataset, batch_size=batch_size)
    while True:
        yield from module.train_dataloader()


def step(module: lightning.LightningModule, batch: dict[str, Any]) -> Callable[[], None]:
    """One training step on `batch`, without Lightning's loop around it."""
    module.log = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    module.trainer = trainer  # which the module holds weakly
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-6)

    def run(trainer: lightning.Trainer = trainer) -> None:
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()

    return run


def main() -> None:
    """Print loading, training step and ratio for each stage and kind of cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=6)
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads; loading in the training's own process, nothing ahead of time")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        render_dataset(root / "videos", num_videos=args.videos, seed=11, seconds=(4.1, 4.3), test_share=0.0)
        for name, module in stages().items():
            fields, kept = (MEDIA, MEDIA) if name == "stage 1" else (DERIVED, FIELDS)
            for kind in ("safetensors", "webdataset"):
                cache_dataset(
                    root / "videos", root / name / kind, spec_path=RELEASE / "model_index.json", fields=fields,
                    checkpoint=RELEASE, split="train", num_workers=1, format=kind,  # type: ignore[arg-type]
                )  # fmt: skip
            readers: dict[str, Dataset] = {
                "a cache": CachedClips(root / name / "safetensors", fields=kept),
                "shards": ShardedClips(str(root / name / "webdataset"), fields=kept, buffer_size=BATCHES[name]),
            }
            batches = {kind: endless(reader, BATCHES[name]) for kind, reader in readers.items()}
            actions: dict[str, Callable[[], Any]] = {kind: batch.__next__ for kind, batch in batches.items()}
            actions["training step"] = step(module, next(batches["a cache"]))
            spent = medians(actions, args.repeats)
            for kind in batches:
                print(
                    f"{name}, batch of {BATCHES[name]} from {kind:<8} {1000 * spent[kind]:7.1f} ms, training step "
                    f"{1000 * spent['training step']:7.1f} ms, ratio {spent[kind] / spent['training step']:.3f} "
                    "(target: at most 0.1)"
                )


if __name__ == "__main__":
    main()
