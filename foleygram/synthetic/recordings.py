"""Recorded hits and scrapes by material, from a folder with an `index.csv`: voices for rendered objects."""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import librosa
import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import sosfilt

from foleygram.media.audio import read_audio
from foleygram.media.video import MediaError

Split = Literal["train", "val", "test"]
COLUMNS = ("path", "source package or repo", "licence", "attribution", "material", "action", "use")
MATERIALS = {
    "brick": "rock", "cardboard": "paper", "carpet": "carpet", "ceramic": "ceramic", "cloth": "cloth",
    "concrete": "rock", "cymbal": "metal", "dirt": "dirt", "drywall": "drywall", "glass": "glass", "grass": "grass",
    "gravel": "gravel", "leaf": "leaf", "leather": "cloth", "metal": "metal", "mud": "dirt", "paper": "paper",
    "plastic": "plastic", "plastic-bag": "plastic-bag", "rock": "rock", "sand": "dirt", "snow": "gravel",
    "tile": "tile", "water": "water", "wood": "wood",
}  # fmt: skip
"""Material of Greatest Hits for each material label of an index; other labels are left out."""
ACTIONS = {
    **dict.fromkeys(("hit", "drop", "chop", "click", "bounce", "splash", "tool", "footstep"), "hit"),
    **dict.fromkeys(("scratch", "roll", "crumple", "shake", "handle", "rattle", "tear", "saw", "pour"), "scratch"),
}
"""Action of Greatest Hits for each action label of an index; other labels are left out."""
PRE_ROLL_SEC, LONGEST_SEC, SHORTEST_SEC = 0.004, 1.5, 0.06
QUIETEST = 0.1
"""A one-shot is kept if its peak is at least this share of its file's."""
SILENT, CLIPPED_SHARE = 1e-3, 0.002


class Credit(NamedTuple):
    """Who made a recording, under which licence, and where it was published."""

    attribution: str
    licence: str
    source: str


