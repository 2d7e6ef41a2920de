"""Limits on what users of the page upload."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Longest video or sound in seconds, largest file in megabytes."""

    seconds: float = 120.0
    megabytes: float = 500.0
