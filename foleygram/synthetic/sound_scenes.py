"""Short scenes of recorded and rendered sound at the full band: what the autoencoder is trained on."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from scipy.signal import fftconvolve
from torch import Tensor
from torch.utils.data import Dataset

from foleygram.synthetic.recordings import RecordedSounds, Split

RENDERED_SHARE, TEXTURE_SHARE, SILENT_SHARE = 0.3, 0.12, 0.04
GAPS_SEC = (0.1, 1.2)


class SoundScenes(Dataset):
    """Mono scenes {"audio": (1, num_samples)}: hits and scrapes of recorded objects in a room, and rendered sounds.

    Item i is drawn from (seed, i) alone. `rendered` is a folder in Greatest Hits' layout whose sounds (at
    `sample_rate`) make up a share of the items. Raises FileNotFoundError for a folder without sounds and ValueError
    for sounds of another rate.
    """

    def __init__(
        self,
        recordings: str | Path,
        *,
        rendered: str | Path | None = None,
        split: Split = "train",
        sample_rate: int = 44_100,
        num_samples: int = 32_768,
        num_items: int = 4000,
        seed: int = 0,
    ) -> None:
        self.sounds = RecordedSounds(recordings, sample_rate=sample_rate, split=split)
        self.sample_rate, self.num_samples, self.num_items, self.seed = sample_rate, num_samples, num_items, seed
        self.textures = [voice for voice in self.sounds.voices if voice.action == "scratch"]
        self.rendered: list[Path] = []
        if rendered is not None:
            listed = (Path(rendered) / ("train.txt" if split == "train" else "test.txt")).read_text().split()
            self.rendered = [Path(rendered) / f"{video_id}_denoised.wav" for video_id in listed]
            if missing := [path for path in self.rendered if not path.is_file()]:
                raise FileNotFoundError(f"{missing[0]}: no such file, and {len(missing) - 1} others; render them again")

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        draw = rng.random()
        if self.rendered and draw < RENDERED_SHARE:
            audio = self._crop_of_rendered(rng)
        elif self.textures and draw < RENDERED_SHARE + TEXTURE_SHARE:
            audio = self._texture(rng)
        elif draw < RENDERED_SHARE + TEXTURE_SHARE + SILENT_SHARE:
            audio = np.zeros(self.num_samples)
        else:
            audio = self._scene(rng)
        if rng.random() < 0.6:
            audio = audio + _background(rng, self.num_samples) * 10 ** (rng.uniform(-100, -62) / 20)
        audio = audio / max(1.0, np.abs(audio).max() / 0.98)
        return {"audio": torch.from_numpy(audio.astype(np.float32))[None]}

    def _crop_of_rendered(self, rng: np.random.Generator) -> np.ndarray:
        path = self.rendered[rng.integers(len(self.rendered))]
        with soundfile.SoundFile(path) as file:
            if file.samplerate != self.sample_rate:
                raise ValueError(f"{path}: {file.samplerate} Hz, expected {self.sample_rate} Hz; render it so")
            crops = []
            for _ in range(2):  # the louder of two: most of a Foley track is silence
                file.seek(int(rng.integers(max(1, len(file) - self.num_samples))))
                crops.append(file.read(self.num_samples, dtype="float64", always_2d=True)[:, 0])
        crop = max(crops, key=lambda one: float((one**2).sum()))
        return np.pad(crop, (0, self.num_samples - len(crop)))

    def _texture(self, rng: np.random.Generator) -> np.ndarray:
        """A stretch of a recorded scrape, shake or crumple as it is."""
        takes = self.textures[rng.integers(len(self.textures))].takes
        take = takes[rng.integers(len(takes))]
        start = int(rng.integers(max(1, len(take) - self.num_samples)))
        crop = take[start : start + self.num_samples].astype(np.float64)
        return np.pad(crop, (0, self.num_samples - len(crop))) * 10 ** (rng.uniform(-24, 0) / 20)

    def _scene(self, rng: np.random.Generator) -> np.ndarray:
        """One or two objects struck at random gaps, in a room."""
        dry = np.zeros(self.num_samples)
        material = self.sounds.materials[rng.integers(len(self.sounds.materials))]
        kinds = [voice for voice in self.sounds.voices if voice.material == material]
        chosen = [kinds[rng.integers(len(kinds))] for _ in range(rng.integers(1, 3))]
        position = int(rng.uniform(-0.3, 0.4) * self.sample_rate)
        while position < self.num_samples:
            sound = chosen[rng.integers(len(chosen))].play(float(rng.uniform(0.15, 1)), rng)
            skipped, start = max(0, -position), max(0, position)
            part = sound[skipped : skipped + self.num_samples - start]
            dry[start : start + len(part)] += part
            position += int(rng.uniform(*GAPS_SEC) * self.sample_rate)
        decay = rng.uniform(0.08, 0.6)
        length = round(decay * self.sample_rate)
        room = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
        room *= rng.uniform(0, 0.5) / np.sqrt((room**2).sum())
        return (dry + fftconvolve(dry, room)[: self.num_samples]) * 10 ** (rng.uniform(-18, 3) / 20)


def _background(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """Noise of unit RMS whose spectrum falls by a slope drawn from 0 to 6 dB per octave."""
    frequencies = np.maximum(np.arange(num_samples // 2 + 1), 1.0)
    spectrum = rng.standard_normal((2, len(frequencies))) * frequencies ** -rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum[0] + 1j * spectrum[1], num_samples)
    return noise / np.sqrt((noise**2).mean())
