"""The launch files start what they say, on the CPU with two processes."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "configs" / "cluster"
SRUN = """#!/usr/bin/env bash
# Two tasks on this machine, as SLURM starts them.
for rank in 0 1; do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank SLURM_NODEID=0 "$@" &
    tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || exit 1; done
"""
SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "foleygram", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_JOB_NUM_NODES": "1", "SLURM_NNODES": "1", "SLURM_NODELIST": "127.0.0.1", "SLURM_CPUS_PER_TASK": "1",
}  # fmt: skip


def test_two_processes_start_by_torchrun_and_go_on_under_slurm(arguments, tmp_path):
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    environment |= {"PATH": f"{srun.parent}:{Path(sys.executable).parent}:{environment['PATH']}"}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for script, extra, steps in (("torchrun.sh", {"GPUS": "2"}, 2), ("slurm.sh", SLURM, 4)):
        _, config, tiny = (typed for typed in arguments("envelope", tmp_path, steps) if typed != "--config")
        own = ["--config", tiny, "--trainer.accelerator", "cpu", "--trainer.devices", "2"]
        command = ["bash", str(LAUNCH / script), config, *own, "--data.init_args.batch_size", "2"]
        done = subprocess.run(command, env=environment | extra, cwd=ROOT, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
    assert "Restored all states from the checkpoint" in done.stderr
    run = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert run["global_step"] == 4 and run["run"]["processes"] == 2
    assert (tmp_path / "release" / "config.json").is_file()
