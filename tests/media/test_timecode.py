from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foleygram.media.timecode import TimeCode


def labels_by_hand(nominal: int, dropped: int, count: int) -> list[str]:
    """Every label in turn, those that drop-frame counting leaves out left out."""
    made: list[str] = []
    minute = 0
    while len(made) < count:
        for second in range(60):
            skip = dropped if second == 0 and minute % 10 else 0
            mark = ";" if dropped else ":"
            made += [f"{minute // 60:02d}:{minute % 60:02d}:{second:02d}{mark}{f:02d}" for f in range(skip, nominal)]
        minute += 1
    return made[:count]


@pytest.mark.parametrize(
    ("rate", "nominal", "dropped"),
    [(24, 24, 0), (25, 25, 0), (23.976, 24, 0), (29.97, 30, 2), (59.94, 60, 4), (30, 30, 0)],
)
def test_every_frame_of_eleven_minutes_has_its_label(rate: float, nominal: int, dropped: int) -> None:
    clock = TimeCode.of(rate)
    expected = labels_by_hand(nominal, dropped, 11 * 60 * nominal)
    assert [clock.label(frame) for frame in range(len(expected))] == expected


def test_drop_frame_keeps_to_the_clock_and_non_drop_does_not() -> None:
    hour = round(3600 * 30_000 / 1001)
    assert TimeCode.of(29.97).label(hour) == "01:00:00;00"
    assert TimeCode(Fraction(30_000, 1001), drop_frame=False).label(hour) == "00:59:56:12"


@given(st.sampled_from([12.0, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94]), st.integers(0, 24 * 3600 * 12 - 1))
def test_a_label_counts_the_frames_before_it(rate: float, frame: int) -> None:
    clock = TimeCode.of(rate)
    hours, minutes, seconds, frames = map(int, clock.label(frame).replace(";", ":").split(":"))
    minutes += 60 * hours
    dropped = {29.97: 2, 59.94: 4}.get(rate, 0) * (minutes - minutes // 10)
    assert (60 * minutes + seconds) * round(rate) + frames - dropped == frame


@pytest.mark.parametrize("rate", [23.976, 24.0, 25.0, 29.97, 30.0, 59.94])
def test_a_film_begins_at_one_hour(rate: float) -> None:
    clock = TimeCode.of(rate)
    assert clock.label(clock.start).replace(";", ":") == "01:00:00:00"


@pytest.mark.parametrize(
    ("given", "exact"),
    [(23.98, Fraction(24_000, 1001)), (29.97, Fraction(30_000, 1001)), (29.97002997, Fraction(30_000, 1001)),
     (24.0, Fraction(24)), (15, Fraction(15)), (59.94, Fraction(60_000, 1001))],
)  # fmt: skip
def test_rates_as_files_give_them_are_made_exact(given: float, exact: Fraction) -> None:
    assert TimeCode.of(given).frame_rate == exact


def test_a_moment_belongs_to_the_frame_that_begins_nearest() -> None:
    assert [TimeCode.of(25).frame_at(seconds) for seconds in (0.0, 0.019, 0.021, 0.0399, 1.0)] == [0, 0, 1, 1, 25]
    assert TimeCode.of(29.97).frame_at(3600.0) == 107_892


@pytest.mark.parametrize("rate", [0.0, -24.0, 27.3, 29.9, 120.0, float("inf"), float("nan")])
def test_rates_without_a_time_code_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="time code"):
        TimeCode.of(rate)


@pytest.mark.parametrize("rate", [25.0, 30.0, 23.976])
def test_only_29_97_and_its_double_drop_frames(rate: float) -> None:
    assert not TimeCode.of(rate).drop_frame


@given(st.sampled_from([23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 59.94, 100.0]), st.integers(0, 24 * 3600 * 23))
def test_a_frame_is_found_by_its_label(rate: float, frame: int) -> None:
    clock = TimeCode.of(rate)
    assert clock.frame(clock.label(frame)) == frame


@pytest.mark.parametrize(
    ("start", "rate", "drop_frame"),
    [("10:00:00:00", 25.0, False), ("00:59:58:12", 29.97, False), ("01:00:00;00", 59.94, True),
     ("01:00:00:00", 59.94, False)],
)  # fmt: skip
def test_a_start_says_whether_frames_are_dropped(start: str, rate: float, drop_frame: bool) -> None:
    clock = TimeCode.of(rate, start=start)
    assert clock.drop_frame == drop_frame and clock.label(clock.start) == start


@pytest.mark.parametrize("start", ["", "10:00", "01:00:00:25", "1h", "01:60:00:00"])
def test_a_start_that_is_no_label_is_refused(start: str) -> None:
    with pytest.raises(ValueError, match="is not a time code at 25 frames per second"):
        TimeCode.of(25.0, start=start)
