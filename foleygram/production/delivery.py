"""From samples to files; runs in a process of its own, because copying a damaged picture can crash or hang it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from foleygram.media.audio import write_audio
from foleygram.media.mux import mux


@dataclass(frozen=True)
class Track:
    """A sound for one video: samples (channels, n), their rate in Hz, and what its files are called."""

    name: str
    samples: np.ndarray
    sample_rate: int


def deliver(video: Path, track: Track, folder: Path) -> None:
    """Write a track and the video with it below `folder`."""
    audio = torch.from_numpy(track.samples)
    write_audio(folder / f"{track.name}.wav", audio, track.sample_rate)
    mux(video, audio, track.sample_rate, folder / f"{track.name}.mp4")
