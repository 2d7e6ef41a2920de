"""Markers as editors read them: cue points in a WAV file, edit decision lists, Reaper's table."""

import csv
import io
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from foleygram.media.timecode import TimeCode

MAX_EVENTS = 999
"""A CMX3600 list numbers its events with three digits."""
RIFF_HEAD, CUE_BYTES = 12, 24


class Marker(NamedTuple):
    """A labelled time, in seconds from the start of the video."""

    time: float
    label: str


class Region(NamedTuple):
    """A labelled span, in seconds from the start of the video."""

    start: float
    end: float
    label: str


def with_cues(wav: bytes, markers: Sequence[Marker]) -> bytes:
    """A WAV file with `markers` as its cue points and their labels; its samples stay as they are.

    Existing cue points are replaced. Raises ValueError for bytes that are not a WAV file, a marker beyond its sound, or
    a file that grows past 4 GiB.
    """
    chunks: list[tuple[bytes, bytes | memoryview]] = list(_chunks(wav))
    formats, sounds = ([body for name, body in chunks if name == kind] for kind in (b"fmt ", b"data"))
    if not formats or not sounds:
        raise ValueError("not a complete WAV file: it has no format or no samples")
    rate, block = struct.unpack("<I4xH", formats[0][4:14])
    samples = len(sounds[0]) // block
    rest = [(name, body) for name, body in chunks if name != b"cue " and not (name == b"LIST" and body[:4] == b"adtl")]
    if markers:
        rest += _cue_chunks(sorted(markers), rate, samples)
    body = b"WAVE" + b"".join(_chunk(name, part) for name, part in rest)
    if len(body) >= 2**32:
        raise ValueError(f"a WAV file of {len(body)} bytes: it holds at most 4 GiB")
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _chunks(wav: bytes) -> Iterator[tuple[bytes, bytes | memoryview]]:
    """Name and content of a file's chunks, in order."""
    if wav[:4] != b"RIFF" or wav[8:RIFF_HEAD] != b"WAVE":
        raise ValueError("not a WAV file")
    view, at = memoryview(wav), RIFF_HEAD
    while at + 8 <= len(wav):
        name, size = struct.unpack("<4sI", view[at : at + 8])
        yield name, view[at + 8 : at + 8 + size]
        at += 8 + size + size % 2


def _chunk(name: bytes, body: bytes | memoryview) -> bytes:
    return name + struct.pack("<I", len(body)) + bytes(body) + b"\0" * (len(body) % 2)


def _cue_chunks(markers: Sequence[Marker], rate: int, samples: int) -> list[tuple[bytes, bytes | memoryview]]:
    """The chunk of cue points and the list of their labels."""
    points, labels = [struct.pack("<I", len(markers))], [b"adtl"]
    for number, marker in enumerate(markers, start=1):
        sample = round(marker.time * rate)
        if not 0 <= sample <= samples:
            raise ValueError(f"a marker at {marker.time:g} s in a sound of {samples / rate:g} s")
        points.append(struct.pack("<II4sIII", number, sample, b"data", 0, 0, sample))
        text = marker.label.encode("utf-8").replace(b"\0", b"")
        labels.append(_chunk(b"labl", struct.pack("<I", number) + text + b"\0"))
    return [(b"cue ", b"".join(points)), (b"LIST", b"".join(labels))]


def cue_times(wav: bytes) -> list[float]:
    """Times in seconds of a WAV file's cue points, in the file's order; none where the file has none or is no WAV."""
    try:
        chunks = dict(_chunks(wav))
    except (ValueError, struct.error):
        return []
    body, kind = bytes(chunks.get(b"cue ", b"")), chunks.get(b"fmt ", b"")
    if len(body) < 4 or len(kind) < 8 or not (rate := struct.unpack("<I", kind[4:8])[0]):
        return []
    count = min(struct.unpack("<I", body[:4])[0], (len(body) - 4) // CUE_BYTES)
    return [struct.unpack_from("<I", body, 4 + CUE_BYTES * number + 20)[0] / rate for number in range(count)]


def edit_list(markers: Sequence[Marker], clock: TimeCode, *, title: str) -> str:
    """A CMX3600 edit decision list with an event of one frame per marker, in a film that starts at `clock.start`.

    Each event has the marker as a locator (`* LOC`, which Avid and converters read) and in Resolve's own notation;
    comments hold the rate, the start and each exact time. Raises ValueError for more than 999 markers.
    """
    if len(markers) > MAX_EVENTS:
        raise ValueError(f"{len(markers)} markers: a CMX3600 list holds {MAX_EVENTS}; write Reaper's table or cues")
    lines = [
        f"TITLE: {_plain(title)}",
        f"FCM: {'DROP FRAME' if clock.drop_frame else 'NON-DROP FRAME'}",
        f"* FRAMES PER SECOND: {float(clock.frame_rate):.6g}",
        f"* START: {clock.label(clock.start)}",
        "",
    ]
    for number, marker in enumerate(sorted(markers), start=1):
        frame = clock.frame_at(marker.time)
        source, record = ([clock.label(first + step) for step in (0, 1)] for first in (frame, clock.start + frame))
        label = _plain(marker.label)
        lines += [
            f"{number:03d}  AX       V     C        {' '.join([*source, *record])}",
            f" |C:ResolveColorBlue |M:{label} |D:1",
            f"* LOC: {record[0]} BLUE    {label}",
            f"* SECONDS: {marker.time:.4f}",
            "",
        ]
    return "\r\n".join(lines) + "\r\n"


def _plain(text: str) -> str:
    """One line without the bars that separate Resolve's fields."""
    return " ".join(text.replace("|", "/").split())


def reaper_table(markers: Sequence[Marker], regions: Sequence[Region] = ()) -> str:
    """The CSV that Reaper's region and marker manager imports, times in hours, minutes and seconds."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["#", "Name", "Start", "End", "Length"])
    for number, marker in enumerate(sorted(markers), start=1):
        writer.writerow([f"M{number}", marker.label, _hours(marker.time), "", ""])
    for number, region in enumerate(sorted(regions), start=1):
        times = (region.start, region.end, region.end - region.start)
        writer.writerow([f"R{number}", region.label, *map(_hours, times)])
    return table.getvalue()


def _hours(seconds: float) -> str:
    """H:MM:SS.mmmm."""
    minutes, rest = divmod(round(seconds * 10_000), 600_000)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest / 10_000:07.4f}"
