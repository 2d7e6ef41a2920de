"""Puts a sound track under a video whose packets are copied, never re-encoded."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import numpy as np
import torch
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from torch import Tensor

from foleygram.files import atomic_path
from foleygram.media.audio import resample
from foleygram.media.extras import Extras, contents, copy_tags, missing_contents, takes_codec
from foleygram.media.isolate import MediaError
from foleygram.media.video import UNSTAMPED, open_media, video_stream

SoundCodec = Literal["aac", "flac", "opus", "pcm"]
FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
VIDEO_CODECS: dict[str, frozenset[str]] = {
    ".mp4": frozenset({"h264", "hevc", "av1", "mpeg4", "vp9", "mjpeg", "mpeg1video", "mpeg2video"}),
    ".mov": frozenset(
        {"h264", "hevc", "mpeg4", "mjpeg", "mpeg1video", "mpeg2video", "prores", "dnxhd", "dvvideo", "png"}
    ),
    ".webm": frozenset({"vp8", "vp9", "av1"}),
}
"""Video codecs that a container's players read."""
FALLBACKS = (".mkv", ".mov", ".mp4")
"""Containers for a video that the chosen one cannot carry, in order: of those whose players read it, then of any."""
SOUNDS: dict[str, tuple[SoundCodec, ...]] = {
    ".mp4": ("aac", "flac", "opus"),
    ".mov": ("aac", "pcm"),
    ".mkv": ("flac", "aac", "opus", "pcm"),
    ".webm": ("opus",),
}
"""Sound codecs of each container, its default first. In Matroska players differ on the delay of AAC: FLAC has none."""
ENCODERS = {"aac": "aac", "flac": "flac", "opus": "libopus", "pcm": "pcm_s16le"}
RATES = {
    "aac": frozenset({8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}),
    "opus": frozenset({48000}),
}
"""Sample rates of codecs that do not take every one; at another rate than 48 kHz some players start Opus 4 ms late."""
KEPT_TAGS = frozenset({"hvc1", "hev1", "avc1", "avc3", "dvh1", "dvhe", "dva1", "dvav", "av01", "vp09"})
"""Codec tags of the MP4 family that MP4 may hold; QuickTime holds every tag that it brought."""
FALLBACK_RATE = 48_000
BLOCK = 1024 * 16
Clock = list[tuple[int, int]]


class Film(NamedTuple):
    """A file that was written, and notes on what differs from what was asked."""

    path: Path
    notes: tuple[str, ...] = ()


def mux(
    video_path: str | Path,
    audio: Tensor,
    sample_rate: int,
    out_path: str | Path,
    *,
    codec: SoundCodec | None = None,
    keep_extras: bool = True,
) -> Film:
    """Write the video of `video_path` with `audio` (channels, samples) as its first sound track.

    Both run their full length. Codec tag, display data, tags, chapters, time code, subtitles, further sound tracks and
    the cover are kept unless `keep_extras` is false; the notes name what the container cannot hold. Where it cannot
    carry the video, the first of `FALLBACKS` that can replaces the suffix. The same input gives the same bytes. Written
    atomically. Raises MediaError when the video cannot be copied, OSError when the file cannot be written, ValueError
    for a suffix that is none of `FORMATS`, a sound codec that the container does not take, more than two channels, or
    samples that are not finite.
    """
    out_path = Path(out_path)
    if out_path.suffix not in FORMATS:
        raise ValueError(f"{out_path}: ends in {out_path.suffix or 'nothing'}; give one of {', '.join(FORMATS)}")
    if codec is not None and codec not in SOUNDS[out_path.suffix]:
        raise ValueError(f"{out_path}: {codec} does not go into it; there are {', '.join(SOUNDS[out_path.suffix])}")
    if audio.ndim != 2 or len(audio) not in (1, 2) or not torch.isfinite(audio).all():
        raise ValueError(f"{out_path}: sound of shape {tuple(audio.shape)}; give 1 or 2 channels of finite samples")
    audio = audio.detach().float().cpu()
    notes = []
    with open_media(video_path) as source:
        video = video_stream(video_path, source)
        clock, hidden = _read_clock(video_path)
        suffix = _container(video_path, video, out_path.suffix, hidden)
        if suffix != out_path.suffix:
            reason = "frames hidden by an edit list" if hidden else video.codec.canonical_name
            notes.append(f"{suffix[1:]} because {out_path.suffix[1:]} cannot carry {reason}")
        preferred = codec or SOUNDS[out_path.suffix][0]
        fits = preferred in SOUNDS[suffix] and (codec is not None or (suffix, preferred) != (".mkv", "aac"))
        codec = preferred if fits else SOUNDS[suffix][0]
        rates = frozenset({FALLBACK_RATE}) if (suffix, codec) == (".mkv", "aac") else RATES.get(codec)
        if rates is not None and sample_rate not in rates:
            audio, sample_rate = resample(audio, sample_rate, FALLBACK_RATE), FALLBACK_RATE
        out_path = out_path.with_suffix(suffix)
        with atomic_path(out_path) as temporary:
            try:
                _write(source, video, clock, audio, sample_rate, codec, temporary, keep_extras)
                missing = missing_contents(contents(video_path), contents(temporary)) if keep_extras else []
            except OSError as error:  # PyAV's write errors are OSErrors too, its stream errors are not
                raise OSError(error.errno, f"{out_path}: cannot be written ({error.strerror}); free space?") from error
            except (av.FFmpegError, ValueError) as error:
                raise MediaError(f"{video_path}: its video cannot be copied ({error}); re-encode it") from error
    if missing:
        notes.append(f"{suffix[1:]} does not hold {', '.join(missing)}")
    return Film(out_path, tuple(notes))


