"""What people expect of a training, each through `train.py fit`."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CONFIGS = Path(__file__).parents[2] / "configs"
STAGES = ["alignment_start", "generation", "envelope"]
AVERAGING = "foleygram.training.averaging.LearnedWeightAveraging"


@pytest.mark.parametrize("stage", STAGES)
def test_precisions_and_clipping(stage, fit, tmp_path):
    """bf16 takes other steps than float32, clipping others still; weights stay float32."""
    settings: dict[str, dict[str, Any]] = {
        "plain": {"trainer.gradient_clip_val": None},
        "clipped": {"trainer.gradient_clip_val": 1e-3},
        "bf16": {"trainer.gradient_clip_val": None, "trainer.precision": "bf16-mixed"},
    }
    moments = {}
    for name, changes in settings.items():
        run = fit(stage, tmp_path / name, 2, changes | {"trainer.limit_val_batches": 1})
        assert run.exit_code == 0, run.output
        assert all(v.dtype == torch.float32 for v in run.checkpoint["state_dict"].values() if v.is_floating_point())
        states = run.checkpoint["optimizer_states"][0]["state"].values()
        moments[name] = torch.cat([state["exp_avg"].flatten() for state in states])
    assert moments["clipped"].norm() < 1e-3 < moments["plain"].norm()
    apart = (moments["bf16"] - moments["plain"]).norm() / moments["plain"].norm()
    assert 0 < apart < 0.8  # volumes of vectors that are nearly one are sensitive


def test_fp16_on_a_cpu_is_bf16_with_a_warning(fit, tmp_path):
    with pytest.warns(UserWarning, match="fp16 is not supported on CPU. Using `precision='bf16-mixed'`"):
        assert fit("generation", tmp_path, 2, {"trainer.precision": "16-mixed"}).exit_code == 0


@pytest.mark.gpu
@pytest.mark.parametrize("stage", STAGES)
def test_fp16_scales_its_loss(stage, fit, tmp_path):
    changes = {"trainer.precision": "16-mixed", "trainer.accelerator": "gpu"}
    run = fit(stage, tmp_path, 4, changes)
    assert run.exit_code == 0 and run.checkpoint["MixedPrecision"]["scale"] > 0


@pytest.mark.parametrize("stage", ["alignment_start", "generation"])
def test_gradient_checkpointing_changes_no_number(stage, fit, tmp_path):
    """Dropout included: it is drawn again as it was."""
    runs = [fit(stage, tmp_path / str(on), 2, {"model.init_args.gradient_checkpointing": on}) for on in (False, True)]
    assert [run.exit_code for run in runs] == [0, 0]
    plain, checkpointed = (run.checkpoint["state_dict"] for run in runs)
    torch.testing.assert_close(checkpointed, plain, atol=1e-6, rtol=1e-5)


def test_compiled_blocks_train_as_plain_ones_and_keep_their_names(fit, tmp_path, monkeypatch):
    """By the compiler's tracer alone: what C++ it writes is PyTorch's own affair."""
    plain = fit("generation", tmp_path / "plain", 2)
    compiled, compile_module = [], torch.nn.Module.compile

    def traced(module: torch.nn.Module) -> None:
        compiled.append(type(module).__name__)
        compile_module(module, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    run = fit("generation", tmp_path / "compiled", 2, {"model.init_args.compile": True})
    assert run.exit_code == 0, run.output
    assert compiled == ["StableAudioDiTBlock"] * 3  # two of the DiT, one of the ControlNet
    torch.testing.assert_close(run.checkpoint["state_dict"], plain.checkpoint["state_dict"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_averaged_weights_are_exported_and_current_ones_kept(stage, fit, tmp_path):
    """The average of w1 and w2 is d w1 + (1 - d) w2; frozen parts have none."""
    averaging = {"class_path": AVERAGING, "init_args": {"decay": 0.75}}
    changes = {"callbacks": [averaging], "checkpoint_every": 1, "trainer.limit_val_batches": 0}
    runs = {}
    for steps in (1, 2):
        run = fit(stage, tmp_path / str(steps), steps, changes)
        assert run.exit_code == 0, run.output
        runs[steps] = run.checkpoint
    first, second, average = (runs[1]["state_dict"], runs[2]["state_dict"], runs[2]["averaging_state"])
    learned = {key.removeprefix("module.").replace("/", "."): v for key, v in average.items() if key != "n_averaged"}
    assert learned and set(learned) <= set(second)
    for name, value in learned.items():
        torch.testing.assert_close(value, 0.75 * first[name] + 0.25 * second[name], atol=1e-6, rtol=1e-5)
        assert not torch.equal(value, second[name]) or torch.equal(first[name], second[name]), name
    exported = {}
    (tmp_path / "plain").touch()
    for path in (tmp_path / "2" / "release").rglob("*.safetensors"):
        exported |= load_file(path)
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # readable as the umask allows
    assert any(torch.equal(exported[name.split(".", 1)[1]], value) for name, value in learned.items())


def test_accumulated_batches_make_one_step(fit, tmp_path):
    run = fit("envelope", tmp_path, 3, {"trainer.accumulate_grad_batches": 3, "data.init_args.batch_size": 2})
    assert run.exit_code == 0
    begun = run.checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"]
    assert run.checkpoint["global_step"] == 2 and begun == 6


@pytest.mark.parametrize(
    ("stage", "warmup", "last"), [("alignment_start", 10, 0.0), ("generation", 2, 0.02), ("envelope", 2, 0.02)]
)
def test_schedules_rise_and_fall(stage, warmup, last, fit, tmp_path):
    """Linear warm-up; then linear to 0 (stage 1), or a cosine to 2% (the others)."""
    rates = {}
    for steps in (2, 100):
        changes = {"trainer.limit_val_batches": 0, "trainer.limit_train_batches": 1, "data.init_args.batch_size": 1}
        run = fit(stage, tmp_path / str(steps), steps, changes)
        assert run.exit_code == 0
        (schedule,) = run.checkpoint["lr_schedulers"]
        rates[steps] = [now / base for now, base in zip(schedule["_last_lr"], schedule["base_lrs"], strict=True)]
    assert rates[2] == pytest.approx([min(1.0, 3 / warmup)] * len(rates[2]), rel=2e-3)
    assert rates[100] == pytest.approx([last] * len(rates[100]), abs=1e-6)


def test_tensorboard_comes_by_default_and_a_trial_leaves_nothing(fit, tmp_path, caplog, recwarn):
    folder = str(tmp_path / "board")
    board = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": folder}}
    trial = ("--config", CONFIGS / "cluster" / "trial.yaml")
    tried = fit("generation", tmp_path, 50, {"trainer.logger": [board]}, *trial)
    assert tried.exit_code == 0 and "Running in `fast_dev_run` mode" in caplog.text
    assert "litlogger" not in caplog.text
    assert not [warning for warning in recwarn if "in eval mode" in str(warning.message)]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["tiny.yaml"]
    run = fit("generation", tmp_path, 4, {"trainer.logger": [board]})
    assert run.exit_code == 0
    (events,) = (tmp_path / "board").rglob("events*")
    read = EventAccumulator(str(events))
    read.Reload()
    assert {"loss", "val_loss"} <= set(read.Tags()["scalars"])
    assert [event.step for event in read.Scalars("loss")] == [0, 1, 2, 3]


def test_weights_and_biases_by_a_config(fit, tmp_path):
    """Where the package is missing, one line says so; where it is there, the logger is Lightning's."""
    if importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed: a run would go to its servers")
    run = fit("generation", tmp_path, 2, {}, "--config", CONFIGS / "cluster" / "wandb.yaml")
    expected_text = run.output.splitlines()[-1]
    assert run.exit_code == 1 and "WandbLogger: Requirement 'wandb" in expected_text and "pip install" in expected_text
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU: the test below runs it")
@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_cluster_configs_parse_and_ask_for_gpus(name, fit, tmp_path):
    config = ("--config", CONFIGS / "cluster" / f"{name}.yaml")
    printed = fit("generation", tmp_path, 2, {}, *config, "--print_config")
    expected = {"ddp": "DDPStrategy", "fsdp": "ShardedStrategy"}[name]
    assert printed.exit_code == 0 and f".{expected}\n" in printed.output
    run = fit("generation", tmp_path, 2, {}, *config)
    assert run.exit_code == 1 and "gpu" in run.output.splitlines()[-1].lower()


@pytest.mark.parametrize("stage", STAGES)
def test_a_deterministic_run_depends_on_its_seed_alone(stage, fit, tmp_path):
    changes = {"trainer.deterministic": True, "trainer.limit_val_batches": 0}
    first, again = (fit(stage, tmp_path / name, 2, changes).checkpoint["state_dict"] for name in ("first", "again"))
    other = fit(stage, tmp_path / "other", 2, changes | {"seed_everything": 77}).checkpoint["state_dict"]
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_the_table_counts_trained_and_frozen_parameters(fit, tmp_path):
    run = fit("generation", tmp_path, 2)
    rows = {words[0]: words[-2:] for line in run.output.splitlines() if len(words := line.split()) >= 3}
    trained = sum(value.numel() for value in run.checkpoint["state_dict"].values())
    assert rows["part"] == ["trained", "frozen"]
    assert rows["transformer"][0] == rows["projectors"][1] == rows["controlnet"][1] == "0"
    assert rows["all"][0] == f"{trained:,}"
    assert int(rows["transformer"][1].replace(",", "")) > 10_000
