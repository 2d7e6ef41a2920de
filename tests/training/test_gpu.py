"""Every stage trains on a GPU: in bf16, compiled, with checkpointed blocks, on several with DDP and with FSDP."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
STAGES = ["alignment_start", "generation", "envelope"]
ON_GPU = {"trainer.accelerator": "gpu"}


def losses(run):
    """The training losses of a run, by step."""
    (log,) = run.folder.glob("log/*/metrics.csv")
    with log.open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row.get("loss")]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_cpus_losses(stage, fit, undisturbed, tmp_path):
    """Without dropout, which every device draws for itself."""
    changes = {"trainer.limit_val_batches": 0, "trainer.log_every_n_steps": 1}
    changes |= undisturbed if stage == "alignment_start" else {}
    if stage == "envelope":
        changes |= {"model.init_args.predictor.init_args.dropout": 0.0}
    runs = fit(stage, tmp_path / "cpu", 4, changes), fit(stage, tmp_path / "gpu", 4, changes | ON_GPU)
    assert [run.exit_code for run in runs] == [0, 0]
    assert losses(runs[1]) == pytest.approx(losses(runs[0]), rel=0.02)


@pytest.mark.parametrize("stage", STAGES)
def test_bf16_with_validation(stage, fit, tmp_path):
    run = fit(stage, tmp_path, 4, ON_GPU | {"trainer.precision": "bf16-mixed", "trainer.val_check_interval": 2})
    assert run.exit_code == 0, run.output
    assert all(value.isfinite().all() for value in run.checkpoint["state_dict"].values())


@pytest.mark.parametrize("stage", ["alignment_start", "generation"])
def test_compiled_and_checkpointed_blocks(stage, fit, tmp_path):
    options = {"model.init_args.compile": True, "model.init_args.gradient_checkpointing": True}
    assert fit(stage, tmp_path, 2, ON_GPU | options | {"trainer.precision": "bf16-mixed"}).exit_code == 0


@pytest.mark.parametrize("config", ["ddp", "fsdp"])
@pytest.mark.parametrize("stage", STAGES)
def test_all_gpus_share_a_run(stage, config, arguments, tmp_path):
    """Over NCCL, validation and export included; on one GPU with a world of one."""
    count = torch.cuda.device_count()
    changes = ON_GPU | {"trainer.precision": "bf16-mixed", "data.init_args.batch_size": 1, "trainer.devices": count}
    more = ["--config", ROOT / "configs" / "cluster" / f"{config}.yaml", "--trainer.devices", count]
    if config == "fsdp":
        more += ["--trainer.strategy.init_args.data_parallel_size", count]
    typed = arguments(stage, tmp_path, 4, changes, *more)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "train.py", *typed], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list((tmp_path / "release").rglob("*.safetensors"))
