"""The paper's recipe, config by config, on tiny weights in the published forms: videos to a release that sounds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.pipeline.release import licences_of
from foleygram.training.stage import Stage
from tests import published

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs" / "greatest_hits"
SPEC = {
    "seconds": 0.5, "sample_rate": 16_000, "audio_channels": 2, "latent_hop": 32, "num_frames": 2, "image_size": 28,
    "motion_size": 32,
}  # fmt: skip
MODEL, TRAIN, VAL = "model.init_args", "data.init_args.train.init_args", "data.init_args.val.init_args"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def train(name: str, folder: Path, cache: Path, **changes: object) -> None:
    """A step by a shipped config, with other places and sizes."""
    given = {
        f"{MODEL}.total_steps": 1, f"{MODEL}.out": folder / "release", "trainer.max_steps": 1,
        "trainer.accelerator": "cpu", "trainer.devices": 1, "trainer.default_root_dir": folder,
        "trainer.callbacks": "null", "trainer.enable_checkpointing": "false", "trainer.logger": "false",
        "trainer.limit_val_batches": 1, "trainer.val_check_interval": 1, "trainer.num_sanity_val_steps": 0,
        "data.init_args.batch_size": 2, "data.init_args.num_workers": 0,
        f"{TRAIN}.folder": cache / "train", f"{VAL}.folder": cache / "test",
        f"{TRAIN}.spec": folder / "clip.yaml", f"{VAL}.spec": folder / "clip.yaml",
    }  # fmt: skip
    arguments = [f"--{key}={value}" for key, value in {**given, **changes}.items()]
    run("train", "fit", "--config", CONFIGS / f"{name}.yaml", *arguments)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny files where docs/weights.md and the configs have the real ones."""
    folder = tmp_path_factory.mktemp("weights")
    published.write_eva(folder / "eva.pt")
    published.write_beats(folder / "beats.pt")
    published.write_bert(folder / "bert-base")
    published.write_diffusers(folder / "stable-audio-open")
    (folder / "stable-audio-open" / "source.json").write_text('{"licence": "Stability AI Community License"}')
    return folder


def encoders(weights: Path, *, matching: bool) -> dict[str, object]:
    """Alignment's parts at the tiny files' sizes."""
    parts = {
        f"{MODEL}.video_encoder.init_args.path": weights / "eva.pt",
        f"{MODEL}.video_encoder.init_args.num_attention_heads": 2,
        f"{MODEL}.text_encoder.init_args.pretrained_model_name_or_path": weights / "bert-base",
        f"{MODEL}.text_encoder.init_args.add_cross_attention": str(matching).lower(),
        f"{MODEL}.audio_encoder.init_args.path": weights / "beats.pt",
        f"{MODEL}.tokenizer.init_args.folder": weights / "bert-base",
    } | {f"{MODEL}.{name}_encoder.init_args.embedding_dim": 16 for name in ("video", "text", "audio")}
    if matching:
        parts[f"{MODEL}.matching"] = "foleygram.alignment.matching.DataAnchorMatching"
        sizes = {"video_width": 44, "audio_width": 48, "text_width": 16, "num_frames": 2}
        parts |= {f"{MODEL}.matching.init_args.{name}": size for name, size in sizes.items()}
    return parts


PREDICTOR = {
    f"{MODEL}.predictor.init_args.{name}": value
    for name, value in {
        "motion_size": 32, "map_widths": [4, 4, 8], "num_blocks": 1, "num_keypoints": 2, "hidden_size": 8,
        "lstm_size": 4, "head_width": 8, "window_sec": 0.5,
    }.items()
}  # fmt: skip


def stage_2(weights: Path) -> dict[str, object]:
    """Stage 2's parts at the tiny backbone's sizes."""
    return {
        f"{MODEL}.backbone.init_args.pretrained_model_name_or_path": weights / "stable-audio-open",
        f"{MODEL}.projectors.init_args.embedding_dim": 16,
        f"{MODEL}.projectors.init_args.cross_attention_input_dim": 64,
    }


