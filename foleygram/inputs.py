"""What a model is given: a video cut to the model's windows, a sound's envelope."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from foleygram.envelope.curve import Envelope
from foleygram.envelope.rms import rms_envelope
from foleygram.generation.sampling import window_starts
from foleygram.media.audio import resample
from foleygram.media.video import motion_times, probe, read_frames, segment_middles
from foleygram.spec import ClipSpec

WINDOW_OVERLAP = 0.25
"""Share of a window that it has in common with the next."""


@dataclass(frozen=True)
class VideoInput:
    """All that is read of a video: its length, frames per window for the encoder, frames for the predictor."""

    seconds: float
    frames: Tensor
    """uint8 (W, N, 3, S, S), one row per window."""
    motion: Tensor
    motion_ages: Tensor


def read_video(path: Path, spec: ClipSpec) -> VideoInput:
    """Read what a model of `spec` needs of a video; raises MediaError when it cannot be read."""
    seconds = probe(path).duration_sec
    starts = window_seconds(seconds, spec)
    length = min(seconds, spec.seconds)
    frames = [
        read_frames(path, segment_middles(start, length, spec.num_frames), size=spec.image_size).frames
        for start in starts
    ]
    grid = motion_times(0.0, max(seconds, spec.seconds), spec.motion_frame_rate)
    motion, ages = read_frames(path, grid, size=spec.motion_size)
    return VideoInput(seconds, torch.stack(frames), motion, ages)


def total_latents(seconds: float, spec: ClipSpec) -> int:
    """Latents that a video of `seconds` needs, one window at least."""
    return max(spec.num_latents, -(-round(seconds * spec.sample_rate) // spec.latent_hop))


def window_seconds(seconds: float, spec: ClipSpec) -> list[float]:
    """Starts, in seconds, of the windows in which a video of `seconds` is done."""
    window, hop = spec.num_latents, window_hop(spec)
    starts = window_starts(total_latents(seconds, spec), window=window, hop=hop)
    return [start * spec.latent_hop / spec.sample_rate for start in starts]


def window_hop(spec: ClipSpec) -> int:
    """Latents from one window's start to the next's."""
    return spec.num_latents - max(1, round(WINDOW_OVERLAP * spec.num_latents))


def envelope_of_sound(audio: Tensor, sample_rate: int, spec: ClipSpec) -> Envelope:
    """The RMS envelope of mono sound (samples,), measured at the rate that `spec` names."""
    mono = resample(audio[None], sample_rate, spec.envelope_sample_rate)[0]
    return Envelope(rms_envelope(mono, spec.frame_length, spec.hop_length).numpy(), spec.envelope_rate)
