import json
from dataclasses import asdict
from pathlib import Path

import lightning
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from safetensors.torch import save_file
from torch.nn.functional import normalize

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder, load_tokenizer, train_wordpiece
from foleygram.alignment.losses import PairwiseInfoNCE
from foleygram.alignment.matching import DataAnchorMatching
from foleygram.alignment.module import AlignmentModule, linear_schedule
from foleygram.alignment.retrieval import Embeddings, retrieval_report
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.captions import caption
from foleygram.datasets.clip import Event
from foleygram.datasets.datamodule import ClipDataModule
from foleygram.spec import read_spec

MATERIALS = ("wood", "metal", "water", "cloth")
CONFIGS = Path(__file__).parents[2] / "configs" / "mini"


def write_cache(folder: Path, count: int = 16, seed: int = 0) -> Path:
    """A cache in which every material has its own colour and its own pitch."""
    generator = torch.Generator().manual_seed(seed)
    kinds = [n % len(MATERIALS) for n in range(count)]
    colours = torch.tensor([[220, 40, 40], [40, 220, 40], [40, 40, 220], [200, 200, 40]])[kinds]
    noise = torch.randint(0, 36, (count, 2, 3, 16, 16), generator=generator)
    frames = (colours[:, None, :, None, None] + noise).to(torch.uint8)
    pitch = torch.tensor([300.0, 900.0, 2700.0, 6000.0])[kinds]
    sound = 0.3 * torch.sin(2 * torch.pi * pitch[:, None] * torch.arange(8000) / 16_000)
    folder.mkdir(parents=True)
    save_file({"frames": frames, "envelope_audio": sound.half()}, folder / "shard.safetensors")
    names = [MATERIALS[kind] for kind in kinds]
    strings = {"caption": [caption([Event(0.1, name, "hit")]) for name in names], "materials": names}
    size = (folder / "shard.safetensors").stat().st_size
    spec = asdict(read_spec(CONFIGS / "clip.yaml"))
    fields = ["envelope_audio", "frames"]
    shard = {"file": "shard.safetensors", "bytes": size, "count": count, "strings": strings, "fields": fields}
    manifest = {"fields": fields, "identity": {"spec": spec}, "shards": [shard]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def module(out: Path, *, total_steps: int) -> AlignmentModule:
    torch.manual_seed(0)
    captions = [caption([Event(0.1, name, "hit")]) for name in MATERIALS]
    return AlignmentModule(
        VideoEncoder.build(16, 16, 8, 32, 48, 1, 2),
        TextEncoder.build(16, 128, 32, 48, 1, 2),
        AudioEncoder.build(16, 64, 48, 16, 32, 48, 1, 2, 8, 4),
        train_wordpiece(captions, 128),
        PairwiseInfoNCE(),
        out=str(out), total_steps=total_steps, lr=3e-3, vision_lr=3e-3, frames_per_step=1,
    )  # fmt: skip


def fit(
    training: AlignmentModule, cache: Path, steps: int, *, resume: Path | None = None, save: Path | None = None
) -> lightning.Trainer:
    fields = ["frames", "envelope_audio"]
    data = ClipDataModule(CachedClips(cache, fields=fields), CachedClips(cache, fields=fields), batch_size=8)
    callbacks = [ModelCheckpoint(save, save_last=True, save_top_k=0, every_n_train_steps=1)] if save else []
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, logger=False, callbacks=callbacks, enable_checkpointing=bool(save),
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(training, data, ckpt_path=resume)
    return trainer


def test_training_brings_the_modalities_together_and_saves_them(tmp_path: Path) -> None:
    training = module(tmp_path / "out", total_steps=60)
    metrics = fit(training, write_cache(tmp_path / "cache"), 60).callback_metrics
    assert metrics["material_video_to_audio"] == 1.0
    assert metrics["auc_all_mixed"] > 0.95
    folder = tmp_path / "out"
    assert sorted(path.name for path in folder.iterdir()) == [
        "audio_encoder",
        "text_encoder",
        "tokenizer",
        "video_encoder",
    ]
    again = TextEncoder.from_pretrained(folder / "text_encoder")
    tokens = load_tokenizer(str(folder / "tokenizer"))(["A person hits wood with a wooden stick."], return_tensors="pt")
    with torch.no_grad():
        expected = training.text_encoder.eval()(tokens["input_ids"], tokens["attention_mask"])
        torch.testing.assert_close(again(tokens["input_ids"], tokens["attention_mask"]), expected)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache")
    whole = module(tmp_path / "whole", total_steps=4)
    fit(whole, cache, 4)
    fit(module(tmp_path / "part", total_steps=4), cache, 2, save=tmp_path / "run")
    resumed = module(tmp_path / "resumed", total_steps=4)
    fit(resumed, cache, 4, resume=tmp_path / "run" / "last.ckpt")
    for (name, ours), theirs in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4, msg=name)


