"""Events are parsed as they stand in the released files, and clips cover a recording without overlap."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foleygram.datasets.clip import Event, check_fields, cut_clips, parse_events


def test_released_lines_and_odd_ones():
    text = "2.677438 ceramic hit static\n\n1.5\tNone None None\r\n3 plastic-bag scratch\n 4.25 ??? Hit x extra \n0.5\n"
    assert parse_events(text, "f") == [
        Event(0.5, None, None, None),
        Event(1.5, None, None, None),
        Event(2.677438, "ceramic", "hit", "static"),
        Event(3.0, "plastic-bag", "scratch", None),
        Event(4.25, "???", "Hit", "x"),
    ]


@pytest.mark.parametrize("line", ["wood hit static 2.5", "nan wood hit static", "1,5 wood hit static"])
def test_malformed_lines_are_named(line):
    with pytest.raises(ValueError, match=r"x_times\.txt, line 2: '.*' does not start with a time"):
        parse_events(f"1.0 wood hit static\n{line}\n", "x_times.txt")


@given(
    duration=st.floats(0, 130),
    seconds=st.sampled_from([0.7, 2.0, 4.0, 10.0]),
    times=st.lists(st.floats(0, 130), max_size=20),
)
def test_clips_cover_whole_lengths_and_share_no_event(duration, seconds, times):
    events = [Event(time, "wood", "hit") for time in sorted(times)]
    clips = cut_clips("v", Path("v.mp4"), Path("v.wav"), duration_sec=duration, seconds=seconds, events=events)
    assert len(clips) == int(duration / seconds + 1e-6)
    assert [clip.start for clip in clips] == [i * seconds for i in range(len(clips))]
    inside = [clip.start + event.time for clip in clips for event in clip.events]
    covered = [event.time for event in events if event.time < len(clips) * seconds]
    assert inside == pytest.approx(covered)
    assert all(0 <= event.time < seconds + 1e-9 for clip in clips for event in clip.events)


def test_unknown_field_is_named():
    with pytest.raises(ValueError, match=r"\['envelop'\]; there are audio"):
        check_fields(["audio", "envelop"])
