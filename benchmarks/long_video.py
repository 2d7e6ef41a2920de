"""A long video in one piece: peak memory for 1 and 10 minutes, envelope error at the seams of windows and elsewhere.

Targets: memory bounded (ten times the length, far less than ten times the memory), and an error at seams, within 0.25 s
of a window's start or end, no larger than elsewhere.
"""

import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np
import torch

from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.envelope.envelope import Envelope
from foleygram.evaluation.envelopes import ENVELOPE_RATE, clip_envelope
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import VideoInput, read_video, window_seconds

CHECKPOINT = Path("checkpoints/mini")
NEAR_SEC, SPACING_SEC = 0.25, 0.41
SEAM_SECONDS, SEAM_RUNS = 60.0, 6


def long_input(pipeline: FoleyGRAMPipeline, seconds: float, video: Path) -> VideoInput:
    """A video of `seconds` whose windows show those of a short one in turn."""
    short, windows = read_video(video, pipeline.spec), len(window_seconds(seconds, pipeline.spec))
    frames = short.frames[torch.arange(windows) % len(short.frames)]
    count = round(seconds * pipeline.spec.motion_frame_rate)
    return VideoInput(seconds, frames, short.motion[torch.arange(count) % len(short.motion)], torch.zeros(count))


def steady_hits(seconds: float, phase: float = 0.0) -> Envelope:
    """Equal hits, their distance no multiple of the windows' hop, so that seams fall anywhere between them.

    `phase` in [0, 1) moves them all by a part of that distance.
    """
    times = np.arange(0.2 + phase * SPACING_SEC, seconds - 0.2, SPACING_SEC)
    return draw_hits([Hit(time, 0.05, 0.15) for time in times], seconds=seconds)


def seam_errors(
    audio: torch.Tensor, asked: Envelope, pipeline: FoleyGRAMPipeline, seconds: float
) -> tuple[float, float]:
    """Mean absolute error of the envelope near the windows' starts and ends, and elsewhere; ends of the video aside."""
    obtained = clip_envelope(audio.mean(0), pipeline.spec.sample_rate).numpy()
    times = np.arange(len(obtained)) / ENVELOPE_RATE
    starts = np.array(window_seconds(seconds, pipeline.spec))
    seams = np.concatenate([starts, starts + pipeline.spec.seconds])
    inner = (times > 1) & (times < seconds - 1)
    near = (np.abs(times[:, None] - seams[None]) < NEAR_SEC).any(1)
    error = np.abs(obtained - asked.at(times))
    return float(error[near & inner].mean()), float(error[~near & inner].mean())


def measure(seconds: float, steps: int) -> None:
    """Generate once in a process of its own, whose memory nothing else has filled, and print what it took."""
    pipeline = FoleyGRAMPipeline.from_pretrained(CHECKPOINT)
    seen = long_input(pipeline, seconds, sorted(Path("data/examples").glob("*.mp4"))[0])
    asked, begun = steady_hits(seconds), time.perf_counter()
    audio = pipeline(seen, envelope=asked, num_inference_steps=steps).audio
    near, elsewhere = seam_errors(audio, asked, pipeline, seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{seconds:4.0f} s, {steps} steps: {time.perf_counter() - begun:.0f} s, peak memory {peak:.0f} MiB, envelope "
        f"error at seams {near:.5f}, elsewhere {elsewhere:.5f} ({near / elsewhere:.2f} x)",
        flush=True,
    )


def measure_seams(seconds: float, steps: int, runs: int) -> None:
    """Seams against elsewhere over seeds, the hits moved from run to run so that no seam meets more of them."""
    pipeline = FoleyGRAMPipeline.from_pretrained(CHECKPOINT)
    seen = long_input(pipeline, seconds, sorted(Path("data/examples").glob("*.mp4"))[0])
    pairs = []
    for seed in range(runs):
        asked = steady_hits(seconds, seed / runs)
        audio = pipeline(seen, envelope=asked, num_inference_steps=steps, generator=seed).audio
        pairs.append(seam_errors(audio, asked, pipeline, seconds))
    near, elsewhere = np.array(pairs).T
    gain = near - elsewhere
    print(
        f"{runs} x {seconds:.0f} s, {steps} steps: envelope error at seams {near.mean():.5f}, elsewhere "
        f"{elsewhere.mean():.5f} ({near.mean() / elsewhere.mean():.3f} x), difference {gain.mean():+.5f} +- "
        f"{1.96 * gain.std(ddof=1) / runs**0.5:.5f}; by run {' '.join(f'{x:.2f}' for x in near / elsewhere)}",
        flush=True,
    )


def main() -> None:
    """Memory for one and ten minutes, few steps; then the seams at a usual number of steps."""
    for work in ((measure, 60.0, 4), (measure, 600.0, 4), (measure_seams, SEAM_SECONDS, 25, SEAM_RUNS)):
        process = multiprocessing.get_context("spawn").Process(target=work[0], args=work[1:])
        process.start()
        process.join()


if __name__ == "__main__":
    main()
