"""Few-step trainings in tests: a short fit, and a shipped config from the command line."""

from pathlib import Path

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import ClipDataModule


def fit(stage: lightning.LightningModule, clips: CachedClips, folder: Path, max_steps: int, **options: object) -> None:
    """Train `stage` on the CPU, with a checkpoint in `folder` every two steps."""
    callbacks = [ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=2)]
    lightning.Trainer(
        max_steps=max_steps, accelerator="cpu", logger=False, callbacks=callbacks, enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(stage, ClipDataModule(clips, batch_size=2, seed=1), **options)  # fmt: skip


def train_shipped_config(name: str, clips: CachedClips, release: Path, folder: Path, **options: object) -> list[str]:
    """One step of `configs/mini/NAME.yaml` on `clips` from `release`; the names of the parts that it writes."""
    model, data = "--model.init_args", "--data.init_args.{}.init_args.{}={}"
    folders = {"folder": clips.folder, "spec": release / "model_index.json", "encoders": release}
    values = [data.format(part, key, value) for part in ("train", "val") for key, value in folders.items()]
    values += [f"{model}.{part}.init_args.folder={release}" for part in ("projectors", "controlnet")]
    values += [f"{model}.backbone.init_args.pretrained_model_name_or_path={release}", f"{model}.out={folder / 'out'}"]
    values += [f"{model}.{key}={value}" for key, value in options.items()]
    trainer = {"max_steps": 1, "precision": "32-true", "val_check_interval": 1, "default_root_dir": folder}
    values += [f"--trainer.{key}={value}" for key, value in trainer.items()]
    command = ["train", "fit", "--config", f"configs/mini/{name}.yaml", *values, "--data.init_args.batch_size=2"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return sorted(path.name for path in (folder / "out").iterdir())
