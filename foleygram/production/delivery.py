"""From samples to files; runs in a process of its own, because copying a damaged picture can crash or hang it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from foleygram.media.audio import fit_length, read_audio, resample, sound_rate, write_audio
from foleygram.media.loudness import loudness_gain
from foleygram.media.mux import SOUNDS, SoundCodec, mux
from foleygram.media.video import probe

STEM_FADE_SEC = 0.02
"""One stem gives way to the next within this; together they are the whole."""


@dataclass(frozen=True)
class Delivery:
    """In which form a sound is handed over."""

    container: Literal["mp4", "mov", "mkv", "webm"] = "mp4"
    """Matroska stands in where it cannot carry the picture's codec."""
    codec: SoundCodec | None = None
    """None: AAC, in WebM Opus."""
    mix_original_db: float | None = None
    """Level at which the video's own sound lies beneath, in dB; None leaves it out."""
    stems: bool = False
    """Also a file per segment."""
    lufs: float | None = None
    """Loudness of what lies beneath the picture (ITU-R BS.1770); None leaves the level as it is."""

    def __post_init__(self) -> None:
        """Raise ValueError for a sound codec that does not go into the container."""
        there = SOUNDS[f".{self.container}"]
        if self.codec is not None and self.codec not in there:
            raise ValueError(f"{self.codec} does not go into {self.container}; there are {', '.join(there)}")


def parse_level(text: str) -> float:
    """Decibels written as -12dB or -12; raises ValueError for anything else."""
    try:
        level = float(text.strip().lower().removesuffix("db"))
    except ValueError:
        level = math.nan
    if not -120 <= level <= 24:
        raise ValueError(f"--mix-original {text}: write a level in decibels, as -12dB")
    return level


@dataclass(frozen=True)
class Track:
    """The sound for one video: what its files are called, samples (channels, n), their rate in Hz, the other takes."""

    name: str
    samples: np.ndarray
    sample_rate: int
    edges: tuple[float, ...] = ()
    """Where one segment ends and the next begins, in seconds."""
    others: tuple[tuple[int, np.ndarray], ...] = ()
    """Number and samples of each other take."""


def deliver(video: Path, track: Track, delivery: Delivery, folder: Path) -> None:
    """Write a track, the video with it, its stems and its other takes below `folder`; levels change together."""
    audio, rate = torch.from_numpy(track.samples), track.sample_rate
    beneath, beneath_rate = audio, rate
    if delivery.mix_original_db is not None and probe(video).has_audio:
        beneath, beneath_rate = mixed_with_original(video, audio, rate, delivery.mix_original_db)
    gain = 1.0 if delivery.lufs is None else loudness_gain(beneath, beneath_rate, delivery.lufs)
    write_audio(folder / f"{track.name}.wav", gain * audio, rate)
    for name, stem in stems(audio, rate, track.edges) if delivery.stems else ():
        path = folder / "stems" / track.name / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, gain * stem, rate)
    for number, samples in track.others:
        path = folder / "takes" / track.name / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, gain * torch.from_numpy(samples), rate)
    mux(video, gain * beneath, beneath_rate, folder / f"{track.name}.{delivery.container}", codec=delivery.codec)


def mixed_with_original(video: Path, audio: Tensor, sample_rate: int, level_db: float) -> tuple[Tensor, int]:
    """A sound (channels, n) over the video's own at `level_db`, at the higher of both rates, mono only if both are."""
    rate = max(sample_rate, sound_rate(video))
    own = read_audio(video, sample_rate=rate, channels=min(2, max(len(audio), probe(video).num_audio_channels)))
    over = resample(audio, sample_rate, rate)
    return over + 10 ** (level_db / 20) * fit_length(own, over.shape[-1]), rate


def stems(audio: Tensor, sample_rate: int, edges: Sequence[float]) -> list[tuple[str, Tensor]]:
    """The parts of a sound (channels, n) between `edges` (seconds), each as long as the whole; they add up to it."""
    times = torch.arange(audio.shape[-1]) / sample_rate
    begun = [torch.ones_like(times), *(((times - edge) / STEM_FADE_SEC + 0.5).clamp(0, 1) for edge in edges)]
    ended = [*begun[1:], torch.zeros_like(times)]
    bounds = [0.0, *edges, audio.shape[-1] / sample_rate]
    return [
        (f"{number}_{bounds[number - 1]:.2f}-{bounds[number]:.2f}", audio * (now - later))
        for number, (now, later) in enumerate(zip(begun, ended, strict=True), start=1)
    ]
