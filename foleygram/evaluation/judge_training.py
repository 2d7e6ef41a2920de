"""Trains the material judge on one-material sounds, seeded, in a plain loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.evaluation.material import MaterialJudge, MaterialJudgeConfig
from foleygram.files import share
from foleygram.media.audio import read_audio
from foleygram.spec import ClipSpec

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class LabelledSound:
    """Mono sound (samples,) of one material, and when it is struck, in seconds."""

    audio: Tensor
    material: str
    times: tuple[float, ...]


def one_material_sounds(
    data_root: str | Path, split: str = "train", *, seconds: float = 4.0, sample_rate: int = SAMPLE_RATE
) -> list[LabelledSound]:
    """Clips of `seconds` of Greatest Hits' split in which every event is labelled, all with one material.

    Raises FileNotFoundError naming what is missing, and ValueError when there is no such clip.
    """
    clips = GreatestHits(data_root, split, spec=ClipSpec(seconds=seconds), fields=("audio",)).clips
    sounds = []
    for clip in clips:
        if len(clip.materials) != 1 or any(event.material is None for event in clip.events):
            continue
        audio = read_audio(clip.audio_path, sample_rate=sample_rate, channels=1, start=clip.start, seconds=clip.seconds)
        sounds.append(LabelledSound(audio[0], clip.materials[0], tuple(event.time for event in clip.events)))
    if not sounds:
        raise ValueError(f"{data_root}: none of the {len(clips)} clips of split {split} has one labelled material only")
    return sounds


def train_judge(
    sounds: Sequence[LabelledSound],
    config: MaterialJudgeConfig | None = None,
    *,
    steps: int,
    seed: int,
    batch_size: int = 32,
    seconds: float = 2.0,
    learning_rate: float = 2e-3,
    progress: bool = True,
) -> MaterialJudge:
    """A judge trained on random stretches of `seconds` of `sounds`, every material equally often, in eval mode.

    Each stretch holds a strike and is shifted, made noisy and unevenly loud over frequency; its level is random. What
    is drawn depends on `seed` and the step alone. Raises ValueError for a material without a sound.
    """
    config = config or MaterialJudgeConfig(materials=sorted({sound.material for sound in sounds}))
    by_material = [[s for s in sounds if s.material == name] for name in config.materials]
    empty = [name for name, members in zip(config.materials, by_material, strict=True) if not members]
    if empty:
        raise ValueError(f"no sound of {', '.join(empty)} to learn from")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = MaterialJudge(config).train()
        optimizer = torch.optim.AdamW(judge.parameters(), lr=learning_rate, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.2)
        for step in track(range(steps), "training the judge", disable=not progress, transient=True):
            rng = np.random.default_rng((seed, step))
            labels = (np.arange(batch_size) + rng.integers(len(by_material))) % len(by_material)
            audio = torch.stack([_stretch(by_material[i], rng, seconds, config.sample_rate) for i in labels])
            loss = F.cross_entropy(judge(audio), torch.from_numpy(labels), label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval()


def _stretch(sounds: Sequence[LabelledSound], rng: np.random.Generator, seconds: float, rate: int) -> Tensor:
    sound = sounds[int(rng.integers(len(sounds)))]
    length = round(seconds * rate)
    first = rng.choice(sound.times) - rng.uniform(0.0, 0.9 * seconds) if sound.times else 0.0
    begin = max(0, min(round(first * rate), len(sound.audio) - length))
    audio = sound.audio[begin : begin + length]
    audio = F.pad(audio, (0, length - len(audio)))
    return _disturb(audio, rng)


def _disturb(audio: Tensor, rng: np.random.Generator) -> Tensor:
    """The sound as if recorded or coded: with a random level and equalisation, white noise and randomised phases.

    White noise 20 to 70 dB below the peak; the sound itself with random phases 3 to 30 dB below; a smooth curve over
    the band within +-6 dB. Without them a judge classifies the coder instead of the material.
    """
    window = torch.hann_window(512)
    spectrogram = torch.stft(audio, 512, 128, window=window, return_complex=True)
    phases = torch.from_numpy(rng.uniform(0, 2 * np.pi, spectrogram.shape).astype(np.float32))
    shaped = torch.istft(spectrogram.abs() * torch.exp(1j * phases), 512, 128, window=window, length=len(audio))
    noise = torch.from_numpy(rng.standard_normal(len(audio)).astype(np.float32)) * audio.abs().max()
    audio = audio + noise * _gain(-rng.uniform(20, 70)) + shaped * _gain(-rng.uniform(3, 30))
    spectrum = torch.fft.rfft(audio)
    knots = torch.from_numpy(rng.uniform(-6, 6, 6).astype(np.float32))
    curve = F.interpolate(knots[None, None], len(spectrum), mode="linear", align_corners=True)[0, 0]
    audio = torch.fft.irfft(spectrum * 10 ** (curve / 20), len(audio))
    return audio * _gain(rng.uniform(-12, 6))


def _gain(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def judge_accuracy(judge: MaterialJudge, sounds: Sequence[LabelledSound]) -> float:
    """Share of `sounds`, at the judge's rate, that it classifies correctly."""
    answers = [judge.classify(sound.audio[None], judge.config.sample_rate)[0] for sound in sounds]
    return sum(answer == sound.material for answer, sound in zip(answers, sounds, strict=True)) / len(sounds)


def train_judge_from_folder(
    data_root: str | Path, out: str | Path, *, steps: int = 400, seed: int = 0, seconds: float = 4.0
) -> float:
    """Train the judge on clips of `data_root`'s training split, save it to `out`; its accuracy on the test split.

    Raises what `one_material_sounds` raises, before any training.
    """
    sounds, unseen = (one_material_sounds(data_root, split, seconds=seconds) for split in ("train", "test"))
    judge = train_judge(sounds, steps=steps, seed=seed, seconds=seconds / 2)
    judge.save_pretrained(out)
    share(Path(out))
    return judge_accuracy(judge, unseen)