def built(name: str, changes: dict[str, object]) -> Any:
    """The module that a shipped config names, with other places and sizes."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(Stage, "model")
    given = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["model"]
    config = parser.parse_args(["--model", json.dumps(given), *(f"--{key}={value}" for key, value in changes.items())])
    return parser.instantiate_classes(config).model


def test_stage_1_is_built_from_published_files(weights: Path) -> None:
    for matching in (False, True):
        module = built("alignment", encoders(weights, matching=matching))
        assert (module.matching is not None) == matching and module.hparams.total_steps == 700
        groups = torch.optim.AdamW(module._parameter_groups()).param_groups
        rate = {id(p): group["lr"] for group in groups for p in group["params"]}
        assert {rate[id(p)] for p in module.video_encoder.network.parameters()} == {5e-7}
        others = [module.text_encoder, module.audio_encoder, module.video_encoder.head, module.objective]
        assert {rate[id(p)] for part in others for p in part.parameters()} == {2e-5}
        assert module.video_encoder.network.is_gradient_checkpointing


def test_stage_2_is_built_on_a_published_backbone(weights: Path) -> None:
    module = built("generation", stage_2(weights))
    assert len(module.controlnet.transformer_blocks) == 1 and module.hparams.betas == (0.95, 0.999)
    held = [p for group in module.configure_optimizers()["optimizer"].param_groups for p in group["params"]]
    assert {*map(id, held)} == {id(p) for p in module.parameters() if p.requires_grad}


def test_the_predictor_is_built(weights: Path) -> None:
    assert built("envelope", PREDICTOR).predictor.config.motion_size == 32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_whole_recipe_from_videos_to_a_release(weights: Path, tmp_path: Path) -> None:
    spec, release, backbone = tmp_path / "clip.yaml", tmp_path / "release", weights / "stable-audio-open"
    spec.write_text(yaml.safe_dump(SPEC))
    rendered = tmp_path / "videos"
    run("render", rendered, "--videos", 2, "--seed", 3, "--seconds", "1:1.2", "--test-share", 0.5)
    media, features = tmp_path / "media", tmp_path / "features"
    for split in ("train", "test"):
        fields = "frames,motion,envelope_audio"
        run("cache", rendered, media / split, "--split", split, "--spec", spec, "--fields", fields, "--workers", 0)
    train("alignment", tmp_path, media, **encoders(weights, matching=True))
    train("envelope", tmp_path, media, **{f"{MODEL}.out": release / "envelope_predictor", **PREDICTOR})
    for split in ("train", "test"):
        fields = "latents,control_latents,embeddings"
        given = ("--checkpoint", release, "--backbone", backbone, "--spec", spec, "--fields", fields, "--workers", 0)
        run("cache", rendered, features / split, "--split", split, *given)
    changes = {**stage_2(weights), "trainer.accumulate_grad_batches": 1}
    for part in (TRAIN, VAL):
        changes |= {f"{part}.encoders": [str(release), str(backbone)]}
    train("generation", tmp_path, features, **changes)
    out = tmp_path / "exported"
    run("weights", "export", release, out, "--spec", spec, "--backbone", backbone, "--sigma-min", 0.3)
    assert "all hashes match" in " ".join(run("weights", "check", out).split())
    assert licences_of(out)["vae"] == licences_of(out)["prompt_encoder"] == "Stability AI Community License"
    video = sorted(rendered.glob("*_denoised.mp4"))[0]
    run("generate", video, "--out", tmp_path / "sounds", "--checkpoint", out, "--steps", 2)
    assert next((tmp_path / "sounds").glob("*.wav")).stat().st_size > 16_000


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_says_where_it_comes_from(config: Path) -> None:
    """Paper, GRAM, sibling or our choice; names, places and lists of fields need none."""
    bare = []
    for line in config.read_text(encoding="utf-8").splitlines():
        told, _, source = line.partition("#")
        values = re.findall(r"[\w.]+:\s*\[?([\w.+-]+)", told)
        if not source and any(re.fullmatch(r"[\d.]+(e[+-]?\d+)?|true|false", value) for value in values):
            bare.append(line.strip())
    assert bare == []
