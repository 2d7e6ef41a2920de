"""A cache holds what training from media sees, names what made it, and is written by any number of processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import lightning
import pytest
import torch
from typer.testing import CliRunner

from foleygram.alignment.losses import PairwiseInfoNCE
from foleygram.alignment.module import AlignmentModule
from foleygram.cli import app
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import ClipDataModule
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.datasets.shards import ShardedClips
from foleygram.envelope.module import EnvelopeModule
from foleygram.features.encoder import FeatureEncoder
from foleygram.features.writer import cache_dataset, clips_hash, write_cache
from foleygram.generation.autoencoder import encode_audio
from foleygram.generation.backbone import load_backbone
from foleygram.generation.module import GenerationModule
from foleygram.pipeline.release import load_controlnet, load_part, load_projectors
from foleygram.spec import read_spec

ROOT = Path(__file__).parents[2]
MEDIA = ["frames", "envelope_audio"]
FEATURES = [
    "latents_mean", "latents_scale", "control_latents", "video_embedding", "text_embedding", "audio_embedding",
    "seconds_start", "seconds_total",
]  # fmt: skip


@pytest.fixture(scope="module")
def spec(tiny_release):
    return read_spec(tiny_release / "model_index.json")


def write(data, out, release, fields, **options):
    options = {"split": "train", "num_workers": 0, "shard_size": 2, "batch_size": 2} | options
    index = release / "model_index.json"
    return cache_dataset(data, out, spec_path=index, fields=fields, checkpoint=release, **options).parent


def losses(module, data, steps=4):
    """The training loss of every step."""
    seen = []
    module.log = lambda name, value, **_: seen.append(value.item()) if name == "loss" else None
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data)
    return torch.tensor(seen)


def alignment(release, out):
    torch.manual_seed(0)
    parts = [load_part(release, name) for name in ("video_encoder", "text_encoder", "audio_encoder", "tokenizer")]
    return AlignmentModule(*parts, PairwiseInfoNCE(), out=str(out), total_steps=4, lr=1e-3, vision_lr=1e-3)


def test_stage_1_learns_the_same_from_a_cache_as_from_media(rendered, tiny_release, spec, tmp_path):
    cache = write(rendered, tmp_path / "cache", tiny_release, MEDIA)
    clips = GreatestHits(rendered, spec=spec, fields=MEDIA)
    run = partial(ClipDataModule, batch_size=2, seed=4)
    media = losses(alignment(tiny_release, tmp_path / "a"), run(clips))
    cached = losses(alignment(tiny_release, tmp_path / "b"), run(CachedClips(cache, fields=MEDIA)))
    assert len(media) == 4 and media.std() > 1e-3
    torch.testing.assert_close(cached, media, atol=1e-4, rtol=1e-3)  # sound is cached in half precision


def generation(release, out):
    torch.manual_seed(0)
    return GenerationModule(
        load_backbone(str(release)), load_projectors(str(release)), controlnet=load_controlnet(str(release)),
        out=str(out), total_steps=4, warmup_steps=1, lr=1e-2,
    )  # fmt: skip


def test_stage_2_learns_the_same_from_a_cache_as_from_media(rendered, tiny_release, spec, tmp_path):
    derived = ["latents", "control_latents", "embeddings"]
    cache = write(rendered, tmp_path / "cache", tiny_release, derived)
    clips = GreatestHits(rendered, spec=spec)
    encoder = FeatureEncoder(tiny_release, spec, derived)
    run = partial(ClipDataModule, batch_size=2, seed=4)
    media = losses(generation(tiny_release, tmp_path / "a"), run(clips, encode=encoder))
    reader = CachedClips(cache, fields=FEATURES, spec=spec, encoders=str(tiny_release))
    cached = losses(generation(tiny_release, tmp_path / "b"), run(reader))
    assert len(media) == 4 and media.std() > 1e-3
    torch.testing.assert_close(cached, media, atol=1e-4, rtol=2e-3)


def envelope(release, spec, out):
    predictor = load_part(release, "envelope_predictor").train()
    return EnvelopeModule(
        predictor, out=str(out), frame_length=spec.frame_length, hop_length=spec.hop_length, lr=1e-2, warmup_steps=1
    )


def test_the_envelope_stage_learns_the_same_from_a_cache_as_from_media(rendered, tiny_release, spec, tmp_path):
    fields = ["motion", "envelope_audio"]
    cache = write(rendered, tmp_path / "cache", tiny_release, fields)
    clips = GreatestHits(rendered, spec=spec, fields=fields)
    run = partial(ClipDataModule, batch_size=2, seed=4)
    media = losses(envelope(tiny_release, spec, tmp_path / "a"), run(clips))
    reader = CachedClips(cache, fields=[*fields, "motion_ages"], spec=spec)
    cached = losses(envelope(tiny_release, spec, tmp_path / "b"), run(reader))
    assert len(media) == 4 and media.std() > 1e-3
    torch.testing.assert_close(cached, media, atol=1e-4, rtol=2e-3)


def test_shards_from_a_command_train_and_validate_as_the_cache_does(rendered, tiny_release, spec, tmp_path):
    derived = ["latents", "control_latents", "embeddings"]
    flat = write(rendered, tmp_path / "flat", tiny_release, derived)
    write(rendered, tmp_path / "tar", tiny_release, derived, format="webdataset")
    contract = {"fields": FEATURES, "spec": spec, "encoders": str(tiny_release)}
    shards = ShardedClips(f"pipe:cat {tmp_path}/tar/{{file}}", **contract)
    scores = []
    for val in (CachedClips(flat, **contract), shards):
        trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
        data = ClipDataModule(shards, val, batch_size=2)
        scores += trainer.validate(generation(tiny_release, tmp_path / "out"), data, verbose=False)
    assert scores[0] == scores[1] and scores[0]["val_loss"] > 0
    seen = losses(generation(tiny_release, tmp_path / "out"), ClipDataModule(shards, batch_size=2, num_workers=1))
    assert len(seen) == 4 and seen.isfinite().all()


def test_a_crop_of_cached_latents_is_the_encoding_of_that_stretch(rendered, spec, tmp_path):
    release = ROOT / "checkpoints" / "mini"  # trained: its latents tell one moment from the next
    vae, clips = load_part(release, "vae"), GreatestHits(rendered, spec=spec, fields=["audio"])
    encode = FeatureEncoder(release, spec, ["latents"])
    write_cache(clips, tmp_path, identity={"spec": asdict(spec)}, encode=encode, progress=False)
    crops = CachedClips(tmp_path, fields=FEATURES[:2] + FEATURES[-2:], crop_seconds=1.2, seed=2)
    reach = 10  # latents beside an edge that hear what was cut off
    firsts = set()
    for index in range(6):
        item = crops[index]
        first = round(float(item["seconds_start"]) / 0.032)
        assert float(item["seconds_start"]) == pytest.approx(first * 0.032)
        audio = torch.nn.functional.pad(clips[index]["audio"], (0, 512))
        with torch.no_grad():
            parts = encode_audio(vae, audio[None, :, first * 512 : (first + 38) * 512])
        for name, part in zip(FEATURES[:2], parts, strict=True):
            assert item[name].shape == part[0].shape
            torch.testing.assert_close(item[name][:, reach:-reach], part[0, :, reach:-reach], atol=0.01, rtol=0.01)
        firsts.add(first)
    assert len(firsts) > 2


def test_a_cache_in_bfloat16_is_near_and_no_cache_in_float32(rendered, tiny_release, tmp_path):
    clips = {}
    for dtype in ("float32", "bfloat16"):
        made = ("latents", "control_latents", "embeddings")
        folder = write(rendered, tmp_path / dtype, tiny_release, made, dtype=dtype)
        fields = ("latents_mean", "control_latents", "video_embedding", "text_embedding", "audio_embedding")
        clips[dtype] = CachedClips(folder, fields=fields)[0]
    for name, exact in clips["float32"].items():
        if isinstance(exact, torch.Tensor):
            error = (clips["bfloat16"][name] - exact).norm() / exact.norm()
            assert 1e-5 < error < 0.06, name
    with pytest.raises(ValueError, match=r"another kind.*dtype"):
        write(rendered, tmp_path / "float32", tiny_release, made, dtype="bfloat16")


def test_identity_covers_every_network(tiny_release):
    encoder = FeatureEncoder(tiny_release, None, ("latents", "control_latents", "embeddings"))
    parts = {name.split("/")[0] for name in encoder.identity}
    assert parts == {"vae", "envelope_predictor", "video_encoder", "text_encoder", "audio_encoder", "tokenizer"}


def test_another_config_is_another_network(rendered, tiny_release, spec, tmp_path):
    """The same weights that read other frames or other lengths of sound make other features."""
    cache, release = tmp_path / "cache", tmp_path / "release"
    write(rendered, cache, tiny_release, ["embeddings"])
    shutil.copytree(tiny_release, release)
    contract = {"fields": FEATURES[3:6], "spec": spec, "encoders": str(release)}
    assert len(CachedClips(cache, **contract)) > 0
    config = release / "audio_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_fbank_frames": 32}))
    with pytest.raises(ValueError, match=r"another network than .*audio_encoder/config\.json; write the cache again"):
        CachedClips(cache, **contract)


def test_other_clips_never_pass_for_the_cached_ones(rendered, tiny_release, spec, tmp_path):
    videos = Path(shutil.copytree(rendered, tmp_path / "videos"))
    cache = write(videos, tmp_path / "cache", tiny_release, ["envelope_audio"])
    with pytest.raises(ValueError, match=r"\.identity\.fields .*frames.*remove it or choose"):
        write(videos, cache, tiny_release, ["frames"])
    train = (videos / "train.txt").read_text()
    labels = next(path for path in videos.glob("*_times.txt") if path.stem[:19] in train)
    labels.write_text("0.5 glass hit static\n")
    with pytest.raises(ValueError, match=r"another kind \(\.identity\.clips \w{64} against \w{64} now\)"):
        write(videos, cache, tiny_release, ["envelope_audio"])
    same = [clips_hash(GreatestHits(videos, spec=spec, fields=fields)) for fields in (["audio"], ["frames"])]
    assert same[0] == same[1]


def command(rendered, release, out):
    options = {"split": "train", "spec": release / "model_index.json", "checkpoint": release, "shard-size": 1}
    options |= {"fields": "latents,control_latents,embeddings", "workers": 0, "device": "cpu"}
    given = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    return ["-m", "foleygram", "cache", str(rendered), str(out), *given]


@pytest.mark.slow
def test_torchrun_shares_a_cache_and_a_killed_run_resumes(rendered, tiny_release, tmp_path):
    arguments = command(rendered, tiny_release, tmp_path / "many")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(launch, env=environment, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    while first.poll() is None and not list((tmp_path / "many").glob("shard-*.json")):
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "many").glob("shard-*.safetensors")}
    subprocess.run(launch, env=environment, cwd=ROOT, check=True, capture_output=True)
    result = CliRunner().invoke(app, command(rendered, tiny_release, tmp_path / "one")[2:])
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "many").iterdir()) and "manifest.json" in names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes(), name
    finished = {name: time for name, time in done.items() if (tmp_path / "many" / name).stat().st_mtime_ns == time}
    assert finished  # at least the shard that was whole was not written again


def test_one_process_of_several_reports_that_others_are_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_LOCALID", "1")
    spec = ROOT / "configs" / "mini" / "clip.yaml"
    options = ["--split", "test", "--spec", spec, "--fields", "envelope_audio", "--workers", 0]
    arguments = [ROOT / "data" / "examples", tmp_path / "cache", *options]
    result = CliRunner().invoke(app, ["cache", *map(str, arguments)])
    assert result.exit_code == 0 and "when all processes have finished" in result.output, result.output
    assert not (tmp_path / "cache" / "manifest.json").exists()
