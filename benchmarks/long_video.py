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

from foleygram.envelope.curve import Envelope
from foleygram.envelope.hits import Hit, draw_hits
from foleygram.evaluation.envelopes import ENVELOPE_RATE, clip_envelope
from foleygram.inputs import VideoInput, read_video, window_seconds
from foleygram.pipeline import FoleyGRAMPipeline

CHECKPOINT = Path("checkpoints/mini")
NEAR_SEC = 0.25


def long_input(pipeline: FoleyGRAMPipeline, seconds: float, video: Path) -> VideoInput:
    """A video of `seconds` whose windows show those of a short one in turn."""
    short, windows = read_video(video, pipeline.spec), len(window_seconds(seconds, pipeline.spec))
    frames = short.frames[torch.arange(windows) % len(short.frames)]
    count = round(seconds * pipeline.spec.motion_frame_rate)
    return VideoInput(seconds, frames, short.motion[torch.arange(count) % len(short.motion)], torch.zeros(count))


def steady_hits(seconds: float) -> Envelope:
    """Equal hits 0.41 s apart: no multiple of the windows' hop, so that seams fall anywhere between them."""
    return draw_hits([Hit(time, 0.05, 0.15) for time in np.arange(0.2, seconds - 0.2, 0.41)], seconds=seconds)


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


def main() -> None:
    """One and ten minutes, few steps; then a minute at a usual number of steps for the seams."""
    for seconds, steps in ((60.0, 4), (600.0, 4), (60.0, 25)):
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(seconds, steps))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
