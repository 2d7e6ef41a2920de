"""Writes clips, and what frozen networks make of them, into a cache that training reads quickly."""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from foleygram.checkpoints import file_hash, load_part
from foleygram.datasets.cache import MANIFEST
from foleygram.datasets.datamodule import collate_clips
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.envelope.rms import augment_envelope, rms_envelope
from foleygram.generation.backbone import encode_audio
from foleygram.generation.conditioning import control_latents
from foleygram.media.audio import fit_length
from foleygram.media.files import atomic_path
from foleygram.spec import ClipSpec

Encode = Callable[[dict[str, Any]], dict[str, Any]]
EMBEDDERS = ["video_encoder", "text_encoder", "tokenizer", "audio_encoder"]
NEEDS = {
    "audio": ["audio"],
    "envelope_audio": ["envelope_audio"],
    "frames": ["frames"],
    "motion": ["motion"],
    "latents": ["audio"],
    "control_latents": ["envelope_audio", "motion"],
    "embeddings": ["frames", "envelope_audio"],
}
"""Fields of a cache, and the media that each is made from."""
DERIVED = {"latents", "control_latents", "embeddings"}


def write_cache(
    dataset: Dataset,
    out: Path,
    *,
    identity: dict[str, Any],
    encode: Encode | None = None,
    batch_size: int = 16,
    shard_size: int = 256,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    progress: bool = True,
) -> Path:
    """Write every clip of `dataset`, through `encode` when given, into shards below `out`; returns the manifest's path.

    Tensors are stored as float16, one number per clip and integers as they are, strings in the manifest. `identity`
    says what made the cache (spec, encoders): the shards of a killed or finished run are kept when it is the same. Of
    `world_size` processes each writes every `world_size`-th shard, and whichever ends last writes the manifest.
    Raises ValueError when `out` holds another cache, when `dataset` is empty, or for values beyond float16.
    """
    total = len(dataset)  # type: ignore[arg-type]
    if not total:
        raise ValueError(f"{out}: no clips to cache")
    out.mkdir(parents=True, exist_ok=True)
    key = json.loads(json.dumps({"identity": identity, "count": total, "shard_size": shard_size}))
    _claim(out, key)
    starts = range(0, total, shard_size)
    missing = [n for n in range(rank, len(starts), world_size) if _finished_shard(out, n) is None]
    for number in track(missing, "caching", disable=not progress, transient=True):
        rows = Subset(dataset, range(starts[number], min(starts[number] + shard_size, total)))
        loader = DataLoader(rows, batch_size=batch_size, num_workers=num_workers, collate_fn=collate_clips)
        described = _write_shard(out / f"shard-{number:05d}.safetensors", _encoded(loader, encode))
        _write_json(out / f"shard-{number:05d}.json", described)
    shards = [_finished_shard(out, number) for number in range(len(starts))]
    if None not in shards:
        _write_json(out / MANIFEST, key | {"fields": shards[0]["fields"], "shards": shards})  # type: ignore[index]
    return out / MANIFEST


def _claim(out: Path, key: dict[str, Any]) -> None:
    """Say in `out` which cache it holds; raises ValueError when it already holds another."""
    record = out / "cache.json"
    if not record.is_file():
        _write_json(record, key)
    elif json.loads(record.read_text(encoding="utf-8")) != key:
        raise ValueError(f"{out}: holds a cache of another kind; remove it or choose another folder")


def _finished_shard(out: Path, number: int) -> dict[str, Any] | None:
    """What describes a shard that an earlier run, or another process, left whole."""
    try:
        described = json.loads((out / f"shard-{number:05d}.json").read_text(encoding="utf-8"))
        return described if (out / described["file"]).stat().st_size == described["bytes"] else None
    except FileNotFoundError:
        return None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def process_place() -> tuple[int, int]:
    """This process's rank and how many there are, from torchrun's environment or SLURM's; (0, 1) without either."""
    for rank, world_size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in os.environ and world_size in os.environ:
            return int(os.environ[rank]), int(os.environ[world_size])
    return 0, 1


def _encoded(loader: DataLoader, encode: Encode | None) -> Iterator[dict[str, Any]]:
    for batch in loader:
        with torch.inference_mode():
            yield encode(batch) if encode else batch


def _write_shard(path: Path, batches: Iterator[dict[str, Any]]) -> dict[str, Any]:
    tensors: dict[str, list[Tensor]] = {}
    strings: dict[str, list[Any]] = {}
    for batch in batches:
        for key, value in batch.items():
            if isinstance(value, Tensor):
                tensors.setdefault(key, []).append(_stored(key, value.cpu()))
            else:
                strings.setdefault(key, []).extend(value)
    whole = {key: torch.cat(values).contiguous() for key, values in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(whole, temporary)
    count = len(next(iter(whole.values())))
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "count": count,
        "fields": sorted(whole),
        "strings": strings,
    }


