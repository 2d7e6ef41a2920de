"""Markers read back by others: libsndfile reads the cues, the lists are parsed here anew, from what the formats say."""

import csv
import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.media.audio import write_audio
from foleygram.media.markers import Marker, Region, edit_list, reaper_table, with_cues
from foleygram.media.timecode import TimeCode

GET_CUE_COUNT, GET_CUE = 0x10CD, 0x10CE
CUE = "<iIiiiI256s"

marker_lists = st.lists(
    st.builds(Marker, st.integers(0, 16_000).map(lambda ms: ms / 1000), st.text(max_size=20)), max_size=30
)


def cues_of(path: Path) -> list[tuple[int, str]]:
    """Sample and name of each cue point, as libsndfile finds them."""
    with soundfile.SoundFile(path) as file:
        count = soundfile._ffi.new("uint32_t *")
        soundfile._snd.sf_command(file._file, GET_CUE_COUNT, count, 4)
        size = struct.calcsize(CUE)
        buffer = soundfile._ffi.new("char[]", 4 + count[0] * size)
        if count[0]:
            soundfile._snd.sf_command(file._file, GET_CUE, buffer, len(buffer))
        raw = bytes(soundfile._ffi.buffer(buffer))
    points = [struct.unpack_from(CUE, raw, 4 + index * size) for index in range(count[0])]
    return [(point[5], point[6].split(b"\0")[0].decode()) for point in points]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [8_001, 8_000])
def test_libsndfile_finds_the_cues_and_the_same_samples(tmp_path: Path, channels: int, samples: int) -> None:
    audio = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (channels, samples)).astype(np.float32))
    markers = [Marker(0.25, "hit 2 v64"), Marker(0.1, "Schlag ü"), Marker(0.5, "")]
    write_audio(tmp_path / "plain.wav", audio, 16_000)
    write_audio(tmp_path / "marked.wav", audio, 16_000, markers=markers)
    assert cues_of(tmp_path / "marked.wav") == [(1600, "Schlag ü"), (4000, "hit 2 v64"), (8000, "")]
    assert cues_of(tmp_path / "plain.wav") == []
    marked, plain = (soundfile.read(tmp_path / name, dtype="int16")[0] for name in ("marked.wav", "plain.wav"))
    assert np.array_equal(marked, plain)


@settings(max_examples=30, deadline=None)
@given(marker_lists)
def test_chunks_add_up(markers: list[Marker]) -> None:
    plain = io.BytesIO()
    soundfile.write(plain, np.zeros(16_001, np.int16), 1000, format="WAV")
    marked = with_cues(plain.getvalue(), markers)
    assert struct.unpack("<I", marked[4:8])[0] == len(marked) - 8
    place, names, labels = 12, [], {}
    while place < len(marked):
        name, size = marked[place : place + 4], struct.unpack("<I", marked[place + 4 : place + 8])[0]
        names.append(name)
        body = marked[place + 8 : place + 8 + size]
        if name == b"LIST" and body[:4] == b"adtl":
            inner = 4
            while inner < len(body):
                length, number = struct.unpack("<4xII", body[inner : inner + 12])
                labels[number] = body[inner + 12 : inner + 8 + length].rstrip(b"\0").decode()
                inner += 8 + length + length % 2
        place += 8 + size + size % 2
    assert place == len(marked)
    assert names.count(b"cue ") == bool(markers)
    assert [labels[number + 1] for number in range(len(markers))] == [
        marker.label.replace("\0", "") for marker in sorted(markers)
    ]
    assert with_cues(marked, markers) == marked  # replaced, not added to


def test_what_is_no_wav_file_or_beyond_its_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a WAV file"):
        with_cues(b"OggS" + bytes(100), [])
    with pytest.raises(ValueError, match="no samples"):
        with_cues(b"RIFF" + struct.pack("<I", 4) + b"WAVE", [])
    with pytest.raises(ValueError, match=r"a marker at 1.5 s in a sound of 1 s"):
        write_audio(tmp_path / "short.wav", torch.zeros(1, 8000), 8000, markers=[Marker(1.5, "late")])
    assert list(tmp_path.iterdir()) == []


EVENT = re.compile(r"(\d{3})  (\w+) +(\w+) +C +" + r" ".join([r"(\d\d:\d\d:\d\d[:;]\d\d)"] * 4))


def frame_number(label: str, nominal: int, dropped: int) -> int:
    """SMPTE 12M, by counting what was left out minute by minute."""
    hours, minutes, seconds, frames = map(int, re.split("[:;]", label))
    left_out = sum(dropped for minute in range(1, hours * 60 + minutes + 1) if minute % 10)
    return ((hours * 60 + minutes) * 60 + seconds) * nominal + frames - left_out


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 4_000_000).map(lambda ms: ms / 1000), max_size=20),
    st.sampled_from(
        [(24, 24, 0, 24.0), (23.976, 24, 0, 24_000 / 1001), (29.97, 30, 2, 30_000 / 1001), (25, 25, 0, 25.0)]
    ),
)
def test_every_event_of_a_list_lies_on_its_frame(times: list[float], rates: tuple[float, int, int, float]) -> None:
    given_rate, nominal, dropped, exact = rates
    written = edit_list([Marker(time, f"hit | {time}") for time in times], TimeCode.of(given_rate), title="clip")
    lines = written.split("\r\n")
    assert lines[:2] == ["TITLE: clip", "FCM: DROP FRAME" if dropped else "FCM: NON-DROP FRAME"]
    assert all(len(line) < 80 for line in lines)
    events = [match.groups() for line in lines if (match := EVENT.match(line))]
    assert lines[2:4] == [f"* FRAMES PER SECOND: {exact:.6g}", f"* START: 01:00:00{';' if dropped else ':'}00"]
    located = [line.split()[2] for line in lines if line.startswith("* LOC: ")]
    assert [event[0] for event in events] == [f"{number:03d}" for number in range(1, len(times) + 1)]
    for time, event, place in zip(sorted(times), events, located, strict=True):
        first, after, record, record_after = (frame_number(label, nominal, dropped) for label in event[3:])
        assert abs(first / exact - time) <= 0.5 / exact + 1e-9
        hour = frame_number("01:00:00:00", nominal, dropped)
        assert (after - first, record - first, record_after - record) == (1, hour, 1)
        assert frame_number(place, nominal, dropped) == record
        assert f"|M:hit / {time} |D:1" in written


def test_a_list_starts_at_one_hour_and_is_not_longer_than_its_numbers() -> None:
    clock = TimeCode.of(25)
    listed = edit_list([Marker(2.0, "x")], clock, title="clip")
    assert "00:00:02:00 00:00:02:01 01:00:02:00 01:00:02:01" in listed
    with pytest.raises(ValueError, match="1000 markers"):
        edit_list([Marker(float(n), "x") for n in range(1000)], clock, title="clip")


def test_reaper_s_table_has_its_columns_and_times() -> None:
    table = reaper_table([Marker(3725.0004, 'a "loud", one'), Marker(59.9996, "b")], [Region(0.5, 61.25, "door")])
    rows = list(csv.DictReader(io.StringIO(table)))
    assert list(rows[0]) == ["#", "Name", "Start", "End", "Length"]
    assert [tuple(row.values()) for row in rows] == [
        ("M1", "b", "0:00:59.9996", "", ""),
        ("M2", 'a "loud", one', "1:02:05.0004", "", ""),
        ("R1", "door", "0:00:00.5000", "0:01:01.2500", "0:01:00.7500"),
    ]
