from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from torch import Tensor
from torch.utils.data import Dataset

from foleygram.datasets.datamodule import ClipDataModule
from foleygram.envelope.augmentation import STILL_SHARE, augment_motion, drop_frames, move_camera
from foleygram.envelope.module import EnvelopeModule, correlations
from foleygram.envelope.objective import envelope_loss
from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.features.writer import write_cache
from foleygram.spec import ClipSpec, read_spec
from foleygram.training.steps import step_generator

ROOT = Path(__file__).parents[2]
SIZE, FRAMES = 16, 30


class FlashingClips(Dataset):
    """Clips in which the picture flashes whenever there is a sound."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index % 8)
        at = int(torch.randint(5, 25, (), generator=generator))
        motion = torch.randint(0, 90, (FRAMES, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
        motion[at] += 120
        audio = torch.zeros(16_000)
        first = round((at + 0.5) / 30 * 16_000)
        audio[first : first + 1600] = 0.2 * torch.randn(len(audio[first : first + 1600]), generator=generator)
        return {"motion": motion, "motion_ages": torch.zeros(FRAMES), "envelope_audio": audio}


def tiny_module(out: Path, **changes: Any) -> EnvelopeModule:
    torch.manual_seed(0)
    predictor = EnvelopePredictor.build(
        motion_size=SIZE, map_widths=(6, 6, 6), num_blocks=1, num_keypoints=2, value_width=2,
        hidden_size=24, lstm_size=8, head_width=16, dropout=0.0,
    )  # fmt: skip
    return EnvelopeModule(predictor, out=str(out), **({"lr": 3e-3, "warmup_steps": 2, "total_steps": 4} | changes))


def fit(module: EnvelopeModule, folder: Path, steps: int, resume: Path | None = None) -> lightning.Trainer:
    """Two steps make a pass over the clips."""
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=folder, gradient_clip_val=1.0,
        callbacks=[ModelCheckpoint(dirpath=folder, filename="{step}", save_top_k=-1, every_n_train_steps=2)],
    )  # fmt: skip
    trainer.fit(module, ClipDataModule(FlashingClips(), FlashingClips(), batch_size=4), ckpt_path=resume)
    return trainer


def test_fit_trains_validates_and_saves_a_predictor_that_loads(tmp_path: Path) -> None:
    module = tiny_module(tmp_path / "predictor")
    before = {name: value.clone() for name, value in module.predictor.named_parameters()}
    trainer = fit(module, tmp_path, 2)
    assert {"val_loss", "val_e_l1", "val_correlation", "val_onset_f1"} <= trainer.callback_metrics.keys()
    assert all(torch.isfinite(value) for value in trainer.callback_metrics.values())
    unmoved = [name for name, value in module.predictor.named_parameters() if torch.equal(value, before[name])]
    assert not unmoved
    loaded = EnvelopePredictor.from_pretrained(tmp_path / "predictor")
    item = FlashingClips()[0]
    motion, ages = item["motion"][None], item["motion_ages"][None]
    assert torch.equal(loaded.predict(motion, ages), module.predictor.predict(motion, ages))


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, first, second = (tiny_module(tmp_path / name) for name in "abc")
    fit(whole, tmp_path / "whole", 4)
    fit(first, tmp_path / "half", 2)
    fit(second, tmp_path / "rest", 4, resume=tmp_path / "half" / "step=2.ckpt")
    for ours, theirs in zip(whole.predictor.parameters(), second.predictor.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_training_asks_for_hits_as_early_as_frames_show_them(tmp_path: Path) -> None:
    """Frames that are new 8 ms too early: the target is one value earlier, which `predict` makes good."""
    module = tiny_module(tmp_path)
    generator = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(1, 126, 64, generator=generator), torch.rand(1, 126, generator=generator)
    early = torch.cat([truth[:, 1:], truth[:, -1:]], dim=1)
    expected = envelope_loss(logits, early, rate=125.0, **module.loss_weights)
    ages = torch.full((1, FRAMES), 1 / 60)
    torch.testing.assert_close(module._loss(logits, truth, ages - 0.008), expected, rtol=1e-3, atol=1e-4)
    plain = envelope_loss(logits, truth, rate=125.0, **module.loss_weights)
    torch.testing.assert_close(module._loss(logits, truth, ages), plain)


def test_clips_whose_rates_disagree_are_refused(tmp_path: Path) -> None:
    module = tiny_module(tmp_path, hop_length=160)
    with pytest.raises(ValueError, match="101 envelope values, but 30 motion frames make 126"):
        module.training_step({key: value[None] for key, value in FlashingClips()[0].items()}, 0)


def test_correlation_ignores_clips_in_which_nothing_sounds() -> None:
    truth = torch.stack([torch.zeros(100), torch.linspace(0, 1, 100), torch.linspace(0, 1, 100)])
    ours = torch.stack([torch.rand(100), 0.5 * truth[1], -truth[1]])
    torch.testing.assert_close(correlations(ours, truth), torch.tensor([1.0, -1.0]))


def test_augmentation_keeps_shapes_and_follows_its_generator() -> None:
    motion = torch.randint(0, 255, (6, FRAMES, 3, SIZE, SIZE), dtype=torch.uint8)
    ages = torch.rand(6, FRAMES) / 30
    first, again, other = (augment_motion(motion, ages, step_generator(0, s, 0), frame_rate=30.0) for s in (5, 5, 6))
    assert first[0].shape == motion.shape
    assert first[0].min() >= 0 and first[0].max() <= 1
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_a_still_clip_shows_one_frame_and_stays_about_as_frequent_as_asked() -> None:
    motion = torch.randint(0, 255, (1, 1, 3, SIZE, SIZE), dtype=torch.uint8).expand(400, 4, -1, -1, -1)
    still = augment_motion(motion, torch.zeros(400, 4), step_generator(0, 0, 0), frame_rate=30.0)[2]
    assert abs(still.float().mean() - STILL_SHARE) < 0.04


def test_a_camera_that_does_not_shake_changes_every_frame_alike() -> None:
    clip = torch.rand(1, 3, SIZE, SIZE).expand(5, -1, -1, -1)
    seen = [move_camera(clip, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert all(frames.shape == clip.shape and frames.isfinite().all() for frames in seen)
    steady = [bool((frames == frames[:1]).all()) for frames in seen]
    assert 1 <= sum(steady) <= 15
    assert not any(torch.equal(frames, clip) for frames in seen)


def test_steps_and_ranks_draw_apart() -> None:
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    draws = {torch.rand((), generator=step_generator(*key)).item() for key in keys}
    assert len(draws) == 4


@pytest.mark.parametrize("seed", range(5))
def test_dropped_frames_are_replaced_by_the_one_before_with_its_age(seed: int) -> None:
    times = (torch.arange(FRAMES) + 0.5) / 30
    stamps = torch.floor(times * 25) / 25
    clip = (stamps * 25).round().byte()[:, None, None, None].expand(-1, 3, 2, 2)
    fewer, ages = drop_frames(clip, times - stamps, torch.Generator().manual_seed(seed), frame_rate=30.0)
    torch.testing.assert_close(times - ages, fewer[:, 0, 0, 0] / 25, atol=1e-5, rtol=0)  # a frame keeps its own stamp
    assert (ages >= -1e-6).all()
    assert len(fewer[:, 0, 0, 0].unique()) <= len(clip[:, 0, 0, 0].unique())


class WideClips(FlashingClips):
    """The same in the miniature's size: 4 s, 64 pixels."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = super().__getitem__(index)
        motion, audio = item["motion"].repeat(4, 1, 4, 4), item["envelope_audio"].repeat(4)
        return {"motion": motion, "motion_ages": torch.zeros(4 * FRAMES), "envelope_audio": audio}


def test_the_shipped_configuration_trains_a_step_on_cached_clips(tmp_path: Path) -> None:
    spec = asdict(read_spec(ROOT / "configs/mini/clip.yaml"))
    write_cache(WideClips(), tmp_path / "cache", identity={"spec": spec}, progress=False)
    overrides = {
        "data.init_args.train.init_args.folder": tmp_path / "cache",
        "data.init_args.val.init_args.folder": tmp_path / "cache",
        "data.init_args.batch_size": 4,
        "model.init_args.out": tmp_path / "predictor",
        "trainer.max_steps": 1,
        "trainer.val_check_interval": 1,
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": tmp_path,
        "trainer.logger": "false",
        "trainer.callbacks": "null",
    }
    arguments = [f"--{name}={value}" for name, value in overrides.items()]
    cli = LightningCLI(
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=None,
        args=["fit", "--config", str(ROOT / "configs/mini/envelope.yaml"), *arguments],
    )
    assert sum(parameter.numel() for parameter in cli.model.predictor.parameters()) < 1.5e6
    loaded = EnvelopePredictor.from_pretrained(tmp_path / "predictor")
    assert loaded.num_values(120) == ClipSpec(seconds=4.0).num_envelope_values
