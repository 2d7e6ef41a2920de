"""Training steps per second of the miniature's stage 2 from a cache against from media (target: at least 5 x).

Run: python -m benchmarks.cache_against_media [--videos 24] [--steps 4]. Renders its own videos; both runs train the
shipped weights on the same batches with the same draws, and their losses are printed to show it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from torch.utils.data import Dataset

from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import ClipDataModule
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.features.encoder import FeatureEncoder
from foleygram.features.writer import cache_dataset
from foleygram.generation.backbone import load_backbone
from foleygram.generation.module import GenerationModule
from foleygram.pipeline.release import load_controlnet, load_projectors
from foleygram.spec import read_spec
from foleygram.synthetic.drumstick.render import render_dataset

RELEASE = Path("checkpoints/mini")
DERIVED = ["latents", "control_latents", "embeddings"]
FIELDS = [
    "latents_mean", "latents_scale", "control_latents", "video_embedding", "text_embedding", "audio_embedding",
    "seconds_start", "seconds_total",
]  # fmt: skip
BATCH = 8


class Clock(lightning.Callback):
    """When each step ended, and its loss."""

    def __init__(self) -> None:
        self.ends, self.losses = [time.perf_counter()], []

    def on_train_start(self, *_: Any) -> None:
        self.ends = [time.perf_counter()]

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))
        self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Of each step but the first, which warms up."""
        return [after - before for before, after in zip(self.ends[1:], self.ends[2:], strict=False)]


def train(dataset: Dataset, steps: int, out: str, encode: Callable[..., Any] | None = None) -> Clock:
    """Train the shipped projectors and ControlNet on for `steps`, as configs/mini/generation.yaml does."""
    torch.manual_seed(0)
    release = str(RELEASE)
    module = GenerationModule(
        load_backbone(release), load_projectors(release), controlnet=load_controlnet(release), out=out, total_steps=100
    )
    clock = Clock()
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[clock],
    )  # fmt: skip
    trainer.fit(module, ClipDataModule(dataset, batch_size=BATCH, num_workers=1, seed=1, encode=encode))
    return clock


def main() -> None:
    """Print steps per second of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos, cache, out = Path(folder) / "videos", Path(folder) / "cache", f"{folder}/out"
        render_dataset(videos, num_videos=args.videos, seed=11, seconds=(4.1, 4.3), test_share=0.0, num_workers=2)
        index = RELEASE / "model_index.json"
        begun = time.perf_counter()
        cache_dataset(videos, cache, spec_path=index, fields=DERIVED, checkpoint=RELEASE, split="train", num_workers=1)
        cached_in = time.perf_counter() - begun
        media = GreatestHits(videos, spec=read_spec(index))
        encoder = FeatureEncoder(RELEASE, read_spec(index), DERIVED)
        clocks = {
            "from media": train(media, args.steps, out, encoder),
            "from the cache": train(CachedClips(cache, fields=FIELDS), args.steps * 5, out),
        }
    print(f"batches of {BATCH} clips of 4 s, {torch.get_num_threads()} threads; cached in {cached_in:.1f} s")
    medians = {name: statistics.median(clock.seconds) for name, clock in clocks.items()}
    for name, clock in clocks.items():
        first = " ".join(f"{loss:.4f}" for loss in clock.losses[: args.steps])
        print(f"{name:<15} {1 / medians[name]:6.2f} steps/s   losses {first}")
    ratio = medians["from media"] / medians["from the cache"]
    print(f"from the cache {ratio:.1f} x as many steps per second (target: at least 5)")


if __name__ == "__main__":
    main()
