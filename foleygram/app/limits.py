"""Limits on what users of the server upload, open and keep."""

from typing import NamedTuple

MAX_MESSAGE_BYTES = 16_000_000
"""Largest body of a request that is not an upload: the envelope of an hour is 9 MB."""
MAX_FILMS = 32
"""Films open at once; opening one more closes the one used longest ago."""
MAX_TAKES = 6
"""Takes of one request."""
MAX_KEPT_TAKES = 60
"""Takes of one film."""
MAX_REFERENCES = 60
MAX_HITS = 20_000
MAX_WAITING_JOBS = 20


class Limits(NamedTuple):
    """Longest video or sound in seconds, largest file in megabytes."""

    seconds: float = 120.0
    megabytes: float = 500.0

    @property
    def upload_bytes(self) -> int:
        """Largest uploaded file."""
        return round(self.megabytes * 1e6)
