"""Scores and ranks takes: how well each follows its envelope, and how close its sound is to video and prompt.

The embeddings come from the encoders that condition the model, so the volume is no independent measure of quality;
`evaluation/material.py` is one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foleygram.alignment.volume import gram_volume
from foleygram.envelope.envelope import SAMPLE_RATE, Envelope
from foleygram.evaluation.envelopes import ENVELOPE_RATE, clip_envelope, envelope_l1, envelope_lag, leak_db
from foleygram.generation.model import MODALITIES
from foleygram.media.audio import fit_length, resample
from foleygram.pipeline.pipeline import FoleyGRAMPipeline, FoleyOutput
from foleygram.pipeline.request import VideoInput, window_seconds

EMBEDDED_AT_ONCE = 16
"""Windows of a long video in one batch of the encoders."""
MIN_LAG_VALUES = 8
"""A lag is not measured on envelopes with fewer values."""


@dataclass(frozen=True)
class TakeScore:
    """Scores of a take; None for what cannot be measured."""

    envelope_l1: float
    """Mean absolute difference between the envelopes asked for and obtained, linear RMS."""
    lag_ms: float | None
    """Delay of the sound, negative if early."""
    leak_db: float | None
    """Level where the envelope asks for silence, in dB relative to the sound's peak."""
    volume: float
    """GRAM volume (arXiv 2412.11959) of video, prompt if any, and sound; mean over windows, smaller is closer."""
    asked_level: float
    """Mean of the envelope asked for, linear RMS."""

    @property
    def relative_l1(self) -> float:
        """E-L1 divided by the mean level asked for, so that quiet and loud clips compare."""
        return self.envelope_l1 / max(self.asked_level, 1e-4)


@torch.inference_mode()
def score_take(
    pipeline: FoleyGRAMPipeline, seen: VideoInput, output: FoleyOutput, *, prompts: Sequence[str | None] = (None,)
) -> TakeScore:
    """Score a take of the video `seen`; `prompts` holds one prompt per window, or one for all."""
    audio = output.audio.mean(0)
    asked, obtained = envelopes_of_take(audio, output.sample_rate, output.envelope)
    return TakeScore(
        envelope_l1=envelope_l1(obtained, asked),
        lag_ms=envelope_lag(obtained, asked) if len(asked) > MIN_LAG_VALUES else None,
        leak_db=leak_db(obtained, asked),
        volume=_mean_volume(pipeline, seen, audio, output.sample_rate, prompts),
        asked_level=float(asked.mean()),
    )


def envelopes_of_take(audio: Tensor, sample_rate: int, envelope: Envelope) -> tuple[Tensor, Tensor]:
    """The envelope asked for and that of mono audio (samples,), each (values,) at `ENVELOPE_RATE`."""
    obtained = clip_envelope(audio, sample_rate)
    return torch.from_numpy(envelope.at(torch.arange(len(obtained)).numpy() / ENVELOPE_RATE)), obtained


def _mean_volume(
    pipeline: FoleyGRAMPipeline, seen: VideoInput, audio: Tensor, sample_rate: int, prompts: Sequence[str | None]
) -> float:
    spec = pipeline.spec
    sound = resample(audio[None], sample_rate, SAMPLE_RATE)[0]
    length = round(spec.seconds * SAMPLE_RATE)
    starts = [round(start * SAMPLE_RATE) for start in window_seconds(seen.seconds, spec)]
    prompts = list(prompts) * len(starts) if len(prompts) == 1 else list(prompts)
    volumes = []
    for first in range(0, len(starts), EMBEDDED_AT_ONCE):
        part = slice(first, first + EMBEDDED_AT_ONCE)
        sounds = torch.stack([fit_length(sound[start:], length) for start in starts[part]])
        captions = [prompt or "" for prompt in prompts[part]]
        clips = {"frames": seen.frames[part], "caption": captions, "envelope_audio": sounds}
        embedded = pipeline.parts.embed(clips)
        for video, text, audible, prompt in zip(*(embedded[m].float() for m in MODALITIES), captions, strict=True):
            vectors = [video, text, audible] if prompt else [video, audible]
            volumes.append(float(gram_volume(torch.stack(vectors))))
    return sum(volumes) / len(volumes)


def rank_takes(scores: Sequence[TakeScore]) -> list[int]:
    """Indices of takes, best first.

    Takes are ranked by each of E-L1, absolute lag and leak; the mean of the three ranks is the envelope rank. The
    envelope rank and the rank by volume count equally; ties go to the smaller E-L1, then to the earlier take. A take
    ranks last where it cannot be measured, so that silence does not win by having no lag.
    """
    measures: list[Callable[[TakeScore], float]] = [
        lambda score: score.envelope_l1,
        lambda score: math.inf if score.lag_ms is None else abs(score.lag_ms),
        lambda score: math.inf if score.leak_db is None else score.leak_db,
    ]
    envelope_ranks = [_ranks([measure(score) for score in scores]) for measure in measures]
    volume_ranks = _ranks([score.volume for score in scores])
    total = [sum(r[i] for r in envelope_ranks) / len(envelope_ranks) + volume_ranks[i] for i in range(len(scores))]
    return sorted(range(len(scores)), key=lambda i: (round(total[i], 9), scores[i].envelope_l1, i))


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0 for the smallest; equal values share the mean of their ranks."""
    return [sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]
