"""Envelopes as files: tables, JSON, curves at the audio rate, MIDI notes, markers, and recordings as guides."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile
from torch import Tensor

from foleygram.envelope.editing.hits import (
    DECAY_SEC,
    RATE,
    draw_hits,
    find_hits,
    hit_markers,
    level_velocity,
    list_hits,
)
from foleygram.envelope.editing.marker_files import edit_list_hits, text_hits, timeline_hits
from foleygram.envelope.editing.midi import encode_notes, parse_notes
from foleygram.envelope.editing.tables import curve_table, marker_table, parse_table
from foleygram.envelope.envelope import HIGHEST_RATE, SAMPLE_RATE, Envelope
from foleygram.files import atomic_path
from foleygram.media.audio import LONGEST_SEC, read_audio, sound_rate
from foleygram.media.isolate import MediaError, run_isolated
from foleygram.media.markers import cue_times, edit_list, reaper_table, with_cues
from foleygram.media.timecode import TimeCode
from foleygram.media.timeline import Timeline, event_clips, otio_json, read_otio

TABLES, NOTES = (".csv", ".tsv"), (".mid", ".midi")
MARKERS, REAPER = "markers.csv", "reaper.csv"
"""Suffixes of tables with a row per hit instead of per value; the second in Reaper's form."""
WRITTEN = ".csv, .json, .wav, .mid, .edl, .otio, or markers.csv and reaper.csv for tables of hits"
UNREAD = (".xml", ".fcpxml", ".aaf", ".srt", ".vtt", ".rpp", ".ptx")
"""Files of editors that hold markers in another form."""
CHOICES = ("predicted", "audio")
"""Names accepted in place of a file: predicted from the video, and measured on the video's own sound."""
READ_TIMEOUT_SEC = 300.0
ONE_SIDED = 0.05
"""A sound whose negative samples sum to less than this share of its positive ones is a curve, not a recording."""


