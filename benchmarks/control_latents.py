"""CPU seconds of the parts that run once per clip: control latents with and without skipping silence, and the others.

Run: python -m benchmarks.control_latents [--clips 6]. Processor time, so that other work on the machine counts little;
`vae.encoder` on the same curve is the plain path (target: a fifth of its time).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch.nn import functional

from foleygram.envelope.rms import envelope_curve
from foleygram.generation.autoencoder import control_latents, encode_skipping_silence
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import read_video, window_seconds

ROOT = Path(__file__).parents[1]


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """The least processor time of `repeats` calls after one more."""
    work()
    spent = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return min(spent)


@torch.inference_mode()
def main() -> None:
    """Measure each part on the first window of some videos and print means and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "examples")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "mini")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    pipeline = FoleyGRAMPipeline.from_pretrained(options.checkpoint)
    parts, spec, encoder = pipeline.parts, pipeline.spec, pipeline.encoder
    found: dict[str, list[float]] = {}
    error = 0.0
    for path in sorted(options.data.glob("*.mp4"))[: options.clips]:
        video = read_video(path, spec)
        envelope = encoder._window_envelopes(pipeline.envelope_of(video), video.seconds)[:1]
        curve = functional.pad(envelope_curve(envelope, spec.num_samples), (0, -spec.num_samples % spec.latent_hop))
        curve = curve[:, None].expand(-1, spec.audio_channels, -1)
        plain, skipped = parts.vae.encoder(curve), encode_skipping_silence(parts.vae, curve)
        error = max(error, ((plain - skipped).abs().max() / plain.abs().max()).item())
        latents = torch.zeros(1, parts.transformer.config.in_channels, spec.num_latents)
        share = len(window_seconds(video.seconds, spec))
        work = {
            "control latents, plain": lambda curve=curve: parts.vae.encoder(curve),
            "control latents": lambda envelope=envelope: control_latents(parts.vae, envelope, spec.num_samples),
            "video encoder": lambda video=video: parts.video_encoder(video.frames[:1]),
            "envelope predictor": lambda video=video: pipeline.envelope_of(video),
            "decoding": lambda latents=latents: pipeline.model.decode(latents, spec.num_samples),
        }
        for name, call in work.items():
            per_window = share if name == "envelope predictor" else 1
            found.setdefault(name, []).append(seconds(call, options.repeats) / per_window)
        found.setdefault("silent share", []).append((curve == 0).float().mean().item())
    count, threads = len(found["silent share"]), torch.get_num_threads()
    print(f"{count} clips of {spec.seconds:g} s, {threads} threads, processor time")
    for name, values in found.items():
        print(f"{name:<24} {mean(values):.3f}{'' if name == 'silent share' else ' s a clip'}")
    ratio = mean(found["control latents, plain"]) / mean(found["control latents"])
    print(f"control latents {ratio:.2f} x as fast as plain, largest difference {error:.1e} of the largest value")


if __name__ == "__main__":
    main()
