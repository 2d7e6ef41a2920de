"""Rendered clips that the miniature never saw, for benchmarks that need more of them than lie in `data/examples`."""

import argparse
from pathlib import Path
from typing import Any

from foleygram.benchmark.sounds import pick_clips
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.evaluation.material import MaterialJudge
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import SoundRequest, VideoInput
from foleygram.spec import ClipSpec

HELDOUT, EXAMPLES = Path("data/rendered/heldout"), Path("data/examples")


def parse_options(about: str | None, *, clips: int, **more: Any) -> argparse.Namespace:
    """Options that all these benchmarks have: `--clips`, `--data`, `--checkpoint`, `--seed`, and those of `more`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--clips", type=int, default=clips)
    parser.add_argument("--data", type=Path, default=HELDOUT if HELDOUT.is_dir() else EXAMPLES)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoints/mini"))
    parser.add_argument("--seed", type=int, default=0)
    for name, default in more.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def load(checkpoint: Path) -> tuple[FoleyGRAMPipeline, MaterialJudge]:
    """A release and its judge."""
    return FoleyGRAMPipeline.from_pretrained(checkpoint), MaterialJudge.from_pretrained(checkpoint / "judge").eval()


def read_clips(data: Path, spec: ClipSpec, count: int) -> list[dict[str, Any]]:
    """`count` clips of one material each, spread over the test split, as the data set reads them."""
    dataset = GreatestHits(data, "test", spec=spec, fields=("audio", "envelope_audio", "frames", "motion"))
    single = [index for index, clip in enumerate(dataset.clips) if len(clip.materials) == 1]
    return [dataset[single[i]] for i in pick_clips(len(single), count)]


def request_of(clip: dict[str, Any], spec: ClipSpec, seed: int, **asked: Any) -> SoundRequest:
    """A clip as the pipeline is asked for it."""
    seen = VideoInput(spec.seconds, clip["frames"][None], clip["motion"], clip["motion_ages"])
    return SoundRequest(seen, seed, **asked)
