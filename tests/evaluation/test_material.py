import numpy as np
import pytest
import soundfile
import torch

from foleygram.evaluation.judge_training import (
    LabelledSound,
    judge_accuracy,
    one_material_sounds,
    train_judge,
    train_judge_from_folder,
)
from foleygram.evaluation.material import MaterialJudge, MaterialJudgeConfig

RATE = 16_000
SMALL = {"num_mel_bins": 32, "widths": (8, 16)}


def toy_sound(material, seed, seconds=2.0):
    """A dull thud or a bright ring, struck twice."""
    rng = np.random.default_rng(seed)
    frequency, decay = (rng.uniform(100, 160), 0.03) if material == "thud" else (rng.uniform(2000, 3500), 0.3)
    audio, times = np.zeros(round(seconds * RATE)), sorted(rng.uniform(0.1, seconds - 0.5, 2).tolist())
    t = np.arange(round(0.4 * RATE)) / RATE
    for time in times:
        start = round(time * RATE)
        audio[start : start + len(t)] += 0.3 * np.sin(2 * np.pi * frequency * t) * np.exp(-t / decay)
    audio += 1e-4 * rng.standard_normal(len(audio))
    return LabelledSound(torch.from_numpy(audio).float(), material, tuple(times))


def toy_set(seed, count=10):
    return [toy_sound(name, (seed, i, name == "thud")) for i in range(count) for name in ("thud", "ring")]


@pytest.fixture(scope="module")
def judge():
    config = MaterialJudgeConfig(materials=["ring", "thud"], **SMALL)
    return train_judge(toy_set(0), config, steps=80, seed=0, batch_size=8, seconds=1.0, progress=False)


def test_it_learns_to_tell_two_materials_apart(judge):
    assert judge_accuracy(judge, toy_set(1)) == 1


def test_saved_and_loaded_it_gives_the_same_scores(judge, tmp_path):
    judge.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = MaterialJudge.from_pretrained(tmp_path).eval()
    audio = torch.stack([s.audio for s in toy_set(2, 2)])
    assert loaded.config.materials == ["ring", "thud"]
    torch.testing.assert_close(loaded(audio), judge(audio), rtol=0, atol=0)


def test_the_level_is_no_clue(judge):
    audio = torch.stack([s.audio for s in toy_set(3, 2)])
    torch.testing.assert_close(judge(0.1 * audio), judge(audio), rtol=1e-3, atol=1e-3)


def test_a_clip_does_not_depend_on_its_batch(judge):
    audio = torch.stack([s.audio for s in toy_set(4, 2)])
    torch.testing.assert_close(judge(audio)[:1], judge(audio[:1]), rtol=1e-4, atol=1e-4)


def test_the_judge_works_at_any_rate_and_returns_none_for_silence(judge):
    import soxr

    sound = toy_sound("ring", 9).audio
    fast = torch.from_numpy(soxr.resample(sound.numpy(), RATE, 44_100))
    assert judge.classify(fast[None], 44_100) == ["ring"]
    assert judge.classify(torch.stack([torch.zeros(RATE), sound[:RATE]]), RATE)[0] is None


def test_the_judge_resamples_and_uses_no_dropout(judge, monkeypatch):
    heard, score = [], type(judge).forward
    monkeypatch.setattr(type(judge), "forward", lambda self, audio: heard.append(audio) or score(self, audio))
    judge.train().classify(torch.rand(1, 44_100), 44_100)
    assert heard[0].shape == (1, RATE) and not judge.training


def test_training_is_repeatable():
    config = MaterialJudgeConfig(materials=["ring", "thud"], **SMALL)
    first, second = (
        train_judge(toy_set(0, 2), config, steps=2, seed=5, batch_size=4, seconds=1.0, progress=False).state_dict()
        for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_material_without_a_sound_is_named():
    config = MaterialJudgeConfig(materials=["ring", "thud", "glass"], **SMALL)
    with pytest.raises(ValueError, match="glass"):
        train_judge(toy_set(0, 1), config, steps=1, seed=0, progress=False)


def write_folder(root):
    lines = {"train": [], "test": []}
    for index, sound in enumerate(toy_set(6, 3)):
        video_id = f"2000-01-01-00-00-{index:02d}"
        soundfile.write(root / f"{video_id}_denoised.wav", sound.audio.numpy(), RATE)
        events = "".join(f"{t:.6f} {sound.material} hit static\n" for t in sound.times)
        (root / f"{video_id}_times.txt").write_text(events)
        lines["test" if index >= 4 else "train"].append(video_id)
    for name, ids in lines.items():
        (root / f"{name}.txt").write_text("\n".join(ids))
    return lines


def test_only_clips_of_one_material_are_learnt_from(tmp_path):
    ids = write_folder(tmp_path)["train"]
    with (tmp_path / f"{ids[0]}_times.txt").open("a") as file:
        file.write("1.9 glass hit static\n")
    with (tmp_path / f"{ids[1]}_times.txt").open("a") as file:
        file.write("1.9 None None None\n")
    assert len(one_material_sounds(tmp_path, seconds=2.0)) == len(ids) - 2


def test_a_judge_is_trained_from_a_folder_and_saved(tmp_path):
    (tmp_path / "data").mkdir()
    write_folder(tmp_path / "data")
    accuracy = train_judge_from_folder(tmp_path / "data", tmp_path / "judge", steps=2, seed=0, seconds=2.0)
    assert 0 <= accuracy <= 1
    assert MaterialJudge.from_pretrained(tmp_path / "judge").config.materials == ["ring", "thud"]
    (tmp_path / "plain").touch()
    assert (tmp_path / "judge/model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
