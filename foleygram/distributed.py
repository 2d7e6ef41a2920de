"""Work in one process or several: joining, broadcast, gather, and a progress bar for the first."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import distributed

PATIENCE = timedelta(hours=12)
"""Longest wait for the slowest process."""


class Process(NamedTuple):
    """Rank, world size and local rank of this process."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def share(self, items: list[Any]) -> list[Any]:
        """Every `world_size`-th item, from this process's rank on."""
        return items[self.rank :: self.world_size]


SINGLE_PROCESS = Process()
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
"""Environment variables of rank, world size and local rank; a batch script or a shell in an allocation has none."""


def current_process() -> Process:
    """The ranks of this process as torchrun or srun set them; a single process without either."""
    for names in (TORCHRUN, SRUN):
        if os.environ.keys() >= set(names):
            return Process(*(int(os.environ[name]) for name in names))
    return SINGLE_PROCESS


@contextmanager
def joined_processes() -> Iterator[Process]:
    """Initialise the process group of torchrun or srun."""
    process = current_process()
    if process.world_size == 1:
        yield SINGLE_PROCESS
        return
    distributed.init_process_group(
        "gloo", init_method=_init_method(), rank=process.rank, world_size=process.world_size, timeout=PATIENCE
    )
    try:
        yield process
    finally:
        distributed.destroy_process_group()


def _init_method() -> str:
    """Address of the process group: MASTER_ADDR if set, else the SLURM job's first node, at a port from its id."""
    if "MASTER_ADDR" not in os.environ:
        from lightning.fabric.plugins.environments import SLURMEnvironment

        nodes = os.environ.get("SLURM_NODELIST", "127.0.0.1")
        os.environ["MASTER_ADDR"] = SLURMEnvironment.resolve_root_node_address(nodes)
    job = int(os.environ.get("SLURM_JOB_ID", "0"))
    port = os.environ.setdefault("MASTER_PORT", str(15_000 + job % 10_000))
    return f"tcp://{os.environ['MASTER_ADDR']}:{port}"


def broadcast(value: Any) -> Any:
    """The first process's value, in every process."""
    if not distributed.is_initialized():
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def all_gather(value: Any) -> list[Any]:
    """Every process's value, in the order of ranks; also a barrier."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def gather(value: Any) -> list[Any] | None:
    """Every process's value, in the order of their ranks, in the first process; None in the others."""
    if not distributed.is_initialized():
        return [value]
    first = distributed.get_rank() == 0
    values: list[Any] | None = [None] * distributed.get_world_size() if first else None
    distributed.gather_object(value, values)
    return values


@contextmanager
def progress_bar(description: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error with the time left; call what it yields with the number of items that are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done: bar.update(task, completed=done)
