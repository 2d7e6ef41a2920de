"""Trains the material judge on one-material sounds, seeded, in a plain loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from foleygram.datasets.clip import parse_events
from foleygram.evaluation.material import MaterialJudge, MaterialJudgeConfig
from foleygram.media.audio import read_audio

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class LabelledSound:
    """Mono sound (samples,) of one material, and when it is struck, in seconds."""

    audio: Tensor
    material: str
    times: tuple[float, ...]


def one_material_sounds(
    data_root: str | Path, split: str = "train", *, sample_rate: int = SAMPLE_RATE
) -> list[LabelledSound]:
    """Sounds of the split's videos in which every labelled event has one and the same material.

    Raises FileNotFoundError without the split's list and ValueError when no such video is there.
    """
    found = sorted(Path(data_root).rglob(f"{split}.txt"), key=lambda path: len(path.parts))
    if not found:
        raise FileNotFoundError(f"{data_root}: no {split}.txt in it or below; is it Greatest Hits?")
    root, sounds = found[0].parent, []
    for video_id in found[0].read_text().split():
        path = root / f"{video_id}_times.txt"
        events = parse_events(path.read_text(), str(path))
        materials = {event.material for event in events}
        if len(materials) != 1 or None in materials:
            continue
        wav = next(p for kind in ("denoised", "mic") if (p := root / f"{video_id}_{kind}.wav").is_file())
        audio = read_audio(wav, sample_rate=sample_rate, channels=1)[0]
        sounds.append(LabelledSound(audio, str(events[0].material), tuple(event.time for event in events)))
    if not sounds:
        raise ValueError(f"{found[0]}: none of its videos has events of one labelled material only")
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

    Each stretch holds a strike and is shifted, made noisy and unevenly loud over frequency; its level is no clue. What
    is drawn depends on `seed` and the step alone.
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
    """Another level, noise 20 to 70 dB below the peak, and a gentle slope of up to 3 dB over the whole band."""
    noise = torch.from_numpy(rng.standard_normal(len(audio)).astype(np.float32))
    audio = audio + noise * audio.abs().max() * float(10 ** (-rng.uniform(20, 70) / 20))
    spectrum = torch.fft.rfft(audio)
    slope = torch.linspace(-1, 1, len(spectrum)) * float(rng.uniform(-1.5, 1.5))
    audio = torch.fft.irfft(spectrum * 10 ** (slope / 20), len(audio))
    return audio * float(10 ** (rng.uniform(-12, 6) / 20))


def judge_accuracy(judge: MaterialJudge, sounds: Sequence[LabelledSound], *, seconds: float = 4.0) -> float:
    """Share of `sounds` that the judge hears right, cut into stretches of `seconds` with a strike in each."""
    right = total = 0
    length = round(seconds * judge.config.sample_rate)
    for sound in sounds:
        for index in range(len(sound.audio) // length):
            if any(index * seconds <= time < (index + 1) * seconds - 0.1 for time in sound.times):
                heard = judge.hear(sound.audio[None, index * length : (index + 1) * length], judge.config.sample_rate)
                right, total = right + (heard[0] == sound.material), total + 1
    if not total:
        raise ValueError(f"none of {len(sounds)} sounds lasts {seconds:g} s")
    return right / total


def train_judge_from_folder(
    data_root: str | Path, out: str | Path, *, steps: int = 400, seed: int = 0, seconds: float = 4.0
) -> float:
    """Train the judge on `data_root`'s training sounds and save it to `out`; returns its accuracy on test sounds."""
    judge = train_judge(one_material_sounds(data_root), steps=steps, seed=seed, seconds=seconds / 2)
    judge.save_pretrained(out)
    return judge_accuracy(judge, one_material_sounds(data_root, "test"), seconds=seconds)
