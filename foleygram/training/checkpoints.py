"""Checkpoints written atomically, and a check that a resumed run has the same processes and batches."""

import glob
import os
import shutil
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from foleygram.files import atomic_path
from foleygram.weights.state_dict import read_weights

RUN = "run"
"""Key of a checkpoint under which `SameRun` keeps what the order of data depends on."""
HANDED_BACK = ".temp.ckpt"
"""Lightning's name for the weights alone that spawned processes give to the one which started them."""


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it once it is on the disk: the last good one is never lost.

    Lightning's own assembles it in memory and in the system's folder for temporary files, from where a move to another
    disk is a copy that a kill cuts short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write `checkpoint` to `path`; raises OSError, with the free space, when that fails. A URL: as Lightning."""
        if "://" in str(path):
            return super().save_checkpoint(checkpoint, path, storage_options)
        place = Path(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(place)
            with atomic_path(place) as temporary:
                torch.save(checkpoint, temporary)
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
        except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as RuntimeError
            free = shutil.disk_usage(place.parent).free / 2**20
            note = "the one written before is kept" if place.is_file() else "none was written before"
            raise OSError(
                f"{place}: checkpoint could not be written ({free:.0f} MiB free there; {note}); free some space, then "
                "resume with --ckpt_path last"
            ) from error

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Read the checkpoint `path` without running code; raises FileNotFoundError or ValueError naming it."""
        if "://" in str(path):
            return super().load_checkpoint(path, *arguments, **options)
        checkpoint = read_weights(path)
        if Path(path).name == HANDED_BACK:
            return checkpoint
        if not isinstance(checkpoint, dict) or not {"state_dict", "pytorch-lightning_version"} <= checkpoint.keys():
            raise ValueError(f"{path}: not a Lightning checkpoint; give one that a run wrote, such as its last.ckpt")
        return checkpoint


def _remove_abandoned(place: Path) -> None:
    """Remove what a run left that was killed while it wrote `place`."""
    for abandoned in place.parent.glob(f".{glob.escape(place.stem[:40])}.????????{place.suffix}"):
        abandoned.unlink(missing_ok=True)


class SameRun(Callback):
    """Refuses to resume with other processes, batches or accumulation, on which data order and negatives depend.

    `allow_change` resumes regardless: optimiser and weights fit, but the run differs from there on.
    """

    def __init__(self, allow_change: bool = False) -> None:
        self.allow_change = allow_change

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Record processes, batch size and accumulation in the checkpoint."""
        checkpoint[RUN] = _arrangement(trainer)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raises ValueError that names what differs."""
        saved, present = checkpoint.get(RUN, {}), _arrangement(trainer)
        changed = [f"{name} {saved[name]} -> {present[name]}" for name in saved if saved[name] != present[name]]
        if changed and not self.allow_change:
            raise ValueError(
                f"settings differ from the checkpoint's: {', '.join(changed)}; data order and contrastive negatives "
                "would differ from there on. Resume with the same settings, or pass --resume.allow_change true"
            )


def _arrangement(trainer: lightning.Trainer) -> dict[str, int]:
    batch_size = getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
    settings = {} if batch_size is None else {"batch size per process": int(batch_size)}
    return settings | {"processes": trainer.world_size, "accumulated batches": trainer.accumulate_grad_batches}
