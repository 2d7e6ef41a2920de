"""`foleygram train` on a shipped YAML: it runs, resumes, and obeys what is typed before what a checkpoint recalls."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.spec import read_spec

CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG = CONFIGS / "mini" / "autoencoder.yaml"
OTHERS = ("*/clip.yaml", "*/evaluation.yaml", "cluster/*")
TRAINED = sorted(set(CONFIGS.glob("*/*.yaml")) - {path for pattern in OTHERS for path in CONFIGS.glob(pattern)})


def fit(folder: Path, rendered: Path, steps: int, *more: object) -> None:
    sounds = "data.init_args.{}.init_args"
    arguments = ["--config", CONFIG, "--trainer.max_steps", steps, "--model.init_args.total_steps", steps]
    arguments += ["--model.init_args.out", folder / "release", "--trainer.default_root_dir", folder]
    arguments += ["--trainer.callbacks.init_args.dirpath", folder, "--trainer.logger", "false"]
    arguments += ["--trainer.callbacks.init_args.every_n_train_steps", 1, "--trainer.val_check_interval", 1]
    arguments += ["--data.init_args.batch_size", 2]
    for part in ("train", "val"):
        arguments += [f"--{sounds.format(part)}.root", rendered, f"--{sounds.format(part)}.num_samples", 2048]
    result = CliRunner().invoke(app, ["train", "fit", *map(str, [*arguments, *more])], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.filterwarnings("ignore")
def test_a_longer_schedule_holds_on_a_resumed_run(rendered: Path, tmp_path: Path) -> None:
    fit(tmp_path, rendered, 2)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["hyper_parameters"]["total_steps"] == 2
    fit(tmp_path, rendered, 4, "--ckpt_path", tmp_path / "last.ckpt")
    resumed = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert resumed["global_step"] == 4 and resumed["hyper_parameters"]["total_steps"] == 4
    assert (tmp_path / "release" / "vae" / "config.json").is_file()


def test_a_missing_cache_is_one_line(tmp_path: Path) -> None:
    folder = "data.init_args.train.init_args.folder"
    config = CONFIGS / "mini" / "envelope.yaml"
    result = CliRunner().invoke(app, ["train", "fit", "--config", str(config), f"--{folder}", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith("manifest.json: no cache there; write one with `foleygram cache`")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("config", TRAINED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_shipped_yaml_parses(config: Path) -> None:
    result = CliRunner().invoke(app, ["train", "fit", "--config", str(config), "--print_config"])
    assert result.exit_code == 0 and "class_path: foleygram." in result.output, result.output


@pytest.mark.parametrize("spec", sorted(CONFIGS.glob("*/clip.yaml")), ids=lambda path: path.parent.name)
def test_every_clip_has_lengths(spec: Path) -> None:
    assert read_spec(spec).num_latents == {"mini": 125, "full_band": 115, "greatest_hits": 216}[spec.parent.name]


def test_class_paths_of_version_0_1_still_load(tmp_path: Path) -> None:
    renamed = {
        "foleygram.pipeline.release": "foleygram.checkpoints",
        "foleygram.training.best_checkpoint": "foleygram.training.best",
        "foleygram.features.encoder": "foleygram.features",
    }
    found = set()
    for config in (CONFIGS / "finetune").glob("*.yaml"):
        text = config.read_text().replace("../mini/clip.yaml", str(CONFIGS / "mini" / "clip.yaml"))
        for new, old in renamed.items():
            found |= {old} if new in text else set()
            text = text.replace(new, old)
        (tmp_path / config.name).write_text(text)
        result = CliRunner().invoke(
            app, ["train", "fit", "--config", str(tmp_path / config.name), "--print_config"], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
    assert found == set(renamed.values())


@pytest.mark.parametrize("objective", ["GramLoss.eps=0.0", "TriangleLoss.root=false", "AnchorInfoNCE.anchor=video"])
def test_an_objectives_own_options_are_known_to_the_command_line(objective: str) -> None:
    name, option = objective.split(".", 1)
    chosen = f"--model.init_args.objective=foleygram.alignment.losses.{name}"
    options = [f"--model.init_args.objective.init_args.{given}" for given in (option, "temperature=0.2")]
    config = str(CONFIGS / "mini" / "alignment.yaml")
    result = CliRunner().invoke(app, ["train", "fit", "--config", config, chosen, *options, "--print_config"])
    assert result.exit_code == 0 and option.replace("=", ": ") in result.output, result.output
    assert "temperature: 0.2" in result.output
