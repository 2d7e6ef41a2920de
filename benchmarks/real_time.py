"""Seconds of sound that the miniature makes per second of computing, reading shown apart (target: above 1)."""

import time
from pathlib import Path

import torch

from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import read_video

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Time the default number of steps on the first example, after one warm-up run."""
    pipeline = FoleyGRAMPipeline.from_pretrained(ROOT / "checkpoints" / "mini")
    path = sorted((ROOT / "data" / "examples").glob("*.mp4"))[0]
    begun = time.perf_counter()
    video = read_video(path, pipeline.spec)
    reading = time.perf_counter() - begun
    pipeline(video, num_inference_steps=2)
    begun = time.perf_counter()
    pipeline(video)
    generating = time.perf_counter() - begun
    steps, threads = pipeline.sampler.num_inference_steps, torch.get_num_threads()
    print(f"{video.seconds:.2f} s of video, {steps} steps, {threads} threads")
    print(f"reading {reading:.2f} s, generating {generating:.2f} s")
    print(f"{video.seconds / (reading + generating):.2f} x real time (target: above 1)")


if __name__ == "__main__":
    main()
