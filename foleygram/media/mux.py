"""Puts a sound track under a picture whose packets are copied, never re-encoded."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from torch import Tensor

from foleygram.media.files import atomic_path
from foleygram.media.video import MediaError

MP4_CODECS = frozenset({"h264", "hevc", "av1", "mpeg4", "vp9", "mjpeg"})
"""Picture codecs that MP4 players read; the rest go into Matroska."""
AAC_RATES = frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000})


def mux(video_path: Path, audio: Tensor, sample_rate: int, out_path: Path) -> Path:
    """Write `video_path`'s picture with `audio` (channels, samples) beneath it; returns the file written.

    The suffix becomes .mkv where MP4 cannot carry the picture's codec. Whole or not at all. Raises MediaError when
    the picture cannot be copied, OSError when it cannot be written.
    """
    out_path = Path(out_path)
    with av.open(str(video_path)) as source:
        if not source.streams.video:
            raise MediaError(f"{video_path}: there is no picture in it; give a video")
        codec = source.streams.video[0].codec_context.name
    if out_path.suffix == ".mp4" and codec not in MP4_CODECS:
        out_path = out_path.with_suffix(".mkv")
    with atomic_path(out_path) as temporary:
        try:
            _write(video_path, audio, sample_rate, temporary)
        except av.FFmpegError as error:
            if isinstance(error, OSError) and error.errno in (28, 122):
                raise OSError(error.errno, f"{out_path}: no space left to write it; free some and run again") from error
            raise MediaError(f"{video_path}: its picture cannot be copied ({error}); re-encode it as MP4") from error
    return out_path


def _write(video_path: Path, audio: Tensor, sample_rate: int, temporary: Path) -> None:
    container_format = "mp4" if temporary.suffix == ".mp4" else "matroska"
    with av.open(str(video_path)) as source, av.open(str(temporary), "w", format=container_format) as target:
        picture = source.streams.video[0]
        copied = target.add_stream_from_template(picture)
        for key in ("rotate", "language"):
            if key in picture.metadata:
                copied.metadata[key] = picture.metadata[key]
        sound = target.add_stream("aac", rate=sample_rate, layout="mono" if len(audio) == 1 else "stereo")
        sound.bit_rate = 64_000 * len(audio) if sample_rate <= 24_000 else 96_000 * len(audio)
        origin = picture.start_time or 0
        pending = _sound_packets(sound, audio, sample_rate)
        upcoming = next(pending, None)
        for packet in source.demux(picture):
            if packet.dts is None:
                continue
            packet.pts, packet.dts = (packet.pts if packet.pts is not None else packet.dts) - origin, packet.dts - origin
            packet.stream = copied
            now = float(packet.dts * picture.time_base)
            while upcoming is not None and float((upcoming.pts or 0) * upcoming.time_base) <= now:
                target.mux(upcoming)
                upcoming = next(pending, None)
            target.mux(packet)
        while upcoming is not None:
            target.mux(upcoming)
            upcoming = next(pending, None)


def _sound_packets(stream: Any, audio: Tensor, sample_rate: int) -> Any:
    samples = np.ascontiguousarray(audio.clamp(-1, 1).numpy(), np.float32)
    layout = "mono" if len(samples) == 1 else "stereo"
    step = 1024 * 64
    for begin in range(0, samples.shape[1], step):
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, begin : begin + step]), format="fltp", layout=layout)
        block.sample_rate, block.pts, block.time_base = sample_rate, begin, Fraction(1, sample_rate)
        yield from stream.encode(block)
    yield from stream.encode(None)
