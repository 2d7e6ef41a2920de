"""Distillation: an oracle has no loss, what is frozen stays, a resumed run equals a whole one, releases come out."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from foleygram import FoleyGRAMPipeline
from foleygram.cli import app
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import collate_clips
from foleygram.features.trajectories import READ, WRITTEN, TrajectoryEncoder, cache_trajectories
from foleygram.features.writer import cache_dataset
from foleygram.generation.backbone import load_backbone
from foleygram.generation.controlnet import controlled_forward
from foleygram.generation.distillation import DistillationModule
from foleygram.generation.objective import alpha_sigma
from foleygram.generation.sampling import SamplerSettings
from foleygram.pipeline.release import load_controlnet, load_part, load_projectors
from tests.generation.few_steps import fit, train_shipped_config

TEACHER = SamplerSettings(num_inference_steps=5, guidance_scale=2.0)
RANKS = [0, 2]


@pytest.fixture(scope="module")
def features(rendered, tiny_release, tmp_path_factory) -> Path:
    """The feature cache of the rendered training videos."""
    out = tmp_path_factory.mktemp("distillation") / "features"
    cache_dataset(
        rendered, out, spec_path=tiny_release / "model_index.json", checkpoint=tiny_release, split="train",
        fields=["control_latents", "embeddings"], num_workers=0, batch_size=2,
    )  # fmt: skip
    return out


@pytest.fixture(scope="module")
def trajectories(features, tiny_release) -> CachedClips:
    out = features.parent / "trajectories"
    options = {"num_inference_steps": 5, "num_states": 3, "batch_size": 2}
    cache_trajectories(features, out, checkpoint=tiny_release, **options)
    return CachedClips(out, fields=WRITTEN, encoders=str(tiny_release))


def module(tiny_release, out, **options) -> DistillationModule:
    parts = load_projectors(str(tiny_release)), load_controlnet(str(tiny_release))
    return DistillationModule(
        load_backbone(str(tiny_release)), *parts, out=str(out), total_steps=4, warmup_steps=0, lr=1e-2, **options
    )


def test_each_clip_gives_states_of_one_trajectory_from_noise_to_near_its_end(features, trajectories, tiny_release):
    clips = CachedClips(features, fields=READ)
    assert len(trajectories) == 3 * len(clips)
    first, middle, last = (trajectories[i] for i in range(3))
    assert first["video_id"] == last["video_id"] == clips[0]["video_id"]
    times = [item["timestep"].item() for item in (first, middle, last)]
    assert times == sorted(times, reverse=True)
    assert times[0] == pytest.approx(2 / torch.pi * torch.tensor(80.0).atan().item(), abs=1e-6)
    for item in (first, middle, last):
        assert torch.equal(item["end"], first["end"]) and torch.equal(item["present"], first["present"])
    assert first["state"].std() == pytest.approx(1, abs=0.2)  # of unit variance: the noise, scaled
    stored = [first["control_latents"][0], *clips[0]["control_latents"]]
    assert any(torch.equal(stored[0], variant) for variant in stored[1:])
    manifest = trajectories.manifest["identity"]
    assert manifest["teacher"] == vars(TEACHER) | {"num_states": 3, "seed": 0}


def test_trajectories_are_those_of_the_sampler_whatever_the_batch(features, tiny_release):
    clips = CachedClips(features, fields=READ)
    encoder = TrajectoryEncoder(tiny_release, TEACHER, num_states=5)
    both = encoder(collate_clips([clips[0], clips[1]]))
    alone = encoder(collate_clips([clips[1]]))
    torch.testing.assert_close(both["state"][5:], alone["state"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both["end"][5:], alone["end"], atol=1e-5, rtol=1e-4)
    # The last state of a second-order solver is denoised once, under guidance: that is the end.
    alpha, sigma = alpha_sigma(alone["timestep"][-1:])
    conditions = encoder.model.conditions(
        [alone[f"{name}_embedding"][-1:] for name in ("video", "text", "audio")], alone["present"][-1:],
        alone["control_latents"][-1:, 0], alone["seconds_start"][-1:], alone["seconds_total"][-1:],
    )  # fmt: skip
    given, null = (
        encoder.model.velocity(alone["state"][-1:], alone["timestep"][-1:], c) for c in (conditions, conditions.null())
    )
    end = alpha * alone["state"][-1:] - sigma * (null + 2.0 * (given - null))
    torch.testing.assert_close(end, alone["end"][-1:], atol=1e-4, rtol=1e-3)


def test_an_oracle_has_no_loss_and_another_network_has_one(trajectories, tiny_release, tmp_path, monkeypatch):
    stage = module(tiny_release, tmp_path)
    batch = collate_clips([trajectories[i] for i in range(6)])
    assert stage._loss(batch, torch.Generator()).mean() > 1e-3

    def oracle(transformer, latents, timestep, *rest):
        alpha, sigma = alpha_sigma(timestep)
        return (alpha * latents - batch["end"]) / sigma

    monkeypatch.setattr("foleygram.generation.model.controlled_forward", oracle)
    torch.testing.assert_close(stage._loss(batch, torch.Generator()), torch.zeros(6), atol=1e-5, rtol=0)


def test_a_silent_share_of_one_makes_every_trajectory_end_in_silence_under_a_zero_envelope(
    trajectories, tiny_release, tmp_path
):
    stage = module(tiny_release, tmp_path, silent_share=1.0)
    batch = collate_clips([trajectories[i] for i in range(3)])
    silent = stage._with_silence(batch, torch.Generator())
    vae = load_part(tiny_release, "vae")
    num_latents = batch["end"].shape[-1]
    with torch.no_grad():
        silence = vae.encode(torch.zeros(1, vae.config.audio_channels, num_latents * vae.hop_length)).latent_dist.mean
    for latents in (silent["end"], silent["control_latents"][:, 0]):
        torch.testing.assert_close(latents, silence.expand_as(latents))
    alpha, sigma = alpha_sigma(batch["timestep"])
    noise = (silent["state"] - alpha * silence) / sigma
    assert 0.7 < noise.std() < 1.3
    assert torch.equal(silent["text_embedding"], batch["text_embedding"])


@pytest.mark.parametrize("rank", RANKS)
def test_only_what_learns_moves_and_is_saved(trajectories, tiny_release, tmp_path, rank):
    stage = module(tiny_release, tmp_path / "out", adapter_rank=rank)
    batch = collate_clips([trajectories[i] for i in range(4)])
    plain = module(tiny_release, tmp_path / "plain")
    torch.testing.assert_close(stage._loss(batch, torch.Generator()), plain._loss(batch, torch.Generator()))
    before = {name: parameter.clone() for name, parameter in stage.named_parameters()}
    fit(stage, trajectories, tmp_path, 4)
    moved = {name for name, p in stage.named_parameters() if not torch.equal(p, before[name])}
    assert {"projectors", "controlnet"} <= {name.split(".")[0] for name in moved}
    assert any(".lora_B." in name for name in moved) == bool(rank)
    frozen = [n for n in before if n.startswith(("transformer.", "projection_model.")) and ".lora_" not in n]
    assert frozen and not moved & set(frozen)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert all(stage.is_trained(key) for key in saved)
    held = [p for group in stage.optimizers().param_groups for p in group["params"]]
    assert {*map(id, held)} == {id(p) for p in stage.parameters() if p.requires_grad}


@pytest.mark.parametrize("rank", RANKS)
def test_resumed_equals_uninterrupted_bit_for_bit(trajectories, tiny_release, tmp_path, rank):
    whole, half, resumed = (module(tiny_release, tmp_path / n, adapter_rank=rank) for n in ("a", "b", "c"))
    fit(whole, trajectories, tmp_path / "whole", 4)
    fit(half, trajectories, tmp_path / "parts", 2)
    fit(resumed, trajectories, tmp_path / "parts", 4, ckpt_path=tmp_path / "parts" / "last.ckpt")
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name


@pytest.mark.parametrize("rank", RANKS)
def test_a_distilled_run_becomes_a_release_that_is_sampled_in_few_steps(trajectories, tiny_release, tmp_path, rank):
    stage = module(tiny_release, tmp_path / "run", adapter_rank=rank)
    fit(stage, trajectories, tmp_path, 2)
    command = ["weights", "export", str(tmp_path / "run"), str(tmp_path / "few"), "--base", str(tiny_release)]
    options = ["--solver", "ping_pong", "--steps", "2", "--guidance", "1", "--sigma-min", "0.135"]
    result = CliRunner().invoke(app, [*command, *options])
    assert result.exit_code == 0, result.output
    pipeline = FoleyGRAMPipeline.from_pretrained(tmp_path / "few")
    assert pipeline.sampler == SamplerSettings(2, 1.0, "ping_pong", 0.135, 80.0)
    batch = collate_clips([trajectories[0]])
    conditions = stage.conditions(batch, batch["present"])
    with torch.no_grad():
        trained = stage.model.velocity(batch["state"], batch["timestep"], conditions)
        exported = pipeline.model.velocity(batch["state"], batch["timestep"], conditions)
        base = controlled_forward(
            load_part(tiny_release, "transformer"), batch["state"], batch["timestep"], *conditions[:2],
            stage.controlnet(batch["state"], batch["timestep"], *conditions),
        )  # fmt: skip
    torch.testing.assert_close(exported, trained, atol=1e-4, rtol=1e-3)
    assert torch.equal(base, trained) == (rank == 0)  # adapters change the DiT


def test_adapters_without_peft_give_the_install_command(tiny_release, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install 'foleygram\[adapters\]'"):
        module(tiny_release, tmp_path, adapter_rank=2)
    importlib.import_module("foleygram.generation.distillation")  # and nothing else needs it
    with pytest.raises(ValueError, match="adapter_rank is -1"):
        module(tiny_release, tmp_path, adapter_rank=-1)


def test_the_command_writes_what_the_function_does_and_refuses_other_networks(features, tiny_release, tmp_path):
    command = ["trajectories", str(features), str(tmp_path / "out"), "--checkpoint"]
    result = CliRunner().invoke(app, [*command, str(tiny_release), "--steps", "2", "--states", "2"])
    assert result.exit_code == 0, result.output
    assert len(CachedClips(tmp_path / "out", fields=WRITTEN)) == 2 * len(CachedClips(features, fields=READ))
    result = CliRunner().invoke(app, [*command, "checkpoints/mini"])
    assert result.exit_code == 1 and "cached with another ClipSpec" in result.output
    with pytest.raises(ValueError, match="6 states of a trajectory of 5 steps"):
        TrajectoryEncoder(tiny_release, TEACHER, num_states=6)


def test_two_processes_share_the_shards_and_write_what_one_does(features, tiny_release, tmp_path, monkeypatch):
    command = ["trajectories", str(features), str(tmp_path / "shared"), "--checkpoint", str(tiny_release)]
    options = ["--steps", "2", "--states", "2", "--shard-size", "1"]
    printed = []
    for rank in ("1", "0"):
        for name, value in {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank}.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(app, [*command, *options])
        assert result.exit_code == 0, result.output
        printed.append(result.output)
    assert "complete when all processes have finished" in printed[0] and "manifest.json" in printed[1]
    cache_trajectories(
        features, tmp_path / "alone", checkpoint=tiny_release, num_inference_steps=2, num_states=2, shard_size=1,
    )  # fmt: skip
    for shard in (tmp_path / "alone").glob("*.safetensors"):
        assert shard.read_bytes() == (tmp_path / "shared" / shard.name).read_bytes()
    assert len(list((tmp_path / "shared").glob("*.safetensors"))) > 1


def test_the_teacher_adds_no_noise_whatever_the_release_s_solver(features, tiny_release, tmp_path):
    release = Path(shutil.copytree(tiny_release, tmp_path / "release"))
    index = json.loads((release / "model_index.json").read_text())
    index["sampler"] = vars(SamplerSettings(4, 2.0, "ping_pong"))
    (release / "model_index.json").write_text(json.dumps(index))
    out = tmp_path / "trajectories"
    cache_trajectories(features, out, checkpoint=release, num_inference_steps=4, num_states=2)
    assert CachedClips(out, fields=WRITTEN).manifest["identity"]["teacher"]["solver"] == "dpmpp_2m"


@pytest.mark.filterwarnings("ignore")
def test_the_shipped_config_trains_from_the_command_line(trajectories, tiny_release, tmp_path):
    parts = train_shipped_config("distillation", trajectories, tiny_release, tmp_path, adapter_rank=2)
    assert parts == ["controlnet", "projectors", "transformer"]
