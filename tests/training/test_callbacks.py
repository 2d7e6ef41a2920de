"""A loss that is not finite, and SLURM preemption, stop a run with a message and a usable checkpoint."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("look_every", "message"), [(1, "the loss is not a number at step "), (1000, " is not finite after step ")]
)
def test_a_loss_that_is_no_number_stops_before_it_is_saved(look_every, message, fit, damaged_clips, tmp_path):
    changes = {"data.init_args.train.init_args.folder": str(damaged_clips)}
    stopped = fit("generation", tmp_path, 9, changes, "--finite.every_n_steps", look_every)
    assert stopped.exit_code == 1
    last = stopped.output.splitlines()[-1]
    assert message in last and f"the last good checkpoint is {tmp_path / 'last.ckpt'}. A lower lr" in last
    assert stopped.checkpoint["global_step"] == 2 and not (tmp_path / "release").exists()
    mended = fit("generation", tmp_path, 9, {}, "--ckpt_path", tmp_path / "last.ckpt")
    assert mended.exit_code == 0, mended.output
    assert all(value.isfinite().all() for value in mended.checkpoint["state_dict"].values())


@pytest.mark.parametrize("job", [{}, {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "foley"}])
def test_a_preempted_run_saves_a_checkpoint_and_requeues(job, fit, arguments, tmp_path):
    cut, requeued = tmp_path / "cut", tmp_path / "requeued"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {requeued}\n')
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    command = [sys.executable, str(ROOT / "train.py"), *arguments("generation", cut, 2000)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | job
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not (cut / "last.ckpt").is_file() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1 if job else signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    saved = torch.load(cut / "last.ckpt", weights_only=True)["global_step"]
    name = "SIGUSR1" if job else "SIGTERM"
    hint = "SLURM job 77 is queued again" if job else "resume with --ckpt_path last"
    assert errors.splitlines()[-1] == f"foleygram: stopped by {name} at step {saved}, saved as {cut}/last.ckpt; {hint}"
    assert not (cut / "release").exists()
    assert (requeued.read_text() == "requeue 77\n") if job else not requeued.exists()
    for folder, more in ((cut, ("--ckpt_path", cut / "last.ckpt")), (tmp_path / "whole", ())):
        assert fit("generation", folder, saved + 3, {}, *more).exit_code == 0
    weights = "release/controlnet/diffusion_pytorch_model.safetensors"
    assert (cut / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
