"""SMPTE time code: frames counted in hours, minutes, seconds and frames, with drop-frame counting."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction

NTSC = Fraction(1000, 1001)
CLOSE = 2e-4
"""Files give rates with two to six digits: rates that differ by less than this share are the same."""
MAX_RATE = 100


@dataclass(frozen=True)
class TimeCode:
    """A way of counting frames: the exact `frame_rate`; `drop_frame` skips labels to keep up with the clock.

    Drop-frame counting skips the labels of the first two frames (four at 59.94) of every minute but
    each tenth. `start` is the number of the film's first frame in this count.
    """

    frame_rate: Fraction
    drop_frame: bool
    start: int = 0

    @classmethod
    def of(cls, frame_rate: float, *, start: str | None = None) -> "TimeCode":
        """The count of a film of `frame_rate` frames per second whose first frame is labelled `start`.

        Without `start` it is 01:00:00:00, drop-frame at 29.97 and 59.94; with it, `;` or `.` before the frames means
        drop-frame and `:` non-drop. Raises ValueError for a rate or a start without time code.
        """
        whole = round(frame_rate) if 0 < frame_rate < 1e3 else 0
        if whole > MAX_RATE:
            raise ValueError(f"{frame_rate:g} frames per second: time code has two digits for frames, so at most 100")
        exact = min((Fraction(whole), whole * NTSC), key=lambda rate: abs(rate - Fraction(frame_rate))) if whole else 0
        if not whole or abs(exact - frame_rate) > CLOSE * whole:
            raise ValueError(
                f"{frame_rate:g} frames per second, a variable rate or none with time code; "
                "give the constant rate of your timeline, as 24, 29.97 or 30"
            )
        may_drop = exact != whole and whole % 30 == 0
        counted = cls(Fraction(exact), may_drop and (start is None or start[-3:-2] in (";", ".")))
        return replace(counted, start=counted.frame("01:00:00:00" if start is None else start))

    @property
    def nominal(self) -> int:
        """Frames per counted second."""
        return round(self.frame_rate)

    @property
    def _dropped(self) -> int:
        return self.nominal // 15 if self.drop_frame else 0

    def frame_at(self, seconds: float) -> int:
        """Number of the frame that starts nearest to `seconds`; the film's first frame is 0."""
        return round(Fraction(seconds) * self.frame_rate)

    def label(self, frame: int) -> str:
        """HH:MM:SS:FF of frame number `frame` (HH:MM:SS;FF in drop-frame); starts again after 24 hours."""
        minute = self.nominal * 60 - self._dropped
        tens, rest = divmod(frame, self.nominal * 600 - 9 * self._dropped)
        count = frame + self._dropped * (9 * tens + max(0, (rest - self._dropped) // minute))
        seconds, frames = divmod(count, self.nominal)
        mark = ";" if self.drop_frame else ":"
        return f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{frames:02d}"

    def frame(self, label: str) -> int:
        """Number of the frame with this label, the inverse of `label`; raises ValueError for text that is no label."""
        match = re.fullmatch(r"(\d{1,2}):([0-5]\d):([0-5]\d)[:;.](\d{2})", label.strip())
        if match is None or int(match[4]) >= self.nominal:
            raise ValueError(
                f"{label!r} is not a time code at {float(self.frame_rate):g} frames per second (HH:MM:SS:FF)"
            )
        hours, minutes, seconds, frames = map(int, match.groups())
        minutes += 60 * hours
        return (60 * minutes + seconds) * self.nominal + frames - self._dropped * (minutes - minutes // 10)
