"""Onsets and correlation of predicted envelopes on annotated clips, without generating sound: to compare predictors.

One row per predictor: pooled onset F1 against the annotation, hits and scrapes found, and the median correlation with
the envelope of the clips' own sound.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from foleygram.datasets.annotated import annotated_clips
from foleygram.datasets.clip import Clip
from foleygram.envelope.envelope import Envelope
from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.evaluation.envelopes import envelope_correlation
from foleygram.evaluation.onsets import count_onsets
from foleygram.files import shipped
from foleygram.media.audio import read_audio
from foleygram.pipeline.conditions import envelope_of_request
from foleygram.pipeline.release import read_index
from foleygram.pipeline.request import VideoInput, read_video
from foleygram.spec import ClipSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="annotated clips, as for `foleygram benchmark greatest-hits`")
    parser.add_argument("predictors", type=Path, nargs="+", help="folders of envelope predictors")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--limit", type=int)
    options = parser.parse_args()
    spec = ClipSpec(**read_index(shipped("checkpoints/mini"))["spec"])
    clips = annotated_clips(options.folder, split=options.split, seconds=options.seconds)[: options.limit]
    videos = [read_video(clip.video_path, spec, start=clip.start, seconds=clip.seconds) for clip in clips]
    true = [Envelope.from_audio(_sound(clip, spec), spec.sample_rate) for clip in clips]
    print(f"{len(clips)} clips of {options.folder}\n| predictor | F1 50 / 100 ms | hits / scrapes | correlation |")
    print("|---|---|---|---|")
    for folder in options.predictors:
        predictor = EnvelopePredictor.from_pretrained(folder).eval()
        print(f"| {folder} | {measure(predictor, spec, clips, videos, true)} |", flush=True)


def measure(
    predictor: EnvelopePredictor, spec: ClipSpec, clips: list[Clip], videos: list[VideoInput], true: list[Envelope]
) -> str:
    """The row of one predictor."""
    counts = {0.05: np.zeros(7), 0.1: np.zeros(7)}
    correlations = list[float]()
    for clip, video, own in zip(clips, videos, true, strict=True):
        predicted = envelope_of_request(predictor, video, "predicted", spec)
        events = [event for event in clip.events if event.time < clip.seconds]
        times, actions = [event.time for event in events], [event.action or "" for event in events]
        for tolerance in counts:
            counts[tolerance] += list(count_onsets(predicted.onsets(), times, actions, tolerance))
        length = min(len(predicted.values), len(own.values))
        pair = (torch.as_tensor(curve.values[:length]) for curve in (predicted, own))
        if (correlation := envelope_correlation(*pair)) is not None:
            correlations.append(correlation)
    f1 = " / ".join(f"{2 * found[4] / max(found[0] + found[1], 1):.3f}" for found in counts.values())
    detected, _, hits, scrapes, _, hits_found, scrapes_found = counts[0.05]
    shares = " / ".join(f"{a / b:.3f}" if b else "-" for a, b in ((hits_found, hits), (scrapes_found, scrapes)))
    return f"{f1} ({detected:.0f} onsets) | {shares} | {np.median(correlations):.3f}"


def _sound(clip: Clip, spec: ClipSpec) -> torch.Tensor:
    return read_audio(clip.audio_path, sample_rate=spec.sample_rate, start=clip.start, seconds=clip.seconds)


if __name__ == "__main__":
    main()
