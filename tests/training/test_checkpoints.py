"""Checkpoints are whole or not there, and only a run like the one that wrote them resumes."""

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from foleygram.training.checkpoints import AtomicCheckpoints


def test_a_process_killed_while_it_writes_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    path, first = tmp_path / "last.ckpt", {"step": 1, "weights": torch.randn(1000)}
    AtomicCheckpoints().save_checkpoint(first, path)

    def half_of(checkpoint, target):
        whole = path.read_bytes()
        target.write_bytes(whole[: len(whole) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(torch, "save", half_of)
        AtomicCheckpoints().save_checkpoint({"step": 2}, path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(torch.load(path, weights_only=True)["weights"], first["weights"])
    AtomicCheckpoints().save_checkpoint({"step": 3}, path)
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(path, weights_only=True) == {"step": 3}


@contextmanager
def small_files(folder: Path) -> Iterator[None]:
    """The kernel refuses to write files longer than a few kilobytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """The file system of `folder`, a small one of its own, has no room for a second checkpoint."""
    filler = folder / "filler"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    filler.write_bytes(b"0" * (free - 48 * 1024))
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(params=[small_files, full_disk], ids=lambda full: full.__name__)
def disk(request, tmp_path):
    """A folder to train in, and what makes writing there fail."""
    folder = tmp_path / "run"
    folder.mkdir()
    if request.param is small_files:
        yield folder, request.param
        return
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    yield folder, request.param
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_an_error_and_the_last_checkpoint_resumes(disk, fit):
    folder, full = disk
    assert fit("generation", folder, 2).exit_code == 0
    with full(folder):
        stopped = fit("generation", folder, 6, {}, "--ckpt_path", folder / "last.ckpt")
    assert stopped.exit_code == 1
    message = stopped.output.splitlines()[-1]
    assert message.startswith(f"foleygram: {folder / 'last.ckpt'}: checkpoint could not be written (")
    assert "the one written before is kept); free some space, then resume with --ckpt_path last" in message
    assert stopped.checkpoint["global_step"] == 2
    assert not list(folder.glob(".last.*"))
    resumed = fit("generation", folder, 6, {}, "--ckpt_path", folder / "last.ckpt")
    assert resumed.exit_code == 0 and resumed.checkpoint["global_step"] == 6


def test_another_arrangement_is_named_and_refused_unless_asked_for(fit, tmp_path):
    assert fit("generation", tmp_path, 2).exit_code == 0
    resume = ("--ckpt_path", tmp_path / "last.ckpt")
    changes = {"data.init_args.batch_size": 2, "trainer.accumulate_grad_batches": 3}
    refused = fit("generation", tmp_path, 4, changes, *resume)
    assert refused.exit_code == 1
    assert refused.output.splitlines()[-1] == (
        "foleygram: settings differ from the checkpoint's: batch size per process 4 -> 2, accumulated batches 1 -> "
        "3; data order and contrastive negatives would differ from there on. Resume with the same settings, or pass "
        "--resume.allow_change true"
    )
    assert refused.checkpoint["global_step"] == 2
    allowed = fit("generation", tmp_path, 4, changes, *resume, "--resume.allow_change", "true")
    assert allowed.exit_code == 0 and allowed.checkpoint["global_step"] == 4
