"""Sampling steps against quality: envelope correlation, onset F1, leak, material, Frechet distance, CPU seconds a clip.

Run: python -m benchmarks.steps [--checkpoint RELEASE] [--counts 1,2,4,8] [--solver NAME] [--guidance SCALE]; solver and
guidance are the release's own by default. Before the scores stands the number of network calls a clip. The Frechet
distance is between the release's own audio embeddings of generated and true clips: it compares lines of
this table and is not a published metric.
"""

import time

import numpy as np
import torch

from benchmarks.heldout import load, parse_options, read_clips
from foleygram.datasets.datamodule import collate_clips
from foleygram.evaluation.frechet import frechet_distance
from foleygram.evaluation.scores import ScoredClip, score_clip
from foleygram.evaluation.statistics import summarise
from foleygram.pipeline.release import sampler_of

COLUMNS = ("envelope_correlation", "onset_f1_50", "leak_db", "material_accuracy")


def main() -> None:
    """Generate the same clips from the same seeds with each number of steps, and print a line of metrics for each."""
    options = parse_options(__doc__, clips=24, batch=8, counts="4,8,16,25,50", solver="", guidance=0.0)
    sampler = sampler_of(options.checkpoint).override(
        solver=options.solver or None, guidance_scale=options.guidance or None
    )
    pipeline, judge = load(options.checkpoint)
    clips = read_clips(options.data, pipeline.spec, options.clips)
    truth = embedded(pipeline, [clip["envelope_audio"] for clip in clips])
    print(
        f"{len(clips)} clips of {pipeline.spec.seconds:g} s, video alone, predicted envelope, seed {options.seed}, "
        f"{sampler.solver} under guidance {sampler.guidance_scale:g}"
    )
    for steps in map(int, options.counts.split(",")):
        begun, made = time.process_time(), []
        for first in range(0, len(clips), options.batch):
            some = clips[first : first + options.batch]
            seeds = [options.seed + first + i for i in range(len(some))]
            batch = {k: v for k, v in collate_clips(some).items() if k in ("frames", "motion", "motion_ages")}
            made += list(
                pipeline.generate_clips(
                    batch, envelopes="predicted", num_inference_steps=steps, seeds=seeds, solver=sampler.solver,
                    guidance_scale=sampler.guidance_scale,
                )
            )  # fmt: skip
        spent = (time.process_time() - begun) / len(clips)
        rows = []
        for clip, sound in zip(clips, made, strict=True):
            scored = ScoredClip(
                sound.mean(0), clip["audio"].mean(0), pipeline.spec.sample_rate, clip["event_times"],
                clip["event_actions"], clip["materials"], clip["video_id"], clip["start"],
            )  # fmt: skip
            rows.append(score_clip(scored, ("onsets", "envelope", "material"), judge))
        summary = summarise(rows)
        distance = frechet_distance(embedded(pipeline, [sound.mean(0) for sound in made]), truth)
        line = "  ".join(f"{name} {value:7.3f}" for name in COLUMNS if (value := summary.get(name)) is not None)
        calls = steps if sampler.guidance_scale == 1 else 2 * steps
        print(f"{steps:4} steps  {calls:3} calls  {line}  frechet {distance:.4f}  {spent:.2f} s/clip", flush=True)


def embedded(pipeline, sounds: list[torch.Tensor]) -> np.ndarray:
    """The release's audio embeddings (N, d) of mono sounds at 16 kHz."""
    return torch.cat([pipeline.parts.embed({"envelope_audio": sound[None]})["audio"] for sound in sounds]).numpy()


if __name__ == "__main__":
    main()
