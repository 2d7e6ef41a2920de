"""Sharded training whose processes may each write their own part of a checkpoint."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy

from foleygram.weights.shards import check_index, is_sharded


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2; with `save_distributed_checkpoint` a checkpoint is a folder, beside its place until it is whole.

    Lightning's own writes over the last folder file by file, and a kill leaves half of either.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any = None) -> None:
        """Write the checkpoint; every process must take part."""
        if not self._save_distributed_checkpoint:
            return super().save_checkpoint(checkpoint, filepath, storage_options)
        place = Path(self.broadcast(filepath))
        fresh, former = (place.with_name(f".{place.name}.{name}") for name in ("new", "old"))
        if self.is_global_zero:
            for abandoned in (fresh, former):
                shutil.rmtree(abandoned, ignore_errors=True)
        self.barrier()
        super().save_checkpoint(checkpoint, fresh, storage_options)
        self.barrier()
        if self.is_global_zero:
            if place.is_dir():
                place.rename(former)
            else:
                place.unlink(missing_ok=True)  # a whole file of an earlier run
            fresh.rename(place)
            shutil.rmtree(former, ignore_errors=True)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint of either kind; raises ValueError for shards whose index is damaged or holds code."""
        if is_sharded(Path(checkpoint_path)):
            check_index(Path(checkpoint_path))
        return super().load_checkpoint(checkpoint_path, weights_only)
