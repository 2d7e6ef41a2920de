"""Greatest Hits (Owens et al. 2016), released or rendered, as clips (paper notes, section 5)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor
from torch.utils.data import Dataset

from foleygram.datasets.captions import caption
from foleygram.datasets.clip import Clip, cut_clips, parse_events
from foleygram.media.audio import fit_length, read_audio
from foleygram.media.video import motion_times, read_frames, segment_middles
from foleygram.spec import ClipSpec

FIELDS = ("audio", "envelope_audio", "frames", "motion")


class GreatestHits(Dataset):
    """Clips of `spec.seconds` from the released folder, flat or nested, in the order of the split's list.

    `split` is `train`, `test` or a path to a list of ids; `fields` says what is read: `audio` (C, samples),
    `envelope_audio` (samples at 16 kHz, mono), `frames` uint8 (N, 3, S, S), `motion` uint8 (M, 3, S, S) with
    `motion_ages` (M,). Raises FileNotFoundError naming what is missing.
    """

    def __init__(
        self, root: str | Path, split: str = "train", *, spec: ClipSpec, fields: Sequence[str] = FIELDS
    ) -> None:
        unknown = set(fields) - set(FIELDS)
        if unknown:
            raise ValueError(f"unknown fields {sorted(unknown)}; there are {', '.join(FIELDS)}")
        self.spec, self.fields = spec, tuple(fields)
        listing = _find_list(Path(root), split)
        self.root = listing.parent if split in ("train", "test") else _find_media(Path(root))
        self.clips = [clip for video_id in listing.read_text().split() for clip in self._cut(video_id)]
        if not self.clips:
            raise FileNotFoundError(f"{listing}: no clip of {spec.seconds:g} s in the videos it names")

    def _cut(self, video_id: str) -> list[Clip]:
        video, audio = self._media(video_id, "mp4"), self._media(video_id, "wav")
        times = self.root / f"{video_id}_times.txt"
        events = parse_events(times.read_text(), str(times)) if times.is_file() else []
        duration = soundfile.info(audio).duration
        return cut_clips(video_id, video, audio, duration_sec=duration, seconds=self.spec.seconds, events=events)

    def _media(self, video_id: str, suffix: str) -> Path:
        for kind in ("denoised", "mic"):
            path = self.root / f"{video_id}_{kind}.{suffix}"
            if path.is_file():
                return path
        raise FileNotFoundError(f"{self.root}: neither {video_id}_denoised.{suffix} nor {video_id}_mic.{suffix}")

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self.clips[index % len(self.clips)]
        item: dict[str, Any] = {
            "video_id": clip.video_id,
            "start": clip.start,
            "seconds_start": 0.0,  # each clip is a sound of its own
            "seconds_total": clip.seconds,
            "caption": caption(clip.events),
            "materials": ",".join(clip.materials),
            "event_times": [event.time for event in clip.events],
            "event_actions": [event.action or "hit" for event in clip.events],
        }
        return item | read_clip(clip, self.spec, self.fields)


def read_clip(clip: Clip, spec: ClipSpec, fields: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a clip that `fields` name, read from its media."""
    item: dict[str, Tensor] = {}
    sound = {"start": clip.start, "seconds": clip.seconds}
    if "audio" in fields:
        audio = read_audio(clip.audio_path, sample_rate=spec.sample_rate, channels=spec.audio_channels, **sound)
        item["audio"] = fit_length(audio, spec.num_samples)
    if "envelope_audio" in fields:
        mono = read_audio(clip.audio_path, sample_rate=spec.envelope_sample_rate, channels=1, **sound)
        item["envelope_audio"] = fit_length(mono[0], round(spec.seconds * spec.envelope_sample_rate))
    if "frames" in fields:
        times = segment_middles(clip.start, clip.seconds, spec.num_frames)
        item["frames"] = read_frames(clip.video_path, times, size=spec.image_size).frames
    if "motion" in fields:
        times = motion_times(clip.start, clip.seconds, spec.motion_frame_rate)
        item["motion"], ages = read_frames(clip.video_path, times, size=spec.motion_size)
        item["motion_ages"] = ages.to(torch.float32)
    return item


def _find_list(root: Path, split: str) -> Path:
    if split not in ("train", "test"):
        if not Path(split).is_file():
            raise FileNotFoundError(f"{split}: no such list of ids; give train, test or a file with one id per line")
        return Path(split)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give Greatest Hits' or one that `foleygram render` wrote")
    found = sorted(root.rglob(f"{split}.txt"), key=lambda path: len(path.parts))
    if not found:
        raise FileNotFoundError(f"{root}: no {split}.txt in it or below; is it Greatest Hits?")
    return found[0]


def _find_media(root: Path) -> Path:
    first = next(root.rglob("*_times.txt"), None)
    if first is None:
        raise FileNotFoundError(f"{root}: no *_times.txt in it or below; is it Greatest Hits?")
    return first.parent
