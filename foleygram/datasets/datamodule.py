"""Feeds any clip data set to Lightning in an order that depends on the seed and the epoch alone."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from foleygram.datasets.shards import ShardedClips, ShardLoader, Share


class PassSampler(DistributedSampler[Any]):
    """A shuffle per pass whose indices keep counting up: pass p yields p * len + i, so draws differ between passes.

    `position`, where there is one, tells the pass and how many of its items were seen before a run was killed.
    """

    position: Callable[[], tuple[int, int]] | None = None

    def __iter__(self) -> Iterator[int]:
        done = 0
        if self.position is not None:
            self.epoch, done = self.position()
        offset = self.epoch * len(self.dataset)  # type: ignore[arg-type]
        return (offset + index for index in itertools.islice(super().__iter__(), done, None))


def collate_clips(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack what is a tensor or a number, keep strings and lists as lists."""
    batch: dict[str, Any] = {}
    for key, first in items[0].items():
        values = [item[key] for item in items]
        if isinstance(first, Tensor):
            batch[key] = torch.stack(values)
        elif isinstance(first, int | float):
            batch[key] = torch.tensor(values)
        else:
            batch[key] = values
    return batch


class ClipDataModule(lightning.LightningDataModule):
    """Training and validation clips in batches; shuffled per pass from `seed`, split over processes.

    `encode` turns batches of media into features on the training's device (`foleygram.features.FeatureEncoder`), where
    no cache holds them. A pass has the same number of batches in every process.
    """

    def __init__(
        self,
        train: Dataset,
        val: Dataset | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        encode: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.train, self.val, self.encode = train, val, encode
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """The batch, through `encode` when there is one; it lies on the training's device by now."""
        return self.encode(batch) if self.encode else batch

    def _loader(self, dataset: Dataset, *, shuffle: bool) -> DataLoader[dict[str, Any]]:
        ranks = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        options: dict[str, Any] = {
            "num_workers": self.num_workers,
            "collate_fn": collate_clips,
            "pin_memory": torch.cuda.is_available(),
        }
        if isinstance(dataset, ShardedClips):
            share = Share(rank, ranks, self.batch_size, self.seed if shuffle else None)
            shards = ShardLoader(dataset, share, **options)
            if shuffle and self.trainer:
                shards.position = lambda: self._position(len(shards))
            return shards
        sampler = PassSampler(dataset, num_replicas=ranks, rank=rank, seed=self.seed) if shuffle else None
        workers_stay = self.num_workers > 0
        loader = DataLoader(
            dataset, self.batch_size, sampler=sampler, drop_last=shuffle, persistent_workers=workers_stay, **options
        )
        if sampler and self.trainer:
            sampler.position = lambda: self._items_done(len(loader))
        return loader

    def _position(self, num_batches: int) -> tuple[int, int]:
        """The pass and the batches of it done, by the optimiser's steps: Lightning starts a loader anew on resuming."""
        accumulated = self.trainer.accumulate_grad_batches  # type: ignore[union-attr]
        steps_per_pass = -(-num_batches // accumulated)
        passes, steps = divmod(self.trainer.global_step, steps_per_pass)  # type: ignore[union-attr]
        return passes, steps * accumulated

    def _items_done(self, num_batches: int) -> tuple[int, int]:
        passes, batches = self._position(num_batches)
        return passes, batches * self.batch_size

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled batches, a last uneven one dropped; raises ValueError when there are too few clips for one."""
        ranks = self.trainer.world_size if self.trainer else 1
        total = self.train.num_clips() if isinstance(self.train, ShardedClips) else len(self.train)  # type: ignore[arg-type]
        if total < self.batch_size * ranks:
            raise ValueError(
                f"{total} training clips for {ranks} processes with batches of {self.batch_size}; "
                "take a smaller batch or more clips"
            )
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[dict[str, Any]] | list[Any]:
        """Validation batches in order, or none."""
        return [] if self.val is None else self._loader(self.val, shuffle=False)
