"""Stage 2 through Lightning: what moves, what is saved, and that a resumed run ends where a whole one does."""

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import Dataset

from foleygram.datasets.datamodule import ClipDataModule
from foleygram.files import file_hash
from foleygram.generation.autoencoder import control_latents, encode_audio
from foleygram.generation.backbone import freeze, load_backbone
from foleygram.generation.controlnet import EnvelopeControlNet
from foleygram.generation.model import MODALITY_SUBSETS, SemanticProjectors
from foleygram.generation.module import GenerationModule
from foleygram.generation.pretraining import build_prompt_encoder
from foleygram.generation.previews import SoundPreviews
from foleygram.pipeline.release import load_controlnet, load_projectors


class Features(Dataset):
    """Random features in the form of a cache."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index % 8)
        sizes = {"latents_mean": (4, 12), "latents_scale": (4, 12), "control_latents": (3, 4, 12)}
        sizes |= {f"{name}_embedding": (8,) for name in ("video", "text", "audio")}
        item = {name: torch.randn(size, generator=generator) for name, size in sizes.items()}
        return item | {"latents_scale": torch.full((4, 12), 0.05), "seconds_start": 0.0, "seconds_total": 2.0}


def module(tiny_release, out, **options):
    torch.manual_seed(0)
    return GenerationModule(
        load_backbone(str(tiny_release)),
        SemanticProjectors(8, 8),
        out=str(out),
        depth_factor=0.5,
        total_steps=4,
        lr=1e-2,
        **options,
    )


def trainer(folder, max_steps):
    callbacks = [ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=2)]
    return lightning.Trainer(
        max_steps=max_steps, accelerator="cpu", logger=False, callbacks=callbacks, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip


def data():
    return ClipDataModule(Features(), batch_size=4, seed=1)


def test_only_projectors_and_controlnet_are_trained_and_saved(tiny_release, tmp_path):
    stage = module(tiny_release, tmp_path / "out")
    frozen = {
        name: p.clone() for name, p in stage.named_parameters() if not name.startswith(("projectors", "controlnet"))
    }
    moved_before = {name: p.clone() for name, p in stage.controlnet.named_parameters()}
    trainer(tmp_path, 4).fit(stage, data())
    assert all(torch.equal(p, stage.get_parameter(name)) for name, p in frozen.items())
    assert not stage.transformer.training and stage.transformer.dtype == torch.float32
    moved = [name for name, p in stage.controlnet.named_parameters() if not torch.equal(p, moved_before[name])]
    assert "control_out.0.weight" in moved
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert {key.split(".")[0] for key in saved} == {"projectors", "controlnet"}
    again = EnvelopeControlNet.from_pretrained(tmp_path / "out" / "controlnet")
    torch.testing.assert_close(again.state_dict(), stage.controlnet.state_dict())


def test_frozen_files_have_the_same_hash_after_fit(tiny_release, tmp_path):
    """The autoencoder's too, which previews move to the device and back."""
    stage = module(tiny_release, tmp_path / "out")
    parts = ("transformer", "projection_model", "vae", "prompt_encoder")
    stage.model.backbone.prompt_encoder = build_prompt_encoder(20, 8, 16, 1, 2)
    freeze(stage.model.backbone.prompt_encoder)
    stage.model.backbone.prompt_encoder.save_pretrained(tmp_path / "before" / "prompt_encoder")
    previews = SoundPreviews(num_clips=1, num_inference_steps=2, sigma_min=0.05, sigma_max=80.0)
    board = TensorBoardLogger(tmp_path)
    lightning.Trainer(
        max_steps=1, accelerator="cpu", logger=board, callbacks=[previews], enable_checkpointing=False,
        val_check_interval=1, limit_val_batches=1, enable_progress_bar=False, enable_model_summary=False,
    ).fit(stage, ClipDataModule(Features(), Features(), batch_size=4, seed=1))  # fmt: skip
    assert (tmp_path / "lightning_logs").is_dir()
    for name in parts:
        getattr(stage.model.backbone, name).save_pretrained(tmp_path / "after" / name)
        (before,) = (tmp_path / "before" if name == "prompt_encoder" else tiny_release).glob(f"{name}/*.safetensors")
        assert file_hash(tmp_path / "after" / name / before.name) == file_hash(before), name
    held = {id(p) for group in stage.optimizers().param_groups for p in group["params"]}
    assert held == {id(p) for part in (stage.projectors, stage.controlnet) for p in part.parameters()}
    assert all(p.grad is None for part in (stage.transformer, stage.projection_model) for p in part.parameters())


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_a_step_in_bfloat16_learns_and_keeps_what_is_frozen(tiny_release, tmp_path, precision):
    stage = module(tiny_release, tmp_path / "out")
    before = {name: p.clone() for name, p in stage.named_parameters()}
    fitting = lightning.Trainer(
        max_steps=1, accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    fitting.fit(stage, data())
    after = {name: p.to(before[name].dtype) for name, p in stage.named_parameters()}
    expected = {name: p.bfloat16().float() if precision == "bf16-true" else p for name, p in before.items()}
    changed = {name.split(".")[0] for name, p in after.items() if not torch.equal(p, expected[name])}
    assert changed == {"projectors", "controlnet"}


def test_resumed_equals_uninterrupted_bit_for_bit(tiny_release, tmp_path):
    whole = module(tiny_release, tmp_path / "whole")
    trainer(tmp_path / "a", 4).fit(whole, data())
    trainer(tmp_path / "b", 2).fit(module(tiny_release, tmp_path / "half"), data())
    resumed = module(tiny_release, tmp_path / "resumed")
    trainer(tmp_path / "b", 4).fit(resumed, data(), ckpt_path=tmp_path / "b" / "last.ckpt")
    for name, parameter in whole.controlnet.named_parameters():
        assert torch.equal(parameter, resumed.controlnet.get_parameter(name)), name


def test_training_continues_from_a_controlnet(tiny_release, tmp_path):
    trained, projectors = load_controlnet(str(tiny_release)), load_projectors(str(tiny_release))
    stage = GenerationModule(load_backbone(str(tiny_release)), projectors, out=str(tmp_path), controlnet=trained)
    assert stage.controlnet is trained and all(p.requires_grad for p in stage.controlnet.parameters())
    assert "controlnet" not in stage.hparams


def test_parts_of_another_backbone_are_refused(tiny_release, tmp_path):
    backbone, projectors = load_backbone(str(tiny_release)), load_projectors(str(tiny_release))
    with pytest.raises(ValueError, match=r"projectors\.cross_attention_input_dim 16 where the backbone has 8"):
        GenerationModule(backbone, SemanticProjectors(8, 16), out=str(tmp_path))
    other = EnvelopeControlNet(
        num_layers=3, in_channels=6, control_channels=6, num_attention_heads=2, num_key_value_attention_heads=1,
        cross_attention_dim=8, time_proj_dim=16, global_states_input_dim=16, cross_attention_input_dim=8,
    )  # fmt: skip
    with pytest.raises(
        ValueError, match=r"controlnet\.in_channels 6 where .* has 4.*_heads 2 where.*num_layers 3 for a"
    ):
        GenerationModule(backbone, projectors, out=str(tmp_path), controlnet=other)


def test_a_foreign_checkpoint_is_refused(tiny_release, tmp_path):
    stage = module(tiny_release, tmp_path)
    with pytest.raises(ValueError, match=r"missing .*text\.weight"):
        stage.load_state_dict({"projectors.projectors.video.weight": torch.zeros(8, 8)})
    with pytest.raises(ValueError, match=r"missing \[\], unexpected .*projectors\.smell"):
        stage.load_state_dict(stage.state_dict() | {"projectors.smell": torch.zeros(8, 8)})


def batch_of(count):
    """Clips whose envelopes are known by their values: the true one 1, the other two 2 and 3."""
    embeddings = {f"{name}_embedding": torch.randn(count, 8) for name in ("video", "text", "audio")}
    times = {"seconds_start": torch.zeros(count), "seconds_total": torch.full((count,), 2.0)}
    latents = {"latents_mean": torch.zeros(count, 4, 12), "latents_scale": torch.full((count, 4, 12), 2.0)}
    return (
        embeddings | times | latents | {"control_latents": torch.arange(1.0, 4)[:, None, None].expand(count, 3, 4, 1)}
    )


@torch.no_grad()
def test_a_clip_has_its_modalities_durations_and_true_envelope(tiny_release, tmp_path):
    stage, batch = module(tiny_release, tmp_path), batch_of(3)
    given = stage.conditions(batch)
    tokens = stage.projectors(*(batch[f"{name}_embedding"] for name in ("video", "text", "audio")), torch.ones(3, 3))
    durations = stage.projection_model(start_seconds=batch["seconds_start"], end_seconds=batch["seconds_total"])
    parts = [tokens, durations.seconds_start_hidden_states, durations.seconds_end_hidden_states]
    assert torch.equal(given.cross_tokens, torch.cat(parts, 1))
    assert torch.equal(given.global_states, torch.cat(parts[1:], 2)[:, 0])
    assert (given.control_latents == 1).all()
    other = stage.conditions(batch, variant=torch.tensor([2, 0, 1])).control_latents
    assert other[:, 0, 0].tolist() == [3, 1, 2]


@torch.no_grad()
def test_training_drops_tokens_and_varies_envelopes_at_the_configured_rates(tiny_release, tmp_path):
    """A tenth of the clips lose every token, their envelope never; most see the true one, the rest any other."""
    stage, count = module(tiny_release, tmp_path), 4000
    stage.hparams.true_envelope_share = 0.7
    given = stage._drawn_conditions(batch_of(count), torch.Generator().manual_seed(0))
    heard = given.cross_tokens.abs().sum(-1) > 0
    lost = ~heard.any(1)
    assert lost.float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert heard[~lost, 3:].all() and heard[~lost, :3].any(1).all()
    kept = heard[~lost, :3].float().mean(0)
    torch.testing.assert_close(kept, MODALITY_SUBSETS.float().mean(0), atol=0.03, rtol=0)
    variants = given.control_latents[:, 0, 0]
    for chosen in (variants, variants[lost]):
        share = [(chosen == value).float().mean().item() for value in (1, 2, 3)]
        assert share == pytest.approx([0.7, 0.15, 0.15], abs=0.08)


def test_the_loss_is_the_squared_distance_of_v_for_sampled_latents(tiny_release, tmp_path):
    """Of a network that always says 0: the mean square of alpha e - sigma x, of latents of the deviation they have."""
    stage, batch, seen = module(tiny_release, tmp_path), batch_of(400), []
    batch["latents_mean"] = torch.full_like(batch["latents_mean"], 3.0)

    def silent(latents, timestep, conditions):
        seen.append((latents, timestep))
        return torch.zeros_like(latents)

    stage.model.velocity = silent
    loss = stage._loss(batch, torch.Generator().manual_seed(0))
    latents, timestep = seen[0]
    alpha, sigma = (timestep * torch.pi / 2).cos(), (timestep * torch.pi / 2).sin()
    assert loss.shape == (400,)
    wanted, noised = alpha**2 + sigma**2 * (3**2 + 2**2), (alpha * 3) ** 2 + (alpha * 2) ** 2 + sigma**2
    assert (loss / wanted).mean().item() == pytest.approx(1, abs=0.03)
    assert (latents.square().mean((1, 2)) / noised).mean().item() == pytest.approx(1, abs=0.03)


def test_validation_draws_the_same_noise_at_every_step(tiny_release, tmp_path):
    stage, losses = module(tiny_release, tmp_path), []
    stage.hparams.lr = 0.0

    class Listener(lightning.Callback):
        def on_validation_end(self, trainer, module):
            losses.append(trainer.callback_metrics["val_loss"].item())

    lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, callbacks=[Listener()], enable_checkpointing=False,
        val_check_interval=1, num_sanity_val_steps=0, enable_progress_bar=False, enable_model_summary=False,
    ).fit(stage, ClipDataModule(Features(), Features(), batch_size=4, seed=1))  # fmt: skip
    assert len(losses) == 2 and losses[0] == losses[1]


