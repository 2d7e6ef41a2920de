"""Writes clips, and what frozen networks make of them, into a cache that training reads quickly."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from foleygram.datasets.cache import MANIFEST, MARK, shard_mark
from foleygram.datasets.clip import MediaClips
from foleygram.datasets.datamodule import collate_clips
from foleygram.datasets.folder import VideoFolder
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.datasets.shards import write_tar
from foleygram.distributed import current_process
from foleygram.features.encoder import NEEDS, NETWORKS, FeatureEncoder
from foleygram.files import atomic_path, read_json, write_json
from foleygram.media.isolate import MediaError
from foleygram.spec import read_spec

Encode = Callable[[dict[str, Any]], dict[str, Any]]
Format = Literal["safetensors", "webdataset"]
Read = tuple[dict[str, Any] | None, list[str]]
"""A batch of the clips that could be read, and a message for each that could not."""
SUFFIXES: dict[Format, str] = {"safetensors": ".safetensors", "webdataset": ".tar"}


class _Readable(Dataset):
    """`dataset`, with the error message instead of a clip that cannot be read."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict[str, Any] | str:
        try:
            return self.dataset[index]
        except MediaError as error:
            return str(error)


def _collate_read(items: Sequence[dict[str, Any] | str]) -> Read:
    clips = [item for item in items if isinstance(item, dict)]
    return collate_clips(clips) if clips else None, [item for item in items if isinstance(item, str)]


def write_cache(
    dataset: Dataset,
    out: Path,
    *,
    identity: dict[str, Any],
    encode: Encode | None = None,
    format: Format = "safetensors",
    batch_size: int = 16,
    shard_size: int = 256,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | None = None,
    progress: bool = True,
) -> Path:
    """Write every clip of `dataset`, through `encode` when given, into shards below `out`; returns the manifest's path.

    Tensors are stored as float16, one number per clip and integers as they are, strings in the manifest (in the shards,
    for WebDataset). `identity` is the cache's spec and encoders: the shards of a killed or finished run are
    kept when it is the same. Of `world_size` processes each writes every `world_size`-th shard, and whichever ends last
    writes the manifest. Clips whose media cannot be read are left out, counted and named there. `device` is where
    `encode` gets its batches. Raises ValueError when `out` holds another cache, when no clip is left, or for values
    beyond float16.
    """
    total = len(dataset)  # type: ignore[arg-type]
    if not total:
        raise ValueError(f"{out}: no clips to cache")
    out.mkdir(parents=True, exist_ok=True)
    key = {"identity": identity, "count": total, "shard_size": shard_size, "format": format}
    key = json.loads(json.dumps(key))
    _claim(out, key)
    starts = range(0, total, shard_size)
    missing = [n for n in range(rank, len(starts), world_size) if _finished_shard(out, n) is None]
    for number in track(missing, "caching", disable=not progress, transient=True):
        for abandoned in out.glob(f".shard-{number:05d}.*"):  # of a run that was killed while it wrote this shard
            abandoned.unlink()
        rows = Subset(_Readable(dataset), range(starts[number], min(starts[number] + shard_size, total)))
        loader = DataLoader(rows, batch_size=batch_size, num_workers=num_workers, collate_fn=_collate_read)
        unread: list[str] = []
        path = out / f"shard-{number:05d}{SUFFIXES[format]}"
        mark = shard_mark(key["identity"], path.name)
        described = _write_shard(path, _encoded(loader, encode, device, unread), mark)
        write_json(out / f"shard-{number:05d}.json", described | {"unread": unread}, indent=None)
    shards = [_finished_shard(out, number) for number in range(len(starts))]
    if None not in shards:
        _write_manifest(out, key, shards)  # type: ignore[arg-type]
    return out / MANIFEST


def _write_manifest(out: Path, key: dict[str, Any], shards: list[dict[str, Any]]) -> None:
    count = sum(shard["count"] for shard in shards)
    unread = [message for shard in shards for message in shard["unread"]]
    if not count:
        raise ValueError(f"{out}: none of the {len(unread)} clips could be read, the first: {unread[0]}")
    filled = next(shard for shard in shards if shard["count"])
    counted = {"count": count, "fields": filled["fields"], "unread": len(unread), "shards": shards}
    write_json(out / MANIFEST, key | counted, indent=None)


def _claim(out: Path, key: dict[str, Any]) -> None:
    """Say in `out` which cache it holds; raises ValueError when it already holds another."""
    record = out / "cache.json"
    if not record.is_file():
        write_json(record, key)
        return
    try:
        theirs, ours = (_flat(content) for content in (read_json(record), key))
    except ValueError as error:
        raise ValueError(f"{record}: {error}; remove {out} or choose another folder") from None
    changed = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if changed:
        differing = ", ".join(f"{name} {theirs.get(name)} against {ours.get(name)} now" for name in changed[:3])
        raise ValueError(f"{out}: holds a cache of another kind ({differing}); remove it or choose another folder")


