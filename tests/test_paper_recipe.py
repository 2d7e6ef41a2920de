"""The paper's recipe, config by config, on tiny weights in the published forms: videos to a release that sounds."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.pipeline.release import licences_of
from foleygram.synthetic.drumstick.render import render_dataset
from foleygram.training.stage import Stage
from tests import published
from tests.hub import running_hub

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs" / "greatest_hits"
SPEC = {
    "seconds": 0.5, "sample_rate": 16_000, "audio_channels": 2, "latent_hop": 32, "num_frames": 2, "image_size": 28,
    "frame_transform": "crop", "motion_size": 32,
}  # fmt: skip
MODEL, TRAIN, VAL = "model.init_args", "data.init_args.train.init_args", "data.init_args.val.init_args"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


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


PAPER = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
PROGRAMS = {"foleygram": [], "train.py": ["train"], "generate.py": ["generate"], "evaluate.py": ["evaluate"]}


def documented_commands() -> list[list[str]]:
    """The commands of docs/paper.md in order, as arguments of `foleygram`."""
    lines = "".join(re.findall(r"```bash\n(.*?)```", PAPER, re.S)).splitlines()
    words = [shlex.split(line.removeprefix("python ")) for line in lines]
    return [[*PROGRAMS[program], *arguments] for program, *arguments in words]


def smaller(arguments: list[str], spec: Path) -> list[object]:
    """What makes a documented command tiny: sizes and devices, no folder and no file but the clip's rates."""
    command, name = arguments[0], Path(next((one for one in arguments if one.endswith(".yaml")), "")).stem
    if command == "cache":
        return ["--spec", spec, "--workers", 0, "--device", "cpu"]
    if arguments[:2] == ["weights", "export"]:
        return ["--spec", spec]
    if command == "generate":
        return ["--steps", 1, "--device", "cpu"]
    if command == "judge":
        return ["--steps", 1]
    if command == "evaluate":
        chosen = "onsets,envelope,material,alignment,foleygram-audio,laion-clap,microsoft-clap,favd-rgb-vggish"
        tiny = {"steps": 1, "limit": 14, "device": "cpu", "conditions": "avt+true,v", "metrics": chosen}
        return ["--no-controls", *(word for key, value in tiny.items() for word in (f"--{key}", value))]
    if command != "train":
        return []
    given = {
        f"{MODEL}.total_steps": 1, "trainer.max_steps": 1, "trainer.accelerator": "cpu", "trainer.devices": 1,
        "trainer.limit_val_batches": 1, "trainer.val_check_interval": 1, "trainer.num_sanity_val_steps": 0,
        "data.init_args.batch_size": 2, "data.init_args.num_workers": 0, f"{TRAIN}.spec": spec, f"{VAL}.spec": spec,
    } | {"alignment": TINY_ENCODERS, "envelope": PREDICTOR, "generation": TINY_STAGE_2}[name]  # fmt: skip
    return [f"--{key}={value}" for key, value in given.items()]


TINY_ENCODERS = {
    f"{MODEL}.{name}_encoder.init_args.embedding_dim": 16 for name in ("video", "text", "audio")
} | {f"{MODEL}.video_encoder.init_args.num_attention_heads": 2}  # fmt: skip
TINY_STAGE_2 = {
    f"{MODEL}.projectors.init_args.embedding_dim": 16,
    f"{MODEL}.projectors.init_args.cross_attention_input_dim": 64,
    "trainer.accumulate_grad_batches": 1,
    "trainer.callbacks.init_args.num_inference_steps": 1,  # of the previews, which come last
}


def hub_files(name: str, folder: Path) -> dict[str, bytes]:
    """What the hub holds under the name of documented weights, in the published form at a tiny size."""
    folder.mkdir()
    write = {
        "stable-audio-open": published.write_diffusers,
        "eva-clip-g": lambda folder: published.write_eva(folder / "EVA01_CLIP_g_14_psz14_s11B.pt"),
        "bert-base": published.write_bert,
        "laion-clap": published.write_laion_clap,
        "microsoft-clap": lambda folder: published.write_microsoft_clap(folder / "CLAP_weights_2023.pth"),
        "gpt2-tokenizer": published.write_gpt2_tokenizer,
    }
    write[name](folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore")
def test_the_commands_of_the_paper_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From fetched weights to a comparison of two reports, with the YAMLs' own folders; no step names another's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    spec = tmp_path / "tiny.yaml"
    spec.write_text(yaml.safe_dump(SPEC))
    data = Path("data/greatest_hits")
    render_dataset(data, num_videos=4, seed=3, seconds=(4.1, 4.2), test_share=0.5, num_workers=1, progress=False)
    Path("my_video.mp4").write_bytes(min(data.glob("*_denoised.mp4")).read_bytes())
    Path("weights").mkdir()
    published.write_beats(Path("weights") / re.findall(r"`(BEATs\S+\.pt)`", PAPER)[0])
    done = []
    with running_hub(monkeypatch) as hub:
        for arguments in documented_commands():
            if arguments[:2] == ["weights", "fetch"]:
                hub.files = hub_files(arguments[2], tmp_path / f"hub-{arguments[2]}")
            run(*arguments, *smaller(arguments, spec))
            done.append(arguments[0])
    assert list(dict.fromkeys(done)) == ["weights", "cache", "train", "generate", "judge", "evaluate"]
    assert licences_of(Path("releases/greatest_hits"))["vae"] == "Stability AI Community License"
    assert next(Path("out/greatest_hits").glob("*.wav")).stat().st_size > 16_000
    report = json.loads(Path("runs/greatest_hits/evaluation_seed_1/report.json").read_text())
    row = report["summary"]["avt+true"]
    assert row["fad_laion-clap"] is not None and row["fad_microsoft-clap"] is not None
    assert {"audio_score_laion-clap", "audio_score_microsoft-clap", "envelope_l1"} <= row.keys()
    assert "favd-rgb-vggish" in report["left_out"] and report["oracle"] == ["avt+true"]
    for checkpoint in ("alignment", "envelope", "generation"):
        assert Path(f"runs/greatest_hits/{checkpoint}/last.ckpt").is_file()


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_value_has_a_source(config: Path) -> None:
    """Paper, GRAM, sibling or our choice; names, places and lists of fields need none."""
    bare = []
    for line in config.read_text(encoding="utf-8").splitlines():
        setting, _, source = line.partition("#")
        values = re.findall(r"[\w.]+:\s*\[?([\w.+-]+)", setting)
        if not source and any(re.fullmatch(r"[\d.]+(e[+-]?\d+)?|true|false", value) for value in values):
            bare.append(line.strip())
    assert bare == []
