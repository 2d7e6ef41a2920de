"""Envelopes through files: what is written comes back, what others write is read, what is wrong is named."""

import io
import json
import struct
from fractions import Fraction
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.io import wavfile

from foleygram.envelope.editing.files import chosen_envelope, read_envelope, sound_envelope, write_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits, find_hits, level_velocity, velocity_level
from foleygram.envelope.editing.midi import encode_notes, parse_notes
from foleygram.envelope.editing.tables import curve_table, marker_table, parse_table
from foleygram.envelope.envelope import Envelope

levels = arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(0, 1, width=32))
rates = st.sampled_from([125.0, 100.0, 30.0, 24000 / 1001, 16_000 / 256, 44_100 / 1024])


def struck(seconds: float = 2.0) -> Envelope:
    return draw_hits([Hit(0.3, 0.1), Hit(0.9, 0.03, 0.06), Hit(1.4, 0.17)], seconds=seconds)


@given(levels, rates)
def test_a_curve_comes_back_from_its_table(values: np.ndarray, rate: float) -> None:
    found = parse_table(curve_table(Envelope(values, rate)), decay=0.1)
    assert np.array_equal(found.values, values)
    assert len(values) == 1 or found.rate == pytest.approx(rate, rel=1e-8)


@settings(deadline=None, max_examples=30)
@given(levels, rates)
def test_json_holds_the_very_values(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, rate: float) -> None:
    path = tmp_path_factory.mktemp("json") / "clip.json"
    write_envelope(path, Envelope(values, rate))
    found = read_envelope(path)
    assert np.array_equal(found.values, values) and found.rate == rate


@settings(deadline=None, max_examples=10)
@given(levels, st.sampled_from([125.0, 250.0, 50.0]))
@example(np.eye(17, dtype=np.float32)[[3, 16]].sum(0), 250.0)  # the second hit 52 ms after the first
def test_a_curve_as_sound_comes_back_at_125_values_per_second(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, rate: float
) -> None:
    path = tmp_path_factory.mktemp("wav") / "clip.wav"
    envelope = Envelope(values, rate)
    write_envelope(path, envelope)
    np.testing.assert_allclose(read_envelope(path).values, envelope.resampled(125.0).values, atol=1e-5)
    sound, sample_rate = soundfile.read(path, dtype="float32")  # the level itself, at every sample
    np.testing.assert_allclose(sound, envelope.at(np.arange(len(sound)) / sample_rate), atol=1e-6)
    assert len(sound) == int(envelope.seconds * sample_rate + 1e-6) + 1


hit_lists = st.lists(
    st.builds(
        Hit,
        st.integers(0, 20_000).map(lambda ms: ms / 1000),
        st.floats(0.002, 0.25),
        st.integers(20, 500).map(lambda ms: ms / 1000),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda hit: hit.time,
)


@given(hit_lists)
def test_hits_come_back_from_midi_within_a_tick(hits: list[Hit]) -> None:
    found = parse_notes(encode_notes(hits), decay=0.1)
    hits = sorted(hits, key=lambda hit: hit.time)
    np.testing.assert_allclose([hit.time for hit in found], [hit.time for hit in hits], atol=0.00005)
    assert [level_velocity(hit.level) for hit in found] == [level_velocity(hit.level) for hit in hits]


@given(hit_lists)
def test_no_two_written_notes_overlap(hits: list[Hit]) -> None:
    sounding = 0
    for message in mido.MidiFile(file=io.BytesIO(encode_notes(hits))).tracks[0]:
        sounding += {"note_on": 1, "note_off": -1}.get(message.type, 0)
        assert sounding in (0, 1)
    assert sounding == 0


@given(hit_lists)
@settings(deadline=None, max_examples=40)
def test_hits_come_back_from_markers(hits: list[Hit]) -> None:
    found = parse_table(marker_table(hits), decay=9.0)
    drawn = draw_hits([Hit(hit.time, velocity_level(level_velocity(hit.level)), hit.decay) for hit in hits])
    np.testing.assert_allclose(found.values, drawn.values, atol=1e-7)


def test_a_midi_file_built_by_hand_is_read_at_its_tempo(tmp_path: Path) -> None:
    events = b"".join([
        b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3, "big"),  # 60 beats per minute
        b"\x60\x99\x26\x7f",  # after 96 ticks, one beat: key 38 on channel 10, velocity 127
        b"\x30\x26\x00",  # running status, velocity 0: the note's end
        b"\x00\xff\x51\x03" + (500_000).to_bytes(3, "big"),  # from here on 120
        b"\x60\x90\x3c\x40",  # one beat later: velocity 64
        b"\x81\x40\x80\x3c\x00",  # 192 ticks later
        b"\x00\xff\x2f\x00",
    ])  # fmt: skip
    data = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">I", len(events)) + events
    path = tmp_path / "by hand.MID"
    path.write_bytes(data)
    hits = parse_notes(data, decay=0.2)
    assert [hit.time for hit in hits] == pytest.approx([1.0, 2.0])
    assert [hit.level for hit in hits] == [0.25, velocity_level(64)]
    assert {hit.decay for hit in hits} == {0.2}
    np.testing.assert_allclose(read_envelope(path).onsets(), [1.0, 2.0], atol=0.012)
    assert read_envelope(path, decay=0.5).seconds > read_envelope(path, decay=0.05).seconds + 1


