"""Writes clips, and what frozen networks make of them, into a cache that training reads quickly."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from foleygram.datasets.cache import MANIFEST
from foleygram.datasets.datamodule import collate_clips
from foleygram.media.files import atomic_path

Encode = Callable[[dict[str, Any]], dict[str, Any]]


def write_cache(
    dataset: Dataset,
    out: Path,
    *,
    identity: dict[str, Any],
    encode: Encode | None = None,
    batch_size: int = 16,
    shard_size: int = 256,
    num_workers: int = 0,
    progress: bool = True,
) -> Path:
    """Write every clip of `dataset`, through `encode` when given, into shards below `out`; returns the manifest.

    Floats are stored as float16, integers as they are, strings in the manifest. `identity` says what made the cache
    (spec, encoders); shards of a killed run are kept when it is the same, and refused with ValueError otherwise.
    """
    out.mkdir(parents=True, exist_ok=True)
    partial = out / "partial.json"
    state = {"identity": identity, "shards": []}
    if partial.is_file():
        state = json.loads(partial.read_text())
        if state["identity"] != json.loads(json.dumps(identity)):
            raise ValueError(f"{out}: holds a cache of another kind; remove it or choose another folder")
    starts = range(0, len(dataset), shard_size)  # type: ignore[arg-type]
    for number, start in enumerate(track(starts, "caching", disable=not progress, transient=True)):
        if number < len(state["shards"]):
            continue
        rows = range(start, min(start + shard_size, len(dataset)))  # type: ignore[arg-type]
        loader = DataLoader(Subset(dataset, rows), batch_size=batch_size, num_workers=num_workers, collate_fn=collate_clips)
        state["shards"].append(_write_shard(out / f"shard-{number:05d}.safetensors", _encoded(loader, encode)))
        with atomic_path(partial) as path:
            path.write_text(json.dumps(state))
    tensors = sorted(state["shards"][0].pop("fields") if state["shards"] else [])
    for shard in state["shards"]:
        shard.pop("fields", None)
    manifest = {"identity": identity, "fields": tensors, "count": len(dataset), "shards": state["shards"]}  # type: ignore[arg-type]
    with atomic_path(out / MANIFEST) as path:
        path.write_text(json.dumps(manifest))
    partial.unlink(missing_ok=True)
    return out / MANIFEST


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
                stored = value.to("cpu", torch.float16) if value.is_floating_point() else value.cpu()
                tensors.setdefault(key, []).append(stored)
            else:
                strings.setdefault(key, []).extend(value)
    whole = {key: torch.cat(values).contiguous() for key, values in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(whole, temporary)
    count = len(next(iter(whole.values())))
    return {"file": path.name, "bytes": path.stat().st_size, "count": count, "fields": list(whole), "strings": strings}
