"""Sounds generated for the clips of a split, and the references, as files, so that a killed run resumes."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from foleygram.benchmark.pairs import SoundPair
from foleygram.benchmark.settings import AGAINST_OTHER, Condition, condition_batch, condition_envelopes
from foleygram.datasets.captions import caption
from foleygram.datasets.clip import Clip
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.files import read_json, write_json
from foleygram.media.audio import write_audio
from foleygram.pipeline.pipeline import FoleyGRAMPipeline

REFERENCE = "reference"
RECORD = "sounds.json"


class ClipSounds:
    """A folder of sounds, one folder per condition and one for the references, each file named by video and start."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Record `identity` in `folder`; raises ValueError when it holds the sounds of another run."""
        self.folder = folder
        record, content = folder / RECORD, json.loads(json.dumps(dict(identity)))
        folder.mkdir(parents=True, exist_ok=True)
        if record.is_file():
            try:
                recorded = read_json(record)
            except ValueError as error:
                raise ValueError(f"{record}: {error}; choose another --out or remove {folder}") from None
            changed = sorted(key for key in recorded.keys() | content.keys() if recorded.get(key) != content.get(key))
            if changed:
                raise ValueError(
                    f"{folder}: holds the sounds of a run with another {', '.join(changed)}; "
                    "choose another --out or remove it"
                )
        else:
            write_json(record, content)

    def path(self, name: str, clip: Clip) -> Path:
        """Where the sound of a clip in a condition lies; the start is part of the name, in ms."""
        return self.folder / name.replace(" ", "_") / f"{clip.video_id}_{round(1000 * clip.start):06d}.wav"

    def write(self, name: str, clip: Clip, audio: Tensor, sample_rate: int) -> None:
        """Write a sound (C, samples) with 16 bits, atomically."""
        path = self.path(name, clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, audio, sample_rate)

    def pair(self, name: str, clip: Clip, truth: Clip) -> SoundPair:
        """The sound generated for `clip`, with the reference, events and caption of `truth`."""
        materials = truth.materials
        return SoundPair(
            generated=self.path(name, clip),
            reference=self.path(REFERENCE, truth),
            video_id=clip.video_id,
            start=clip.start,
            event_times=[event.time for event in truth.events],
            event_actions=[event.action or "" for event in truth.events],
            material=materials[0] if len(materials) == 1 else None,
            caption=caption(truth.events),
            video=clip.video_path if clip.video_path.is_file() else None,
        )


def data_fingerprint(dataset: GreatestHits) -> str:
    """SHA-256 over clips, events, and size and time of their files: sounds of changed data are not reused."""
    facts = []
    for clip in dataset.clips:
        stats = [path.stat() for path in (clip.audio_path, clip.video_path) if path.is_file()]
        facts.append([clip.video_id, clip.start, str(clip.events), [(s.st_size, s.st_mtime_ns) for s in stats]])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def pick_clips(num_clips: int, limit: int | None) -> list[int]:
    """Indices of `limit` clips spread evenly over the data set, all without a limit; raises ValueError below 1."""
    if limit is None or limit >= num_clips:
        return list(range(num_clips))
    if limit < 1:
        raise ValueError(f"a limit of {limit} clips: ask for at least one")
    return [int(i) for i in np.linspace(0, num_clips - 1, limit).round()]


def pick_partners(dataset: GreatestHits, indices: Sequence[int], seed: int) -> dict[int, int]:
    """A partner for each clip, from another video and with one other material; drawn from (seed, clip).

    Raises ValueError naming the clip for which there is none.
    """
    partners = {}
    for index in indices:
        own = dataset.clips[index]
        others = [
            i
            for i, clip in enumerate(dataset.clips)
            if clip.video_id != own.video_id
            if len(clip.materials) == 1 and clip.materials[0] not in own.materials
        ]
        if not others:
            raise ValueError(
                f"clip {own.video_id} at {own.start:g} s has no partner of another material in the split; "
                "leave the controls out or take more videos"
            )
        partners[index] = int(np.random.default_rng((seed, index)).choice(others))
    return partners


def generate_sounds(
    pipeline: FoleyGRAMPipeline,
    dataset: GreatestHits,
    sounds: ClipSounds,
    *,
    conditions: Sequence[Condition],
    indices: Sequence[int],
    partners: Mapping[int, int],
    options: Mapping[str, Any],
    seed: int,
    batch_size: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the sound of each clip that `indices` name in each condition, and its reference; existing files are kept.

    `options` are keyword arguments of `generate_clips` for sampling. The sound of clip i comes from the seed `seed + i`
    in every condition; and is written as the model returns it. `progress` is called with the number of finished clips.
    """
    rate = pipeline.spec.sample_rate
    for first in range(0, len(indices), batch_size):
        batch = indices[first : first + batch_size]
        missing = {c: [i for i in batch if not sounds.path(c.name, dataset.clips[i]).is_file()] for c in conditions}
        both = {*batch, *(partners[i] for i in batch if i in partners)}
        unwritten = {i for i in both if not sounds.path(REFERENCE, dataset.clips[i]).is_file()}
        borrowed = {partners[i] for c, chosen in missing.items() if c.borrows for i in chosen}
        read = {i: dataset[i] for i in sorted(unwritten.union(borrowed, *missing.values()))}
        for i in unwritten:
            sounds.write(REFERENCE, dataset.clips[i], read[i]["audio"], rate)
        for condition, chosen in missing.items():
            if not chosen:
                continue
            own = [read[i] for i in chosen]
            other = [read[partners[i]] for i in chosen] if condition.borrows else own
            generated = pipeline.generate_clips(
                condition_batch(condition, own, other),
                envelopes=condition_envelopes(condition, own, other, pipeline.spec),
                present=condition.modalities,
                **options,
                controlnet_conditioning_scale=condition.control_scale,
                seeds=[seed + i for i in chosen],
            )
            for i, sound in zip(chosen, generated.float().cpu(), strict=True):
                sounds.write(condition.name, dataset.clips[i], sound, rate)
        if progress:
            progress(first + len(batch))


def clip_pairs(
    dataset: GreatestHits,
    sounds: ClipSounds,
    conditions: Sequence[Condition],
    indices: Sequence[int],
    partners: Mapping[int, int],
) -> dict[str, list[SoundPair]]:
    """The pairs to score by name: the references themselves, as the ceiling, then every condition.

    A condition with inputs from another clip is scored against that clip as well.
    """
    clips = dataset.clips
    pairs = {REFERENCE: [sounds.pair(REFERENCE, clips[i], clips[i]) for i in indices]}
    for condition in conditions:
        pairs[condition.name] = [sounds.pair(condition.name, clips[i], clips[i]) for i in indices]
        if condition.borrows:
            pairs[condition.name + AGAINST_OTHER] = [
                sounds.pair(condition.name, clips[i], clips[partners[i]]) for i in indices
            ]
    return pairs
