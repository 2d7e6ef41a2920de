"""Markers that editors export, read as hits: Reaper, Audacity, Pro Tools, Premiere, edit lists, OpenTimelineIO.

A time is read only where the file states its unit. Samples without a rate, frames without a rate and beats are refused
with the column and a way out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from foleygram.envelope.editing.hits import MAX_VELOCITY, Hit, velocity_level
from foleygram.media.audio import LONGEST_SEC
from foleygram.media.markers import Marker
from foleygram.media.timecode import TimeCode
from foleygram.media.timeline import LEAD_IN, Timeline

DEFAULT_VELOCITY = 64
GIVE_RATE = "give its frame rate: foleygram envelope VIDEO --from FILE --frame-rate 25 -o hits.markers.csv"
EXPORT_TEXT = "export labels from Audacity, or the session info as text from Pro Tools"
SET_RULER = "set Reaper's ruler to Minutes:Seconds and export again"


def marked_hit(time: float, label: str, decay: float, line: int) -> Hit:
    """The hit of a marker at `time` seconds, its velocity from a label such as "hit 3 v90", else 64.

    Any other label has no velocity: "door v2" is a version of a sound. Raises ValueError naming the line.
    """
    if not 0 <= time <= LONGEST_SEC:
        raise ValueError(f"line {line}: a marker at {time:g} s; times go from 0 to {LONGEST_SEC:g} s")
    named = re.fullmatch(r"hit \d+ v(\d+)", label.strip())
    velocity = int(named[1]) if named else DEFAULT_VELOCITY
    if not 0 < velocity <= MAX_VELOCITY:
        raise ValueError(f"line {line}: velocity {velocity} in {label!r}; it must be 1 to {MAX_VELOCITY}")
    return Hit(time, velocity_level(velocity), decay)


def reaper_hits(rows: Sequence[tuple[int, Mapping[str, str]]], decay: float) -> list[Hit]:
    """The markers of Reaper's region and marker table, each row with its line number; regions are skipped.

    Raises ValueError for a table of regions only, or a time that is not in seconds.
    """
    markers = [(line, cells) for line, cells in rows if not cells.get("#", "").strip().upper().startswith("R")]
    if not markers:
        raise ValueError("column # has regions only (R1 ...), which are not hits; export markers (M1 ...)")
    return [marked_hit(_reaper_sec(line, c.get("start", "").strip()), c.get("name", ""), decay, line)
            for line, c in markers]  # fmt: skip


def _reaper_sec(line: int, text: str) -> float:
    """Seconds of a time such as 0:01.250, 1:00:00.500 or 1.250; a time of another ruler has no such form."""
    if not re.fullmatch(r"(\d+:){1,2}\d+\.\d+|\d+\.\d{3,}", text):
        reason = "is not a time in seconds"
        if re.fullmatch(r"\d+", text):
            reason = "counts samples or frames"
        elif re.fullmatch(r"-?\d+\.\d+(\.\d+)?", text):
            reason = "may count bars and beats"
        elif text.count(":") == 3 or ";" in text:
            reason = "counts frames"
        raise ValueError(f"line {line}: column Start: {text!r} {reason}; {SET_RULER}")
    return sum(float(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))


def premiere_hits(rows: Sequence[tuple[int, Mapping[str, str]]], decay: float, frame_rate: float | None) -> list[Hit]:
    """The rows of Premiere's marker export: column In holds a time code from the sequence's start.

    Raises ValueError without a frame rate, or for a time code that cannot be read.
    """
    labels = [(line, cells.get("in", "").strip(), cells.get("marker name", "")) for line, cells in rows]
    if frame_rate is None:
        raise ValueError(f"line {labels[0][0]}: column In: {labels[0][1]!r} counts frames; {GIVE_RATE}")
    clock = _clock(frame_rate, [label for _, label, _ in labels], None)
    return [marked_hit(_label_sec(clock, label, f"line {line}: column In: "), name, decay, line)
            for line, label, name in labels]  # fmt: skip


def text_hits(text: str, decay: float) -> list[Hit]:
    """The hits of a .txt file: Audacity's labels, or the session info that Pro Tools exports as text.

    Raises ValueError naming the line that cannot be read.
    """
    if re.search(r"M\s?A\s?R\s?K\s?E\s?R\s?S\s+L\s?I\s?S\s?T\s?I\s?N\s?G", text):
        return list(_pro_tools_hits(text, decay))
    hits = []
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip() or content.startswith("\\"):  # a backslash: the frequencies of a spectral label
            continue
        fields = content.split("\t")
        if len(fields) < 2 or not all(re.fullmatch(r"\s*\d+[.,]\d+\s*", field) for field in fields[:2]):
            raise ValueError(
                f"line {line}: {content[:40]!r} is not START, tab, END, tab, NAME in seconds; {EXPORT_TEXT}"
            )
        hits.append(marked_hit(float(fields[0].replace(",", ".")), "".join(fields[2:3]), decay, line))
    if not hits:
        raise ValueError(f"it has no label; {EXPORT_TEXT}")
    return hits


def _pro_tools_hits(text: str, decay: float) -> Iterator[Hit]:
    """Markers by their sample positions, at the session's rate."""
    rate = re.search(r"^SAMPLE RATE:\s*([\d.]+)", text, re.M)
    lines = list(enumerate(text.splitlines(), start=1))
    header = next((number for number, content in lines if re.match(r"#\s*\tLOCATION", content)), None)
    if header is None or rate is None or not float(rate[1]) > 0:
        raise ValueError("it has no line SAMPLE RATE or no columns of markers; export the session's info as text again")
    columns = [name.strip() for name in lines[header - 1][1].split("\t")]
    num_markers = 0
    for line, content in lines[header:]:
        cells = dict(zip(columns, (cell.strip() for cell in content.split("\t")), strict=False))
        if not re.fullmatch(r"\d+", cells.get("#", "")):
            continue
        if cells.get("UNITS") != "Samples" or not re.fullmatch(r"\d+", cells.get("TIME REFERENCE", "")):
            unit = f"{cells.get('TIME REFERENCE')!r} in {cells.get('UNITS') or 'no unit'}"
            raise ValueError(
                f"line {line}: column TIME REFERENCE: {unit} is not a number of samples; set the marker's "
                "reference to Absolute in Pro Tools and export again"
            )
        num_markers += 1
        yield marked_hit(int(cells["TIME REFERENCE"]) / float(rate[1]), cells.get("NAME", ""), decay, line)
    if not num_markers:
        raise ValueError("its list of markers is empty; set markers in Pro Tools and export again")


