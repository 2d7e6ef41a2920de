"""Reading, writing and resampling sound; Kaldi's filterbank."""

import math
from functools import cache
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from foleygram.media.files import atomic_path
from foleygram.media.video import MediaError

BEATS_MEAN, BEATS_STD = 15.41663, 6.55582
"""Filterbank statistics that BEATs was trained with; it divides by twice the deviation."""


def read_audio(
    path: Path, *, sample_rate: int, channels: int = 1, start: float = 0.0, seconds: float | None = None
) -> Tensor:
    """Sound of a file from `start` for `seconds` (all of it by default) as float32 (channels, samples).

    Several channels are averaged for mono; mono is copied for stereo. Raises MediaError for a file without sound, an
    unreadable one, or one with samples that are no numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path}: no such file; check the path")
    try:
        if path.suffix.lower() in (".wav", ".flac", ".ogg"):
            audio, rate = _read_sound_file(path, start, seconds)
        else:
            audio, rate = _read_container(path, start, seconds)
    except (soundfile.LibsndfileError, av.FFmpegError) as error:
        raise MediaError(f"{path}: the sound cannot be read ({error}); convert it to WAV") from error
    if not np.isfinite(audio).all():
        raise MediaError(f"{path}: it holds samples that are not finite; export it again")
    return resample(_to_channels(torch.from_numpy(np.ascontiguousarray(audio)), channels), rate, sample_rate)


def _read_sound_file(path: Path, start: float, seconds: float | None) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        file.seek(min(len(file), round(start * rate)))
        count = -1 if seconds is None else round(seconds * rate)
        return file.read(count, dtype="float32", always_2d=True).T, rate


def _read_container(path: Path, start: float, seconds: float | None) -> tuple[np.ndarray, int]:
    blocks: list[np.ndarray] = []
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise MediaError(f"{path}: there is no sound in it")
        stream = container.streams.audio[0]
        rate, layout = stream.codec_context.sample_rate, stream.codec_context.layout
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        origin = _origin(container)
        position: int | None = None
        for frame in container.decode(stream):
            if position is None:
                position = round((float((frame.pts or 0) * frame.time_base) - origin) * rate)
            blocks += [block.to_ndarray() for block in resampler.resample(frame)]
        blocks += [block.to_ndarray() for block in resampler.resample(None)]
    if not blocks:
        raise MediaError(f"{path}: the sound track is empty")
    audio = np.concatenate(blocks, axis=1).astype(np.float32)
    offset = position or 0
    audio = np.pad(audio, ((0, 0), (offset, 0))) if offset > 0 else audio[:, -offset:]
    begin = round(start * rate)
    return audio[:, begin : None if seconds is None else begin + round(seconds * rate)], rate


def _origin(container: "av.container.InputContainer") -> float:
    """The moment at which the picture starts: sound is counted from there, so both tracks share one clock."""
    stream = (container.streams.video or container.streams.audio)[0]
    return float((stream.start_time or 0) * stream.time_base)


def _to_channels(audio: Tensor, channels: int) -> Tensor:
    if len(audio) == channels:
        return audio
    mono = audio.mean(0, keepdim=True)
    return mono.expand(channels, -1).contiguous()


def resample(audio: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Sound (channels, samples) at another rate, band-limited (soxr, high quality)."""
    if from_rate == to_rate or audio.shape[-1] == 0:
        return audio
    return torch.from_numpy(soxr.resample(audio.numpy().T, from_rate, to_rate, quality="HQ").T.copy()).float()


def fit_length(audio: Tensor, num_samples: int) -> Tensor:
    """Sound (..., samples) cut or zero-padded at its end to `num_samples`."""
    audio = audio[..., :num_samples]
    return torch.nn.functional.pad(audio, (0, num_samples - audio.shape[-1]))


def write_audio(path: Path, audio: Tensor, sample_rate: int) -> None:
    """Write sound (channels, samples) in [-1, 1] as a 16-bit WAV file, whole or not at all; louder samples are clipped."""
    with atomic_path(Path(path)) as temporary:
        soundfile.write(temporary, audio.T.clamp(-1, 1).numpy(), sample_rate, subtype="PCM_16", format="WAV")


@cache
def _kaldi_filters(num_mel_bins: int, fft_length: int, sample_rate: int) -> Tensor:
    filters = mel_filter_bank(
        num_frequency_bins=fft_length // 2 + 1,
        num_mel_filters=num_mel_bins,
        min_frequency=20.0,
        max_frequency=sample_rate / 2,
        sampling_rate=sample_rate,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    return torch.from_numpy(filters).float()


def kaldi_fbank(waveform: Tensor, sample_rate: int, num_mel_bins: int) -> Tensor:
    """Kaldi log-mel filterbank (..., frames, num_mel_bins) of sound (..., samples): 25 ms windows every 10 ms.

    Povey window, DC removal, pre-emphasis 0.97, no dither. Raises ValueError when the sound is shorter than a window.
    """
    length, hop = int(0.025 * sample_rate), int(0.010 * sample_rate)
    if waveform.shape[-1] < length:
        raise ValueError(f"{waveform.shape[-1]} samples at {sample_rate} Hz are shorter than one window of {length}")
    fft_length = 1 << math.ceil(math.log2(length))
    frames = waveform.float().unfold(-1, length, hop)
    frames = frames - frames.mean(-1, keepdim=True)
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    window = torch.hann_window(length, periodic=False, device=waveform.device) ** 0.85
    power = torch.fft.rfft((frames - 0.97 * previous) * window, n=fft_length).abs() ** 2
    mels = power @ _kaldi_filters(num_mel_bins, fft_length, sample_rate).to(waveform.device)
    return mels.clamp(min=torch.finfo(torch.float32).eps).log()


def beats_fbank(waveform: Tensor, *, num_mel_bins: int = 64, num_frames: int = 1024) -> Tensor:
    """BEATs' input (B, num_frames, num_mel_bins) from sound (B, samples) at 16 kHz, zero-padded after normalisation."""
    features = (kaldi_fbank(waveform * 2**15, 16_000, num_mel_bins) - BEATS_MEAN) / (2 * BEATS_STD)
    features = features[..., :num_frames, :]
    return torch.nn.functional.pad(features, (0, 0, 0, num_frames - features.shape[-2]))