def read_envelope(path: str | Path, *, decay: float = DECAY_SEC, frame_rate: float | None = None) -> Envelope:
    """The envelope in a file, by its suffix.

    .csv and .tsv: a table (`tables.parse_table`); .json: what `write_envelope` wrote; .mid and .midi: notes as hits
    that are 20 dB down after `decay` seconds; .txt, .edl and .otio: markers (`marker_files`), frames counted at
    `frame_rate`; everything else is sound, either a curve at the audio rate or a recording, whose envelope is measured.
    Times that a file lists beside its curve are kept exactly (`list_hits`). Raises FileNotFoundError, and ValueError
    naming the file, the line and the value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the path")
    try:
        envelope = _read(path, decay, frame_rate)
        check_levels(envelope)
    except MediaError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return envelope


def chosen_envelope(choice: str, *, decay: float = DECAY_SEC, frame_rate: float | None = None) -> str | Envelope:
    """The value of `--envelope CHOICE`: "predicted" and "audio" as they are, otherwise the envelope in that file.

    Raises FileNotFoundError if there is no such file, and errors as `read_envelope` does.
    """
    if choice in CHOICES:
        return choice
    if not Path(choice).is_file():
        raise FileNotFoundError(f"{choice or 'empty name'}: no such file; give {', '.join(CHOICES)} or a file")
    return read_envelope(choice, decay=decay, frame_rate=frame_rate)


def check_name(path: Path) -> None:
    """Raise ValueError for a suffix that `write_envelope` does not support."""
    if path.suffix.lower() not in (".csv", ".json", ".wav", ".edl", ".otio", *NOTES):
        raise ValueError(
            f"{path}: an envelope cannot be written as {path.suffix or 'a file without suffix'}; give {WRITTEN}"
        )


def write_envelope(
    path: str | Path, envelope: Envelope, *, frame_rate: float | None = None, start: str | None = None
) -> None:
    """Write an envelope with its onsets, in the form of the file's suffix, atomically.

    .csv, .json: its values and onsets; .wav: its curve, at 16 kHz in float32, with a cue point at each onset; .mid,
    .edl and .otio (in frames of `frame_rate` per second, the first labelled `start`), `markers.csv` and `reaper.csv`:
    its hits without the curve. Raises ValueError for another suffix, levels above full scale, a frame rate that has no
    time code, and, in MIDI, no hit at all; OSError when the file cannot be written.
    """
    path = Path(path)
    check_name(path)
    try:
        check_levels(envelope)
        encoded = _encode(path, envelope, frame_rate, start)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(encoded)
    except OSError as error:
        raise OSError(error.errno, f"{path}: cannot be written ({error.strerror}); check the folder") from error


def _read(path: Path, decay: float, frame_rate: float | None) -> Envelope:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return parse_table(_text(path), decay=decay, frame_rate=frame_rate)
    if suffix == ".json":
        return _parse_json(_text(path))
    if suffix in NOTES:
        return draw_hits(parse_notes(path.read_bytes(), decay=decay))
    if suffix == ".edl":
        return draw_hits(edit_list_hits(_text(path), decay, frame_rate))
    if suffix == ".otio":
        return draw_hits(timeline_hits(run_isolated(read_otio, path, timeout_sec=READ_TIMEOUT_SEC), decay))
    if suffix == ".txt":
        return draw_hits(text_hits(_text(path), decay))
    if suffix in UNREAD:
        raise ValueError(f"markers are not read from {suffix}; export them as one of .txt, .csv, .edl, .mid or .otio")
    audio, rate = run_isolated(_read_sound, path, timeout_sec=READ_TIMEOUT_SEC)
    envelope = sound_envelope(audio, rate)
    cues = cue_times(path.read_bytes()) if suffix == ".wav" else []
    return list_hits(envelope, cues) if cues else envelope


def _read_sound(path: Path) -> tuple[Tensor, int]:
    rate = sound_rate(path)
    return read_audio(path, sample_rate=rate), rate


def sound_envelope(audio: Tensor, sample_rate: int) -> Envelope:
    """The curve stored in a sound (channels, samples) without negative samples; for any other, its RMS envelope.

    Raises ValueError for an empty sound.
    """
    mono = audio.float().mean(0).numpy()
    if not mono.size:
        raise ValueError("it has no samples")
    if -mono.clip(max=0).sum() > ONE_SIDED * mono.clip(min=0).sum():
        return Envelope.from_audio(audio, sample_rate)
    return Envelope(mono.clip(min=0), sample_rate).resampled(RATE)


def _encode(path: Path, envelope: Envelope, frame_rate: float | None, start: str | None) -> bytes:
    suffix = path.suffix.lower()
    if path.name.lower().endswith(MARKERS):
        return marker_table(find_hits(envelope)).encode()
    if path.name.lower().endswith(REAPER):
        return reaper_table(hit_markers(envelope)).encode()
    if suffix == ".edl":
        if frame_rate is None:
            raise ValueError("an edit decision list counts frames: give the video's frame rate")
        return edit_list(hit_markers(envelope), TimeCode.of(frame_rate, start=start), title=path.stem).encode()
    if suffix == ".otio":
        if frame_rate is None:
            raise ValueError("a timeline counts frames: give the video's frame rate")
        return _timeline(path.stem, envelope, TimeCode.of(frame_rate, start=start)).encode()
    if suffix == ".csv":
        return curve_table(envelope).encode()
    if suffix == ".json":
        return _json(envelope).encode()
    if suffix == ".wav":
        return _curve_wav(envelope)
    return encode_notes(find_hits(envelope))


def _timeline(title: str, envelope: Envelope, clock: TimeCode) -> str:
    """A timeline with a marker at each onset and a clip without sound from each to the next."""
    markers = hit_markers(envelope)
    clips = event_clips(markers, envelope.seconds)
    return otio_json(Timeline(title, clock, clips, tuple(markers), seconds=envelope.seconds))


def _curve_wav(envelope: Envelope) -> bytes:
    """The curve at 16 kHz, at which envelopes are measured, with its onsets as cue points."""
    encoded = io.BytesIO()
    wavfile.write(encoded, SAMPLE_RATE, envelope.resampled(SAMPLE_RATE).values)
    return with_cues(encoded.getvalue(), hit_markers(envelope))


def _json(envelope: Envelope) -> str:
    hits = [
        {"time": round(hit.time, 4), "level": float(f"{hit.level:.4g}"), "velocity": level_velocity(hit.level)}
        for hit in find_hits(envelope)
    ]
    levels = [float(f"{value:.9g}") for value in envelope.values]
    return json.dumps({"rate": envelope.rate, "levels": levels, "onsets": hits}, indent=None) + "\n"


def _parse_json(text: str) -> Envelope:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({error})") from None
    if (
        not isinstance(content, dict)
        or not {"rate", "levels"} <= content.keys()
        or not isinstance(content["levels"], list)
    ):
        raise ValueError('it needs "rate" (values per second) and "levels" (a list of linear RMS values)')
    levels = [_json_number(value, f"level {index}") for index, value in enumerate(content["levels"])]
    curve = Envelope(np.array(levels), _json_number(content["rate"], "rate"))
    onsets = content.get("onsets", [])
    if not isinstance(onsets, list) or not all(isinstance(onset, dict) and "time" in onset for onset in onsets):
        raise ValueError('"onsets" must be a list of objects with a "time" in seconds')
    times = [_json_number(onset["time"], f"time of onset {index}") for index, onset in enumerate(onsets)]
    for index, time in enumerate(times):
        if not 0 <= time <= LONGEST_SEC:
            raise ValueError(f"time of onset {index} is {time:g}, not from 0 to {LONGEST_SEC:g} s")
    return list_hits(curve, times) if times else curve


def _json_number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r:.40}, not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large") from None


def _text(path: Path) -> str:
    content = path.read_bytes()
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"  # Premiere writes UTF-16
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not text in UTF-8 or UTF-16 (byte {error.start}); save it as UTF-8") from None


def check_levels(envelope: Envelope) -> None:
    """Raise ValueError for levels above full scale, more than 48,000 values per second or six hours."""
    top = int(envelope.values.argmax())
    if envelope.values[top] > 1:
        raise ValueError(
            f"the level reaches {envelope.values[top]:g} at {top / envelope.rate:.3f} s; full scale is 1, scale it down"
        )
    if envelope.rate > HIGHEST_RATE:
        raise ValueError(f"{envelope.rate:g} values per second; at most {HIGHEST_RATE:g} are read")
    if envelope.seconds > LONGEST_SEC:
        raise ValueError(f"it lasts {envelope.seconds:g} s; at most {LONGEST_SEC:g} s are read")
