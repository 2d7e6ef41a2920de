"""librosa's kernels are loaded under the lock and nowhere else, so its cache is one process's work."""

import os
import subprocess
import sys

import pytest

from foleygram.evaluation import librosa_kernels

HELD = """
import sys
import foleygram.benchmark.clip_cards, foleygram.benchmark.run
from foleygram.evaluation import librosa_kernels

class Held:
    def __init__(self, path):
        pass
    def __enter__(self):
        raise BlockingIOError
    def __exit__(self, *error):
        pass

librosa_kernels.FileLock = Held
try:
    librosa_kernels.load_librosa()
except BlockingIOError:
    print("waits", "numba" in sys.modules)
"""


# torchmetrics imports the librosa package itself, whose parts load lazily: numba comes with the first kernel.
def test_no_kernel_is_loaded_before_the_lock_is_held() -> None:
    result = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["waits", "False"]


def test_a_user_without_a_name_has_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container run with `--user 1000:1000` has no entry for that user, and no variable names it."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 424242)

    def held(path: object) -> None:
        raise BlockingIOError(path)

    monkeypatch.setattr(librosa_kernels, "FileLock", held)
    with pytest.raises(BlockingIOError, match="424242"):
        librosa_kernels.load_librosa.__wrapped__()
