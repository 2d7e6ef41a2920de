"""Processes find each other as torchrun or srun started them, and divide work among themselves."""

import os
import socket
import subprocess
import sys

from foleygram.distributed import SINGLE_PROCESS, Process, current_process

MEET = """
from foleygram.distributed import all_gather, broadcast, gather, joined_processes

with joined_processes() as process:
    print(process.rank, process.share([1, 2, 3]), broadcast(process.rank), all_gather(process.rank * 10), flush=True)
    print(gather(process.rank), flush=True)
"""
LAUNCHERS = ("SLURM_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_")


def alone() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}


def test_place_comes_from_the_launcher(monkeypatch):
    for name in os.environ.keys() - alone().keys():
        monkeypatch.delenv(name)
    assert current_process() == SINGLE_PROCESS == Process(0, 1, 0)
    for name, value in {"NTASKS": "4", "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    # A batch script without srun would wait for three processes that never come.
    assert current_process() == SINGLE_PROCESS
    for name, value in {"STEP_NUM_TASKS": "4", "PROCID": "3", "LOCALID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert current_process() == Process(3, 4, 1)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert current_process() == Process(1, 2, 0)  # torchrun within a job


def test_processes_of_srun_meet():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"JOB_ID": "7", "STEP_NUM_TASKS": "2", "NODELIST": "127.0.0.1", "NODEID": "0"}
    both = alone() | {f"SLURM_{name}": value for name, value in job.items()} | {"MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MEET], stdout=subprocess.PIPE, text=True,
            env=both | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    message = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert message == ["0 [1, 3] 0 [0, 10]\n[0, 1]", "1 [2] 0 [0, 10]\nNone"]