def test_validation_counts_every_clip_once_over_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of the blocks' losses by their clips, however the clips came in batches; the first process's alone."""
    training, logged = module(tmp_path, total_steps=1), dict[str, float]()
    generator = torch.Generator().manual_seed(3)
    parts = Embeddings(*(normalize(torch.randn(11, 6, generator=generator), dim=-1) for _ in range(3)))
    names = [str(n % 5) for n in range(11)]
    training._collected = [(parts.rows(rows), names[rows], names[rows]) for rows in (slice(0, 8), slice(8, 11))]
    monkeypatch.setattr("foleygram.alignment.retrieval.CLIPS_PER_LOSS", 6)
    monkeypatch.setattr(training, "log", lambda name, value, **_: logged.update({name: value}))
    with torch.no_grad():
        training.on_validation_epoch_end()
        halves = [training.objective(*parts.rows(rows), names[rows]) for rows in (slice(0, 6), slice(6, 11))]
    assert logged.pop("val_loss") == pytest.approx(float(6 * halves[0] + 5 * halves[1]) / 11, rel=1e-5)
    assert logged == pytest.approx(retrieval_report(parts, names, names))
    assert training._collected == []


def test_encoders_loaded_for_fine_tuning_are_in_training_mode(tmp_path: Path) -> None:
    parts = module(tmp_path, total_steps=1)
    parts.video_encoder.save_pretrained(tmp_path / "video")
    video = VideoEncoder.from_pretrained(tmp_path / "video")
    assert not video.training
    tuned = AlignmentModule(
        video, parts.text_encoder, parts.audio_encoder, parts.tokenizer, parts.objective, out="x", total_steps=1
    )
    assert all(part.training for part in tuned.modules())


def test_a_step_uses_the_configured_frames_and_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training, seen = module(tmp_path, total_steps=10), []
    read = {name: getattr(training, name).tokens for name in ("video_encoder", "text_encoder")}
    for name, tokens in read.items():
        monkeypatch.setattr(
            getattr(training, name), "tokens", lambda inputs, *more, f=tokens: seen.append(inputs) or f(inputs, *more)
        )
    frames = torch.randint(256, (2, 5, 3, 16, 16), dtype=torch.uint8)
    batch = {"frames": frames, "envelope_audio": torch.rand(2, 8000), "caption": ["wood " * 50, "metal"]}
    training.trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    monkeypatch.setattr(training, "log", lambda *_, **__: None)
    training.hparams.frames_per_step, training.hparams.augment = 2, False
    training.training_step(batch, 0)
    assert [part.shape[1] for part in seen] == [2, 40]
    for clip, drawn in zip(frames, seen[0], strict=True):
        assert all(any(torch.equal(frame, whole) for whole in clip) for frame in drawn)
    training.hparams.frames_per_step, training.hparams.augment = None, True
    training.training_step(batch, 0)
    assert seen[2].shape[1] == 5 and seen[2].is_floating_point()


def test_groups_hold_every_parameter_once_and_vision_has_its_own_rate(tmp_path: Path) -> None:
    training = module(tmp_path, total_steps=10)
    training.hparams.vision_lr = 1e-6
    groups = training._parameter_groups()
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in training.parameters())
    slow = {id(parameter) for group in groups if group["lr"] == 1e-6 for parameter in group["params"]}
    assert slow == {id(parameter) for parameter in training.video_encoder.network.parameters()}
    undecayed = [parameter for group in groups if not group["weight_decay"] for parameter in group["params"]]
    assert any(parameter is training.objective.log_temperature for parameter in undecayed)


def test_the_schedule_warms_up_and_falls_to_zero() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = linear_schedule(optimizer, warmup_steps=10, total_steps=100)
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.1) and max(rates) == 1.0 and rates[100] == 0.0
    assert rates[55] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["alignment_start", "alignment"])
def test_the_shipped_configurations_parse(name: str) -> None:
    parser = ArgumentParser()
    parser.add_subclass_arguments(AlignmentModule, "model")
    parser.add_subclass_arguments(ClipDataModule, "data")
    parser.add_argument("--seed_everything", type=int)
    parser.add_argument("--trainer", type=dict)
    config = parser.parse_path(str(CONFIGS / f"{name}.yaml"))
    options = config.model.init_args
    assert options.total_steps == config.trainer["max_steps"]
    assert options.out == {"alignment_start": "runs/mini/release_start", "alignment": "runs/mini/release"}[name]


def test_the_mini_configurations_train_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        write_mini_cache(tmp_path / "data" / "rendered" / "cache" / "media" / split)
    monkeypatch.chdir(tmp_path)
    for name in ("alignment_start", "alignment"):
        overrides = ["--trainer.max_steps=1", "--trainer.limit_val_batches=0", "--data.init_args.batch_size=2"]
        arguments = ["fit", f"--config={CONFIGS / name}.yaml", *overrides, "--trainer.enable_progress_bar=false"]
        LightningCLI(subclass_mode_model=True, subclass_mode_data=True, args=arguments)
    assert (tmp_path / "runs/mini/release/video_encoder/model.safetensors").is_file()


def write_mini_cache(folder: Path) -> None:
    folder.mkdir(parents=True)
    frames = torch.randint(256, (2, 8, 3, 64, 64), dtype=torch.uint8)
    save_file({"frames": frames, "envelope_audio": torch.randn(2, 64_000).half()}, folder / "shard.safetensors")
    size = (folder / "shard.safetensors").stat().st_size
    strings = {"caption": ["A person hits wood.", "A person hits metal."], "materials": ["wood", "metal"]}
    spec = asdict(read_spec(CONFIGS / "clip.yaml"))
    fields = ["envelope_audio", "frames"]
    shard = {"file": "shard.safetensors", "bytes": size, "count": 2, "strings": strings, "fields": fields}
    manifest = {"fields": fields, "identity": {"spec": spec}, "shards": [shard]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_checkpointing_changes_memory_alone(tmp_path: Path) -> None:
    frames = torch.randint(256, (2, 2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    gradients, kept = [], []
    for checkpointing in (False, True):
        encoder = module(tmp_path, total_steps=1).video_encoder.train()
        if checkpointing:
            encoder.gradient_checkpointing_enable()
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t.numel()) or t, lambda t: t):
            encoder(frames)[:, 0].sum().backward()
        gradients.append([p.grad for p in encoder.parameters()])
        kept.append(sum(saved))
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)
    assert kept[1] < 0.5 * kept[0]


def test_matching_and_checkpointing_are_switches(tmp_path: Path) -> None:
    torch.manual_seed(0)
    captions = [caption([Event(0.1, name, "hit")]) for name in MATERIALS]
    training = AlignmentModule(
        VideoEncoder.build(16, 16, 8, 32, 48, 1, 2),
        TextEncoder.build(16, 128, 32, 48, 1, 2, add_cross_attention=True),
        AudioEncoder.build(16, 64, 48, 16, 32, 48, 1, 2, 8, 4),
        train_wordpiece(captions, 128), PairwiseInfoNCE(), out=str(tmp_path / "out"), total_steps=30, lr=3e-3,
        vision_lr=3e-3, matching=DataAnchorMatching(32, 32, 32, num_frames=2), gradient_checkpointing=True,
    )  # fmt: skip
    assert training.video_encoder.network.is_gradient_checkpointing
    before = {name: p.clone() for name, p in training.named_parameters()}
    metrics = fit(training, write_cache(tmp_path / "cache"), 2).callback_metrics
    assert 0 < metrics["matching_loss"] < 0.2
    assert [n for n, p in training.named_parameters() if torch.equal(p, before[n]) and "log_temp" not in n] == []