def _stored(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or value.ndim == 1:  # times and durations would lose milliseconds
        return value
    half = value.to(torch.float16)
    if not torch.isfinite(half).all():
        raise ValueError(f"{name}: holds {value.abs().max():g}, which float16 cannot; scale it or leave it out")
    return half


def read_spec(path: Path) -> ClipSpec:
    """The clip's rates from a YAML of `ClipSpec` fields; raises ValueError naming a field that does not fit."""
    try:
        return ClipSpec(**yaml.safe_load(Path(path).read_text()))
    except TypeError as error:
        raise ValueError(f"{path}: {error}; it must hold fields of ClipSpec") from error


class FeatureEncoder:
    """Turns a batch of clips into what stage 2 trains on, with the frozen parts of a folder."""

    def __init__(
        self,
        folder: Path,
        spec: ClipSpec,
        fields: Sequence[str],
        *,
        num_envelopes: int = 3,
        compile: bool = False,
        seed: int = 0,
    ) -> None:
        needed = {"latents": ["vae"], "control_latents": ["vae"], "embeddings": EMBEDDERS}
        names = {part for field in fields for part in needed.get(field, [])}
        if "control_latents" in fields and (folder / "envelope_predictor").is_dir():
            names.add("envelope_predictor")
        self.parts = {name: load_part(folder, name) for name in sorted(names)}
        if compile and "vae" in self.parts:
            self.parts["vae"].encoder.compile()
        self.spec, self.fields, self.num_envelopes, self.seed = spec, tuple(fields), num_envelopes, seed
        self.identity = {
            str(path.relative_to(folder)): file_hash(path)
            for name in sorted(names)
            for path in sorted((folder / name).glob("*.safetensors"))
        }

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        kept = {
            k: v for k, v in batch.items() if not isinstance(v, Tensor) or k in self.fields or k.startswith("seconds_")
        }
        if "motion" in self.fields:
            kept["motion_ages"] = batch["motion_ages"]
        if "latents" in self.fields:
            audio = fit_length(batch["audio"], self.spec.num_padded_samples)
            kept["latents_mean"], kept["latents_scale"] = encode_audio(self.parts["vae"], audio)
        if "control_latents" in self.fields:
            kept["control_latents"] = self._control(batch)
        if "embeddings" in self.fields:
            kept |= self._embeddings(batch)
        return kept

    def _control(self, batch: dict[str, Any]) -> Tensor:
        """Control latents (B, V, C, T): true envelope, the predicted one if there is a predictor, augmented ones."""
        spec = self.spec
        true = rms_envelope(batch["envelope_audio"], spec.frame_length, spec.hop_length)
        variants = [true]
        if "envelope_predictor" in self.parts:
            variants.append(self.parts["envelope_predictor"].predict(batch["motion"], batch["motion_ages"]))
        for number in range(self.num_envelopes - len(variants)):
            name = "".join(f"{v}{s}" for v, s in zip(batch["video_id"], batch["start"].tolist(), strict=True))
            generator = torch.Generator().manual_seed(self.seed + 7919 * number + zlib.crc32(name.encode()))
            variants.append(augment_envelope(true, generator, rate=spec.envelope_rate))
        return torch.stack([control_latents(self.parts["vae"], v, spec.num_samples) for v in variants], dim=1)

    def _embeddings(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        encoded = self.parts["tokenizer"](
            batch["caption"], padding=True, truncation=True, max_length=40, return_tensors="pt"
        )
        return {
            "video_embedding": self.parts["video_encoder"](batch["frames"]),
            "text_embedding": self.parts["text_encoder"](encoded["input_ids"], encoded["attention_mask"]),
            "audio_embedding": self.parts["audio_encoder"].embed_waveform(batch["envelope_audio"]),
        }


def cache_dataset(
    data: Path,
    out: Path,
    *,
    spec_path: Path,
    fields: Sequence[str],
    checkpoint: Path | None,
    split: str,
    num_workers: int,
    compile: bool = False,
) -> Path:
    """Cache a split of a folder in Greatest Hits' layout; `fields` names media and derived fields alike."""
    unknown = set(fields) - NEEDS.keys()
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}; there are {', '.join(NEEDS)}")
    if checkpoint is None and set(fields) & DERIVED:
        raise ValueError(f"{', '.join(sorted(set(fields) & DERIVED))} need --checkpoint, a folder with the networks")
    spec = read_spec(spec_path)
    media = sorted({needed for field in fields for needed in NEEDS[field]})
    dataset = GreatestHits(data, split, spec=spec, fields=media)
    encoder = FeatureEncoder(checkpoint or Path(), spec, fields, compile=compile)
    identity = {"spec": asdict(spec), "fields": sorted(fields), "encoders": encoder.identity}
    rank, world_size = process_place()
    return write_cache(
        dataset, out, identity=identity, encode=encoder, num_workers=num_workers, rank=rank, world_size=world_size
    )
