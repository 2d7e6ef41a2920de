"""A worker of its own for every file: results and errors come back, crashes and hangs stay there."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from foleygram.media.guarded import MediaError, guarded
from foleygram.media.video import probe, read_frames


def test_guarded_returns_results_and_errors(tmp_path, videos):
    path = videos.write(tmp_path / "v.mp4", videos.constant(15, 10))
    frames, ages = guarded(read_frames, path, np.array([0.3]), size=64)
    assert videos.number_of(frames[0]) == 4 and ages.shape == (1,)
    with pytest.raises(MediaError, match=r"gone\.mp4: no such file"):
        guarded(probe, tmp_path / "gone.mp4")
    with pytest.raises(MediaError, match=r"not a number: .*ValueError"):
        guarded(float, "not a number")


def test_guarded_survives_a_crash_and_a_hang():
    with pytest.raises(MediaError, match="crashed"):
        guarded(os._exit, 11)
    begun = time.monotonic()
    with pytest.raises(MediaError, match=r"more than 0\.5 s"):
        guarded(time.sleep, 60, timeout_sec=0.5)
    assert time.monotonic() - begun < 30


SCRIPT = """
import sys
from pathlib import Path
from foleygram.media.guarded import guarded

with Path(sys.argv[1]).open("a") as runs:
    runs.write("run ")


def own(text):
    return text.upper()


if __name__ == "__main__":
    print(guarded(str, "a"), guarded(own, "b"), own.__module__)
"""


def test_a_script_is_run_again_only_for_functions_of_its_own(tmp_path):
    script, runs = tmp_path / "script.py", tmp_path / "runs"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), str(runs)], capture_output=True, text=True, check=True)
    assert done.stdout == "a B __main__\n"
    assert runs.read_text() == "run run "
