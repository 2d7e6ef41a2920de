"""`foleygram train` on a shipped YAML: it runs, resumes, and obeys what is typed before what a checkpoint recalls."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import Result
from lightning.pytorch.loggers import CSVLogger
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.pipeline.release import read_index
from foleygram.spec import as_spec, read_spec

CONFIGS = Path(__file__).parents[1] / "configs"
CONFIG = CONFIGS / "mini" / "autoencoder.yaml"
OTHERS = ("*/clip.yaml", "*/evaluation.yaml", "*/test.yaml", "cluster/*")
TRAINED = sorted(set(CONFIGS.glob("*/*.yaml")) - {path for pattern in OTHERS for path in CONFIGS.glob(pattern)})


class SecondLogger(CSVLogger):
    """A logger of a kind that is not among the usual ones; like W&B's, its folder need not be named."""

    def __init__(self, name: str, save_dir: str = ".") -> None:
        super().__init__(save_dir, name)


def attempt(folder: Path, rendered: Path, steps: int, *more: object) -> Result:
    sounds = "data.init_args.{}.init_args"
    arguments = ["--config", CONFIG, "--trainer.max_steps", steps, "--model.init_args.total_steps", steps]
    arguments += ["--model.init_args.out", folder / "release", "--trainer.default_root_dir", folder]
    arguments += ["--trainer.callbacks.init_args.every_n_train_steps", 1, "--trainer.val_check_interval", 1]
    arguments += ["--data.init_args.batch_size", 2]
    for part in ("train", "val"):
        arguments += [f"--{sounds.format(part)}.root", rendered, f"--{sounds.format(part)}.num_samples", 2048]
    return CliRunner().invoke(app, ["train", "fit", *map(str, [*arguments, *more])], catch_exceptions=False)


def fit(folder: Path, rendered: Path, steps: int, *more: object) -> None:
    result = attempt(folder, rendered, steps, *more)
    assert result.exit_code == 0, result.output


