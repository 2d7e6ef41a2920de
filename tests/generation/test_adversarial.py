"""The adversarial step: who gets which gradient, equal pairs cost log 2, what is frozen stays, resumed equals whole."""

import math
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from foleygram import FoleyGRAMPipeline
from foleygram.cli import app
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import collate_clips
from foleygram.features.writer import cache_dataset
from foleygram.generation.adversarial import AdversarialModule, LatentDiscriminator
from foleygram.generation.backbone import load_backbone
from foleygram.generation.model import Conditions
from foleygram.pipeline.release import load_controlnet, load_part, load_projectors
from tests.generation.few_steps import fit, train_shipped_config

FIELDS = ["latents_mean", "latents_scale", "control_latents", "video_embedding", "text_embedding", "audio_embedding"]


@pytest.fixture(scope="module")
def features(rendered, tiny_release, tmp_path_factory) -> CachedClips:
    """The feature cache of stage 2."""
    out = tmp_path_factory.mktemp("adversarial") / "features"
    cache_dataset(
        rendered, out, spec_path=tiny_release / "model_index.json", checkpoint=tiny_release, split="train",
        fields=["latents", "control_latents", "embeddings"], num_workers=0, batch_size=2,
    )  # fmt: skip
    return CachedClips(out, fields=[*FIELDS, "seconds_start", "seconds_total"], encoders=str(tiny_release))


def module(tiny_release, out: Path, **options) -> AdversarialModule:
    parts = load_projectors(str(tiny_release)), load_controlnet(str(tiny_release))
    defaults = {"discriminator_layers": 1, "total_steps": 4, "warmup_steps": 0, "lr": 1e-2, "discriminator_lr": 1e-2}
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the discriminator's head
        return AdversarialModule(load_backbone(str(tiny_release)), *parts, out=str(out), **defaults | options)


@pytest.fixture
def pair(tiny_release) -> tuple[LatentDiscriminator, torch.Tensor, torch.Tensor, Conditions]:
    """A discriminator, real and generated latents, and conditions that need gradients."""
    transformer = load_part(tiny_release, "transformer")
    config, generator = transformer.config, torch.Generator().manual_seed(0)
    shapes = (3, 5, config.cross_attention_input_dim), (3, config.global_states_input_dim), (3, config.in_channels, 12)
    conditions = Conditions(*(torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes))
    real, fake = (torch.randn(3, config.in_channels, 12, generator=generator) for _ in range(2))
    return LatentDiscriminator(transformer, 1), real, fake.requires_grad_(), conditions


def test_each_loss_reaches_its_own_side_only(pair):
    discriminator, real, fake, conditions = pair
    losses = discriminator.losses(real, fake, torch.rand(3), conditions)
    weights = list(discriminator.parameters())
    options = {"retain_graph": True, "allow_unused": True}
    of_student = torch.autograd.grad(losses.student, [fake, *weights, *conditions], **options)
    assert of_student[0].abs().sum() > 0 and all(gradient is None for gradient in of_student[1:])
    for loss in (losses.discriminator, losses.contrast):
        gradients = torch.autograd.grad(loss, [fake, *conditions, *weights], **options)
        assert all(gradient is None for gradient in gradients[:4])
        assert sum(gradient.abs().sum() for gradient in gradients[4:] if gradient is not None) > 0


def test_a_pair_that_is_equal_costs_log_2_and_so_does_a_caption_that_every_clip_shares(pair):
    discriminator, real, _, conditions = pair
    shared = conditions._replace(cross_tokens=conditions.cross_tokens[:1].expand(3, -1, -1))
    losses = discriminator.losses(real, real, torch.rand(3), shared)
    for loss in losses:
        torch.testing.assert_close(loss, torch.tensor(math.log(2)), atol=1e-6, rtol=0)
    assert abs(discriminator.losses(real, real, torch.rand(3), conditions).contrast - math.log(2)) > 1e-6


@pytest.mark.parametrize("layers", [0, 99])
def test_a_discriminator_has_as_many_blocks_as_asked_for_or_none_is_made(tiny_release, layers):
    transformer = load_part(tiny_release, "transformer")
    available = transformer.config.num_layers
    assert len(LatentDiscriminator(transformer, available).network.transformer_blocks) == available
    with pytest.raises(ValueError, match=f"a discriminator of {layers} blocks of a DiT of {available}"):
        LatentDiscriminator(transformer, layers)


def test_only_student_and_discriminator_move_and_the_silent_share_counts(features, tiny_release, tmp_path):
    stage = module(tiny_release, tmp_path / "out", adapter_rank=2)
    before = {name: parameter.clone() for name, parameter in stage.named_parameters()}
    fit(stage, features, tmp_path, 2)
    moved = {name for name, p in stage.named_parameters() if not torch.equal(p, before[name])}
    assert {name.split(".")[0] for name in moved} == {"projectors", "controlnet", "transformer", "discriminator"}
    assert all(".lora_" in name for name in moved if name.startswith("transformer."))
    batch = collate_clips([features[i] for i in range(2)])
    silent = module(tiny_release, tmp_path, silent_share=1.0)._with_silence(batch, torch.Generator())
    assert torch.equal(silent["latents_mean"][0], silent["latents_mean"][1])


def test_resumed_equals_uninterrupted_bit_for_bit(features, tiny_release, tmp_path):
    whole, half, resumed = (module(tiny_release, tmp_path / name, adapter_rank=2) for name in ("a", "b", "c"))
    fit(whole, features, tmp_path / "whole", 4)
    fit(half, features, tmp_path / "parts", 2)
    fit(resumed, features, tmp_path / "parts", 4, ckpt_path=tmp_path / "parts" / "last.ckpt")
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, resumed.get_parameter(name)), name


def test_the_result_becomes_a_release_without_the_discriminator(features, tiny_release, tmp_path):
    stage = module(tiny_release, tmp_path / "run")
    fit(stage, features, tmp_path, 2)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["controlnet", "projectors"]
    command = ["weights", "export", str(tmp_path / "run"), str(tmp_path / "few"), "--base", str(tiny_release)]
    result = CliRunner().invoke(app, [*command, "--solver", "ping_pong", "--steps", "2", "--guidance", "1"])
    assert result.exit_code == 0, result.output
    exported = FoleyGRAMPipeline.from_pretrained(tmp_path / "few").parts.controlnet.state_dict()
    assert all(torch.equal(exported[name], value) for name, value in stage.controlnet.state_dict().items())


@pytest.mark.filterwarnings("ignore")
def test_the_shipped_config_trains_from_the_command_line(features, tiny_release, tmp_path):
    parts = train_shipped_config(
        "distillation_adversarial", features, tiny_release, tmp_path, adapter_rank=2, discriminator_layers=1
    )
    assert parts == ["controlnet", "projectors", "transformer"]
