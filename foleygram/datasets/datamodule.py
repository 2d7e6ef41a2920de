"""Feeds any clip data set to Lightning in an order that depends only on the seed and the epoch."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from foleygram.datasets.shards import ShardedClips, ShardLoader, Share
from foleygram.media.isolate import MediaError

UNREADABLE_IN_A_ROW = 16

log = logging.getLogger(__name__)


class PassSampler(DistributedSampler[Any]):
    """A shuffle per pass, dealt to the processes batch by batch: n processes read what one reads in n batches.

    Clips that do not fill a batch in every process are left out of the pass. Indices keep counting up: pass p yields
    p * len + i, so draws differ between passes. `position`, where there is one, tells the pass and how many batches of
    it were seen before a run was killed.
    """

    position: Callable[[], tuple[int, int]] | None = None

    def __init__(self, dataset: Dataset, *, num_replicas: int, rank: int, batch_size: int, seed: int) -> None:
        # A DistributedSampler by descent, or Lightning would put one of its own in its place.
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, seed=seed)
        self.batch_size = batch_size
        self.num_batches = len(dataset) // (batch_size * num_replicas)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.num_batches * self.batch_size

    def __iter__(self) -> Iterator[int]:
        done = 0
        if self.position is not None:
            self.epoch, done = self.position()
        total = len(self.dataset)  # type: ignore[arg-type]
        order = torch.randperm(total, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        for batch in range(done, self.num_batches):
            first = (batch * self.num_replicas + self.rank) * self.batch_size
            yield from (self.epoch * total + index for index in order[first : first + self.batch_size])


def collate_clips(items: list[dict[str, Any]]) -> dict[str, Any]:
    """One batch of B items: tensors (...) as (B, ...), numbers as (B,), strings and lists as lists of B."""
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


class Readable(Dataset[dict[str, Any]]):
    """`dataset`, with the next clip in the place of one whose media cannot be read; the log counts and names those.

    Raises ValueError when `UNREADABLE_IN_A_ROW` clips cannot be read: then the fault lies elsewhere.
    """

    def __init__(self, dataset: Dataset[dict[str, Any]]) -> None:
        self.dataset = dataset
        self._reported: set[str] = set()

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict[str, Any]:
        for place in range(index, index + UNREADABLE_IN_A_ROW):
            try:
                return self.dataset[place]
            except MediaError as error:
                problem = str(error)
            if problem not in self._reported:
                self._reported.add(problem)
                log.warning("%s; another clip takes its place (%d such clips so far)", problem, len(self._reported))
        raise ValueError(f"{UNREADABLE_IN_A_ROW} clips in a row cannot be read, the last: {problem}")


class ClipDataModule(lightning.LightningDataModule):
    """Training, validation and test clips in batches; shuffled per pass from `seed`, split over processes.

    In training a last uneven batch is dropped; in validation it is kept, and where the clips do not divide, a process
    sees one of them again. A pass has the same number of batches in every process; clips whose media cannot be read are
    made up for by others (`Readable`). `encode` turns batches of media into features on the training's device
    (`foleygram.features.encoder.FeatureEncoder`), where no cache holds them.
    """

    def __init__(
        self,
        train: Dataset | None = None,
        val: Dataset | None = None,
        test: Dataset | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        encode: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.train, self.val, self.test, self.encode = train, val, test, encode
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """A batch of tensors (B, ...), through `encode` when there is one; it lies on the training's device by now."""
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
        dataset = Readable(dataset)
        sampler: DistributedSampler[Any] | None = None
        if shuffle:
            passes = PassSampler(dataset, num_replicas=ranks, rank=rank, batch_size=self.batch_size, seed=self.seed)
            if self.trainer:
                passes.position = lambda: self._position(passes.num_batches)
            sampler = passes
        elif ranks > 1:
            sampler = DistributedSampler(dataset, ranks, rank, shuffle=False)
        options["persistent_workers"] = self.num_workers > 0
        return DataLoader(dataset, self.batch_size, sampler=sampler, **options)

    def _position(self, num_batches: int) -> tuple[int, int]:
        """The pass and the batches of it done, by the optimiser's steps: Lightning restarts a loader on resuming."""
        accumulated = self.trainer.accumulate_grad_batches  # type: ignore[union-attr]
        steps_per_pass = -(-num_batches // accumulated)
        passes, steps = divmod(self.trainer.global_step, steps_per_pass)  # type: ignore[union-attr]
        return passes, steps * accumulated

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled batches, a last uneven one dropped; raises ValueError when there are too few clips for one."""
        if self.train is None:
            raise ValueError("no training clips: name a data set as data.init_args.train")
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

    def test_dataloader(self) -> DataLoader[dict[str, Any]] | list[Any]:
        """Test batches in order, or none."""
        return [] if self.test is None else self._loader(self.test, shuffle=False)
