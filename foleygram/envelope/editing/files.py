"""Envelopes as files: tables, JSON, curves at the audio rate, MIDI notes, and any recording as a guide."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import wavfile
from torch import Tensor

from foleygram.envelope.editing.hits import DECAY_SEC, RATE, draw_hits, find_hits, hit_markers, level_velocity
from foleygram.envelope.editing.midi import encode_notes, parse_notes
from foleygram.envelope.editing.tables import curve_table, marker_table, parse_table
from foleygram.envelope.envelope import HIGHEST_RATE, SAMPLE_RATE, Envelope
from foleygram.files import atomic_path
from foleygram.media.audio import LONGEST_SEC, read_audio, sound_rate
from foleygram.media.isolate import MediaError, guarded
from foleygram.media.markers import edit_list, reaper_table, with_cues
from foleygram.media.timecode import TimeCode

TABLES, NOTES = (".csv", ".tsv"), (".mid", ".midi")
MARKERS, REAPER = "markers.csv", "reaper.csv"
"""How the name of a table ends that is written with a row per hit, not per value; the second as Reaper reads it."""
WRITTEN = ".csv, .json, .wav, .mid, .edl, or markers.csv and reaper.csv for tables of hits"
CHOICES = ("predicted", "audio")
"""Envelopes that a command knows by a word: the picture's, and the one of the video's own sound."""
READ_TIMEOUT_SEC = 300.0
ONE_SIDED = 0.05
"""A sound whose negative samples sum to less than this share of its positive ones is a curve, not a recording."""


def read_envelope(path: str | Path, *, decay: float = DECAY_SEC) -> Envelope:
    """The envelope that a file holds, in whatever form its suffix names.

    .csv and .tsv: a table (`tables.parse_table`), Reaper's markers among them; .json: what `write_envelope` wrote; .mid
    and .midi: notes as hits that are 20 dB down after `decay` seconds; everything else is sound, either a curve at the
    audio rate or a recording, whose own envelope it is. Raises FileNotFoundError, and ValueError naming the file, the
    place in it and the value.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the path")
    try:
        envelope = _read(path, decay)
        check_levels(envelope)
    except MediaError:
        raise
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return envelope


def chosen_envelope(choice: str, *, decay: float = DECAY_SEC) -> str | Envelope:
    """What `--envelope CHOICE` means: the words "predicted" and "audio" stand as they are, all else names a file.

    Raises FileNotFoundError where there is no such file, and as `read_envelope` does.
    """
    if choice in CHOICES:
        return choice
    if not Path(choice).is_file():
        raise FileNotFoundError(f"{choice}: no such file; give {', '.join(CHOICES)} or a file")
    return read_envelope(choice, decay=decay)


def check_name(path: Path) -> None:
    """Raise ValueError for a name in whose form no envelope is written."""
    if path.suffix.lower() not in (".csv", ".json", ".wav", ".edl", *NOTES):
        raise ValueError(f"{path}: an envelope is not written as {path.suffix or 'that'}; give {WRITTEN}")


def write_envelope(path: str | Path, envelope: Envelope, *, frame_rate: float | None = None) -> None:
    """Write an envelope with its onsets, in the form that the file's name asks for, whole or not at all.

    .csv, .json: its values and onsets; .wav: its curve, at 16 kHz in float32, with a cue point at each onset; .mid,
    .edl (in frames of `frame_rate` per second), `markers.csv` and `reaper.csv`: its hits, which is less. Raises
    ValueError for another name, levels above full scale, a frame rate that has no time code, and, in MIDI, no hit at
    all; OSError when the file cannot be written.
    """
    path = Path(path)
    check_name(path)
    try:
        check_levels(envelope)
        encoded = _encode(path, envelope, frame_rate)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(encoded)
    except OSError as error:
        raise OSError(error.errno, f"{path}: cannot be written ({error.strerror}); check the folder") from error


def _read(path: Path, decay: float) -> Envelope:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return parse_table(_text(path), decay=decay)
    if suffix == ".json":
        return _parse_json(_text(path))
    if suffix in NOTES:
        return draw_hits(parse_notes(path.read_bytes(), decay=decay))
    if suffix == ".edl":
        raise ValueError("edit decision lists are written and not read; give the table or MIDI file beside it")
    audio, rate = guarded(_read_sound, path, timeout_sec=READ_TIMEOUT_SEC)
    return sound_envelope(audio, rate)


def _read_sound(path: Path) -> tuple[Tensor, int]:
    rate = sound_rate(path)
    return read_audio(path, sample_rate=rate), rate


def sound_envelope(audio: Tensor, sample_rate: int) -> Envelope:
    """The curve that a sound (channels, samples) draws where it has no negative half, else the envelope it has.

    Raises ValueError for an empty sound.
    """
    mono = audio.float().mean(0).numpy()
    if not mono.size:
        raise ValueError("there is no sound in it")
    if -mono.clip(max=0).sum() > ONE_SIDED * mono.clip(min=0).sum():
        return Envelope.from_audio(audio, sample_rate)
    return Envelope(mono.clip(min=0), sample_rate).resampled(RATE)


def _encode(path: Path, envelope: Envelope, frame_rate: float | None) -> bytes:
    suffix = path.suffix.lower()
    if path.name.lower().endswith(MARKERS):
        return marker_table(find_hits(envelope)).encode()
    if path.name.lower().endswith(REAPER):
        return reaper_table(hit_markers(envelope)).encode()
    if suffix == ".edl":
        if frame_rate is None:
            raise ValueError("an edit decision list counts frames: give the film's frame rate")
        return edit_list(hit_markers(envelope), TimeCode.of(frame_rate), title=path.stem).encode()
    if suffix == ".csv":
        return curve_table(envelope).encode()
    if suffix == ".json":
        return _json(envelope).encode()
    if suffix == ".wav":
        return _curve_wav(envelope)
    return encode_notes(find_hits(envelope))


def _curve_wav(envelope: Envelope) -> bytes:
    """The curve at 16 kHz, the rate that envelopes are measured at, its onsets as cue points."""
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
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not readable as JSON ({error})") from None
    if not isinstance(told, dict) or not {"rate", "levels"} <= told.keys() or not isinstance(told["levels"], list):
        raise ValueError('it needs "rate" (values per second) and "levels" (a list of linear RMS values)')
    levels = [_json_number(value, f"level {index}") for index, value in enumerate(told["levels"])]
    return Envelope(np.array(levels), _json_number(told["rate"], "rate"))


def _json_number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is {value!r:.40}, no number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no text in UTF-8 (byte {error.start})") from None


def check_levels(envelope: Envelope) -> None:
    """Raise ValueError for levels that no sound has, and lengths and rates that no film needs."""
    top = int(envelope.values.argmax())
    if envelope.values[top] > 1:
        raise ValueError(
            f"the level reaches {envelope.values[top]:g} at {top / envelope.rate:.3f} s; full scale is 1, scale it down"
        )
    if envelope.rate > HIGHEST_RATE:
        raise ValueError(f"{envelope.rate:g} values per second; at most {HIGHEST_RATE:g} are read")
    if envelope.seconds > LONGEST_SEC:
        raise ValueError(f"it lasts {envelope.seconds:g} s; at most {LONGEST_SEC:g} s are read")