def printed_config(*arguments: object) -> dict:
    result = CliRunner().invoke(
        app, ["train", "fit", "--config", str(CONFIG), *map(str, arguments), "--print_config"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return yaml.safe_load(result.stdout)


@pytest.mark.filterwarnings("ignore")
def test_a_longer_schedule_holds_on_a_resumed_run(rendered: Path, tmp_path: Path) -> None:
    fit(tmp_path, rendered, 2)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["hyper_parameters"]["total_steps"] == 2
    fit(tmp_path, rendered, 4, "--ckpt_path", tmp_path / "last.ckpt")
    resumed = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert resumed["global_step"] == 4 and resumed["hyper_parameters"]["total_steps"] == 4
    assert (tmp_path / "release" / "vae" / "config.json").is_file()


@pytest.mark.filterwarnings("ignore")
def test_the_root_folder_holds_all_that_a_run_writes_and_an_earlier_run_is_kept(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = tmp_path / "run"
    second = f"--trainer.logger={__name__}.SecondLogger"
    fit(folder, rendered, 2, second, "--trainer.logger.init_args.name=second")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert {path.name for path in folder.iterdir()} == {"last.ckpt", "log", "release", "second", "tensorboard"}
    before = (folder / "last.ckpt").read_bytes()
    refused = attempt(folder, rendered, 2)
    assert refused.exit_code == 1 and (folder / "last.ckpt").read_bytes() == before
    message = refused.stderr.splitlines()[-1]
    assert message.startswith(f"foleygram: {folder / 'last.ckpt'}: of an earlier run") and "--ckpt_path last" in message
    fit(folder, rendered, 3, "--ckpt_path", "last")
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 3
    fit(tmp_path / "new", rendered, 1, "--ckpt_path", "last")  # where there is nothing, the run starts anew
    assert (tmp_path / "new" / "last.ckpt").is_file()


@pytest.mark.parametrize("option", ["--optimizer=AdamW", "--lr_scheduler=StepLR", "--optimizer.lr"])
def test_another_optimiser_is_refused_with_the_rates_to_set(option: str) -> None:
    result = CliRunner().invoke(app, ["train", "fit", "--config", str(CONFIG), option, "1"])
    assert result.exit_code == 1
    assert "a stage builds its own optimiser" in result.stderr and "--model.init_args.lr" in result.stderr


@pytest.mark.parametrize("form", ["--trainer.callbacks={}", "--trainer.callbacks {}"])
def test_a_callback_on_the_command_line_is_one_more(form: str) -> None:
    typed = form.format("lightning.pytorch.callbacks.EarlyStopping").split()
    options = ["--trainer.callbacks.init_args.monitor=val_loss", "--trainer.callbacks.init_args.patience=7"]
    callbacks = printed_config(*typed, *options)["trainer"]["callbacks"]
    assert [one["class_path"].rpartition(".")[2] for one in callbacks] == ["ModelCheckpoint", "EarlyStopping"]
    assert callbacks[0]["init_args"]["every_n_train_steps"] == 250 and callbacks[1]["init_args"]["patience"] == 7
    assert printed_config("--trainer.callbacks=null")["trainer"]["callbacks"] is None


def test_the_config_for_weights_and_biases_adds_a_logger(tmp_path: Path) -> None:
    """Under another class, because wandb need not be installed."""
    text = (CONFIGS / "cluster" / "wandb.yaml").read_text().replace("project", "name")
    first, again = tmp_path / "first.yaml", tmp_path / "again.yaml"
    first.write_text(
        text.replace("lightning.pytorch.loggers.WandbLogger", f"{__name__}.SecondLogger").replace("project", "name")
    )
    again.write_text(first.read_text().replace("foleygram}", "another}"))
    loggers = printed_config("--config", first, "--config", again)["trainer"]["logger"]
    assert [one["init_args"]["name"] for one in loggers] == ["foleygram", "another"]


@pytest.mark.parametrize("config", TRAINED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_paths_in_every_yaml_count_from_the_working_directory(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = config.read_text()
    assert "../" not in text and "dirpath" not in text and "save_dir" not in text
    monkeypatch.chdir(tmp_path)
    for named in re.findall(r"\bspec: ([^,}\s]+)", text):
        assert as_spec(named) == read_spec(CONFIGS.parent / named)


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


@pytest.mark.filterwarnings("ignore")
def test_the_evaluation_is_a_stage(tiny_release: Path, rendered: Path, tmp_path: Path) -> None:
    spec = tmp_path / "clip.yaml"
    spec.write_text(yaml.safe_dump(read_index(tiny_release)["spec"]))
    changes = {
        "model.init_args.checkpoint": tiny_release, "model.init_args.num_inference_steps": 1,
        "data.init_args.test.init_args.root": rendered, "data.init_args.test.init_args.spec": spec,
        "trainer.accelerator": "cpu", "trainer.default_root_dir": tmp_path / "run",
    }  # fmt: skip
    logged = []
    for batch in (1, 2):
        arguments = [f"--{key}={value}" for key, value in changes.items()]
        config = str(CONFIGS / "mini" / "test.yaml")
        result = CliRunner().invoke(
            app, ["train", "test", "--config", config, f"--data.init_args.batch_size={batch}", *arguments],
            catch_exceptions=False,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        rows = (tmp_path / "run" / "log" / f"version_{batch - 1}" / "metrics.csv").read_text().splitlines()
        logged.append(dict(zip(rows[0].split(","), rows[1].split(","), strict=True)))
    assert float(logged[0]["true/num_clips"]) == len(GreatestHits(rendered, "test", spec=str(spec), fields=("audio",)))
    assert {"predicted/envelope_l1", "true/envelope_correlation"} <= logged[0].keys()
    for name, value in logged[0].items():
        assert float(value) == pytest.approx(float(logged[1][name]), rel=1e-3), name
