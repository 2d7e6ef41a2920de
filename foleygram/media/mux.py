"""Puts a sound track under a picture whose packets are copied, never re-encoded."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import torch
from av.container import InputContainer, OutputContainer
from torch import Tensor

from foleygram.files import atomic_path
from foleygram.media.audio import resample
from foleygram.media.isolate import MediaError
from foleygram.media.video import open_media, picture_stream

SoundCodec = Literal["aac", "flac", "opus", "pcm"]
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
PICTURES: dict[str, frozenset[str]] = {
    ".mp4": frozenset({"h264", "hevc", "av1", "mpeg4", "vp9", "mjpeg", "mpeg1video", "mpeg2video"}),
    ".mov": frozenset({"h264", "hevc", "mpeg4", "mjpeg", "mpeg1video", "mpeg2video", "prores", "dnxhd", "png"}),
    ".webm": frozenset({"vp8", "vp9", "av1"}),
}
"""Picture codecs that a container's players read; the rest go into Matroska, which takes them all."""
SOUNDS: dict[str, tuple[SoundCodec, ...]] = {
    ".mp4": ("aac", "flac", "opus"),
    ".mov": ("aac", "pcm"),
    ".mkv": ("aac", "flac", "opus", "pcm"),
    ".webm": ("opus",),
}
"""Sound codecs of each container, its usual one first."""
ENCODERS = {"aac": "aac", "flac": "flac", "opus": "libopus", "pcm": "pcm_s16le"}
RATES = {
    "aac": frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}),
    "opus": frozenset({8000, 12000, 16000, 24000, 48000}),
}
"""Sample rates of codecs that do not take every one."""
FALLBACK_RATE = 48_000
BLOCK = 1024 * 16
Clock = list[tuple[int, int]]


def mux(
    video_path: str | Path, audio: Tensor, sample_rate: int, out_path: str | Path, *, codec: SoundCodec | None = None
) -> Path:
    """Write `video_path`'s picture with `audio` (channels, samples) beneath it; returns the file written.

    Both run their full length. The suffix becomes .mkv where the container cannot carry the picture's codec. The same
    input gives the same bytes. Whole or not at all. Raises MediaError when the picture cannot be copied, OSError when
    the file cannot be written, ValueError for a suffix that is none of `FORMATS`, a sound codec that the container
    does not take, more than two channels, or samples that are not finite.
    """
    out_path = Path(out_path)
    if out_path.suffix not in FORMATS:
        raise ValueError(f"{out_path}: ends in {out_path.suffix or 'nothing'}; give one of {', '.join(FORMATS)}")
    codec = codec or SOUNDS[out_path.suffix][0]
    if codec not in SOUNDS[out_path.suffix]:
        raise ValueError(f"{out_path}: {codec} does not go into it; there are {', '.join(SOUNDS[out_path.suffix])}")
    if audio.ndim != 2 or len(audio) not in (1, 2) or not torch.isfinite(audio).all():
        raise ValueError(f"{out_path}: sound of shape {tuple(audio.shape)}; give 1 or 2 channels of finite samples")
    audio = audio.detach().float().cpu()
    if sample_rate not in RATES.get(codec, {sample_rate}):
        audio, sample_rate = resample(audio, sample_rate, FALLBACK_RATE), FALLBACK_RATE
    with open_media(video_path) as source:
        picture = picture_stream(video_path, source)
        if picture.codec.canonical_name not in PICTURES.get(out_path.suffix, {picture.codec.canonical_name}):
            out_path = out_path.with_suffix(".mkv")
        with atomic_path(out_path) as temporary:
            try:
                _write(source, picture, _read_clock(video_path), audio, sample_rate, codec, temporary)
            except OSError as error:  # PyAV's errors of writing are OSErrors as well, those of the stream are not
                raise OSError(error.errno, f"{out_path}: cannot be written ({error.strerror}); free space?") from error
            except (av.FFmpegError, ValueError) as error:
                raise MediaError(f"{video_path}: its picture cannot be copied ({error}); re-encode it") from error
    return out_path


def _write(
    source: InputContainer, picture: Any, clock: Clock, audio: Tensor, sample_rate: int, codec: str, temporary: Path
) -> None:
    exact = {"fflags": "bitexact"}  # or Matroska writes a random number into every file
    with av.open(str(temporary.absolute()), "w", format=FORMATS[temporary.suffix], options=exact) as target:
        copied: Any = target.add_stream_from_template(picture, opaque=True)  # there need be no encoder for it
        if picture.codec.canonical_name == "rawvideo":  # only its tag says how the pixels lie
            copied.codec_context.codec_tag = picture.codec_context.codec_tag
        sound = _sound_stream(target, len(audio), sample_rate, codec)
        packets = _sound_packets(sound, audio, sample_rate)
        upcoming = next(packets, None)
        for packet in _picture_packets(source, picture, clock):
            now = packet.dts * picture.time_base
            while upcoming is not None and upcoming.dts * upcoming.time_base <= now:
                target.mux(upcoming)
                upcoming = next(packets, None)
            packet.stream = copied
            target.mux(packet)
        while upcoming is not None:
            target.mux(upcoming)
            upcoming = next(packets, None)


def _read_clock(video_path: str | Path) -> Clock:
    """When each packet of the picture is shown and decoded, in ticks of its stream; read ahead of the copying."""
    with open_media(video_path) as source:
        packets = source.demux(picture_stream(video_path, source))
        stamps = [(packet.pts, packet.dts) for packet in packets if packet.size]
    shown = [dts if pts is None else pts for pts, dts in stamps]
    if None in shown:
        raise ValueError("a frame without a time stamp")
    decoded = [dts for _, dts in stamps]
    if None in decoded:  # Matroska stores none: frames are decoded in their order, each before it is shown
        ordered = sorted(shown)
        delay = max(at - pts for at, pts in zip(ordered, shown, strict=True))
        decoded = [at - delay for at in ordered]
    return list(zip(shown, decoded, strict=True))


def _picture_packets(source: InputContainer, picture: Any, clock: Clock) -> Iterator[Any]:
    """The picture's packets as they are, on a clock that starts with the first frame and the sound."""
    origin = picture.start_time or 0
    packets = (packet for packet in source.demux(picture) if packet.size)
    for packet, (pts, dts) in zip(packets, clock, strict=True):
        packet.pts, packet.dts = pts - origin, dts - origin
        yield packet


def _sound_stream(target: OutputContainer, channels: int, sample_rate: int, codec: str) -> Any:
    layout = "mono" if channels == 1 else "stereo"
    stream: Any = target.add_stream(ENCODERS[codec], rate=sample_rate, layout=layout)
    if codec in ("aac", "opus"):
        stream.bit_rate = channels * (64_000 if sample_rate <= 24_000 else 96_000)
    return stream


def _sound_packets(stream: Any, audio: Tensor, sample_rate: int) -> Iterator[Any]:
    samples = audio.clamp(-1, 1).numpy()
    layout = "mono" if len(samples) == 1 else "stereo"
    for begin in range(0, samples.shape[1], BLOCK):
        part = np.ascontiguousarray(samples[:, begin : begin + BLOCK])
        block = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        block.sample_rate, block.pts, block.time_base = sample_rate, begin, Fraction(1, sample_rate)
        yield from stream.encode(block)
    yield from stream.encode(None)
