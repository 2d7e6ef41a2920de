"""Callbacks that stop a run: on a loss that is not finite, and on SLURM preemption."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint


class FiniteLoss(Callback):
    """Stops a run whose loss or weights are not finite, before a checkpoint of them replaces a good one.

    The loss is checked every `every_n_steps` batches, because each check waits for the GPU.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        self.every_n_steps = every_n_steps
        self._first_bad = torch.tensor(-1)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the first bad step on the device."""
        self._first_bad = torch.tensor(-1, device=pl_module.device)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raises FloatingPointError in every process when the loss of one is not finite."""
        bad = ~outputs["loss"].detach().isfinite() & (self._first_bad < 0)
        self._first_bad = torch.where(bad, trainer.global_step, self._first_bad)
        if (batch_idx + 1) % self.every_n_steps:
            return
        first = int(self._first_bad)
        if not trainer.strategy.reduce_boolean_decision(first < 0, all=True):
            where = f"at step {first}" if first >= 0 else "in another process"
            raise FloatingPointError(f"the loss is not a number {where}; {_way_out(trainer)}")

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raises FloatingPointError when weights about to be saved are not finite."""
        for name, value in checkpoint["state_dict"].items():
            if value.is_floating_point() and not value.isfinite().all():
                raise FloatingPointError(f"{name} is not finite after step {trainer.global_step}; {_way_out(trainer)}")


def _way_out(trainer: lightning.Trainer) -> str:
    last = (
        trainer.checkpoint_callback.last_model_path if isinstance(trainer.checkpoint_callback, ModelCheckpoint) else ""
    )
    saved = f"the last good checkpoint is {last}" if last else "no checkpoint had been written"
    return f"{saved}. A lower lr, gradient_clip_val or precision bf16-mixed may help"


class Preempted(RuntimeError):
    """Stops a run after a signal, once its checkpoint is written."""


class Preemption(Callback):
    """On SIGUSR1 or SIGTERM ends the step, saves `last.ckpt`, asks SLURM to queue the job again, and stops.

    Lightning's own requeueing saves inside the signal's handler, in the middle of a step, and each process by itself;
    a run resumed from that differs from an uninterrupted one. Several processes agree every `every_n_steps` steps.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        self.every_n_steps = every_n_steps
        self._asked, self._seen = "", -1

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Listen to both signals."""
        for number in (signal.SIGUSR1, signal.SIGTERM):  # Lightning has set its own by now and restores the first ones
            signal.signal(number, self._notice)

    def _notice(self, number: int, frame: Any) -> None:
        self._asked = signal.Signals(number).name

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raises Preempted once the checkpoint is written."""
        step = trainer.global_step
        if step == self._seen or (trainer.world_size > 1 and step % self.every_n_steps):
            return
        self._seen = step
        if not trainer.strategy.reduce_boolean_decision(bool(self._asked), all=False):
            return
        checkpoints = trainer.checkpoint_callback
        if not isinstance(checkpoints, ModelCheckpoint):
            raise Preempted(f"stopped by {self._asked} at step {step}; checkpoints are off, nothing was saved")
        folder = Path(checkpoints.dirpath or trainer.default_root_dir)
        checkpoints.last_model_path = str(folder / "last.ckpt")  # else a resumed run writes last-v1.ckpt beside it
        trainer.save_checkpoint(checkpoints.last_model_path)
        requeued = trainer.is_global_zero and requeue()
        trainer.strategy.barrier("requeued")  # SLURM may end the rest when one process has ended
        raise Preempted(
            f"stopped by {self._asked or 'another process'} at step {step}, saved as {checkpoints.last_model_path}"
            + (f"; SLURM job {requeued} is queued again" if requeued else "; resume with --ckpt_path last")
        )


def requeue() -> str:
    """Ask SLURM to queue this job again; its id, or "" outside of SLURM or where SLURM refuses."""
    environment = os.environ
    job = environment.get("SLURM_JOB_ID", "")
    if "SLURM_ARRAY_JOB_ID" in environment:
        job = f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    if not job:
        return ""
    return job if subprocess.run(["scontrol", "requeue", job], check=False).returncode == 0 else ""