@dataclass(frozen=True)
class Voice:
    """Takes of one recorded object: one material, one action, one source."""

    material: str
    action: str
    source: str
    sample_rate: int
    takes: list[np.ndarray] = field(repr=False)
    """(samples,) float32 each, at most 1."""

    def play(self, strength: float, generator: np.random.Generator) -> np.ndarray:
        """One take (samples,) at a `strength` in (0, 1]: a softer hit is quieter and darker.

        Pitch (within 4%), decay and brightness vary a little from one call to the next. Raises ValueError for a
        strength outside (0, 1].
        """
        if not 0 < strength <= 1:
            raise ValueError(f"a strength of {strength}: it must lie in (0, 1]")
        take = self.takes[generator.integers(len(self.takes))]
        pitch = 2 ** generator.uniform(-0.06, 0.06)
        take = np.interp(np.arange(int(len(take) / pitch)) * pitch, np.arange(len(take)), take)
        if self.action == "hit":
            take *= 0.5 ** (np.arange(len(take)) / self.sample_rate * generator.uniform(0, 3))
        cutoff = 900 * 2 ** (5.0 * strength + generator.uniform(-0.3, 0.3))
        return (10 ** (1.5 * (strength - 1)) * _darken(take, cutoff, self.sample_rate)).astype(np.float32)

    def sustain(self, num_samples: int, generator: np.random.Generator) -> np.ndarray:
        """A scrape (num_samples,) of unit RMS and even level: grains of one take, as many as needed."""
        length = round(0.12 * self.sample_rate)
        one = self.takes[generator.integers(len(self.takes))]
        take = replace(self, takes=[one]).play(1.0, generator).astype(float)
        level = take**2
        for _ in range(3):  # nearly a Gaussian of 0.03 s, at a cost that does not grow with its width
            level = uniform_filter1d(level, round(0.06 * self.sample_rate))
        level = np.sqrt(np.maximum(level, 0))
        loud = np.flatnonzero(level > 0.25 * level.max())
        take = (take / (level + 0.05 * level.max()))[loud[0] : loud[-1] + 1]
        take = np.resize(take, max(len(take), 2 * length))
        window = np.sqrt(np.hanning(length + 1)[:length])
        out = np.zeros(num_samples + length)
        for start in range(0, num_samples, length // 2):
            begin = int(generator.integers(len(take) - length))
            out[start : start + length] += window * take[begin : begin + length]
        return out[:num_samples] / (out.std() + 1e-9)


class RecordedSounds:
    """The usable recordings of a folder, as voices by material and action.

    Whole sources, never single files, belong to a split: files of one recording have one name but for numbers.
    `left_out` names every file that was not used, with the reason. Raises FileNotFoundError without an index and
    ValueError for one without the columns of `COLUMNS`, or in which nothing is usable.
    """

    def __init__(self, folder: str | Path, *, sample_rate: int = 44_100, split: Split = "train") -> None:
        self.folder, self.sample_rate = Path(folder), sample_rate
        self.left_out: dict[str, str] = {}
        rows = [row for row in self._rows() if split_of(source_of(row)) == split]
        with ThreadPoolExecutor(2) as pool:
            sounds = list(pool.map(self._read, rows))
        takes: dict[tuple[str, str, str], list[np.ndarray]] = defaultdict(list)
        self._credits: dict[str, Credit] = {}
        for row, audio in zip(rows, sounds, strict=True):
            action = ACTIONS[row["action"]]
            found = [] if audio is None else list(one_shots(audio, sample_rate) if action == "hit" else [audio])
            if audio is not None and not found:
                self.left_out[row["path"]] = "no onset found"
            if found:
                takes[MATERIALS[row["material"]], action, source_of(row)] += found
                self._credits[row["path"]] = Credit(row["attribution"], row["licence"], row["source package or repo"])
        if not takes:
            raise ValueError(f"{self.folder}: no usable recording for the {split} split among {len(rows)} files")
        self.voices = [Voice(*key, sample_rate, _levelled(found)) for key, found in sorted(takes.items())]

    def _rows(self) -> Iterator[dict[str, str]]:
        path = self.folder / "index.csv"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; a folder of recordings needs an index.csv")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise ValueError(f"{path}: no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
            for row in reader:
                if row["use"] != "train":
                    self.left_out[row["path"]] = f"not for training: {row['use']}"
                elif row["material"] not in MATERIALS or row["action"] not in ACTIONS:
                    self.left_out[row["path"]] = f"unused label: {row['material']} {row['action']}"
                else:
                    yield row

    def _read(self, row: dict[str, str]) -> np.ndarray | None:
        """Mono samples of a file, or None with the reason in `left_out`."""
        path = (self.folder / row["path"]).resolve()
        try:
            if not path.is_relative_to(self.folder.resolve()):
                raise MediaError("outside the folder")
            audio = read_audio(path, sample_rate=self.sample_rate, seconds=20.0)[0].numpy()
        except MediaError as error:
            self.left_out[row["path"]] = f"unreadable: {error}"
            return None
        peak = float(np.abs(audio).max(initial=0))
        if peak < SILENT:
            self.left_out[row["path"]] = "silent"
        elif (np.abs(audio) > 0.999 * max(peak, 1.0)).mean() > CLIPPED_SHARE:
            self.left_out[row["path"]] = "clipped"
        elif len(audio) < SHORTEST_SEC * self.sample_rate:
            self.left_out[row["path"]] = f"shorter than {SHORTEST_SEC} s"
        else:
            return audio
        return None

    @property
    def materials(self) -> list[str]:
        """Materials with at least one voice."""
        return sorted({voice.material for voice in self.voices})

    def voice(self, material: str, action: str, generator: np.random.Generator, *, spare: int = 0) -> Voice | None:
        """A voice drawn evenly among those of a material and an action ("hit", "scratch"); None if there is none.

        `spare` adds that many chances of None, so that a material with few voices does not always use them.
        """
        found = [voice for voice in self.voices if (voice.material, voice.action) == (material, action)]
        drawn = int(generator.integers(len(found) + spare)) if found else 0
        return found[drawn] if drawn < len(found) else None

    def credits(self) -> list[Credit]:
        """The distinct credits of all recordings used, sorted."""
        return sorted(set(self._credits.values()))


@lru_cache(maxsize=2)
def load_recorded(folder: Path, sample_rate: int, split: Split) -> RecordedSounds:
    """The recordings of a folder, read once per process."""
    return RecordedSounds(folder, sample_rate=sample_rate, split=split)


def source_of(row: dict[str, str]) -> str:
    """The recording that a file of an index was cut from: its package and name without a final number (1, 1b)."""
    path = Path(row["path"])
    name = re.sub(r"[ _-]*0[ _-]*[a-z]?$", "", re.sub(r"\d+", "0", path.stem.lower())).rstrip("0_- ")
    return f"{row['source package or repo']}:{path.parent}/{name}"


def split_of(source: str) -> Split:
    """80% of sources are for training, 10% each for validation and test, by a hash of the name."""
    number = hashlib.sha256(source.encode()).digest()[0] / 256
    return "train" if number < 0.8 else "val" if number < 0.9 else "test"


def one_shots(audio: np.ndarray, sample_rate: int) -> Iterator[np.ndarray]:
    """The hits of a recording (samples,), each from just before its onset to the next one, faded out."""
    frames = librosa.onset.onset_detect(y=audio, sr=sample_rate, hop_length=256, units="samples", backtrack=True)
    # A short recording that begins with its hit has no onset that a detector finds.
    starts = [max(0, int(frame) - round(PRE_ROLL_SEC * sample_rate)) for frame in frames] or [0]
    for start, following in zip(starts, [*starts, len(audio)][1:], strict=True):
        end = min(following, start + round(LONGEST_SEC * sample_rate))
        take = audio[start:end].copy()
        if len(take) >= SHORTEST_SEC * sample_rate and np.abs(take).max() >= QUIETEST * np.abs(audio).max():
            fade = min(len(take) // 3, round(0.03 * sample_rate))
            take[-fade:] *= np.linspace(1, 0, fade)
            take[:32] *= np.linspace(0, 1, 32)
            yield take


def _levelled(takes: list[np.ndarray]) -> list[np.ndarray]:
    """The takes of one object with the loudest at a peak of 1: a quiet take stays quieter."""
    loudest = max(float(np.abs(take).max()) for take in takes)
    return [(take / loudest).astype(np.float32) for take in takes]


def _darken(sound: np.ndarray, cutoff: float, sample_rate: int) -> np.ndarray:
    """A first-order low-pass at `cutoff` Hz; the sound itself for a cutoff near half the rate."""
    if cutoff >= 0.45 * sample_rate:
        return sound
    warped = np.tan(np.pi * cutoff / sample_rate)
    gain, pole = warped / (1 + warped), (warped - 1) / (1 + warped)
    return sosfilt(np.array([[gain, gain, 0, 1, pole, 0]]), sound)
