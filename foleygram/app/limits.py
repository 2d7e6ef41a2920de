"""What a visitor of the page may bring."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Seconds of video or sound, megabytes of a file."""

    seconds: float = 120.0
    megabytes: float = 500.0
