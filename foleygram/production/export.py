"""From samples to files; runs in a process of its own, because copying a damaged picture can crash or hang it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from foleygram.envelope.editing.hits import hit_markers
from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import fit_length, read_audio, resample, sound_rate, write_audio
from foleygram.media.isolate import MediaError
from foleygram.media.loudness import loudness_gain
from foleygram.media.markers import Marker, Region, edit_list, reaper_table
from foleygram.media.mux import SOUNDS, SoundCodec, mux
from foleygram.media.timecode import TimeCode
from foleygram.media.video import probe

STEM_FADE_SEC = 0.02
"""One stem gives way to the next within this; together they are the whole."""


@dataclass(frozen=True)
class Delivery:
    """In which form a sound is handed over."""

    container: Literal["mp4", "mov", "mkv", "webm"] = "mp4"
    """Another stands in where it cannot carry the video: mkv, mov, mp4, in this order."""
    codec: SoundCodec | None = None
    """None: AAC, in Matroska FLAC, in WebM Opus."""
    mix_original_db: float | None = None
    """Level at which the video's own sound lies beneath, in dB; None leaves it out."""
    stems: bool = False
    """Also a file per segment."""
    lufs: float | None = None
    """Loudness of what lies beneath the picture (ITU-R BS.1770); None leaves the level as it is."""

    timeline: bool = False
    """Also the onsets as an edit decision list, where the frame rate has time code, and as Reaper's table."""

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


def deliver(video: Path, track: Track, delivery: Delivery, folder: Path) -> list[str]:
    """Write a track, the video with it, its stems and its other takes below `folder`; returns notes on what is missing.

    Levels change together. Sounds have their onsets as cue points. A video that no container can carry leaves the WAV.
    """
    notes = []
    audio, rate = torch.from_numpy(track.samples), track.sample_rate
    beneath, beneath_rate = audio, rate
    if delivery.mix_original_db is not None and probe(video).has_audio:
        beneath, beneath_rate = mixed_with_original(video, audio, rate, delivery.mix_original_db)
    gain = 1.0 if delivery.lufs is None else loudness_gain(beneath, beneath_rate, delivery.lufs)
    markers = onset_markers(audio, rate)
    write_audio(folder / f"{track.name}.wav", gain * audio, rate, markers=markers)
    if delivery.timeline:
        bounds = [0.0, *track.edges, audio.shape[-1] / rate]
        notes += write_timeline(folder / track.name, video, markers, bounds)
    for name, stem in stems(audio, rate, track.edges) if delivery.stems else ():
        path = folder / "stems" / track.name / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, gain * stem, rate)
    for number, samples in track.others:
        path = folder / "takes" / track.name / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        take = torch.from_numpy(samples)
        write_audio(path, gain * take, rate, markers=onset_markers(take, rate))
    path = folder / f"{track.name}.{delivery.container}"
    try:
        notes += mux(video, gain * beneath, beneath_rate, path, codec=delivery.codec).notes
    except MediaError as error:
        notes.append(f"no film beside the WAV: {error}")
    return notes


def onset_markers(audio: Tensor, sample_rate: int) -> list[Marker]:
    """The onsets of a sound (channels, n), named, with their MIDI velocity."""
    return hit_markers(Envelope.from_audio(audio, sample_rate), audio.shape[-1] / sample_rate)


def write_timeline(stem: Path, video: Path, markers: Sequence[Marker], bounds: Sequence[float]) -> list[str]:
    """Write `markers`, as Reaper's table with the segments between `bounds` (seconds), and as an edit decision list.

    The list starts at the video's time code. Where there cannot be one, the note that is returned says why.
    """
    spans = list(pairwise(bounds))
    regions = [Region(*span, f"segment {number}") for number, span in enumerate(spans, start=1)]
    table = reaper_table(markers, regions if len(regions) > 1 else ())
    stem.with_name(f"{stem.name}.reaper.csv").write_text(table, encoding="utf-8")
    info = probe(video)
    try:
        listed = edit_list(markers, TimeCode.of(info.frame_rate, start=info.start_timecode), title=stem.name)
    except ValueError as error:
        return [f"no edit decision list: {error}"]
    stem.with_name(f"{stem.name}.edl").write_text(listed, encoding="utf-8", newline="")
    return []


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
