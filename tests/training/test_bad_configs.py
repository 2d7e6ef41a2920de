"""An impossible training ends with one line that names the value or the file, and leaves nothing behind."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from foleygram.training.steps import cosine_schedule, linear_schedule


class Code:
    """What a hostile checkpoint holds beside tensors."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch ran",)


def _cut(good: Path, bad: Path) -> None:
    bad.write_bytes(good.read_bytes()[:3000])


def _with(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Path], None]:
    """Write the good checkpoint as `change` leaves it."""

    def write(good: Path, bad: Path) -> None:
        content = torch.load(good, weights_only=True)
        torch.save(change(content) or content, bad)

    return write


CHECKPOINTS = {
    "cut": (_cut, "truncated or not a PyTorch checkpoint"),
    "empty": (lambda good, bad: bad.touch(), "truncated or not a PyTorch checkpoint"),
    "text": (lambda good, bad: bad.write_text("junk" * 99), "not a PyTorch checkpoint"),
    "absent": (lambda good, bad: None, "no such weight file"),
    "folder": (lambda good, bad: bad.mkdir(), "no such weight file"),
    "code": (_with(lambda content: {"run": Code()}), "holds code beside tensors, which is never run"),
    "list": (_with(lambda content: [1, 2]), "not a Lightning checkpoint"),
    "weights": (_with(lambda content: content["state_dict"]), "not a Lightning checkpoint"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("good")


@pytest.mark.parametrize("damage", CHECKPOINTS)
def test_a_checkpoint_that_is_none_is_named(
    damage: str, fit: Callable[..., Any], good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if not (good / "last.ckpt").exists():
        assert fit("envelope", good, 2).exit_code == 0
    write, message = CHECKPOINTS[damage]
    bad = tmp_path / "bad.ckpt"
    write(good / "last.ckpt", bad)
    stopped = fit("envelope", tmp_path / "run", 4, {}, "--ckpt_path", bad, "--weights_only", "false")
    assert stopped.exit_code == 1
    last = stopped.output.splitlines()[-1]
    assert last.startswith(f"foleygram: {bad}: ") and message in last
    assert not (tmp_path / "ran").exists() and not (tmp_path / "run" / "release").exists()


def test_a_checkpoint_of_other_sizes_is_refused(fit: Callable[..., Any], tmp_path: Path) -> None:
    assert fit("envelope", tmp_path, 2).exit_code == 0
    larger = {"model.init_args.predictor.init_args.hidden_size": 16}
    stopped = fit("envelope", tmp_path, 4, larger, "--ckpt_path", tmp_path / "last.ckpt")
    assert stopped.exit_code == 1 and stopped.checkpoint["global_step"] == 2
    assert "of another network" in stopped.output.splitlines()[-1] and "size mismatch" in stopped.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.init_args.total_steps": 0}, "total_steps 0: give"),
        ({"model.init_args.warmup_steps": -1}, "warmup_steps -1 of"),
        ({"data.init_args.train.init_args.fields": ["motion"]}, "'motion_ages' is missing; if it is a field"),
        ({"data.init_args.batch_size": -2}, "batch_size=-2"),
        ({"data.init_args.train.init_args.folder": "{damaged}"}, "manifest.json: no manifest of a cache (Expecting"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named(
    changes: dict[str, Any], message: str, fit: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text('{"shards": [')
    filled = {key: str(tmp_path) if value == "{damaged}" else value for key, value in changes.items()}
    stopped = fit("envelope", tmp_path / "run", 2, filled)
    assert stopped.exit_code == 1 and message in stopped.output.splitlines()[-1], stopped.output
    assert not (tmp_path / "run" / "release").exists()


@pytest.mark.parametrize("schedule", [linear_schedule, cosine_schedule])
def test_a_run_may_begin_without_a_warm_up(schedule: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    assert schedule(optimizer, warmup_steps=0, total_steps=10).get_last_lr() == [1.0]
    assert not caplog.records
    assert schedule(optimizer, warmup_steps=100, total_steps=10).get_last_lr() == [0.01]
    assert "warmup_steps 100 of total_steps 10" in caplog.text
