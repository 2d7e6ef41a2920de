"""The onset detector, and one-to-one matching of its times with annotated ones."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from foleygram.envelope.envelope import Times, pair_times
from foleygram.evaluation.librosa_kernels import load_librosa
from foleygram.media.audio import resample

DETECTOR_RATE = 22_050
HOP_LENGTH = 256
DELTA = 0.25
"""Threshold of librosa's peak picking. On rendered sounds 0.2 to 0.3 tie (F1 0.98 at 50 ms); at 0.25 as many onsets
are found as there are (ratio 1.01), and hiss 50 dB below the peak adds 4% of false ones (8% at 0.2)."""
FLOOR_DB = -50.0
"""Onsets whose sound stays this far below the reference clip's peak are inaudible and left out."""
FLOOR_WINDOW_SEC = (0.03, 0.05)
"""Stretch before and after an onset in which its sound must rise above the floor."""
TOLERANCES_SEC = (0.05, 0.1)


class OnsetCounts(NamedTuple):
    """Counts of one clip; hits and scratches are annotated actions, `matched_*` those with a detection of their own."""

    num_detected: int
    num_annotated: int
    num_hits: int
    num_scratches: int
    matched: int
    matched_hits: int
    matched_scratches: int


def detect_onsets(audio: Tensor, sample_rate: int, *, reference_peak: float) -> np.ndarray:
    """Onset times in seconds, ascending, of mono sound (samples,).

    librosa's onset strength at 22.05 kHz, hop 256, peaks picked with `DELTA`; `reference_peak` is the largest
    magnitude in the *reference* clip's sound, so that a quiet hiss has no onsets.
    """
    if not bool(audio.any()) or audio.shape[-1] < 2:
        return np.zeros(0)
    sound = resample(audio.reshape(1, -1).float(), sample_rate, DETECTOR_RATE)[0].numpy()
    librosa = load_librosa()
    strength = librosa.onset.onset_strength(y=sound, sr=DETECTOR_RATE, hop_length=HOP_LENGTH)
    times = librosa.onset.onset_detect(
        onset_envelope=strength, sr=DETECTOR_RATE, hop_length=HOP_LENGTH, delta=DELTA, units="time"
    )
    floor = reference_peak * 10 ** (FLOOR_DB / 20)
    return np.array([time for time in times if _peak_around(sound, time) >= floor])


def _peak_around(sound: np.ndarray, time: float) -> float:
    before, after = FLOOR_WINDOW_SEC
    begin, end = max(0, int((time - before) * DETECTOR_RATE)), int((time + after) * DETECTOR_RATE) + 1
    return float(np.abs(sound[begin:end]).max(initial=0.0))


def pair_onsets(detected: Times, annotated: Times, tolerance_sec: float) -> list[tuple[int, int]]:
    """As many one-to-one pairs of indices, detected and annotated, as lie at most `tolerance_sec` apart.

    Raises ValueError for lists of seconds that do not ascend.
    """
    for name, times in (("detected", detected), ("annotated", annotated)):
        if np.any(np.diff(times) < 0):
            raise ValueError(f"{name} onset times {list(times)} must ascend")
    return pair_times(detected, annotated, tolerance_sec)


def count_onsets(detected: Times, annotated: Times, actions: Sequence[str], tolerance_sec: float) -> OnsetCounts:
    """Counts of a clip's detected and annotated times in seconds, ascending, and of the annotated ones' actions."""
    found = [actions[index] for _, index in pair_onsets(detected, annotated, tolerance_sec)]
    return OnsetCounts(
        len(detected), len(annotated), actions.count("hit"), actions.count("scratch"),
        len(found), found.count("hit"), found.count("scratch"),
    )  # fmt: skip


def peak(audio: Tensor) -> float:
    """Largest magnitude of sound (..., samples), 0 for none."""
    return float(audio.abs().max()) if audio.numel() else 0.0