def test_every_combination_of_modalities_is_trained():
    assert len(set(map(tuple, MODALITY_SUBSETS.tolist()))) == 7
    assert MODALITY_SUBSETS.any(1).all()


def test_the_optimiser_has_the_settings_and_projectors_a_rate_of_their_own(tiny_release, tmp_path):
    stage = module(tiny_release, tmp_path)
    stage.hparams.update(projectors_lr=0.5, betas=(0.7, 0.8), weight_decay=0.3)
    stage.trainer = trainer(tmp_path, 1)
    groups = stage.configure_optimizers()["optimizer"].param_groups
    assert [group["initial_lr"] for group in groups] == [1e-2, 0.5]
    assert all((group["betas"], group["weight_decay"]) == ((0.7, 0.8), 0.3) for group in groups)
    assert [len(group["params"]) for group in groups] == [
        len([*m.parameters()]) for m in (stage.controlnet, stage.projectors)
    ]


def test_silent_clips_have_the_latents_of_silence_under_the_envelope_of_silence(tiny_release, tmp_path):
    trained = module(tiny_release, tmp_path, silent_share=0.3)
    batch = batch_of(2000) | {"latents_mean": torch.randn(2000, 4, 12), "control_latents": torch.randn(2000, 3, 4, 12)}
    vae, num_latents = trained.model.backbone.vae, 12
    given = trained._with_silence(batch, torch.Generator().manual_seed(0))
    silent = (given["latents_mean"] != batch["latents_mean"]).flatten(1).any(1)
    assert silent.float().mean() == pytest.approx(0.3, abs=0.04)
    with torch.no_grad():
        silence = encode_audio(vae, torch.zeros(1, 1, num_latents * vae.hop_length))
        zero_envelope = control_latents(vae, torch.zeros(1, 9), num_latents * vae.hop_length)
    assert torch.equal(given["latents_mean"][silent], silence.mean.expand(int(silent.sum()), -1, -1))
    assert torch.equal(given["latents_scale"][silent], silence.scale.expand(int(silent.sum()), -1, -1))
    for variant in given["control_latents"][silent].unbind(1):
        torch.testing.assert_close(variant, zero_envelope.expand_as(variant))
    for name, values in batch.items():
        kept = ~silent if name in ("latents_mean", "latents_scale", "control_latents") else slice(None)
        assert torch.equal(given[name][kept], values[kept]), name
