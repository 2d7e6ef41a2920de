"""Contents of a video file besides its frames and first sound track: tags, chapters, other tracks, display data."""

import io
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from foleygram.media.video import open_media, sound_stream, start_timecode, video_stream

TEXT = frozenset({"mov_text", "subrip", "srt", "text", "webvtt", "ass", "ssa"})
TEXT_CODECS = {".mp4": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
"""Subtitle codec in which each container holds text."""
FORMAT_TAGS = frozenset({
    "major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration", "timecode", "uid",
    "generation_uid", "material_package_umid", "operational_pattern_ul", "application_platform", "company_name",
    "product_name", "product_uid", "product_version", "product_version_num", "toolkit_version_num", "modification_date",
})  # fmt: skip
"""Tags about the file itself and the program that wrote it, which a copy does not keep; time code goes another way."""
STREAM_TAGS = ("language", "title", "handler_name", "creation_time")
COVERS = {"mjpeg": "image/jpeg", "png": "image/png"}


def copy_tags(source: InputContainer, video: Any, target: OutputContainer, copied: Any) -> None:
    """Copy title, dates, other tags, chapters, pixel shape and start time code; `copied` is the target's video."""
    target.metadata.update({key: value for key, value in source.metadata.items() if key.lower() not in FORMAT_TAGS})
    origin = Fraction(video.start_time or 0) * video.time_base
    chapters: list[Any] = []
    for chapter in source.chapters():
        clock = chapter["time_base"] or Fraction(1, 1000)
        start, end = (max(0, round(chapter[side] - origin / clock)) for side in ("start", "end"))
        chapters.append({**chapter, "start": start, "end": max(start, end)})
    if chapters:
        target.set_chapters(chapters)
    _copy_stream_tags(video, copied)
    if timecode := start_timecode(source, video):
        copied.metadata["timecode"] = timecode
        if copied.codec_context.framerate is None:  # as of ProRes; without it no time code track is written
            copied.codec_context.framerate = video.average_rate
    if video.sample_aspect_ratio:
        copied.codec_context.sample_aspect_ratio = video.sample_aspect_ratio


def _copy_stream_tags(stream: Any, copied: Any) -> None:
    copied.metadata.update({key: stream.metadata[key] for key in STREAM_TAGS if key in stream.metadata})
    copied.disposition = stream.disposition


class Extras:
    """The further sound tracks, subtitles, cover and attachments of `source`, copied into `target` as far as it can.

    Text subtitles change to the container's own codec. Packets are shifted by the video's start, as the video is.
    """

    def __init__(self, source: InputContainer, video: Any, target: OutputContainer, suffix: str) -> None:
        self.suffix, self.origin = suffix, Fraction(video.start_time or 0) * video.time_base
        self.streams: dict[int, Any] = {}
        self.text: set[int] = set()
        first = _replaced(source)
        stream: Any
        for stream in source.streams:
            copied = None
            if stream.type == "attachment" and suffix == ".mkv":
                target.add_attachment(stream.metadata.get("filename", "attachment"), stream.mimetype or "", stream.data)
            elif stream.codec_context is None or stream in (video, first):
                continue
            elif stream.type == "subtitle" and stream.codec_context.name in TEXT:
                copied = target.add_mux_stream(TEXT_CODECS[suffix])
                copied.time_base = Fraction(1, 1000)
                self.text.add(stream.index)
            elif stream.disposition & Disposition.attached_pic:
                copied = self._cover(stream, target)
            elif stream.type in ("audio", "subtitle"):
                copied = _template(target, stream)
            if copied is not None:
                _copy_stream_tags(stream, copied)
                if stream.type == "audio":
                    copied.disposition = stream.disposition & ~Disposition.default
                self.streams[stream.index] = copied

    def _cover(self, stream: Any, target: OutputContainer) -> Any:
        kind = COVERS.get(stream.codec_context.name)
        if self.suffix == ".mp4" and kind:
            return _template(target, stream)
        if self.suffix == ".mkv" and kind:
            with open_media(stream.container.name) as again:
                (packet, *_) = (packet for packet in again.demux(again.streams[stream.index]) if packet.size)
            target.add_attachment(f"cover.{kind[6:].replace('jpeg', 'jpg')}", kind, bytes(packet))
        return None

    def packets(self, packet: Any) -> Iterator[Any]:
        """Packets to write for a packet of one of `streams`."""
        stream, copied = packet.stream, self.streams[packet.stream.index]
        if not packet.size:
            return
        shift = round(self.origin / packet.time_base)
        if stream.disposition & Disposition.attached_pic:
            shift, packet.pts = 0, 0
        if packet.pts is None:
            return
        if stream.index in self.text:
            text = subtitle_text(bytes(packet), stream.codec_context.name)
            if not text:
                return
            packet = _text_packet(packet, text, TEXT_CODECS[self.suffix])
        packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        if packet.pts < 0 and (self.suffix in (".mkv", ".webm") or stream.type != "audio"):
            return  # before the video starts, and this container has no edit list
        packet.stream = copied
        yield packet


def _replaced(container: InputContainer) -> Any:
    """The sound track that the new one replaces: the first that can be read, else the first; None without any."""
    return sound_stream(container) or next(iter(container.streams.audio), None)


def _template(target: OutputContainer, stream: Any) -> Any:
    """A stream for copies of `stream`'s packets; None where the container does not take its codec."""
    if not takes_codec(target.format.name, stream):
        return None
    return target.add_stream_from_template(stream, opaque=True)


def takes_codec(format_name: str, stream: Any) -> bool:
    """Whether a container of `format_name` takes packets of `stream`'s codec."""
    try:  # some codecs are refused only when the header is written
        with av.open(io.BytesIO(), "w", format=format_name) as trial:
            copied: Any = trial.add_stream_from_template(stream, opaque=True)
            if stream.codec_context.name == "rawvideo":  # only its tag describes the pixels
                copied.codec_context.codec_tag = stream.codec_context.codec_tag
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True


def subtitle_text(data: bytes, codec: str) -> str:
    """Plain text of a subtitle packet, its lines separated by newlines."""
    if codec == "mov_text":
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = data.decode("utf-8", errors="replace")
    if codec in ("ass", "ssa"):  # eight fields come before the text
        text = re.sub(r"\{.*?\}", "", text.split(",", 8)[-1]).replace(r"\N", "\n").replace(r"\n", "\n")
    return text.strip()


def _text_packet(packet: Any, text: str, codec: str) -> Any:
    plain = re.sub(r"</?[a-zA-Z][^>]*>", "", text).encode()
    data = len(plain).to_bytes(2, "big") + plain if codec == "mov_text" else text.encode()
    copy = av.Packet(data)
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.pts, packet.duration, packet.time_base
    return copy


def contents(path: str | Path) -> dict[str, str]:
    """Contents of a file besides frames and sound, by name; a lossless copy has equal entries."""
    held: dict[str, str] = {}
    with open_media(path) as container:
        video, first = video_stream(path, container), _replaced(container)
        for key, value in container.metadata.items():
            if key.lower() not in FORMAT_TAGS:
                held[f"tag {key.lower()}"] = value[:19] if key.lower() == "creation_time" else value
        for number, chapter in enumerate(container.chapters(), start=1):
            held[f"chapter {number}"] = chapter["metadata"].get("title", "")
        if label := start_timecode(container, video):
            held["start time code"] = label
        if container.format.name.startswith("mov") and video.codec.canonical_name in ("h264", "hevc", "prores"):
            held["codec tag"] = video.codec_tag
        size = video.codec_context
        held["aspect ratio"] = f"{float(size.width * (video.sample_aspect_ratio or 1)):.1f}:{size.height}"
        numbers = {"audio": 0, "subtitle": 0, "attachment": 0, "data": 0}
        for stream in container.streams:
            if stream in (video, first):
                continue
            codec = stream.codec_context.name if stream.codec_context else "unknown"
            language = stream.metadata.get("language", "und")
            if stream.disposition & Disposition.attached_pic or stream.metadata.get("filename", "").startswith(
                "cover."
            ):
                held["cover"] = "yes"
            elif stream.type in numbers and not (stream.type == "data" and _written_anew(stream, container)):
                numbers[stream.type] += 1
                name = {"audio": "sound track", "subtitle": "subtitles", "data": "data track"}.get(
                    stream.type, "attachment"
                )
                held[f"{name} {numbers[stream.type]} ({'text' if codec in TEXT else codec}, {language})"] = "yes"
        held.update(_display(path, container, video))
    return held


def _written_anew(stream: Any, container: InputContainer) -> bool:
    """Whether a data track holds the time code or the chapters, which a container writes from its tags."""
    return "timecode" in stream.metadata or (stream.codec_context is None and bool(container.chapters()))


def _display(path: str | Path, container: InputContainer, video: Any) -> dict[str, str]:
    """Rotation, colour and HDR data of the first frame."""
    try:
        frame: Any = next(container.decode(video))
    except (av.FFmpegError, StopIteration):
        return {}
    colours = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
    held = {"rotation": str(round(frame.rotation)), "colour": "/".join(str(int(value)) for value in colours)}
    for side in frame.side_data:
        name = side.type.name.lower()
        if name in ("mastering_display_metadata", "content_light_level", "dovi_metadata", "icc_profile"):
            held[name.replace("_", " ")] = bytes(side).hex()[:64]
    return held


def missing_contents(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Names of what a copy does not hold as its source did."""
    missing = {name for name, value in before.items() if after.get(name) != value}
    widths = [float(held["aspect ratio"].split(":")[0]) for held in (before, after)]
    if abs(widths[0] - widths[1]) <= 1:  # Matroska counts whole pixels
        missing.discard("aspect ratio")
    if "codec tag" not in after:
        missing.discard("codec tag")
    return sorted(missing)
