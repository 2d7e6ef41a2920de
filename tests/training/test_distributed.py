"""Two processes train as one does: the same losses, the same gradients, the same weights."""

import csv
from pathlib import Path
from typing import Any

import torch

TWO = {"trainer.devices": 2, "trainer.strategy": "ddp_fork"}
BETA = {"alignment_start": 0.9, "generation": 0.9}
"""AdamW's first moment after one step is (1 - beta) times the gradient."""


def logged(folder: Path, name: str) -> list[float]:
    """What a run's log says of a figure, step after step."""
    (path,) = folder.rglob("metrics.csv")
    return [float(row[name]) for row in csv.DictReader(path.read_text().splitlines()) if row.get(name)]


def gradients(run: Any, stage: str) -> dict[int, torch.Tensor]:
    """The gradients of a run's only step, parameter by parameter."""
    states = run.checkpoint["optimizer_states"][0]["state"]
    return {number: state["exp_avg"] / (1 - BETA[stage]) for number, state in states.items()}


def same_steps(stage: str, one: Any, two: Any) -> None:
    """One step gave equal losses and gradients, to 1e-5."""
    assert one.exit_code == two.exit_code == 0, one.output + two.output
    torch.testing.assert_close(logged(two.folder, "loss"), logged(one.folder, "loss"), atol=1e-5, rtol=1e-5)
    expected, obtained = gradients(one, stage), gradients(two, stage)
    assert expected.keys() == obtained.keys() and any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for number, gradient in expected.items():
        torch.testing.assert_close(obtained[number], gradient, atol=1e-5, rtol=1e-5, msg=f"parameter {number}")


def test_the_contrastive_batch_is_global(fit, undisturbed, tmp_path):
    """Two processes of 4 against one of 8, in which captions repeat from process to process; both keep the mask."""
    order = torch.randperm(13, generator=torch.Generator().manual_seed(1))[:8] % 4  # material, and so the caption
    assert set(order[:4].tolist()) & set(order[4:].tolist())
    step = undisturbed | {"trainer.gradient_clip_val": None, "trainer.limit_val_batches": 0}
    one = fit("alignment_start", tmp_path / "one", 1, step | {"data.init_args.batch_size": 8})
    two = fit("alignment_start", tmp_path / "two", 1, step | TWO)
    same_steps("alignment_start", one, two)
    unmasked = {"model.init_args.objective.init_args.mask_equal": False}
    other = fit("alignment_start", tmp_path / "unmasked", 1, step | TWO | unmasked)
    assert abs(logged(other.folder, "loss")[0] - logged(two.folder, "loss")[0]) > 0.01


def test_processes_without_a_negative_stay_together(fit, tmp_path):
    """Data-anchor matching with one clip for each process, which has no other to be matched with."""
    head = "foleygram.alignment.matching.DataAnchorMatching"
    widths = {"video_width": 16, "audio_width": 16, "text_width": 16, "num_frames": 2}
    changes = {"data.init_args.batch_size": 1, "trainer.limit_val_batches": 0}
    changes |= {"model.init_args.text_encoder.init_args.add_cross_attention": True}
    changes |= {"model.init_args.matching": {"class_path": head, "init_args": widths}}
    run = fit("alignment_start", tmp_path, 3, changes | TWO)
    assert run.exit_code == 0, run.output
    assert logged(tmp_path, "matching_loss") == [0.0] * 3 and run.checkpoint["global_step"] == 2


def test_accumulation_keeps_the_negatives_of_each_batch(fit, undisturbed, tmp_path):
    """Two accumulated batches of 4 are the mean of two small losses, not the loss of 8 clips."""
    step = undisturbed | {"trainer.gradient_clip_val": None, "trainer.limit_val_batches": 0}
    two = fit("alignment_start", tmp_path / "two", 1, step | TWO)
    accumulated = fit("alignment_start", tmp_path / "sum", 1, step | {"trainer.accumulate_grad_batches": 2})
    apart = max(
        (gradients(two, "alignment_start")[number] - gradient).abs().max()
        for number, gradient in gradients(accumulated, "alignment_start").items()
    )
    assert apart > 1e-3


def test_stage_two_is_one_run_however_it_is_spread(fit, tmp_path):
    """Two processes of 2 clips are one process that accumulates two batches of 2: clips, draws, gradients, weights."""
    two_clips = {"data.init_args.batch_size": 2, "trainer.gradient_clip_val": None}
    step = two_clips | {"trainer.limit_val_batches": 0}
    one = fit("generation", tmp_path / "one", 1, step | {"trainer.accumulate_grad_batches": 2})
    two = fit("generation", tmp_path / "two", 1, step | TWO)
    expected, obtained = gradients(one, "generation"), gradients(two, "generation")
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for number, gradient in expected.items():
        torch.testing.assert_close(obtained[number], gradient, atol=1e-5, rtol=1e-5)


def test_a_pass_of_two_processes_has_whole_batches_alone(fit, tmp_path):
    """13 clips: 3 steps of 2 x 2, the last clip left out; and a run resumes only with as many processes."""
    changes = {"data.init_args.batch_size": 2, "trainer.max_epochs": 1, "trainer.check_val_every_n_epoch": 1}
    run = fit("envelope", tmp_path, -1, changes | TWO | {"trainer.val_check_interval": 1.0})
    assert run.exit_code == 0, run.output
    assert run.checkpoint["global_step"] == 2 and len(logged(tmp_path, "loss")) == 3
    assert run.checkpoint["run"] == {"batch size per process": 2, "processes": 2, "accumulated batches": 1}
    refused = fit("envelope", tmp_path, 4, {"data.init_args.batch_size": 2}, "--ckpt_path", tmp_path / "last.ckpt")
    assert refused.exit_code == 1
    assert "settings differ from the checkpoint's: processes 2 -> 1; data order" in refused.output
