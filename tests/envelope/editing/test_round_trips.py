"""Hits that are written and read again, a hundred times, in one form or in all of them in turn, stay where they are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.envelope.editing.files import read_envelope, write_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits, find_hits, list_hits, velocity_level
from foleygram.envelope.envelope import Envelope

NAMES = ("a.markers.csv", "a.reaper.csv", "a.mid", "a.csv", "a.json", "a.wav", "a.edl", "a.otio")
TRIPS = 100

velocities = st.integers(20, 127).map(velocity_level)
hit_lists = st.lists(st.tuples(st.integers(2_500, 8_000), velocities), min_size=1, max_size=6).map(
    lambda gaps: [
        Hit(time / 10_000, level, 0.08)
        for time, (_, level) in zip(np.cumsum([gap for gap, _ in gaps]).tolist(), gaps, strict=True)
    ]
)


def trips(folder: Path, envelope: Envelope, names: list[str]) -> Envelope:
    for trip in range(TRIPS):
        path = folder / names[trip % len(names)]
        write_envelope(path, envelope, frame_rate=23.976)
        envelope = read_envelope(path, decay=0.08)
    return envelope


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("a.wav", "a.otio")])  # read in a process
@settings(max_examples=3, deadline=None)
@given(hits=hit_lists)
def test_a_hundred_trips_through_one_form(tmp_path_factory: pytest.TempPathFactory, name: str, hits: list[Hit]) -> None:
    found = find_hits(trips(tmp_path_factory.getbasetemp(), draw_hits(hits), [name]))
    assert [hit.time for hit in found] == pytest.approx([hit.time for hit in hits], abs=1e-4)
    assert [hit.level for hit in found] == pytest.approx([hit.level for hit in hits], rel=0.02)


@settings(max_examples=1, deadline=None)
@given(hits=hit_lists)
def test_a_hundred_trips_through_all_forms_in_turn(tmp_path_factory: pytest.TempPathFactory, hits: list[Hit]) -> None:
    found = find_hits(trips(tmp_path_factory.getbasetemp(), draw_hits(hits), list(NAMES)))
    assert [hit.time for hit in found] == pytest.approx([hit.time for hit in hits], abs=1e-4)


def test_hits_that_follow_each_other_fast_all_stay(tmp_path: Path) -> None:
    hits = [Hit(0.5 + 0.03 * number, 0.1, 0.05) for number in range(8)]
    found = find_hits(trips(tmp_path, draw_hits(hits), ["a.markers.csv", "a.json", "a.csv"]))
    assert [hit.time for hit in found] == pytest.approx([hit.time for hit in hits], abs=1e-4)


def test_a_curve_that_was_edited_counts_more_than_its_list() -> None:
    drawn = draw_hits([Hit(0.5, 0.1), Hit(1.2, 0.1)], seconds=2.5)
    moved = Envelope(np.roll(drawn.values, 25), drawn.rate)  # 0.2 s later, the list is not
    listed = list_hits(moved, drawn.onsets().tolist())
    assert listed.onsets() == pytest.approx([0.7, 1.4], abs=0.012)
    more = draw_hits([Hit(0.5, 0.1), Hit(1.2, 0.1), Hit(1.9, 0.1)], seconds=2.5)
    assert list_hits(more, [0.5, 1.2]).onsets() == pytest.approx([0.5, 1.2, 1.9], abs=0.012)
    assert list_hits(more, [0.5, 1.2]).onsets()[:2].tolist() == [0.5, 1.2]


def test_a_predicted_curve_s_hits_stay_where_they_were_found(tmp_path: Path) -> None:
    curve = Envelope(draw_hits([Hit(0.5037, 0.1), Hit(1.2011, 0.05)], seconds=2.0).values, 125.0)
    for name in NAMES:
        write_envelope(tmp_path / name, curve, frame_rate=25)
        assert read_envelope(tmp_path / name).onsets() == pytest.approx(curve.onsets(), abs=1e-4)


def test_a_hit_beyond_the_end_is_no_hit() -> None:
    envelope = draw_hits([Hit(0.3, 0.1), Hit(5.0, 0.1)])
    assert envelope.slice(0.0, 0.8).onsets().tolist() == [0.3]
    assert envelope.slice(4.5, 1.0).onsets() == pytest.approx([0.5])
    assert draw_hits([Hit(0.3, 0.1), Hit(5.0, 0.1)], seconds=0.8).onsets().tolist() == [0.3]
