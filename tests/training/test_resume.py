"""A run killed at any moment resumes bit for bit; a run with another arrangement is refused."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
AVERAGING = {"class_path": "foleygram.training.averaging.LearnedWeightAveraging", "init_args": {"decay": 0.8}}
CHANGES = {"callbacks": [AVERAGING], "trainer.accumulate_grad_batches": 2, "trainer.val_check_interval": 20}


def differing(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Paths at which two nested states are not the same bit for bit."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours.keys() != theirs.keys():
            return [f"{path}: {ours.keys() ^ theirs.keys()}"]
        return [found for key in ours for found in differing(ours[key], theirs[key], f"{path}.{key}")]
    if isinstance(ours, list | tuple):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [found for n, (a, b) in pairs for found in differing(a, b, f"{path}.{n}")]
    same = torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs
    return [] if same else [path]


def killed_after(num_checkpoints: int, delay: float, folder: Path, command: list[str]) -> None:
    """Run `command` until it has written so many checkpoints, wait `delay` seconds, and kill it."""
    log, path = folder / "killed.log", folder / "last.ckpt"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        seen: list[int] = []
        end = time.monotonic() + 120
        while len(seen) < num_checkpoints and process.poll() is None and time.monotonic() < end:
            if path.is_file() and (number := path.stat().st_ino) not in seen[-1:]:
                seen.append(number)  # each is a new file
            time.sleep(0.001)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL, log.read_text()


@pytest.mark.parametrize("stage", ["alignment_start", "generation", "envelope"])
def test_a_killed_run_ends_as_an_uninterrupted_one_bit_for_bit(stage, fit, arguments, tmp_path):
    """Weights, optimiser, schedule, averaged weights and what is exported; draws and data order follow from them."""
    draw = random.Random(os.urandom(8))
    num_checkpoints, delay = draw.randint(1, 6), draw.uniform(0, 0.05)
    steps = 30
    whole = fit(stage, tmp_path / "whole", steps, CHANGES)
    assert whole.exit_code == 0, whole.output
    cut = tmp_path / "cut"
    command = arguments(stage, cut, steps, CHANGES)
    killed_after(num_checkpoints, delay, cut, [sys.executable, str(ROOT / "train.py"), *command])
    reached = torch.load(cut / "last.ckpt", weights_only=True)["global_step"]
    assert 2 <= reached < steps and not (cut / "release").exists()
    resumed = fit(stage, cut, steps, CHANGES, "--ckpt_path", cut / "last.ckpt")
    assert resumed.exit_code == 0, resumed.output
    parts = ("global_step", "state_dict", "optimizer_states", "lr_schedulers", "averaging_state", "run")
    expected, obtained = ({name: run.checkpoint[name] for name in parts} for run in (whole, resumed))
    assert expected["global_step"] == steps
    where = f"killed after checkpoint {num_checkpoints} and {delay:.4f} s, resumed from step {reached}"
    assert differing(expected, obtained) == [], where
    files = [path.relative_to(whole.folder) for path in (whole.folder / "release").rglob("*") if path.is_file()]
    assert files
    for name in files:
        assert (whole.folder / name).read_bytes() == (cut / name).read_bytes(), f"{name}: {where}"


@pytest.mark.parametrize("callbacks", [[AVERAGING], []], ids=["averaged", "plain"])
def test_a_run_killed_before_it_wrote_its_networks_writes_the_same(callbacks, fit, tmp_path):
    """From the checkpoint of its last step there is nothing left to train, and the average is written all the same."""
    changes = {"callbacks": callbacks, "trainer.limit_val_batches": 0}
    first = fit("envelope", tmp_path, 4, changes)
    assert first.exit_code == 0 and first.checkpoint["global_step"] == 4, first.output
    (path,) = (tmp_path / "release").glob("*.safetensors")
    written = path.read_bytes()
    shutil.rmtree(tmp_path / "release")
    again = fit("envelope", tmp_path, 4, changes, "--ckpt_path", tmp_path / "last.ckpt")
    assert again.exit_code == 0 and path.read_bytes() == written, again.output
