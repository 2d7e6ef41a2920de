"""Hits as MIDI notes: when each begins and how hard it is struck."""

import io
from collections.abc import Sequence

import mido

from foleygram.envelope.editing.hits import Hit, level_velocity, velocity_level
from foleygram.media.audio import LONGEST_SEC

NOTE = 60
"""The key of written notes; notes of every key and channel are read."""
TICKS_PER_BEAT, TEMPO = 5000, 500_000
"""Written files have 120 beats per minute, so a tick is 0.1 ms."""
MOST_BYTES = 2**20


def parse_notes(data: bytes, *, decay: float) -> list[Hit]:
    """The notes of a standard MIDI file as hits, ascending, its tempo map followed; raises ValueError without any.

    A note's length is not the decay of a struck object, so each hit is 20 dB down after `decay` seconds.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"a MIDI file of {len(data)} bytes; at most {MOST_BYTES} are read")
    try:
        file = mido.MidiFile(file=io.BytesIO(data))
        if file.ticks_per_beat <= 0:
            raise ValueError("its clock counts film frames and not beats")
        messages, now, notes = list(file), 0.0, []
    except Exception as error:  # mido has no error of its own for damaged files
        raise ValueError(f"not a readable MIDI file ({str(error) or type(error).__name__}); export it again") from None
    for message in messages:
        now += message.time
        if message.type == "note_on" and message.velocity:
            if now > LONGEST_SEC:
                raise ValueError(f"a note at {now:.0f} s; an envelope lasts at most {LONGEST_SEC:g} s")
            notes.append(Hit(now, velocity_level(message.velocity), decay))
    if not notes:
        raise ValueError("there is no note in it")
    return notes


def encode_notes(hits: Sequence[Hit]) -> bytes:
    """A standard MIDI file (type 0) with a note per hit, as long as the hit's decay or until the next one begins.

    Raises ValueError without any hit.
    """
    if not hits:
        raise ValueError("the envelope has no hit: a MIDI file of it would be empty; write its curve as .csv or .wav")
    hits = sorted(hits, key=lambda hit: hit.time)
    starts = [_ticks(hit.time) for hit in hits]
    ends = [start + max(1, _ticks(hit.decay)) for start, hit in zip(starts, hits, strict=True)]
    file = mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_BEAT)
    track = file.add_track()
    track.append(mido.MetaMessage("set_tempo", tempo=TEMPO))
    written = 0
    for hit, start, end, following in zip(hits, starts, ends, [*starts[1:], ends[-1]], strict=True):
        end = max(start, min(end, following))
        velocity = level_velocity(hit.level)
        track.append(mido.Message("note_on", note=NOTE, velocity=velocity, time=start - written))
        track.append(mido.Message("note_off", note=NOTE, time=end - start))
        written = end
    encoded = io.BytesIO()
    file.save(file=encoded)
    return encoded.getvalue()


def _ticks(seconds: float) -> int:
    return round(mido.second2tick(seconds, TICKS_PER_BEAT, TEMPO))
