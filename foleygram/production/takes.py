"""Which of several takes to keep: how well each obeys its envelope, and how near its sound is to picture and words.

The embeddings come from the very encoders that steered the sound, so the volume is no independent judge: it says that
a take sounds as the model meant it, not that a listener would agree. `evaluation/material.py` is such a judge.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foleygram.alignment.volume import gram_volume
from foleygram.envelope.envelope import SAMPLE_RATE, Envelope
from foleygram.evaluation.envelopes import ENVELOPE_RATE, clip_envelope, envelope_l1, envelope_lag, leak_db
from foleygram.generation.conditioning import MODALITIES
from foleygram.media.audio import fit_length, resample
from foleygram.pipeline.pipeline import FoleyGRAMPipeline, FoleyOutput
from foleygram.pipeline.request import VideoInput, window_seconds

EMBEDDED_AT_ONCE = 16
"""Windows of a long video whose sound and picture are embedded together."""


@dataclass(frozen=True)
class TakeScore:
    """What is known of a take without listening to it; None where there is nothing to measure."""

    envelope_l1: float
    """Mean absolute difference of the envelopes asked for and obtained, linear RMS."""
    lag_ms: float | None
    """Milliseconds by which the sound comes late."""
    leak_db: float | None
    """Level where the envelope asks for silence, in dB of the sound's own peak."""
    volume: float
    """GRAM volume of picture, words (where there are any) and the sound made, mean over windows; small is near."""
    asked_level: float
    """Mean of the envelope asked for."""

    @property
    def relative_l1(self) -> float:
        """E-L1 as a share of the mean level asked for, so that quiet clips are held to the same measure."""
        return self.envelope_l1 / max(self.asked_level, 1e-4)


@torch.inference_mode()
def score_take(
    pipeline: FoleyGRAMPipeline, seen: VideoInput, output: FoleyOutput, *, prompts: Sequence[str | None] = (None,)
) -> TakeScore:
    """Score a take of the video `seen`; `prompts` holds the words of every window, or one for all."""
    audio = output.audio.mean(0)
    asked, obtained = envelopes_of_take(audio, output.sample_rate, output.envelope)
    return TakeScore(
        envelope_l1=envelope_l1(obtained, asked),
        lag_ms=envelope_lag(obtained, asked) if len(asked) > 8 else None,
        leak_db=leak_db(obtained, asked),
        volume=_volume(pipeline, seen, audio, output.sample_rate, prompts),
        asked_level=float(asked.mean()),
    )


def envelopes_of_take(audio: Tensor, sample_rate: int, envelope: Envelope) -> tuple[Tensor, Tensor]:
    """The envelope asked for and the one that mono sound (samples,) has, (values,) each, at the figures' rate."""
    obtained = clip_envelope(audio, sample_rate)
    return torch.from_numpy(envelope.at(torch.arange(len(obtained)).numpy() / ENVELOPE_RATE)), obtained


def _volume(
    pipeline: FoleyGRAMPipeline, seen: VideoInput, audio: Tensor, sample_rate: int, prompts: Sequence[str | None]
) -> float:
    """GRAM volume of picture, words and sound, mean over the windows of a video."""
    spec = pipeline.spec
    sound = resample(audio[None], sample_rate, SAMPLE_RATE)[0]
    length = round(spec.seconds * SAMPLE_RATE)
    starts = [round(start * SAMPLE_RATE) for start in window_seconds(seen.seconds, spec)]
    words = list(prompts) * len(starts) if len(prompts) == 1 else list(prompts)
    volumes = []
    for first in range(0, len(starts), EMBEDDED_AT_ONCE):
        some = slice(first, first + EMBEDDED_AT_ONCE)
        heard = torch.stack([fit_length(sound[start:], length) for start in starts[some]])
        told = {"frames": seen.frames[some], "caption": [text or "" for text in words[some]], "envelope_audio": heard}
        embedded = pipeline.parts.embed(told)
        for video, text, sounding, word in zip(*(embedded[m].float() for m in MODALITIES), words[some], strict=True):
            vectors = [video, text, sounding] if word else [video, sounding]
            volumes.append(float(gram_volume(torch.stack(vectors))))
    return sum(volumes) / len(volumes)


def rank_takes(scores: Sequence[TakeScore]) -> list[int]:
    """Indices of takes, best first.

    A take has a place among the others in each of E-L1, absolute lag and leak; their mean is its place in obedience.
    Obedience and volume count one half each; between equals the smaller E-L1 and then the earlier take comes first.
    What a take cannot be measured by puts it last there, so that silence wins nothing by having no lag.
    """
    measures: list[Callable[[TakeScore], float]] = [
        lambda score: score.envelope_l1,
        lambda score: math.inf if score.lag_ms is None else abs(score.lag_ms),
        lambda score: math.inf if score.leak_db is None else score.leak_db,
    ]
    obedience = [_places([measure(score) for score in scores]) for measure in measures]
    meaning = _places([score.volume for score in scores])
    total = [sum(places[i] for places in obedience) / len(obedience) + meaning[i] for i in range(len(scores))]
    return sorted(range(len(scores)), key=lambda i: (round(total[i], 9), scores[i].envelope_l1, i))


def _places(values: Sequence[float]) -> list[float]:
    """How many others are smaller, equals sharing their places: 0 is the smallest."""
    return [sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2 for value in values]


def disobeys(score: TakeScore, tolerance: float) -> bool:
    """Whether a take strays from its envelope by more than `tolerance`, E-L1 as a share of the mean level asked for."""
    return score.relative_l1 > tolerance
