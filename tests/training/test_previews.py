"""Validation is heard and seen: what the event file holds is read back."""

import io
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
import torch
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from foleygram.datasets.cache import CachedClips
from foleygram.generation.autoencoder import decode_latents
from foleygram.generation.backbone import load_backbone
from foleygram.training.previews import Preview, show

SOUND = {
    "class_path": "foleygram.generation.previews.SoundPreviews",
    "init_args": {"num_clips": 2, "num_inference_steps": 3, "sigma_min": 0.05, "sigma_max": 80.0},
}
CURVES = {"class_path": "foleygram.envelope.previews.EnvelopePreviews", "init_args": {"num_clips": 3}}


def board(folder: Path) -> dict[str, Any]:
    return {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": str(folder)}}


def events(folder: Path) -> EventAccumulator:
    """All that one run has logged below `folder`."""
    (path,) = folder.rglob("events*")
    read = EventAccumulator(str(path), size_guidance={"images": 0, "audio": 0})
    read.Reload()
    return read


def sound(event: Any) -> tuple[np.ndarray, int]:
    """Samples and rate of a logged sound."""
    return soundfile.read(io.BytesIO(event.encoded_audio_string), dtype="float32")


def test_stage_2_previews_hold_generated_and_original_sound(fit, clips, tiny_release, tmp_path):
    run = fit("generation", tmp_path, 6, {"trainer.logger": [board(tmp_path)], "callbacks": [SOUND]})
    assert run.exit_code == 0, run.output
    read = events(tmp_path)
    assert sorted(read.Tags()["audio"]) == [f"clip {n}/{kind}" for n in (0, 1) for kind in ("generated", "original")]
    assert sorted(read.Tags()["images"]) == ["clip 0/plot", "clip 1/plot"]
    for tag in ("clip 0/generated", "clip 1/original"):
        assert [event.step for event in read.Audio(tag)] == [3, 6]
    latents = torch.stack(
        [clip["latents_mean"] for clip in itertools.islice(CachedClips(clips, fields=("latents_mean",)), 2)]
    )
    with torch.no_grad():
        expected = decode_latents(load_backbone(str(tiny_release)).vae, latents, 12 * 512).clamp(-1, 1)[:, 0]
    for number in (0, 1):
        original, rate = sound(read.Audio(f"clip {number}/original")[-1])
        assert rate == 16_000 and np.abs(original - expected[number].numpy()).max() < 1e-3
        before, after = (sound(event)[0] for event in read.Audio(f"clip {number}/generated"))
        assert before.shape == after.shape == original.shape and np.isfinite(after).all() and after.std() > 0
        assert not np.array_equal(before, after) and not np.array_equal(after, original)
    picture = imread(io.BytesIO(read.Images("clip 0/plot")[-1].encoded_image_string))
    assert picture.shape[0] > 300 and picture.shape[1] > 500 and len(np.unique(picture[..., :3])) > 50


def test_looking_on_changes_nothing(fit, tmp_path):
    """The weights are those of a run that shows nothing."""
    shown = fit("generation", tmp_path / "shown", 4, {"callbacks": [SOUND]})
    plain = fit("generation", tmp_path / "plain", 4)
    for name, value in plain.checkpoint["state_dict"].items():
        assert torch.equal(value, shown.checkpoint["state_dict"][name]), name


def test_envelopes_are_seen(fit, tmp_path):
    run = fit("envelope", tmp_path, 3, {"trainer.logger": [board(tmp_path)], "callbacks": [CURVES]})
    assert run.exit_code == 0, run.output
    read = events(tmp_path)
    assert sorted(read.Tags()["images"]) == [f"clip {number}/plot" for number in range(3)]
    assert read.Tags()["audio"] == []
    (event,) = read.Images("clip 2/plot")
    assert event.step == 3 and imread(io.BytesIO(event.encoded_image_string)).std() > 0.01


class Shown:
    """What was given to Weights & Biases to show: sounds with their rate, and pictures."""

    def __init__(self, data: Any, caption: Any = None, sample_rate: Any = None) -> None:
        self.data, self.sample_rate = data, sample_rate


class Board(WandbLogger):
    """Lightning's own logger, which sends nothing."""

    def __init__(self) -> None:
        self.sent: dict[str, tuple[Shown, int]] = {}

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        for name, ((shown,), at) in ((name, (shown, step)) for name, shown in metrics.items()):
            self.sent[name] = (shown, at)


def test_weights_and_biases_are_given_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Audio=Shown, Image=Shown))
    board, sound = Board(), 0.1 * torch.randn(4000)
    show(board, "clip 0", Preview({"generated": sound}, {"true": torch.rand(50)}, 16_000, 125.0), 7)
    assert sorted(board.sent) == ["clip 0/generated", "clip 0/plot"]
    (heard, step), (seen, _) = board.sent["clip 0/generated"], board.sent["clip 0/plot"]
    assert np.array_equal(heard.data, sound.numpy()) and heard.sample_rate == 16_000 and step == 7
    assert isinstance(seen.data, Figure)
