"""A training's checkpoint alone becomes parts of a release, and loads into its module without running code in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from foleygram.alignment.losses import GramLoss
from foleygram.alignment.module import AlignmentModule
from foleygram.cli import app
from foleygram.envelope.module import EnvelopeModule
from foleygram.generation.autoencoder_training import AutoencoderTraining
from foleygram.generation.backbone import load_backbone
from foleygram.generation.discriminator import SpectralDiscriminator
from foleygram.generation.module import GenerationModule
from foleygram.generation.pretraining import BackbonePretraining, build_prompt_encoder, copy_matching_tensors
from foleygram.pipeline.export import unpack_checkpoint
from foleygram.pipeline.release import load_part
from foleygram.training.stage import Stage

AVERAGING = {"class_path": "foleygram.training.averaging.LearnedWeightAveraging", "init_args": {"decay": 0.5}}
MODULES: dict[str, tuple[type[Stage], Callable[..., dict[str, Any]]]] = {
    "alignment_start": (AlignmentModule, lambda parts, release: parts | {"objective": GramLoss()}),
    "envelope": (EnvelopeModule, lambda parts, release: {"predictor": parts["envelope_predictor"]}),
    "generation": (GenerationModule, lambda parts, release: parts | {"backbone": load_backbone(str(release))}),
}


def weights_below(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.parent.name: load_file(path) for path in sorted(folder.glob("**/*.safetensors"))}


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stage", MODULES)
def test_a_checkpoint_holds_what_the_run_writes(
    stage: str, fit: Callable[..., Any], tiny_release: Path, tmp_path: Path
) -> None:
    changes = {"callbacks": [AVERAGING]} if stage == "generation" else {}
    done = fit(stage, tmp_path, 2, changes)
    assert done.exit_code == 0, done.output
    unpack_checkpoint(tmp_path / "last.ckpt", tmp_path / "unpacked")
    ours, theirs = weights_below(tmp_path / "unpacked"), weights_below(tmp_path / "release")
    if stage == "envelope":
        theirs = {"envelope_predictor": theirs["release"]}
    assert ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)
    kind, arguments = MODULES[stage]
    parts = {path.name: load_part(path.parent, path.name) for path in (tmp_path / "unpacked").iterdir()}
    module = kind.load_from_checkpoint(tmp_path / "last.ckpt", **arguments(parts, tiny_release))
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert same({key: value for key, value in module.state_dict().items() if key in saved}, saved)
    if stage == "generation":
        result = run("export", tmp_path / "last.ckpt", tmp_path / "out", "--base", tiny_release)
        assert result.exit_code == 0, result.output
        exported = weights_below(tmp_path / "out")
        assert all(same(exported[name], ours[name]) for name in ("projectors", "controlnet"))
        assert run("check", tmp_path / "out").exit_code == 0


@pytest.mark.parametrize("kind", [BackbonePretraining, AutoencoderTraining])
def test_the_small_backbones_own_stages_load_from_checkpoints(
    kind: type[Stage], tiny_release: Path, tmp_path: Path
) -> None:
    def parts() -> dict[str, Any]:
        if kind is AutoencoderTraining:
            return {"autoencoder": load_part(tiny_release, "vae")}
        sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        prompts = build_prompt_encoder(64, **sizes)
        networks = {name: load_part(tiny_release, name) for name in ("transformer", "projection_model")}
        tokenizer = load_part(Path("checkpoints/mini"), "prompt_tokenizer")
        return networks | {"prompt_encoder": prompts, "prompt_tokenizer": tokenizer}

    module = kind(**parts(), out=str(tmp_path / "out"), total_steps=1)
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "saved.ckpt")
    loaded = kind.load_from_checkpoint(tmp_path / "saved.ckpt", **parts())
    assert same(loaded.state_dict(), module.state_dict())
    if kind is BackbonePretraining:
        unpack_checkpoint(tmp_path / "saved.ckpt", tmp_path / "unpacked")
        module.export()
        ours, theirs = weights_below(tmp_path / "unpacked"), weights_below(tmp_path / "out")
        assert ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)
    else:
        refused = run("export", tmp_path / "saved.ckpt", tmp_path / "release", "--base", tiny_release)
        assert refused.exit_code == 1 and "describes no parts of a release" in refused.output


def test_a_backbone_starts_from_the_tensors_that_fit(tiny_release: Path, tmp_path: Path) -> None:
    given = load_part(tiny_release, "transformer")
    wider = type(given).from_config(dict(given.config) | {"in_channels": given.config.in_channels + 2})
    left = copy_matching_tensors(given, wider)
    own, source = wider.state_dict(), given.state_dict()
    assert left == sorted(name for name in own if name in source and own[name].shape != source[name].shape)
    assert 0 < len(left) < 6 and all(torch.equal(own[name], source[name]) for name in own.keys() - set(left))


def test_a_decoder_alone_leaves_the_latents_as_they_are(tiny_release: Path, tmp_path: Path) -> None:
    vae = load_part(tiny_release, "vae")
    with pytest.raises(ValueError, match="set initialise: false"):
        AutoencoderTraining(vae, out=str(tmp_path), decoder_only=True)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    adversary = SpectralDiscriminator((256,), width=4)
    module = AutoencoderTraining(
        vae.train(), out=str(tmp_path), total_steps=2, initialise=False, decoder_only=True, discriminator=adversary,
        curve_share=0.0, level_weight=0.1,
    )  # fmt: skip
    audio = 0.1 * torch.randn(
        2, vae.config.audio_channels, 8 * vae.hop_length, generator=torch.Generator().manual_seed(0)
    )
    data = DataLoader([{"audio": one} for one in audio], batch_size=2)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    lightning.Trainer(accelerator="cpu", max_steps=2, **options).fit(module, data)
    after = load_part(tmp_path, "vae").state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_a_run_that_is_absent_or_empty_is_refused(tiny_release: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, message in (("absent", "no such folder or checkpoint"), ("empty", "there is nothing to export")):
        result = run("export", tmp_path / name, tmp_path / "out", "--base", tiny_release)
        assert result.exit_code == 1 and message in " ".join(result.output.split()), result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "parts",
    [None, {}, {"../out": {"prefix": "a.", "files": {}}}, {"controlnet": {"prefix": "a.", "files": {"../x.json": ""}}},
     {"controlnet": {"prefix": "a.", "files": {"config.json": "{"}}}, {"controlnet": 3}],
)  # fmt: skip
def test_a_hostile_description_is_refused(parts: Any, tiny_release: Path, tmp_path: Path) -> None:
    content = {"state_dict": {"a.b": torch.zeros(1)}} | ({} if parts is None else {"parts": parts})
    torch.save(content, tmp_path / "bad.ckpt")
    result = run("export", tmp_path / "bad.ckpt", tmp_path / "out", "--base", tiny_release)
    assert result.exit_code == 1 and "bad.ckpt" in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists() and json.dumps(sorted(p.name for p in tmp_path.iterdir())) == '["bad.ckpt"]'
