"""Background sound for a scene: synthetic speech from formants, and music from chords."""

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (530, 1840, 2480), (570, 840, 2410), (300, 870, 2240))
"""First three formants, in Hz, of five vowels (Peterson and Barney 1952, men)."""
BANDWIDTHS = (70, 110, 160)
CHORDS = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14), (2, 5, 9))
"""Triads of a major key in semitones above its root: I, vi, IV, V, ii."""
HARMONICS = 6
LEVEL_DB = -6.0
"""Level of the background relative to the scene's own sound, RMS over the whole video."""


def lay_beneath(sound: np.ndarray, kind: str, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """`sound` (samples,) with `speech` or `music` at `LEVEL_DB` in the background; scaled where the sum would clip."""
    beneath = KINDS[kind](len(sound), sample_rate, rng)
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    mixed = sound + rms * 10 ** (LEVEL_DB / 20) * beneath
    return (mixed / max(1.0, float(np.abs(mixed).max()) / 0.98)).astype(np.float32)


def speech(num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Voiced syllables (num_samples,) of unit RMS: pulses at a gliding pitch through formants, hisses, pauses."""
    track, start = np.zeros(num_samples), int(rng.uniform(0, 0.3) * sample_rate)
    pitch = rng.uniform(95, 210)
    while start < num_samples:
        syllable = _syllable(round(rng.uniform(0.11, 0.26) * sample_rate), pitch, sample_rate, rng)
        end = min(num_samples, start + len(syllable))
        track[start:end] += syllable[: end - start]
        pause = rng.uniform(0.25, 0.7) if rng.random() < 0.15 else rng.uniform(0, 0.04)
        start += len(syllable) + round(pause * sample_rate)
    return _unit(track)


def music(num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """A progression of triads over a bass (num_samples,) of unit RMS, struck on every beat and left to ring."""
    beat = round(60 / rng.uniform(80, 130) * sample_rate)
    root = 110 * 2 ** (rng.integers(12) / 12)
    progression = rng.permutation(len(CHORDS))[:4]
    track = np.zeros(num_samples + 4 * beat)
    for number, start in enumerate(range(0, num_samples, beat)):
        chord = CHORDS[progression[number // 4 % 4]]
        notes = [chord[0] - 12, *(chord if number % 2 == 0 else chord[1:])]
        for note in notes:
            tone = _tone(root * 2 ** (note / 12), 2 * beat, sample_rate, rng)
            track[start : start + len(tone)] += tone
    return _unit(track[:num_samples])


KINDS: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {"speech": speech, "music": music}


def _syllable(num_samples: int, pitch: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(num_samples) / sample_rate
    glide = pitch * (1 + rng.uniform(-0.12, 0.12) + rng.uniform(-0.15, 0.05) * time / time[-1])
    phase = np.cumsum(glide) / sample_rate
    voiced = np.diff(np.floor(phase), prepend=0.0)  # one pulse a period
    voiced = lfilter([1.0], [1.0, -0.95], voiced)  # the fall of a glottal pulse's spectrum
    for formant, bandwidth in zip(VOWELS[rng.integers(len(VOWELS))], BANDWIDTHS, strict=True):
        voiced = _resonate(voiced, formant * rng.uniform(0.95, 1.05), bandwidth, sample_rate)
    voiced = voiced * np.sin(np.pi * np.minimum(1, (time + 0.01) / (time[-1] + 0.02))) ** 0.6
    sound = voiced / np.abs(voiced).max()
    if rng.random() < 0.4:  # a consonant ahead of the vowel
        size = min(num_samples, round(0.05 * sample_rate))
        band = butter(2, min(2500, 0.4 * sample_rate), "highpass", fs=sample_rate, output="sos")
        sound[:size] += 0.12 * sosfilt(band, rng.standard_normal(size)) * np.hanning(size)
    return sound * rng.uniform(0.5, 1.0)


def _resonate(signal: np.ndarray, frequency: float, bandwidth: float, sample_rate: int) -> np.ndarray:
    """A two-pole resonator of unit gain at zero frequency."""
    radius = np.exp(-np.pi * bandwidth / sample_rate)
    poles = [1.0, -2 * radius * np.cos(2 * np.pi * frequency / sample_rate), radius**2]
    return lfilter([sum(poles)], poles, signal)


def _tone(frequency: float, num_samples: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(num_samples) / sample_rate
    numbers = [n for n in range(1, HARMONICS + 1) if n * frequency < 0.45 * sample_rate]
    phases = rng.uniform(0, 2 * np.pi, HARMONICS)
    tone = sum(np.sin(2 * np.pi * n * frequency * time + phases[n - 1]) * np.exp(-2 * n * time) / n for n in numbers)
    return tone * np.minimum(1, time / 0.015) * np.minimum(1, (time[-1] - time) / 0.05)


def _unit(track: np.ndarray) -> np.ndarray:
    return track / max(float(np.sqrt(np.mean(track**2))), 1e-12)
