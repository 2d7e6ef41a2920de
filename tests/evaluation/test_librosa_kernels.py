"""librosa's kernels are loaded under the lock and nowhere else, so its cache is one process's work."""

import subprocess
import sys

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
