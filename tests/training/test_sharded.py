"""Sharded networks (FSDP) train as whole ones do: weights, checkpoint, previews and what is exported."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from foleygram.pipeline.export import unpack_checkpoint
from foleygram.weights.shards import check_index, is_sharded, read_shards

ROOT = Path(__file__).parents[2]
FSDP = ("--config", ROOT / "configs" / "cluster" / "fsdp.yaml")
ACCELERATOR = "gpu" if torch.cuda.is_available() else "cpu"
SOUND = {
    "class_path": "foleygram.generation.previews.SoundPreviews",
    "init_args": {"num_clips": 2, "num_inference_steps": 2},
}


def exported(folder: Path) -> dict[str, torch.Tensor]:
    """Every weight of a run's networks, by file and name."""
    files = sorted((folder / "release").rglob("*.safetensors"))
    return {f"{path.parent.name}.{name}": value for path in files for name, value in load_file(path).items()}


def same_weights(sharded: Any, whole: Any) -> None:
    """Both runs left the same checkpoint and the same networks, of plain tensors."""
    assert [run.exit_code for run in (whole, sharded)] == [0, 0], sharded.output
    torch.testing.assert_close(sharded.checkpoint["state_dict"], whole.checkpoint["state_dict"], atol=1e-5, rtol=1e-4)
    ours, theirs = exported(sharded.folder), exported(whole.folder)
    assert ours
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stage", ["alignment_start", "generation", "envelope"])
def test_sharded_networks_train_as_unsharded_ones(stage, fit, tmp_path):
    """Over one process; with validation, previews and clipped gradients, and resumed from a checkpoint."""
    changes = {"trainer.accelerator": ACCELERATOR, "trainer.val_check_interval": 2}
    changes |= {"callbacks": [SOUND] if stage == "generation" else []}
    whole = fit(stage, tmp_path / "whole", 4, changes)
    more = (*FSDP, "--trainer.devices", 1, "--trainer.accelerator", ACCELERATOR)
    more = (*more, "--trainer.strategy.init_args.data_parallel_size", 1)
    folder = tmp_path / "sharded"
    assert fit(stage, folder, 2, changes, *more).exit_code == 0
    same_weights(fit(stage, folder, 4, changes, *more, "--ckpt_path", folder / "last.ckpt"), whole)


def test_each_process_can_write_its_shards(fit, tmp_path):
    """Into a folder, from which a run goes on as from a whole file, and from which networks are exported."""
    more = (*FSDP, "--trainer.devices", 1, "--trainer.accelerator", ACCELERATOR)
    more = (*more, "--trainer.strategy.init_args.data_parallel_size", 1)
    changes = {"trainer.accelerator": ACCELERATOR, "trainer.limit_val_batches": 0}
    whole = fit("generation", tmp_path / "whole", 4, changes, *more)
    more = (*more, "--trainer.strategy.init_args.save_distributed_checkpoint", "true")
    folder = tmp_path / "shards"
    assert fit("generation", folder, 2, changes, *more).exit_code == 0
    assert is_sharded(folder / "last.ckpt")
    resumed = fit("generation", folder, 4, changes, *more, "--ckpt_path", folder / "last.ckpt")
    assert resumed.exit_code == 0, resumed.output
    assert not list(folder.glob(".last*"))
    torch.testing.assert_close(exported(folder), exported(whole.folder), atol=1e-5, rtol=1e-4)
    read = read_shards(folder / "last.ckpt")
    torch.testing.assert_close(read["state_dict"], whole.checkpoint["state_dict"], atol=1e-5, rtol=1e-4)
    unpack_checkpoint(folder / "last.ckpt", tmp_path / "release" / "release")
    torch.testing.assert_close(exported(tmp_path / "release"), exported(folder))


@pytest.mark.parametrize(
    ("content", "named"), [(b"cos\nsystem\n(S'exit 1'\ntR.", "os.system"), (b"\x80\x04", "Ran out")]
)
def test_an_index_of_shards_that_holds_code_or_is_damaged_is_refused(content, named, tmp_path):
    (tmp_path / ".metadata").write_bytes(content)
    (tmp_path / "meta.pt").touch()
    for read in (check_index, read_shards):
        with pytest.raises(ValueError, match=f"{tmp_path}.*never run here.*{named}"):
            read(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["alignment_start", "generation"])
def test_two_processes_share_the_networks(stage, fit, arguments, undisturbed, tmp_path):
    """Two processes that hold half of each block: one of twice the batch (stage 1), or of two batches a step."""
    small = {"data.init_args.batch_size": 2, "trainer.accelerator": "cpu"}
    if stage == "generation":
        whole = fit(stage, tmp_path / "whole", 2, small | {"trainer.accumulate_grad_batches": 2})
    else:
        small |= undisturbed
        whole = fit(stage, tmp_path / "whole", 2, small | {"data.init_args.batch_size": 4})
    folder = tmp_path / "sharded"
    more = (*FSDP, "--trainer.devices", 2, "--trainer.accelerator", "cpu")
    typed = arguments(stage, folder, 2, small, *more, "--trainer.strategy.init_args.data_parallel_size", 2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *typed], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)
    same_weights(type(whole)(done.returncode, done.stderr, folder), whole)
