"""Batches are stacked, and their order depends on seed and pass alone."""

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import Dataset

from foleygram.datasets.datamodule import ClipDataModule, PassSampler, collate_clips


class Indices(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {"index": index, "audio": torch.full((2,), float(index % self.size)), "caption": f"c{index % self.size}"}


def order(module, epoch=0):
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [int(index) for batch in loader for index in batch["index"]]


def test_collate_stacks_tensors_and_lists_the_rest():
    batch = collate_clips(
        [
            {"a": torch.ones(2), "t": 0.5, "n": 3, "c": "x", "e": [1.0]},
            {"a": torch.zeros(2), "t": 1.5, "n": 4, "c": "y", "e": []},
        ]
    )
    assert batch["a"].shape == (2, 2) and batch["t"].tolist() == [0.5, 1.5] and batch["n"].tolist() == [3, 4]
    assert batch["c"] == ["x", "y"] and batch["e"] == [[1.0], []]


def test_every_clip_once_per_pass_in_seeded_order():
    first = order(ClipDataModule(Indices(12), batch_size=4, seed=3))
    assert sorted(first) == list(range(12)) and first != sorted(first)
    assert first == order(ClipDataModule(Indices(12), batch_size=4, seed=3))
    assert first != order(ClipDataModule(Indices(12), batch_size=4, seed=4))
    second = order(ClipDataModule(Indices(12), batch_size=4, seed=3), epoch=1)
    assert sorted(second) == list(range(12, 24)) and [i % 12 for i in second] != first


def test_processes_share_a_pass():
    def indices(num_replicas, rank=0):
        return list(PassSampler(Indices(13), num_replicas=num_replicas, rank=rank, batch_size=2, seed=1))

    parts = [indices(3, rank) for rank in range(3)]
    assert len({index for part in parts for index in part}) == 12
    one = indices(1)
    assert [part[step : step + 2] for step in (0, 2) for part in parts] == [one[n : n + 2] for n in range(0, 12, 2)]


def test_uneven_batch_is_dropped_in_training_and_kept_in_validation():
    module = ClipDataModule(Indices(10), Indices(10), batch_size=4)
    assert len(order(module)) == 8
    assert [len(batch["caption"]) for batch in module.val_dataloader()] == [4, 4, 2]
    assert ClipDataModule(Indices(10), batch_size=4).val_dataloader() == []


def test_too_few_clips_for_a_batch():
    with pytest.raises(ValueError, match="3 training clips for 1 processes with batches of 4"):
        ClipDataModule(Indices(3), batch_size=4).train_dataloader()


class Recorder(lightning.LightningModule):
    """Remembers what it was fed."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.fed = []

    def training_step(self, batch, batch_index):
        self.fed += batch["index"].tolist()
        return self.layer(torch.ones(1, 1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def record(folder, max_steps, workers, resume=None):
    module = Recorder()
    trainer = lightning.Trainer(
        max_steps=max_steps,
        accelerator="cpu",
        logger=False,
        callbacks=[ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=1)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, ClipDataModule(Indices(21), batch_size=4, num_workers=workers, seed=3), ckpt_path=resume)
    return module.fed


@pytest.mark.parametrize("stop", [3, 5, 7])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_killed_within_a_pass_resumes_at_the_next_batch(tmp_path, stop, workers):
    whole = record(tmp_path / "whole", 13, workers)
    first = record(tmp_path / "cut", stop, workers)
    rest = record(tmp_path / "cut", 13, workers, resume=tmp_path / "cut" / "last.ckpt")
    assert first + rest == whole and len(whole) == 13 * 4