def _container(video_path: str | Path, video: Any, wanted: str, hidden: bool) -> str:
    """The suffix wanted, or the first of the others whose container carries the video."""
    name = video.codec.canonical_name
    able = [suffix for suffix in (wanted, *FALLBACKS) if not (hidden and suffix in (".mkv", ".webm"))]
    known = [suffix for suffix in able if name in VIDEO_CODECS.get(suffix, {name})]
    for suffix in (*known, *able):  # the second time also those whose players need another decoder, as for CineForm
        if takes_codec(FORMATS[suffix], video):
            return suffix
    raise MediaError(f"{video_path}: no container here carries its video ({name}); re-encode it as H.264")


def _write(
    source: InputContainer,
    video: Any,
    clock: Clock,
    audio: Tensor,
    sample_rate: int,
    codec: str,
    temporary: Path,
    keep_extras: bool,
) -> None:
    exact = {"fflags": "bitexact"}  # otherwise Matroska writes a random number into every file
    suffix = temporary.suffix
    if suffix in (".mp4", ".mov") and any(key.startswith("com.") for key in source.metadata):
        exact["movflags"] = "use_metadata_tags"  # the form in which phones write make, model and place
    with av.open(str(temporary.absolute()), "w", format=FORMATS[suffix], options=exact) as target:
        copied: Any = target.add_stream_from_template(video, opaque=True)  # needs no encoder
        copied.codec_context.codec_tag = _tag(source, video, suffix)
        if keep_extras:
            copy_tags(source, video, target, copied)
        if (suffix, codec) == (".mkv", "aac"):
            encoded = _aac_without_delay(audio, sample_rate)
            sound: Any = target.add_stream_from_template(encoded.streams.audio[0])
            packets: Iterator[Any] = (packet for packet in encoded.demux() if packet.size)
        else:
            sound = _sound_stream(target, len(audio), sample_rate, codec)
            packets = _sound_packets(sound, audio, sample_rate)
        sound.disposition = Disposition.default
        extras = Extras(source, video, target, suffix) if keep_extras else None
        upcoming = next(packets, None)
        for packet in _video_packets(source, video, clock, extras):
            if extras and packet.stream.index != video.index:
                target.mux(list(extras.packets(packet)))
                continue
            now = packet.dts * video.time_base
            while upcoming is not None and upcoming.dts * upcoming.time_base <= now:
                upcoming.stream = sound
                target.mux(upcoming)
                upcoming = next(packets, None)
            packet.stream = copied
            target.mux(packet)
        while upcoming is not None:
            upcoming.stream = sound
            target.mux(upcoming)
            upcoming = next(packets, None)


