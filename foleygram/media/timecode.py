"""SMPTE time code: a film's frames counted in hours, minutes, seconds and frames, drop-frame counting included."""

from dataclasses import dataclass
from fractions import Fraction

NTSC = Fraction(1000, 1001)
CLOSE = 2e-4
"""Rates are told with two to six digits: this share of it apart, two are the same."""
MOST = 60


@dataclass(frozen=True)
class TimeCode:
    """How a film's frames are counted: `frame_rate` exact, `drop_frame` whether labels are left out to keep to time.

    Drop-frame counting leaves out the labels of the first two frames (four at 59.94) of every minute but each tenth.
    """

    frame_rate: Fraction
    drop_frame: bool

    @classmethod
    def of(cls, frame_rate: float) -> "TimeCode":
        """The counting of a film of `frame_rate` frames per second, drop-frame at 29.97 and 59.94.

        Raises ValueError for a rate that has no time code.
        """
        whole = round(frame_rate) if 0 < frame_rate < 1e3 else 0
        exact = min((Fraction(whole), whole * NTSC), key=lambda rate: abs(rate - Fraction(frame_rate))) if whole else 0
        if not 1 <= whole <= MOST or abs(exact - frame_rate) > CLOSE * whole:
            raise ValueError(f"{frame_rate:g} frames per second have no time code; name the rate, as 24, 29.97 or 30")
        return cls(Fraction(exact), drop_frame=exact != whole and whole % 30 == 0)

    @property
    def nominal(self) -> int:
        """Frames that a second of the count has."""
        return round(self.frame_rate)

    @property
    def _dropped(self) -> int:
        return self.nominal // 15 if self.drop_frame else 0

    @property
    def hour(self) -> int:
        """Number of the frame that is called 01:00:00:00, with which films begin by custom."""
        return 3600 * self.nominal - 54 * self._dropped

    def frame_at(self, seconds: float) -> int:
        """Number of the frame that begins nearest to `seconds`, the first being 0."""
        return round(Fraction(seconds) * self.frame_rate)

    def label(self, frame: int) -> str:
        """HH:MM:SS:FF of frame number `frame` (HH:MM:SS;FF where frames are dropped); begins again after 24 hours."""
        minute = self.nominal * 60 - self._dropped
        tens, rest = divmod(frame, self.nominal * 600 - 9 * self._dropped)
        count = frame + self._dropped * (9 * tens + max(0, (rest - self._dropped) // minute))
        seconds, frames = divmod(count, self.nominal)
        mark = ";" if self.drop_frame else ":"
        return f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{mark}{frames:02d}"
