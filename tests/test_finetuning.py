"""The recipe of docs/finetuning.md: people's own clips through both stages, from the shipped YAMLs and a CSV file."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.synthetic.drumstick.render import render_dataset

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs" / "finetune"


def own_clips(source: Path, out: Path, num_val: int) -> list[str]:
    """The videos of a rendered folder, and the table of their captions."""
    out.mkdir()
    names = sorted(path.name for path in source.glob("*_denoised.mp4"))
    for name in names:
        (out / name).write_bytes((source / name).read_bytes())
    with (out / "captions.csv").open("w", newline="") as file:
        rows = [[name, f"Take {n}.", "val" if n < num_val else "train"] for n, name in enumerate(names)]
        csv.writer(file).writerows([["file", "caption", "split"], *rows])
    return names


def without_sound(source: Path, out: Path) -> None:
    with av.open(str(source)) as read, av.open(str(out), "w") as written:
        picture = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                written.mux(packet)


@pytest.fixture
def place(rendered, tiny_release, tmp_path, monkeypatch):
    """A working folder with `my_clips` and, under the name that the YAMLs know, a release with tiny networks."""
    clips = tmp_path / "my_clips"
    without_sound(clips / own_clips(rendered, clips, 1)[0], clips / "silent.mp4")
    with (clips / "captions.csv").open("a") as file:
        file.write("silent.mp4,Nothing to hear.,train\r\ngone.mp4,Nothing at all.,train\r\n")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mini").symlink_to(tiny_release)
    spec = json.loads((tiny_release / "model_index.json").read_text())["spec"]
    (tmp_path / "clip.yaml").write_text(yaml.safe_dump(spec))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def fit(config: str, *more: object) -> None:
    steps = ["--trainer.max_steps", 3, "--model.init_args.total_steps", 3, "--trainer.val_check_interval", 1]
    quiet = [
        "--trainer.enable_progress_bar",
        "false",
        "--trainer.accelerator",
        "cpu",
        "--data.init_args.num_workers",
        0,
    ]
    run("train", "fit", "--config", CONFIGS / f"{config}.yaml", "--data.init_args.batch_size", 2, *steps, *quiet, *more)


def specs(*names: str) -> list[str]:
    return [part for name in names for part in (f"--data.init_args.{name}.init_args.spec", "clip.yaml")]


def test_stage_2_trains_on_a_cache_of_own_clips(place, tiny_release, caplog):
    for split, count in (("train", 3), ("val", 1)):
        printed = run(
            "cache", "my_clips", f"cache/finetune/{split}", "--captions", "my_clips/captions.csv", "--split", split,
            "--spec", "checkpoints/mini/model_index.json", "--checkpoint", "checkpoints/mini", "--device", "cpu",
            "--fields", "latents,control_latents,embeddings", "--workers", 0,
        )  # fmt: skip
        assert f"{count} clips in 1 shards" in printed
    assert "my_clips: 2 of 5 videos left out: gone.mp4 (a row in the captions, no such file), silent.mp4 (no sound" in (
        caplog.text
    )
    caplog.clear()
    fit("generation")
    assert "val_loss was lowest at step" in caplog.text and "before training" in caplog.text
    run("weights", "export", "runs/finetune/release", "out/mine", "--base", "checkpoints/mini")
    index = json.loads(Path("out/mine/model_index.json").read_text())
    assert index["spec"] == json.loads((tiny_release / "model_index.json").read_text())["spec"]
    assert (index["sampler"]["sigma_min"], index["sampler"]["sigma_max"]) == (0.05, 80.0)
    assert "all hashes match" in run("weights", "check", "out/mine")
    changed = {
        path.parent.name
        for path in Path("out/mine").glob("*/*.safetensors")
        if differ(load_file(path), load_file(tiny_release / path.parent.name / path.name))
    }
    assert changed == {"projectors", "controlnet"}


def differ(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() != theirs.keys() or any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_stage_2_trains_from_videos(place, caplog):
    encode = ["--data.init_args.encode.init_args.spec", "clip.yaml"]
    fit("generation_from_media", *specs("train", "val"), *encode)
    assert "silent.mp4 (no sound track)" in caplog.text and "val_loss was lowest at step" in caplog.text
    assert Path("runs/finetune/release/controlnet/config.json").is_file()


def test_stage_1_trains_from_videos(place, caplog):
    fit("alignment", *specs("train", "val"))
    assert "val_loss was lowest at step" in caplog.text
    assert Path("runs/finetune/release/video_encoder/model.safetensors").is_file()


@pytest.mark.slow
def test_the_recipe_as_it_is_written(tmp_path):
    render_dataset(tmp_path / "rendered", num_videos=20, seed=5, seconds=(4.1, 4.3), num_workers=1, progress=False)
    names = own_clips(tmp_path / "rendered", tmp_path / "my_clips", 5)
    assert len(names) == 20
    for name in ("checkpoints", "configs", "train.py", "generate.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "my_video.mp4").write_bytes((tmp_path / "my_clips" / names[0]).read_bytes())
    recipe = re.search(r"```bash\n(.*?)```", (ROOT / "docs" / "finetuning.md").read_text(), re.S)[1].splitlines()
    assert [line.split()[0] for line in recipe] == ["foleygram", "foleygram", "python", "foleygram", "python"]
    short = {
        "python train.py": " --trainer.max_steps 8 --model.init_args.total_steps 8 --trainer.val_check_interval 4",
        "python generate.py": " --steps 4",
    }
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for line in recipe:
        more = next((options for start, options in short.items() if line.startswith(start)), "")
        program, *arguments = shlex.split(line + more)
        module = ["-m", "foleygram"] if program == "foleygram" else []
        done = subprocess.run(
            [sys.executable, *module, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if "train.py" in line:
            assert "val_loss was lowest at step" in done.stderr
    assert (tmp_path / "out" / "sound" / "my_video.wav").is_file()