def _aac_without_delay(audio: Tensor, sample_rate: int) -> InputContainer:
    """AAC in memory without its first packet, the encoder's delay: players of Matroska differ on skipping it."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4", options={"fflags": "bitexact", "use_editlist": "0"}) as container:
        stream = _sound_stream(container, len(audio), sample_rate, "aac")
        container.mux([packet for packet in _sound_packets(stream, audio, sample_rate) if packet.pts >= 0])
    memory.seek(0)
    encoded: InputContainer = av.open(memory, "r")
    return encoded


def _tag(source: InputContainer, video: Any, suffix: str) -> Any:
    """The codec tag that `suffix` may keep; "hvc1" for HEVC from elsewhere whose header is known, as Apple asks."""
    tag, name = video.codec_context.codec_tag, video.codec.canonical_name
    from_mov = source.format.name.startswith("mov")
    if name == "rawvideo" or (from_mov and (suffix == ".mov" or (suffix == ".mp4" and tag in KEPT_TAGS))):
        return tag
    if from_mov and suffix == ".mkv" and name == "prores":
        return tag
    header = video.codec_context.extradata  # of a transport stream too: the container writes it in its own form
    return "hvc1" if name == "hevc" and suffix in (".mp4", ".mov") and header else "\0\0\0\0"


def _read_clock(video_path: str | Path) -> tuple[Clock, bool]:
    """When each packet of the video is shown and decoded, in ticks of its stream, and whether some are never shown.

    Hidden packets after the last shown one are left out. Raises ValueError for hidden packets in between.
    """
    with open_media(video_path) as source:
        video = video_stream(video_path, source)
        packets = [(packet.pts, packet.dts, packet.is_discard) for packet in source.demux(video) if packet.size]
        unstamped = source.format.name in UNSTAMPED and video.codec_context.has_b_frames
    while packets and packets[-1][2]:
        packets.pop()
    origin = video.start_time or 0
    shown = [dts if pts is None else pts for pts, dts, _ in packets]
    if None in shown:
        raise ValueError("a frame without a time stamp")
    if any(discard and pts >= origin for pts, (_, _, discard) in zip(shown, packets, strict=True)):
        raise ValueError("its edit list hides frames in the middle")
    decoded = [dts for _, dts, _ in packets]
    if unstamped:
        ordered = sorted(pts if dts is None else dts for pts, dts, _ in packets)
        shown = [ordered[position] for position in _display_order(video_path, len(packets))]
    if None in decoded or unstamped:  # Matroska has none: frames are decoded in their order, each before it is shown
        ordered = sorted(shown)
        delay = max(at - pts for at, pts in zip(ordered, shown, strict=True))
        decoded = [at - delay for at in ordered]
    return list(zip(shown, decoded, strict=True)), any(discard for _, _, discard in packets)


def _display_order(video_path: str | Path, count: int) -> list[int]:
    """For each packet of a stream without stamps, the position of its frame among those shown, found by decoding."""
    places: dict[int, int] = {}
    with open_media(video_path) as source:
        video = video_stream(video_path, source)
        video.codec_context.copy_opaque = True
        number = 0
        for packet in source.demux(video):
            if packet.size:
                packet.opaque = number
                number += 1
            for frame in packet.decode():
                places.setdefault(int(frame.opaque), len(places))
    if sorted(places) != list(range(count)):
        raise ValueError("its frames have no time stamps and cannot all be decoded")
    return [places[number] for number in range(count)]


def _video_packets(source: InputContainer, video: Any, clock: Clock, extras: Extras | None) -> Iterator[Any]:
    """Packets of the video as they are, on a clock that starts at its first frame, and those of the other tracks."""
    origin, stamps = video.start_time or 0, iter(clock)
    others = [source.streams[index] for index in extras.streams] if extras else []
    unpack = source.format.name == "avi" and video.codec.canonical_name == "mpeg4"
    # DivX and Xvid put two frames into one packet of an AVI, which players of other containers do not expect.
    split = BitStreamFilterContext("mpeg4_unpack_bframes", video) if unpack else None
    for packet in source.demux(video, *others):
        if packet.stream.index != video.index:
            yield packet
        elif packet.size:
            for single in split.filter(packet) if split else [packet]:
                if (stamp := next(stamps, None)) is not None:
                    single.stream, single.time_base = video, video.time_base
                    single.pts, single.dts = stamp[0] - origin, stamp[1] - origin
                    yield single


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
