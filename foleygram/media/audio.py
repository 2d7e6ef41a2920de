"""Reading, writing and resampling sound; Kaldi's filterbank."""

import io
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import soundfile
import soxr
import torch
from av.container import InputContainer
from torch import Tensor

from foleygram.files import atomic_path
from foleygram.media.isolate import MediaError
from foleygram.media.markers import Marker, with_cues
from foleygram.media.video import decodable, open_media, sound_stream, start_sec

BEATS_MEAN, BEATS_STD = 15.41663, 6.55582
"""Filterbank statistics that BEATs was trained with; it divides by twice the deviation."""
SOUND_FILES = frozenset({".wav", ".flac", ".ogg"})
"""Suffixes that soundfile reads; everything else, and what it refuses, is read with PyAV."""
LONGEST_SEC = 6 * 3600.0
"""Longest sound or envelope that is read, so that a damaged header or a typo cannot fill the memory."""
MAX_DRIFT_SEC = 0.04
"""Largest difference between a sound's time stamps and its sample count that is no gap or overlap."""
MAX_GAP_SEC = 600.0
"""A longer gap is a broken time stamp, and is not filled with silence."""


def read_audio(
    path: str | Path,
    *,
    sample_rate: int,
    channels: int = 1,
    start: float = 0.0,
    seconds: float | None = None,
    allow_silence: bool = True,
) -> Tensor:
    """Sound of a file from `start` for `seconds` (all of it by default) as float32 (channels, samples).

    Times count from the video's first frame where there is one. Surround is mixed to stereo as players do (ITU-R
    BS.775); two channels are averaged for mono, one is copied for stereo. Raises MediaError for a file without sound,
    an unreadable one, samples that are not finite, more than six hours, and, with `allow_silence=False`, for a track
    that is silent throughout; ValueError for a negative start or length.
    """
    path = Path(path)
    if start < 0 or (seconds is not None and seconds < 0):
        raise ValueError(f"{path}: start {start} s and length {seconds} s must not be negative")
    if not path.is_file():
        raise MediaError(f"{path}: no such file; check the path")
    audio, rate = _read_any(path, start, seconds)
    if audio.shape[-1] > LONGEST_SEC * rate:
        raise MediaError(
            f"{path}: {audio.shape[-1] / rate:.0f} s of sound, at {rate} Hz by its header; at most {LONGEST_SEC:g} s "
            "are read, so cut it, or export it again if its header is wrong"
        )
    if not np.isfinite(audio).all():
        raise MediaError(f"{path}: it has samples that are not finite; export it again")
    if not allow_silence and not audio.any():
        raise MediaError(f"{path}: its sound track is silent; choose a file with sound")
    return resample(_to_channels(torch.from_numpy(np.ascontiguousarray(audio)), channels), rate, sample_rate)


def sound_rate(path: str | Path) -> int:
    """The rate, in Hz, at which a file's sound is stored; raises MediaError for a file without sound."""
    path = Path(path)
    if path.suffix.lower() in SOUND_FILES and path.is_file():
        try:
            return int(soundfile.info(path).samplerate)
        except soundfile.LibsndfileError:
            pass  # a container under a sound's name
    with open_media(path) as container:
        return int(_known_sound(path, container).codec_context.sample_rate)


def _read_any(path: Path, start: float, seconds: float | None) -> tuple[np.ndarray, int]:
    if path.suffix.lower() in SOUND_FILES:
        try:
            return _read_sound_file(path, start, seconds)
        except soundfile.LibsndfileError:
            pass  # a container under a sound's name
    return _read_container(path, start, seconds)


def _read_sound_file(path: Path, start: float, seconds: float | None) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(path) as file:
        if file.channels > 2:
            return _read_container(path, start, seconds)
        rate = file.samplerate
        file.seek(min(file.frames, round(start * rate)))
        count = -1 if seconds is None else round(seconds * rate)
        return file.read(count, dtype="float32", always_2d=True).T, rate


def _read_container(path: Path, start: float, seconds: float | None) -> tuple[np.ndarray, int]:
    with open_media(path) as container:
        stream = _known_sound(path, container)
        rate = stream.codec_context.sample_rate
        begin = round(start * rate)
        end = None if seconds is None else begin + round(seconds * rate)
        blocks: list[tuple[int, np.ndarray]] = []
        try:
            for position, block in _positioned(container, stream):
                blocks.append((position, block))
                if end is not None and position > end + MAX_DRIFT_SEC * rate:
                    break
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"{path}: the sound cannot be read ({error}); convert it to WAV") from error
    if not blocks:
        raise MediaError(f"{path}: the sound track is empty; choose a file with sound")
    return _assembled(blocks, rate)[:, begin:end], rate


def _known_sound(path: Path, container: InputContainer) -> Any:
    stream = sound_stream(container)
    if stream is None and container.streams.audio:
        raise MediaError(f"{path}: its sound has an unknown codec; convert its sound to WAV")
    if stream is None:
        raise MediaError(f"{path}: there is no sound in it; choose a file with a sound track")
    return stream


