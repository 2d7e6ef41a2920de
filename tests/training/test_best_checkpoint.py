"""A run on a few clips ends with its best weights, and says whether it overfits."""

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from foleygram.training.averaging import LearnedWeightAveraging
from foleygram.training.best_checkpoint import BestCheckpoint, verdict


class Walk(lightning.LightningModule):
    """One weight that grows by 1 each step; training likes it larger and larger, validation best at `best`."""

    def __init__(self, best):
        super().__init__()
        self.weight, self.best = torch.nn.Parameter(torch.zeros(())), best
        self.written = None

    def training_step(self, batch, batch_index):
        return -self.weight

    def validation_step(self, batch, batch_index):
        self.log("val_loss", 1 + (self.weight - self.best) ** 2)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def on_fit_end(self):
        self.written = self.weight.item()


def fit(folder, best, steps, *, callbacks=(), resume=None):
    module = Walk(best)
    loader = torch.utils.data.DataLoader(torch.zeros(4))
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, val_check_interval=1, check_val_every_n_epoch=None, num_sanity_val_steps=-1,
        callbacks=[BestCheckpoint(), ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=1),
                   *callbacks],
    )  # fmt: skip
    trainer.fit(module, loader, loader, ckpt_path=resume)
    return module


def test_the_best_weights_are_written_and_overfitting_is_reported(tmp_path, caplog):
    assert fit(tmp_path, 5, 9).written == 5.0
    assert (tmp_path / "best.ckpt").is_file() and (tmp_path / "last.ckpt").is_file()
    assert "val_loss was lowest at step 5: 1.0000, and 17.0000 at step 9 (before training 26.0000)" in caplog.text
    assert "The weights of step 5 are written. It overfits from step 5 on" in caplog.text


def test_sharded_networks_are_refused(tmp_path):
    sharded = Walk(1)
    sharded._device_mesh = object()
    with pytest.raises(ValueError, match="BestCheckpoint does not put back sharded networks"):
        BestCheckpoint().setup(lightning.Trainer(accelerator="cpu", default_root_dir=tmp_path), sharded, "fit")


def test_a_resumed_run_remembers_its_best(tmp_path, caplog):
    fit(tmp_path, 3, 4)
    caplog.clear()
    assert fit(tmp_path, 3, 8, resume=tmp_path / "last.ckpt").written == 3.0
    assert "lowest at step 3: 1.0000, and 26.0000 at step 8 (before training 10.0000)" in caplog.text


def test_a_run_that_still_learns_does_not_overfit(tmp_path, caplog):
    assert fit(tmp_path, 5, 4).written == 4.0
    assert "lowest at step 4: 2.0000" in caplog.text and "overfits" not in caplog.text


def test_no_improvement_over_the_start_is_reported():
    assert "lower lr" in verdict("val_loss", [(10, 1.0, 0.6), (20, 0.9, 0.61)], 0.5)
    assert "lower lr" not in verdict("val_loss", [(10, 1.0, 0.6), (20, 0.9, 0.61)], None)
    assert "overfits" not in verdict("val_loss", [(10, 0.8, 0.6), (20, 0.9, 0.7)], None)  # training rose as well


@pytest.mark.parametrize("averaging", [EMAWeightAveraging, LearnedWeightAveraging])
def test_averaged_weights_are_refused(averaging, tmp_path):
    with pytest.raises(ValueError, match="leave one of the two out"):
        fit(tmp_path, 5, 2, callbacks=[averaging(decay=0.9)])
