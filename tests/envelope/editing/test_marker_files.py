"""Markers as other programs write them are read at their time, or refused with the column and a way out."""

from pathlib import Path

import pytest

from foleygram.envelope.editing.files import read_envelope, write_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits, find_hits, level_velocity
from foleygram.envelope.editing.tables import parse_table

REAPER = "#,Name,Start,End,Length\n"


def reaper(*starts: str) -> str:
    return REAPER + "".join(f"M{number},hit,{start},,\n" for number, start in enumerate(starts, start=1))


def times(path: Path, content: str | bytes, **options: float) -> list[float]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [hit.time for hit in find_hits(read_envelope(path, **options))]


@pytest.mark.parametrize(
    ("start", "seconds"),
    [("0:01.250", 1.25), ("1:00:00.500", 3600.5), ("01:02.0000", 62.0), ("2.500", 2.5), ("0:00.0001", 0.0001)],
)
def test_reaper_s_minutes_and_seconds_are_read(tmp_path: Path, start: str, seconds: float) -> None:
    assert times(tmp_path / "a.csv", reaper(start)) == [pytest.approx(seconds)]


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        ("4800", "counts samples or frames"),
        ("0", "counts samples or frames"),
        ("3.1.00", "may count bars and beats"),
        ("3.1", "may count bars and beats"),
        ("12.3.50", "may count bars and beats"),
        ("-1.1.00", "may count bars and beats"),
        ("00:00:01:06", "counts frames"),
        ("00:00:01;06", "counts frames"),
        ("0:01", "is not a time in seconds"),
        ("", "is not a time in seconds"),
    ],
)
def test_reaper_s_other_rulers_are_refused(tmp_path: Path, start: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.csv: line 2: column Start: .*{reason}; set Reaper's ruler to Minutes"):
        times(tmp_path / "a.csv", reaper(start, "0:01.000"))


def test_regions_are_skipped_and_a_table_of_regions_only_is_refused(tmp_path: Path) -> None:
    regions = "R1,door,0:00.000,0:02.000,0:02.000\n"
    assert times(tmp_path / "a.csv", reaper("0:01.000") + regions) == [1.0]
    with pytest.raises(ValueError, match=r"a\.csv: column # has regions only .*export markers"):
        times(tmp_path / "a.csv", REAPER + regions)


@pytest.mark.parametrize(
    ("name", "velocity"),
    [("hit 1 v90", 90), ("hit 12 v5", 5), ("door v2", 64), ("Mix v12", 64), ("door v90", 64), ("", 64), ("take2", 64)],
)
def test_only_the_labels_that_are_written_here_have_a_velocity(name: str, velocity: int) -> None:
    (hit,) = find_hits(parse_table(f"{REAPER}M1,{name},0:01.000,,\n", decay=0.1))
    assert level_velocity(hit.level) == velocity


def test_a_velocity_beyond_midi_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: velocity 200 in 'hit 1 v200'; it must be 1 to 127"):
        parse_table(f"{REAPER}M1,hit 1 v200,0:01.000,,\n", decay=0.1)


def test_audacity_labels_are_read(tmp_path: Path) -> None:
    labels = "0.500000\t0.500000\thit 1 v90\n1.250000\t1.750000\tregion\n\\\t100.0\t2000.0\n2,000000\t2,000000\t\n"
    assert times(tmp_path / "labels.txt", labels) == [0.5, 1.25, 2.0]
    for text, complaint in {
        "48000\t48000\tsamples\n": "line 1: '48000.*Audacity",
        "no labels\n": "line 1: 'no labels' .*Audacity",
        "\n": "it has no label; .*Pro Tools",
        "99999.0\t99999.0\tlate\n": "line 1: a marker at 99999 s",
    }.items():
        with pytest.raises(ValueError, match=rf"labels\.txt: {complaint}"):
            times(tmp_path / "labels.txt", text)


PRO_TOOLS = """SESSION NAME:\tfilm
SAMPLE RATE:\t48000.000000
BIT DEPTH:\t24-bit
SESSION START TIMECODE:\t01:00:00:00
TIMECODE FORMAT:\t25 Frame


M A R K E R S  L I S T I N G
#   \tLOCATION     \tTIME REFERENCE    \tUNITS    \tNAME                             \tCOMMENTS
1   \t01:00:00:12  \t24000             \tSamples  \thit 1 v90                        \t
2   \t01:00:01:06  \t60001             \t{unit}   \tdoor                             \tloud
"""


def test_pro_tools_markers_are_read_by_their_samples(tmp_path: Path) -> None:
    assert times(tmp_path / "a.txt", PRO_TOOLS.replace("{unit}", "Samples")) == pytest.approx([0.5, 60_001 / 48_000])
    with pytest.raises(ValueError, match="line 11: column TIME REFERENCE: '60001' in Ticks is not a number of samples"):
        times(tmp_path / "a.txt", PRO_TOOLS.replace("{unit}", "Ticks"))
    with pytest.raises(ValueError, match="no line SAMPLE RATE"):
        times(tmp_path / "a.txt", PRO_TOOLS.replace("SAMPLE RATE", "RATE"))


PREMIERE = "Marker Name\tDescription\tIn\tOut\tDuration\tMarker Type\n"
PREMIERE += "hit 1 v90\t\t00:00:00:12\t00:00:00:12\t00:00:00:00\tComment\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_premiere_s_markers_are_read_at_a_frame_rate(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    assert times(path, PREMIERE.encode(encoding), frame_rate=24) == [0.5]
    assert times(path, PREMIERE.encode(encoding), frame_rate=29.97) == [pytest.approx(12 * 1001 / 30_000)]
    with pytest.raises(ValueError, match=r"line 2: column In: '00:00:00:12' counts frames; give its frame rate"):
        times(path, PREMIERE.encode(encoding))
    with pytest.raises(ValueError, match=r"line 2: column In: '00:00:00:25' is not a time code at 24"):
        times(path, PREMIERE.replace("00:12", "00:25").encode(encoding), frame_rate=24)


RESOLVE = """TITLE: Timeline 1
FCM: NON-DROP FRAME

001  001      V     C        01:00:00:12 01:00:00:13 01:00:00:12 01:00:00:13
 |C:ResolveColorBlue |M:Marker 1 |D:1

002  001      V     C        01:00:02:00 01:00:02:01 01:00:02:00 01:00:02:01
 |C:ResolveColorBlue |M:Marker 2 |D:1
"""


def test_resolve_s_timeline_markers_are_read_at_a_frame_rate(tmp_path: Path) -> None:
    assert times(tmp_path / "a.edl", RESOLVE, frame_rate=24) == [0.5, 2.0]
    from_zero = RESOLVE.replace("01:00:", "00:00:")
    assert times(tmp_path / "a.edl", from_zero, frame_rate=24) == [0.5, 2.0]
    with pytest.raises(ValueError, match=r"a\.edl: line 5: '01:00:00:12' counts frames; give its frame rate"):
        times(tmp_path / "a.edl", RESOLVE)
    with pytest.raises(ValueError, match=r"a\.edl: there is no marker in it"):
        times(tmp_path / "a.edl", RESOLVE.replace("|M:", "|X:"), frame_rate=24)


def test_a_drop_frame_list_may_have_colons(tmp_path: Path) -> None:
    text = RESOLVE.replace("NON-DROP", "DROP").replace("01:00:02:00", "01:10:00:00")
    assert times(tmp_path / "a.edl", text, frame_rate=29.97)[1] == pytest.approx(600, abs=1e-3)  # 600.6 if none drops


@pytest.mark.parametrize(
    ("rate", "start", "fcm"),
    [
        (29.97, None, "DROP"),
        (29.97, "01:00:00:00", "NON-DROP"),
        (59.94, "10:59:58;12", "DROP"),
        (59.94, "10:59:58:12", "NON-DROP"),
        (25.0, "10:00:00:00", "NON-DROP"),
        (48.0, None, "NON-DROP"),
    ],
)
def test_an_edit_list_comes_back_at_any_start(tmp_path: Path, rate: float, start: str | None, fcm: str) -> None:
    path = tmp_path / "a.edl"
    write_envelope(path, draw_hits([Hit(0.4321, 0.1), Hit(75.01, 0.05)]), frame_rate=rate, start=start)
    text = path.read_text()
    assert f"FCM: {fcm} FRAME" in text
    assert [hit.time for hit in find_hits(read_envelope(path))] == [0.4321, 75.01]
    without = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("* SECONDS"))
    path.write_text(without)  # as an editor hands it back: to the frame
    assert [hit.time for hit in find_hits(read_envelope(path))] == pytest.approx([0.4321, 75.01], abs=0.5 / rate)


@pytest.mark.parametrize(("rate", "reason"), [(120.0, "two digits for frames"), (27.31, "a variable rate")])
def test_an_edit_list_that_cannot_be_written_gives_the_reason(tmp_path: Path, rate: float, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.edl: {rate:g} frames per second.*{reason}"):
        write_envelope(tmp_path / "a.edl", draw_hits([Hit(0.5, 0.1)]), frame_rate=rate)
    assert not list(tmp_path.iterdir())
