"""Compares two reports: the change of every metric, with an interval where both have the same clips."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from foleygram.benchmark.intervals import Interval, clip_of, difference_intervals
from foleygram.benchmark.protocol import protocol_changes
from foleygram.benchmark.report import Report


class Change(NamedTuple):
    """A metric now, before, and the 95% interval of the difference; None where it has none."""

    now: float
    before: float
    interval: Interval | None

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference excludes zero."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


def compare_reports(report: Report, earlier: Mapping[str, Any], *, seed: int) -> dict[str, dict[str, Change]]:
    """Changes by condition and metric, for the conditions that both reports hold; differences are paired by clip.

    A single generated set on both sides is compared whatever the two are called. Raises ValueError when the reports
    were scored in different ways or have no condition in common.
    """
    changed = protocol_changes(report.protocol, earlier["protocol"])
    if changed:
        raise ValueError(f"the earlier report was scored in another way: {'; '.join(changed)}; score it again")
    other_networks = _changed_networks(report.protocol, earlier["protocol"])
    changes = {}
    for name, other in _common(list(report.scores), list(earlier["summary"])).items():
        ours, theirs = report.scores[name], earlier["summary"][other]
        rows = earlier["clips"][other]
        same = [clip_of(row) for row in ours.rows] == [clip_of(row) for row in rows]
        intervals = difference_intervals(ours.rows, rows, seed=seed) if same else {}
        changes[name] = {
            key: Change(value, theirs[key], intervals.get(key))
            for key, value in ours.summary.items()
            if value is not None and theirs.get(key) is not None and not key.startswith("num_")
            if not any(key.endswith(f"_{network}") for network in other_networks)
        }
    return changes


def comparison_notes(report: Report, earlier: Mapping[str, Any]) -> list[str]:
    """Notes on a comparison with an earlier report: clips that only one of them has, networks that differ."""
    notes = []
    for name, other in _common(list(report.scores), list(earlier["summary"])).items():
        ours, theirs = ({clip_of(row) for row in rows} for rows in (report.scores[name].rows, earlier["clips"][other]))
        if ours != theirs:
            video, start = min(ours ^ theirs)
            notes.append(
                f"compared, {name}: {len(ours)} clips now, {len(theirs)} in the earlier report ({video} at {start:g} s "
                "is only in one of them): the changes are between different clips, and have no interval"
            )
    others = sorted(_changed_networks(report.protocol, earlier["protocol"]))
    return notes + [f"not compared: metrics of {name}, another network in the earlier report" for name in others]


def _changed_networks(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Embedders that differ between two protocols: their metrics are about different spaces."""
    here, there = ours.get("embedders", {}), theirs.get("embedders", {})
    return [name for name in here.keys() | there.keys() if here.get(name) != there.get(name)]


def _common(ours: list[str], theirs: list[str]) -> dict[str, str]:
    """Each condition of this report and the earlier one that it is compared with; the references come first in both."""
    if len(ours) == len(theirs) == 2:
        return dict(zip(ours[1:], theirs[1:], strict=True))
    common = {name: name for name in ours[1:] if name in theirs[1:]}
    if not common:
        raise ValueError(f"no condition in common: {', '.join(ours[1:])} here, {', '.join(theirs[1:])} there")
    return common