def _positioned(container: InputContainer, stream: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks (channels, samples) of a stream, and the sample at which each starts, counted from the video's start."""
    # both streams on one clock: a sound that starts late in the file starts late under the video
    origin = start_sec((container.streams.video or [stream])[0])
    rate = stream.codec_context.sample_rate
    layout = stream.codec_context.layout
    if 2 < layout.nb_channels <= 8 and not layout.name.startswith("ambisonic"):  # what FFmpeg knows how to mix
        layout = "stereo"
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    following = 0
    for frame in decodable(container, stream):
        stamped = None if frame.pts is None else round((float(frame.pts * frame.time_base) - origin) * rate)
        if stamped is not None and abs(stamped - following) <= MAX_GAP_SEC * rate:
            following = stamped
        for block in resampler.resample(frame):
            samples = block.to_ndarray()
            yield following, samples
            following += samples.shape[1]


def _assembled(blocks: list[tuple[int, np.ndarray]], rate: int) -> np.ndarray:
    """Sound (channels, samples) from time 0; blocks are contiguous unless their time stamps leave a real gap."""
    cursor, placed = blocks[0][0], []
    for position, block in blocks:
        if abs(position - cursor) > MAX_DRIFT_SEC * rate:
            cursor = position
        placed.append((cursor, block))
        cursor += block.shape[1]
    audio = np.zeros((len(blocks[0][1]), max(0, *(at + block.shape[1] for at, block in placed))), np.float32)
    for at, block in placed:
        if at + block.shape[1] > 0:  # sound before the video is dropped
            audio[:, max(at, 0) : at + block.shape[1]] = block[:, max(-at, 0) :]
    return audio


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


def write_audio(path: str | Path, audio: Tensor, sample_rate: int, *, markers: Sequence[Marker] = ()) -> None:
    """Write sound (channels, samples) as a 16-bit WAV file, atomically; samples are clipped to [-1, 1].

    `markers` become its cue points. Raises ValueError for samples that are not finite and for a marker beyond the
    sound, OSError when the file cannot be written.
    """
    if not torch.isfinite(audio).all():
        raise ValueError(f"{path}: the sound has samples that are not finite; nothing was written")
    samples = audio.detach().float().cpu().clamp(-1, 1).T.numpy()
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sample_rate, subtype="PCM_16", format="WAV")
    try:  # encoded in memory first: soundfile's own errors do not distinguish a full disk
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(with_cues(encoded.getvalue(), markers) if markers else encoded.getbuffer())
    except OSError as error:
        raise OSError(error.errno, f"{path}: cannot be written ({error.strerror}); free space?") from error


@cache
def _kaldi_filters(num_mel_bins: int, fft_length: int, sample_rate: int) -> Tensor:
    """Triangles (fft_length / 2 + 1, num_mel_bins) that are straight on Kaldi's mel scale, from 20 Hz to Nyquist."""
    frequencies = torch.arange(fft_length // 2 + 1, dtype=torch.float64) * sample_rate / fft_length
    low, high = (1127.0 * np.log1p(hertz / 700.0) for hertz in (20.0, sample_rate / 2))
    mels = 1127.0 * torch.log1p(frequencies / 700.0)[:, None]
    edges = torch.linspace(low, high, num_mel_bins + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (mels - left) / (centre - left), (right - mels) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)


def kaldi_fbank(
    waveform: Tensor, sample_rate: int, num_mel_bins: int, *, window: Literal["povey", "hanning"] = "povey"
) -> Tensor:
    """Kaldi log-mel filterbank (..., frames, num_mel_bins) of sound (..., samples): 25 ms windows every 10 ms.

    DC removal, pre-emphasis 0.97, no dither. Computed in float64 (float32 on MPS), because
    pre-emphasis leaves only the last digits of a nearly silent frame. Raises ValueError when the sound is shorter than
    a window.
    """
    length, hop = sample_rate * 25 // 1000, sample_rate * 10 // 1000
    if waveform.shape[-1] < length:
        raise ValueError(f"{waveform.shape[-1]} samples at {sample_rate} Hz: give at least one window of {length}")
    fft_length = 1 << (length - 1).bit_length()
    precise = torch.float32 if waveform.device.type == "mps" else torch.float64
    frames = waveform.to(precise).unfold(-1, length, hop)
    frames = frames - frames.mean(-1, keepdim=True)
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    taper = torch.hann_window(length, periodic=False, device=waveform.device, dtype=precise)
    if window == "povey":
        taper = taper**0.85
    power = torch.fft.rfft((frames - 0.97 * previous) * taper, n=fft_length).abs() ** 2
    mels = power @ _kaldi_filters(num_mel_bins, fft_length, sample_rate).to(power)
    return mels.clamp(min=torch.finfo(torch.float32).eps).log().float()


def beats_fbank(waveform: Tensor, *, num_mel_bins: int = 64, num_frames: int = 1024) -> Tensor:
    """BEATs' input (B, num_frames, num_mel_bins) from sound (B, samples) at 16 kHz, zero-padded after normalisation."""
    features = (kaldi_fbank(waveform * 2**15, 16_000, num_mel_bins) - BEATS_MEAN) / (2 * BEATS_STD)
    features = features[..., :num_frames, :]
    return torch.nn.functional.pad(features, (0, 0, 0, num_frames - features.shape[-2]))
