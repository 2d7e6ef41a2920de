"""A worker of its own for every file: results and errors come back, crashes and hangs stay there."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from foleygram.media.isolate import PIECE_BYTES, MediaError, run_isolated, time_limit
from foleygram.media.video import probe, read_frames


def test_isolated_calls_return_results_and_errors(tmp_path, videos):
    path = videos.write(tmp_path / "v.mp4", videos.constant(15, 10))
    frames, ages = run_isolated(read_frames, path, np.array([0.3]), size=64)
    assert videos.number_of(frames[0]) == 4 and ages.shape == (1,)
    with pytest.raises(MediaError, match=r"gone\.mp4: no such file"):
        run_isolated(probe, tmp_path / "gone.mp4")
    with pytest.raises(MediaError, match=r"^could not convert string to float: 'not a number'; check that"):
        run_isolated(float, "not a number")
    with pytest.raises(MediaError, match=r"^/dev/full: No space left on device$"):  # which no other video would mend
        run_isolated(Path.write_text, Path("/dev/full"), "more than there is room for")


def test_a_message_never_shows_an_error_of_python(tmp_path):
    """Damage makes libraries raise errors that mean nothing to a reader; the message says what to do instead."""
    for function in (len, os.path.isabs, sum):  # TypeErrors
        with pytest.raises(MediaError) as caught:
            run_isolated(function, 3)
        assert str(caught.value) == f"3: {function.__name__} failed on it; re-encode the video, and report this log"


def test_arrays_come_back_as_they_were():
    kinds = [torch.arange(12).reshape(3, 4).T, torch.tensor(1.5), torch.empty(0, 3), np.arange(5.0)[::2]]
    kinds.append(torch.arange(PIECE_BYTES // 4 + 3))  # more than one piece
    for sent, back in zip(kinds, run_isolated(list, kinds), strict=True):
        assert type(back) is type(sent) and back.dtype == sent.dtype and back.shape == sent.shape
        assert (back == sent).all()
    back += 1  # it may be written to


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_minutes_of_frames_are_received_without_a_copy():
    def memory(field):
        return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, size = memory("VmRSS"), 200_000_000
    frames = run_isolated(torch.full, (size,), 7, dtype=torch.uint8)
    assert len(frames) == size and frames[-1] == 7
    assert memory("VmHWM") - before < 1.4 * size


def test_a_long_film_may_take_longer():
    assert time_limit(600.0) > 600.0 and time_limit(0.0) >= 60.0


def test_isolated_calls_survive_a_crash_and_a_hang():
    with pytest.raises(MediaError, match="crashed"):
        run_isolated(os._exit, 11)
    begun = time.monotonic()
    with pytest.raises(MediaError, match=r"more than 0\.5 s"):
        run_isolated(time.sleep, 60, timeout_sec=0.5)
    assert time.monotonic() - begun < 30


SCRIPT = """
import sys
from pathlib import Path
from foleygram.media.isolate import run_isolated

with Path(sys.argv[1]).open("a") as runs:
    runs.write("run ")


def own(text):
    return text.upper()


if __name__ == "__main__":
    print(run_isolated(str, "a"), run_isolated(own, "b"), own.__module__)
"""


def test_a_script_is_run_again_only_for_functions_of_its_own(tmp_path):
    script, runs = tmp_path / "script.py", tmp_path / "runs"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), str(runs)], capture_output=True, text=True, check=True)
    assert done.stdout == "a B __main__\n"
    assert runs.read_text() == "run run "
