"""librosa, its compiled kernels made ready by one process at a time."""

import getpass
import os
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from filelock import FileLock


@cache
def load_librosa() -> ModuleType:
    """Import librosa and run what the onset detector needs of it once, under a lock for this user.

    librosa keeps its kernels in a cache that numba writes without a lock: two processes that fill it at the same
    moment damage it, and every later process that loads from it crashes (docs/log.md, 2026-11-23).
    """
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # in a container a user may have no name
    lock = Path(tempfile.gettempdir()) / f"foleygram-librosa-{user}.lock"
    with FileLock(lock):
        import librosa

        strength = librosa.onset.onset_strength(y=np.zeros(4096, np.float32), sr=22_050, hop_length=256)
        librosa.onset.onset_detect(onset_envelope=strength, sr=22_050, hop_length=256)
    return librosa
