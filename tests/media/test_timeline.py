"""Timelines to OpenTimelineIO and back: frames, exact seconds, editors' own files, damaged ones."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import opentimelineio as otio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.media.markers import Marker
from foleygram.media.timecode import TimeCode
from foleygram.media.timeline import Clip, Timeline, event_clips, read_otio, write_otio

CLOCKS = {
    "23.976": TimeCode.of(24000 / 1001),
    "25": TimeCode.of(25.0),
    "29.97 drop": TimeCode.of(30000 / 1001, start="01:00:00;00"),
    "29.97 non-drop": TimeCode.of(30000 / 1001, start="01:00:00:00"),
    "59.94 drop": TimeCode.of(60000 / 1001, start="10:00:00;00"),
    "59.94 non-drop": TimeCode.of(60000 / 1001, start="00:00:00:00"),
}
TIMES = st.lists(st.floats(0, 3600, allow_nan=False), min_size=1, max_size=12, unique=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("timelines") / "film.otio"


def there_and_back(path, timeline):
    write_otio(path, timeline)
    return read_otio(path)


@pytest.mark.parametrize("name", CLOCKS)
@settings(deadline=None, max_examples=25)
@given(times=TIMES)
def test_a_timeline_comes_back_as_it_was(path, name, times):
    markers = tuple(sorted(Marker(time, f"hit {number}") for number, time in enumerate(times)))
    end = markers[-1].time + 1.0
    timeline = Timeline("film", CLOCKS[name], event_clips(markers, end, "film.wav"), markers, "film.mp4", end)
    back = there_and_back(path, timeline)
    assert back.clock == timeline.clock and back.film == "film.mp4" and back.title == "film"
    close = lambda seconds: pytest.approx(seconds, rel=1e-14)  # noqa: E731  the library's own rounding of numbers
    assert back.markers == tuple(Marker(close(time), label) for time, label in timeline.markers)
    assert back.clips == tuple(clip._replace(start=close(clip.start), end=close(clip.end)) for clip in timeline.clips)


@pytest.mark.parametrize("name", CLOCKS)
@settings(deadline=None, max_examples=25)
@given(frames=st.lists(st.integers(0, 200_000), min_size=1, max_size=12, unique=True))
def test_frames_that_an_editor_wrote_are_read_to_the_frame(path, name, frames):
    clock = CLOCKS[name]
    rate = float(clock.frame_rate)
    whole = otio.schema.Timeline("cut", global_start_time=otio.opentime.RationalTime(clock.start, rate))
    for frame in frames:
        span = otio.opentime.TimeRange(otio.opentime.RationalTime(frame, rate), otio.opentime.RationalTime(1, rate))
        whole.tracks.markers.append(otio.schema.Marker("cue", span))
    path.write_text(whole.to_json_string())
    back = read_otio(path)
    assert back.clock.frame_rate == clock.frame_rate and back.clock.start == clock.start
    assert [back.clock.frame_at(marker.time) for marker in back.markers] == sorted(frames)


@pytest.mark.parametrize("name", CLOCKS)
def test_time_codes_agree_with_the_librarys(path, name):
    clock = CLOCKS[name]
    for frame in (0, 1, 1798, 1800, 17_982, 107_892, clock.start):
        rational = otio.opentime.RationalTime(frame, float(clock.frame_rate))
        assert clock.label(frame) == rational.to_timecode(float(clock.frame_rate), clock.drop_frame)


def test_each_clip_holds_its_events_frame_and_they_play_the_sound_without_a_gap(path):
    clock = CLOCKS["25"]
    markers = [Marker(0.519, "hit 1"), Marker(1.2, "hit 2")]
    write_otio(path, Timeline("film", clock, event_clips(markers, 2.01, "film.wav")))
    [track] = otio.adapters.read_from_file(str(path)).tracks
    spans = [(clip.source_range.start_time.value, clip.source_range.duration.value) for clip in track]
    assert [clip.name for clip in track] == ["lead-in", "hit 1", "hit 2"]
    assert spans == [(0, 12), (12, 18), (30, 21)]
    assert all(track.range_of_child(clip).start_time == clip.source_range.start_time for clip in track)


def test_clips_that_overlap_lie_on_tracks_of_their_own(path):
    clips = (Clip("1", 0.0, 1.01, "1.wav"), Clip("2", 0.99, 2.01, "2.wav"), Clip("3", 1.99, 3.0, "3.wav"))
    back = there_and_back(path, Timeline("film", CLOCKS["25"], clips))
    assert back.clips == clips
    tracks = otio.adapters.read_from_file(str(path)).tracks
    assert [[clip.name for clip in track.find_clips()] for track in tracks] == [["1", "3"], ["2"]]


def test_a_clip_that_an_editor_moved_is_where_it_was_moved_to(path):
    clock = CLOCKS["29.97 drop"]
    write_otio(path, Timeline("film", clock, (Clip("hit", 1.013, 2.0, "film.wav"),), (Marker(1.013, "hit"),)))
    moved = otio.adapters.read_from_file(str(path))
    gap, _ = moved.tracks[0]
    later = lambda span, frames: otio.opentime.RationalTime(frames, span.duration.rate)  # noqa: E731
    span = gap.source_range
    gap.source_range = otio.opentime.TimeRange(span.start_time, span.duration + later(span, 3))
    [marker] = moved.tracks.markers
    span = marker.marked_range
    marker.marked_range = otio.opentime.TimeRange(span.start_time + later(span, 5), span.duration)
    otio.adapters.write_to_file(moved, str(path))
    back = read_otio(path)
    first = int(Fraction(1.013) * clock.frame_rate)
    assert clock.frame_at(back.clips[0].start) == first + 3
    assert clock.frame_at(back.markers[0].time) == clock.frame_at(1.013) + 5


def test_markers_on_clips_and_tracks_count_from_the_films_start(path):
    rate = 25.0
    at = lambda value: otio.opentime.RationalTime(value, rate)  # noqa: E731
    whole = otio.schema.Timeline("cut")
    track = otio.schema.Track("A1", kind=otio.schema.TrackKind.Audio)
    track.append(otio.schema.Gap(source_range=otio.opentime.TimeRange(at(0), at(50))))
    clip = otio.schema.Clip("step", source_range=otio.opentime.TimeRange(at(100), at(25)))
    clip.markers.append(otio.schema.Marker("inside", otio.opentime.TimeRange(at(110), at(1))))
    track.append(clip)
    whole.tracks.append(track)
    path.write_text(whole.to_json_string())
    back = read_otio(path)
    assert back.clips == (Clip("step", 2.0, 3.0),) and back.markers == (Marker(2.4, "inside"),)
    assert back.clock.frame_rate == 25


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", "\0" * 40, '{"OTIO_SCHEMA": "Clip.2"}', '{"OTIO_SCHEMA": "Unknown.1"}'),
        *('{"OTIO_SCHEMA": "Timeline.1"}', '{"OTIO_SCHEMA": "Timeline.1", "tracks": 3}'),
    ],
)
def test_a_file_that_is_no_timeline_is_refused(tmp_path, content):
    (tmp_path / "x.otio").write_text(content)
    with pytest.raises(ValueError, match=r"OpenTimelineIO|timeline|frames per second"):
        read_otio(tmp_path / "x.otio")


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-5.0", "1e400", '"x"'])
def test_impossible_times_are_refused(tmp_path, bad):
    path = tmp_path / "x.otio"
    write_otio(path, Timeline("film", CLOCKS["25"], (), (Marker(1.0, "hit"),)))
    text = path.read_text()
    assert '"value": 25.0' in text
    path.write_text(text.replace('"value": 25.0', f'"value": {bad}').replace('"start_sec": 1.0', f'"start_sec": {bad}'))
    with pytest.raises(ValueError, match=r"OpenTimelineIO|timeline|times count"):
        read_otio(path)


def test_events_cut_a_sound_into_pieces_that_cover_it():
    rng = np.random.default_rng(0)
    markers = [Marker(float(time), str(number)) for number, time in enumerate(np.sort(rng.uniform(0, 9, 20)))]
    clips = event_clips(markers, 10.0)
    assert clips[0].start == 0.0 and clips[-1].end == 10.0
    assert all(one.end == other.start for one, other in pairwise(clips))
    assert event_clips([], 3.0) == (Clip("lead-in", 0.0, 3.0),)
    assert event_clips([Marker(0.0, "hit")], 3.0) == (Clip("hit", 0.0, 3.0),)


def test_without_the_package_the_error_gives_the_install_command(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "opentimelineio", None)
    with pytest.raises(ImportError, match=r"foleygram\[otio\]"):
        write_otio(Path(tmp_path / "x.otio"), Timeline("film", CLOCKS["25"]))