def _flat(content: Any, name: str = "") -> dict[str, Any]:
    """The values of nested dictionaries by their names."""
    if not isinstance(content, dict):
        return {name: content}
    return {path: value for key, inner in content.items() for path, value in _flat(inner, f"{name}.{key}").items()}


def _finished_shard(out: Path, number: int) -> dict[str, Any] | None:
    """The description of a complete shard of an earlier run or another process."""
    try:
        described = read_json(out / f"shard-{number:05d}.json")
        return described if (out / described["file"]).stat().st_size == described["bytes"] else None
    except (FileNotFoundError, ValueError, LookupError, TypeError):  # or damaged, and made anew
        return None


def _encoded(
    loader: DataLoader, encode: Encode | None, device: torch.device | None, unread: list[str]
) -> Iterator[dict[str, Any]]:
    """Batches of features; messages about what could not be read are added to `unread`."""
    for batch, messages in loader:
        unread += messages
        if batch is None:
            continue
        if device is not None:
            batch = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}
        with torch.inference_mode():
            yield encode(batch) if encode else batch


def _write_shard(path: Path, batches: Iterator[dict[str, Any]], mark: str) -> dict[str, Any]:
    tensors: dict[str, list[Tensor]] = {}
    strings: dict[str, list[Any]] = {}
    for batch in batches:
        for key, value in batch.items():
            if isinstance(value, Tensor):
                tensors.setdefault(key, []).append(_stored(key, value.cpu()))
            else:
                strings.setdefault(key, []).extend(value)
    whole = {key: torch.cat(values).contiguous() for key, values in tensors.items()}
    in_shards = path.suffix == ".tar"
    with atomic_path(path) as temporary:
        if in_shards:
            write_tar(temporary, path.stem, whole, strings)
        else:
            save_file(whole, temporary, metadata={MARK: mark})
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "count": len(next(iter(whole.values()), ())),
        "fields": sorted(whole),
        "strings": {} if in_shards else strings,
    }


def _stored(name: str, value: Tensor) -> Tensor:
    if not value.is_floating_point() or value.ndim == 1:  # times and durations would lose milliseconds
        return value
    half = value.to(torch.float16)
    if not torch.isfinite(half).all():
        raise ValueError(f"{name}: holds {value.abs().max():g}, which float16 cannot; scale it or leave it out")
    return half


def clips_hash(dataset: MediaClips) -> str:
    """SHA-256 over what is known of every clip without decoding it: labels, start, and the sizes of its files."""
    digest = hashlib.sha256()
    for index, clip in enumerate(dataset.clips):
        sizes = [path.stat().st_size for path in (clip.video_path, clip.audio_path) if path.is_file()]
        digest.update(json.dumps([dataset.labels(index), sizes]).encode())
    return digest.hexdigest()


def cache_dataset(
    data: Path,
    out: Path,
    *,
    spec_path: Path,
    fields: Sequence[str],
    checkpoint: Path | None,
    split: str | None,
    num_workers: int,
    captions: Path | None = None,
    backbone: Path | None = None,
    format: Format = "safetensors",
    shard_size: int = 256,
    batch_size: int = 16,
    device: torch.device | None = None,
    compile: bool = False,
    dtype: str = "float32",
) -> Path:
    """Cache a split of Greatest Hits' layout, or, with `captions`, the videos of a folder that the CSV file names.

    Without `split`: the training one there, every row here.
    `fields` names media and derived fields alike; see `write_cache` and `FeatureEncoder` for the rest.
    """
    _check_fields(fields, checkpoint)
    spec = read_spec(spec_path)
    media = sorted({needed for field in fields for needed in NEEDS[field]})
    dataset: MediaClips = (
        VideoFolder(data, spec=spec, captions=captions, split=split, fields=media)
        if captions
        else GreatestHits(data, split or "train", spec=spec, fields=media)
    )
    encoder = FeatureEncoder(checkpoint or Path(), spec, fields, backbone=backbone, compile=compile, dtype=dtype)
    identity = {
        "spec": spec.facts(), "fields": sorted(fields), "encoders": encoder.identity, "clips": clips_hash(dataset),
    } | ({} if dtype == "float32" else {"dtype": dtype})  # fmt: skip  # float32 as in older caches
    process = current_process()
    return write_cache(
        dataset, out, identity=identity, encode=encoder, format=format, batch_size=batch_size, shard_size=shard_size,
        num_workers=num_workers, rank=process.rank, world_size=process.world_size, device=device,
    )  # fmt: skip


def _check_fields(fields: Sequence[str], checkpoint: Path | None) -> None:
    unknown = set(fields) - NEEDS.keys()
    if unknown:
        raise ValueError(f"unknown fields {sorted(unknown)}; there are {', '.join(NEEDS)}")
    derived = ", ".join(sorted(set(fields) & NETWORKS.keys()))
    if derived and checkpoint is None:
        raise ValueError(f"{derived} need --checkpoint, a folder with the networks")