def timeline_hits(timeline: Timeline, decay: float) -> list[Hit]:
    """The markers of an OpenTimelineIO timeline, or without any the starts of its clips on audio tracks.

    Raises ValueError for a timeline with neither.
    """
    markers = timeline.markers or tuple(
        Marker(clip.start, clip.name) for clip in timeline.clips if clip.name != LEAD_IN
    )
    if not markers:
        raise ValueError("its timeline has neither markers nor audio clips; set markers and export it again")
    return [marked_hit(marker.time, marker.label, decay, number) for number, marker in enumerate(markers, start=1)]


def edit_list_hits(text: str, decay: float, frame_rate: float | None) -> list[Hit]:
    """The markers of an edit decision list, as `edit_list` or Resolve (Timeline Markers to EDL) writes them.

    A list written here names its rate, its start and each time in seconds; in others the frames are counted. Raises
    ValueError naming the line that cannot be read.
    """
    marks: list[tuple[int, str, str]] = []  # line, time code, label
    seconds: dict[int, float] = {}
    record = ""
    for line, content in enumerate(text.splitlines(), start=1):
        if event := re.match(r"\d+\s.*?((?:\d\d:\d\d:\d\d[:;.]\d\d\s*){4})$", content):
            record = event[1].split()[2]
        elif match := re.match(r"\s*\|C:.*?\|M:(.*?)\s*(\|D:\d+)?$", content):
            marks.append((line, record, match[1]))
        elif match := re.match(r"\* LOC:\s*(\S+)\s+\S+\s*(.*)", content):
            if not marks or marks[-1][1] != match[1]:  # not the event's marker once more
                marks.append((line, match[1], match[2]))
        elif (match := re.match(r"\* SECONDS: (\d+\.\d+)$", content)) and marks:
            seconds[marks[-1][0]] = float(match[1])
    if not marks:
        raise ValueError("there is no marker in it (no line with |M: or * LOC:); export timeline markers as EDL")
    rate, start = (re.search(rf"^\* {name}: (\S+)", text, re.M) for name in ("FRAMES PER SECOND", "START"))
    frame_rate = float(rate[1]) if rate and re.fullmatch(r"\d+(\.\d+)?", rate[1]) else frame_rate
    if frame_rate is None:
        raise ValueError(f"line {marks[0][0]}: {marks[0][1]!r} counts frames; {GIVE_RATE}")
    drop = re.search(r"^FCM: DROP", text, re.M) is not None  # its labels may have colons all the same
    clock = _clock(frame_rate, [label for _, label, _ in marks], start[1] if start else None, drop=drop)
    hits = []
    for line, label, name in marks:
        time = _label_sec(clock, label, f"line {line}: ")
        exact = seconds.get(line, time)
        hits.append(marked_hit(exact if abs(exact - time) * clock.frame_rate < 0.6 else time, name, decay, line))
    return hits


def _clock(frame_rate: float, labels: Sequence[str], start: str | None, *, drop: bool = False) -> TimeCode:
    """The count of `labels`; without a `start` it is 01:00:00:00 when all are later, as films by custom begin."""
    drop = drop or any(";" in label for label in labels)
    hour = all(label[:2] >= "01" for label in labels)
    return TimeCode.of(frame_rate, start=start or f"{'01' if hour else '00'}:00:00{';' if drop else ':'}00")


def _label_sec(clock: TimeCode, label: str, line: str) -> float:
    try:
        return float((clock.frame(label) - clock.start) / clock.frame_rate)
    except ValueError as error:
        raise ValueError(f"{line}{error}") from None
