import lightning
import pytest
import torch

from foleygram.training.averaging import LearnedWeightAveraging


class Counting(lightning.LightningModule):
    """A weight that is the number of its steps, beside a frozen one; validation notes the weight it sees."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.frozen = torch.nn.Parameter(torch.full((2,), 7.0), requires_grad=False)
        self.seen = []

    def training_step(self, batch, batch_idx):
        return -self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.seen.append(float(self.weight[0].detach()))

    def configure_optimizers(self):
        return torch.optim.SGD([self.weight], lr=1.0)


def fit(steps, tmp_path, *, accelerator="cpu", ckpt_path=None, **options):
    loader = torch.utils.data.DataLoader(torch.zeros(8, 1), batch_size=1)
    averaging, module = LearnedWeightAveraging(decay=0.75), Counting()
    trainer = lightning.Trainer(
        max_steps=steps, callbacks=[averaging], accelerator=accelerator, devices=1, logger=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=0,
        **options,
    )  # fmt: skip
    trainer.fit(module, loader, loader, ckpt_path=ckpt_path)
    return trainer, module, averaging


def expected(steps):
    """The average of 1, 2, ... steps, begun at the first."""
    average = 1.0
    for weight in range(2, steps + 1):
        average = 0.75 * average + 0.25 * weight
    return average


@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_the_average_decays_by_a_constant_and_lies_on_the_training_device(accelerator, tmp_path):
    trainer, module, averaging = fit(6, tmp_path, accelerator=accelerator, limit_val_batches=0)
    assert [value.device for value in averaging.average.shadow_params] == [trainer.strategy.root_device]
    torch.testing.assert_close(module.weight.detach().cpu(), torch.full((3,), expected(6)))
    assert module.frozen.tolist() == [7.0, 7.0]


def test_validation_uses_the_average_and_training_the_current_weights(tmp_path):
    _, module, _ = fit(4, tmp_path, val_check_interval=2, limit_val_batches=1)
    assert module.seen == pytest.approx([expected(2), expected(4)])


def test_an_accumulated_batch_is_no_step(tmp_path):
    _, module, averaging = fit(2, tmp_path, accumulate_grad_batches=4, limit_val_batches=0)
    assert averaging.average.optimization_step == 2
    assert module.weight.tolist()[0] == pytest.approx(expected(2))


def test_a_checkpoint_holds_both_and_a_resumed_run_continues_the_average(tmp_path):
    fit(3, tmp_path, limit_val_batches=0)
    (path,) = tmp_path.rglob("*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["state_dict"]["weight"].tolist() == [3.0] * 3
    assert checkpoint["averaging_state"]["module.weight"].tolist() == pytest.approx([expected(3)] * 3)
    _, module, _ = fit(5, tmp_path, limit_val_batches=0, ckpt_path=path)
    whole = fit(5, tmp_path / "whole", limit_val_batches=0)[1]
    assert torch.equal(module.weight, whole.weight)
    del checkpoint["averaging_state"]
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match="resume without weight averaging"):
        fit(5, tmp_path, ckpt_path=path)


def test_a_decay_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match=r"decay 1.5: give a share"):
        LearnedWeightAveraging(decay=1.5)
