"""Random crops of a folder's sounds: what the autoencoder is trained on."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.utils.data import Dataset

CANDIDATES = 3
"""Crops drawn per item, of which the loudest is taken: most of a Foley track is silence, which teaches little."""


class SoundCrops(Dataset):
    """Crops of `seconds` from the WAV files of a folder in Greatest Hits' layout, one per file and pass.

    Item i is drawn from (seed, i); an index past the number of files means a later pass over them, so a resumed
    run draws what an uninterrupted one would. Raises FileNotFoundError when a listed sound is missing and ValueError
    when a file has another rate.
    """

    def __init__(self, root: str | Path, *, split: str, sample_rate: int, num_samples: int, seed: int = 0) -> None:
        listed = (Path(root) / f"{split}.txt").read_text().split()
        self.paths = [Path(root) / f"{video_id}_denoised.wav" for video_id in listed]
        missing = [path for path in self.paths if not path.is_file()]
        if missing or not listed:
            raise FileNotFoundError(f"{root}: {len(missing)} of {len(listed)} sounds missing, first {missing[:1]}")
        self.sample_rate, self.num_samples, self.seed = sample_rate, num_samples, seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        path = self.paths[index % len(self.paths)]
        with soundfile.SoundFile(path) as file:
            if file.samplerate != self.sample_rate:
                raise ValueError(
                    f"{path}: {file.samplerate} Hz, expected {self.sample_rate} Hz; render or resample it so"
                )
            last = max(0, len(file) - self.num_samples)
            starts = np.random.default_rng((self.seed, index)).integers(last + 1, size=CANDIDATES)
            audio = max((self._crop(file, start) for start in starts), key=lambda crop: float((crop**2).mean()))
        padded = np.zeros((len(audio), self.num_samples), np.float32)
        padded[:, : audio.shape[1]] = audio
        return {"audio": torch.from_numpy(padded)}

    def _crop(self, file: soundfile.SoundFile, start: int) -> np.ndarray:
        file.seek(int(start))
        return file.read(self.num_samples, dtype="float32", always_2d=True).T