def test_markers_are_written_to_be_read_by_people() -> None:
    hit = Hit(0.42491, 0.0866, float(np.float32(0.081)))
    assert marker_table([hit]) == f"time,velocity,decay\n0.4249,{level_velocity(hit.level)},0.081\n"


@pytest.mark.parametrize(
    "name", ["clip.mid", "clip.markers.csv", "clip.reaper.csv", "clip.csv", "clip.json", "clip.wav"]
)
def test_onsets_survive_every_form(tmp_path: Path, name: str) -> None:
    envelope = struck()
    write_envelope(tmp_path / name, envelope)
    np.testing.assert_allclose(read_envelope(tmp_path / name).onsets(), envelope.onsets(), atol=0.012)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_moved_markers_come_back_from_reaper() -> None:
    table = """#,Name,Start,End,Length,Color
M1,hit 1 v90,0:01.250,,,
R1,door v20,0:00.000,0:02.000,0:02.000,
M2,added v2,2.500,,,FF0000
M3,hit 2 v127,1:00:00.5,,,
"""
    found = parse_table(table, decay=0.05)
    expected = draw_hits(
        [Hit(1.25, velocity_level(90), 0.05), Hit(2.5, velocity_level(64), 0.05), Hit(3600.5, 0.25, 0.05)]
    )
    np.testing.assert_allclose(found.values, expected.values, atol=1e-7)


def test_an_edit_list_needs_the_frame_rate(tmp_path: Path) -> None:
    write_envelope(tmp_path / "clip.edl", struck(), frame_rate=29.97)
    lines = (tmp_path / "clip.edl").read_text().splitlines()
    assert lines[:2] == ["TITLE: clip", "FCM: DROP FRAME"]
    expected = [round(time * 30_000 / 1001) for time in struck().onsets()]
    assert [line.split()[4] for line in lines if "AX" in line] == [
        f"00:00:{frame // 30:02d};{frame % 30:02d}" for frame in expected
    ]
    with pytest.raises(ValueError, match="give the video's frame rate"):
        write_envelope(tmp_path / "other.edl", struck())


def test_tables_and_json_carry_the_onsets(tmp_path: Path) -> None:
    envelope = struck()
    hits = find_hits(envelope)
    rows = [line.split(",") for line in curve_table(envelope).splitlines()[1:]]
    marked = [(float(time), float(onset)) for time, _, onset in rows if onset]
    assert [onset for _, onset in marked] == pytest.approx([hit.time for hit in hits], abs=1e-4)
    assert all(abs(time - onset) <= 0.5 / envelope.rate + 1e-9 for time, onset in marked)
    write_envelope(tmp_path / "clip.json", envelope)
    written = json.loads((tmp_path / "clip.json").read_text())["onsets"]
    assert [one["time"] for one in written] == pytest.approx([hit.time for hit in hits], abs=1e-4)
    assert [one["level"] for one in written] == pytest.approx([hit.level for hit in hits], rel=1e-3)
    assert [one["velocity"] for one in written] == [level_velocity(hit.level) for hit in hits]


