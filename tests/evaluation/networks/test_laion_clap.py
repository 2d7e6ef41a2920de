import json
import shutil

import librosa
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ClapFeatureExtractor, ClapModel, RobertaTokenizer

from foleygram.evaluation.embedders import sound_windows
from foleygram.evaluation.extraction import window_protocol
from foleygram.evaluation.networks.laion_clap import LaionClap
from foleygram.evaluation.networks.mel import MelDecibels, slaney_filters
from foleygram.weights.download import ORIGIN
from tests import published


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return published.write_laion_clap(tmp_path_factory.mktemp("weights") / "laion-clap")


@pytest.fixture(scope="module")
def clap(folder):
    return LaionClap.from_pretrained(folder)


def sounds():
    time = torch.arange(480_000) / 48_000
    noise = torch.randn(480_000, generator=torch.Generator().manual_seed(0))
    return torch.stack([0.1 * noise, 1.4 * torch.sin(2 * torch.pi * 440 * time) * (-time).exp()])


def test_decibels_are_librosas_filters_on_the_power_of_centred_frames():
    sound = sounds()[0, :9600]
    mel = MelDecibels(slaney_filters(48_000, 1024, 64, 50, 14_000), torch.hann_window(1024), 480)
    filters = librosa.filters.mel(sr=48_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000)
    mirrored = np.pad(sound.double().numpy(), 512, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frames = np.stack([mirrored[480 * i :][:1024] * hann for i in range(21)])
    expected = 10 * np.log10(np.abs(np.fft.rfft(frames)) ** 2 @ filters.T)
    np.testing.assert_allclose(mel(sound[None])[0], expected, atol=2e-3)
    assert mel(torch.zeros(1, 4800)).unique().item() == -100


def test_sound_equals_transformers_own_path(folder, clap):
    model, extractor = ClapModel.from_pretrained(folder), ClapFeatureExtractor.from_pretrained(folder)
    levels = (sounds().clamp(-1, 1) * 32767).to(torch.int16).float() / 32767
    inputs = extractor(list(levels.numpy()), sampling_rate=48_000, return_tensors="pt")
    expected = model.get_audio_features(inputs["input_features"].float()).pooler_output
    assert clap(sounds()).shape == (2, 12)
    torch.testing.assert_close(clap(sounds()), expected.detach(), rtol=0, atol=1e-4)
    assert (clap(sounds())[0] - clap(sounds())[1]).norm() > 0.01


def test_text_equals_transformers_own_path(folder, clap):
    model, tokenizer = ClapModel.from_pretrained(folder), RobertaTokenizer.from_pretrained(folder)
    texts = ["a hit", "someone scratches a wooden table " * 5]
    for text, row in zip(texts, clap.embed_text(texts), strict=True):
        ids = tokenizer(text, truncation=True, max_length=77, return_tensors="pt")["input_ids"]
        expected = model.get_text_features(ids).pooler_output[0].detach()
        torch.testing.assert_close(row, expected, rtol=0, atol=1e-5)
    assert clap.embed_text(texts)[0] @ clap.embed_text(texts)[1] < 0.999


def test_windows_follow_the_protocol(clap):
    assert window_protocol(clap) | {"sample_rate": 48_000, "window_sec": 10.0, "hop_sec": 1.0, "tail": "pad"} == (
        window_protocol(clap)
    )
    assert sound_windows(torch.zeros(480_000), clap).shape == (10, 480_000)
    assert clap.identity["checkpoint"] == "laion-clap, of unknown origin" and clap.identity["revision"] is None
    assert len(clap.identity["sha256"]) == 64


def test_a_fetched_checkpoint_is_named_by_hub_id_and_revision(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "laion-clap")
    (copy / ORIGIN).write_text(json.dumps({"hub_id": "laion/another", "revision": "abc", "licence": "Apache-2.0"}))
    identity = LaionClap.from_pretrained(copy).identity
    assert (identity["checkpoint"], identity["revision"]) == ("laion/another", "abc")


def test_an_embedding_does_not_depend_on_its_batch(clap):
    torch.testing.assert_close(clap(sounds()), torch.cat([clap(one[None]) for one in sounds()]), rtol=0, atol=1e-5)


def test_what_is_absent_or_damaged_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="weights fetch laion-clap"):
        LaionClap.from_pretrained(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match=f"{tmp_path}.*fetch it again"):
        LaionClap.from_pretrained(tmp_path)
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(folder / "model.safetensors")
    del state["audio_projection.linear1.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks.*audio_projection\.linear1"):
        LaionClap.from_pretrained(tmp_path)


def test_fusion_is_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    facts = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(facts | {"truncation": "fusion"}))
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: of a CLAP with fusion.*weights fetch laion-clap"):
        LaionClap.from_pretrained(tmp_path)