def test_breakpoints_are_joined_by_lines_and_silent_before_the_first() -> None:
    found = parse_table("time,level\n0.4,0.2\n0.6,0.1\n0.6,0.3\n1.4,0\n", decay=0.1)
    assert found.rate == 125 and found.seconds == pytest.approx(1.4, abs=0.008)
    np.testing.assert_allclose(found.at(np.array([0.2, 0.4, 0.48, 0.6, 1.0])), [0, 0.2, 0.16, 0.3, 0.15], atol=1e-6)


def test_a_table_from_a_german_spreadsheet_is_read() -> None:
    found = parse_table("Time;Level;Note\r\n0;0\r\n0,5;0,25;Tür\r\n\r\n1;0\r\n", decay=0.1)
    assert (found.rate, found.values.tolist()) == (2.0, [0.0, 0.25, 0.0])


@pytest.mark.parametrize("rate", [16_000, 44_100, 8_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tapped_guide_gives_the_moments_of_its_taps(tmp_path: Path, rate: int, channels: int) -> None:
    taps = [0.25, 0.7, 1.31]
    clock = np.arange(round(1.8 * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((channels, len(clock)))
    sound = sum(np.where(clock >= tap, 0.3 * np.exp(-(clock - tap) / 0.03), 0.0) for tap in taps) * noise
    soundfile.write(tmp_path / "taps.flac", sound.T.clip(-1, 1), rate)
    found = read_envelope(tmp_path / "taps.flac")
    assert found.rate == 125 and found.seconds == pytest.approx(1.8, abs=0.008)
    np.testing.assert_allclose(found.onsets(), taps, atol=0.013)


def test_a_video_s_own_sound_is_a_guide_too(rendered: Path) -> None:
    video = sorted(rendered.glob("*.mp4"))[0]
    wav = read_envelope(video.with_suffix(".wav"))
    assert len(wav.onsets()) > 0
    np.testing.assert_allclose(read_envelope(video).onsets(), wav.onsets(), atol=0.01)


def test_a_curve_stays_a_curve_through_dither_and_any_rate() -> None:
    envelope = struck()
    generator = np.random.default_rng(0)
    curve = envelope.at(np.arange(2 * 44_100) / 44_100)
    stored = np.round(curve * 32768 + generator.triangular(-1, 0, 1, len(curve))) / 32768
    assert (stored < 0).any()
    found = sound_envelope(torch.from_numpy(stored)[None], 44_100)
    np.testing.assert_allclose(found.values, envelope.values[: len(found.values)], atol=1e-4)


def test_a_table_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftime,level\n0,0.1\n0.5,0.2\n")
    assert read_envelope(tmp_path / "a.csv").values.tolist() == pytest.approx([0.1, 0.2])


def test_a_curve_as_sound_has_a_cue_point_at_each_onset(tmp_path: Path) -> None:
    write_envelope(tmp_path / "a.wav", struck())
    cues = (tmp_path / "a.wav").read_bytes().partition(b"cue ")[2]
    count = struct.unpack("<I", cues[4:8])[0]
    places = [struct.unpack("<I", cues[8 + 24 * n + 20 :][:4])[0] for n in range(count)]
    np.testing.assert_allclose(np.array(places) / 16_000, struck().onsets(), atol=1e-4)


def test_a_lopsided_recording_is_no_curve() -> None:
    clock = torch.arange(16_000) / 16_000
    wave = torch.sin(2 * torch.pi * 300 * clock)
    lopsided = torch.where(wave > 0, 0.5 * wave, 0.1 * wave)[None]  # a fifth of it below zero
    assert np.array_equal(sound_envelope(lopsided, 16_000).values, Envelope.from_audio(lopsided, 16_000).values)
    with pytest.raises(ValueError, match="no samples"):
        sound_envelope(torch.zeros(2, 0), 16_000)


def test_a_file_of_hits_decays_by_the_argument(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,velocity\n0.3,90\n")
    (tmp_path / "a.mid").write_bytes(encode_notes([Hit(0.3, velocity_level(90), 0.05)]))
    for name in ("a.csv", "a.mid"):
        found = chosen_envelope(str(tmp_path / name), decay=0.4)
        assert isinstance(found, Envelope)
        np.testing.assert_allclose(found.values, draw_hits([Hit(0.3, velocity_level(90), 0.4)]).values, atol=1e-6)


def test_silence_is_a_silent_envelope() -> None:
    assert not sound_envelope(torch.zeros(2, 16_000), 16_000).values.any()


def _slow_wav() -> bytes:
    """A small file whose header makes two weeks of it."""
    encoded = io.BytesIO()
    wavfile.write(encoded, 1, np.tile(np.array([0.1, -0.1], np.float32), 600_000))
    return encoded.getvalue()


BAD = {
    "empty.csv": ("", "no rows"),
    "header.csv": ("time,level\n", "no rows"),
    "columns.csv": ("when,how\n1,2\n", "when, how"),
    "word.csv": ("time,level\n0,0.1\n0.1,loud\n", "line 3: level 'loud'"),
    "gap.csv": ("time,level\n0,0.1\n\n0.1\n", "line 4: level ''"),
    "nan.csv": ("time,level\n0,nan\n", "line 2: level 'nan'"),
    "infinite.csv": ("time,level\ninf,0.1\n", "line 2: time 'inf'"),
    "negative.csv": ("time,level\n0,0\n0.1,-0.5\n", "line 3: level -0.5"),
    "percent.csv": ("time,level\n0,0\n0.1,80\n", "line 3: level 80 .*full scale"),
    "before.csv": ("time,level\n-0.1,0.1\n0,0\n", "line 2: time -0.1"),
    "unsorted.csv": ("time,level\n0,0\n0.2,0.1\n0.1,0\n", "line 4: time 0.1 comes before 0.2"),
    "alone.csv": ("time,level\n0.5,0.1\n", "one row, at 0.5 s.*velocity"),
    "forever.csv": ("time,level\n0,0\n1e12,0.1\n", "line 3: time 1e12"),
    "dense.csv": ("time,level\n0,0\n1e-9,0.1\n", "values per second"),
    "binary.csv": (b"\xff\xfe\x00\x01", "no rows"),
    "latin.csv": ("time,level\n0,0.1 é".encode("latin-1"), "UTF-8"),
    "soft.markers.csv": ("time,velocity\n1,0\n", "line 2: a velocity of 0"),
    "hard.markers.csv": ("time,velocity\n1,64\n2,200\n", "line 3: velocity 200"),
    "still.markers.csv": ("time,velocity,decay\n1,64,0\n", "line 2: .*decays within 0"),
    "text.json": ("not json", "JSON"),
    "list.json": ("[1, 2]", '"rate"'),
    "true.json": ('{"rate": 125, "levels": [0.1, true]}', "level 1 is True, not a number"),
    "number.json": ('{"rate": 125, "levels": 5}', '"levels" .a list'),
    "half.json": ('{"levels": [0.1]}', '"rate"'),
    "word.json": ('{"rate": 125, "levels": [0.1, "x"]}', "level 1 is 'x'"),
    "nan.json": ('{"rate": 125, "levels": [0.1, NaN]}', "value 1 .*finite"),
    "huge.json": ('{"rate": 125, "levels": [1' + "0" * 400 + "]}", "level 0 is too large"),
    "negative.json": ('{"rate": 125, "levels": [0, -0.1]}', "value 1 .*-0.1"),
    "loud.json": ('{"rate": 125, "levels": [0, 3]}', "reaches 3 at 0.008 s"),
    "slow.json": ('{"rate": 0.00001, "levels": [0, 1]}', "100000 s"),
    "still.json": ('{"rate": 0, "levels": [0, 1]}', "rate must be positive"),
    "nested.json": ('{"rate": 125, "levels": [' + "[" * 900 + "]" * 900 + "]}", r"level 0 is \[{40}, not a number"),
    "beyond.json": ('{"rate": 125, "levels": [1e39]}', "value 0 .*finite"),
    "none.json": ('{"rate": 125, "levels": []}', "one row"),
    "when.json": ('{"rate": 125, "levels": [0.1], "onsets": [{"time": NaN}]}', "time of onset 0 is nan, not from 0 to"),
    "late.json": ('{"rate": 125, "levels": [0.1], "onsets": [{"time": 1e9}]}', r"time of onset 0 is 1e\+09"),
    "cut.fcpxml": ("<fcpxml/>", r"not read from \.fcpxml; export them as one of \.txt"),
    "text.mid": ("not MIDI at all", "MIDI"),
    "cut.mid": (b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x60MTrk\x00\x00\x00\x20\x00\x90", "MIDI"),
    "film.mid": (b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\xe2\x50MTrk\x00\x00\x00\x04\x00\xff\x2f\x00", "film frames"),
    "silent.mid": (b"MThd\x00\x00\x00\x06\x00\x00\x00\x01\x00\x60MTrk\x00\x00\x00\x04\x00\xff\x2f\x00", "no note"),
    "text.wav": ("not sound", "text.wav"),
    "void.wav": (b"", "empty"),
    "slow.wav": (_slow_wav(), "at 1 Hz by its header"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    content, complaint = BAD[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=complaint) as caught:
        read_envelope(tmp_path / name)
    assert str(caught.value).count(str(tmp_path / name)) == 1


@settings(max_examples=300)
@given(
    st.sampled_from(["clip.csv", "clip.json", "clip.mid", "clip.markers.csv", "clip.reaper.csv"]),
    st.floats(0, 1),
    st.integers(0, 9),
    st.binary(max_size=9) | st.text("0123456789eE-+.,;:nainf\n", max_size=9).map(str.encode),
)
def test_damage_gives_an_envelope_or_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, name: str, place: float, lost: int, put: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    write_envelope(path, struck(1.6))
    good = path.read_bytes()
    start = int(place * len(good))
    path.write_bytes(good[:start] + put + (good[start + lost :] if lost < 9 else b""))
    try:
        assert np.isfinite(read_envelope(path).values).all()
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")


def test_a_recording_with_samples_that_are_no_numbers_is_refused(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "nan.wav", 16_000, np.array([0.0, np.nan, 0.1], np.float32))
    with pytest.raises(ValueError, match=r"nan\.wav.*finite"):
        read_envelope(tmp_path / "nan.wav")


def test_a_name_without_a_known_form_is_not_written(tmp_path: Path) -> None:
    for name, complaint in (("clip.mp3", "be written as .mp3"), ("clip", "be written as a file without suffix")):
        with pytest.raises(ValueError, match=complaint):
            write_envelope(tmp_path / name, struck())
    with pytest.raises(ValueError, match=r"clip\.mid: .*no hit"):
        write_envelope(tmp_path / "clip.mid", Envelope(np.zeros(50), 125.0))
    with pytest.raises(ValueError, match=r"clip\.csv: .*reaches 2 "):
        write_envelope(tmp_path / "clip.csv", Envelope(np.array([0.0, 2.0]), 125.0))
    assert list(tmp_path.iterdir()) == []


def test_an_envelope_option_is_a_source_or_a_file(tmp_path: Path) -> None:
    assert (chosen_envelope("predicted"), chosen_envelope("audio")) == ("predicted", "audio")
    write_envelope(tmp_path / "clip.csv", struck())
    given_ = chosen_envelope(str(tmp_path / "clip.csv"))
    assert isinstance(given_, Envelope) and np.array_equal(given_.values, struck().values)
    with pytest.raises(FileNotFoundError, match=r"drawn.*predicted, audio or a file"):
        chosen_envelope("drawn")
    with pytest.raises(FileNotFoundError, match="absent"):
        read_envelope(tmp_path / "absent.csv")


def test_frame_rates_that_are_fractions_come_back() -> None:
    rate = float(Fraction(30_000, 1001))
    found = parse_table(curve_table(Envelope(np.linspace(0, 1, 2000), rate)), decay=0.1)
    assert found.rate == pytest.approx(rate, rel=1e-8) and len(found.values) == 2000
