"""Reads cached clips: safetensors shards with a manifest, written by `foleygram.caching`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch.utils.data import Dataset

MANIFEST = "manifest.json"


class CachedClips(Dataset):
    """Cached clips, one dictionary each: the tensors that `fields` name, and every string the cache holds.

    Indices past the end wrap. Raises FileNotFoundError without a manifest, ValueError for a field the cache lacks or
    a shard that does not match the manifest.
    """

    def __init__(self, folder: str | Path, *, fields: Sequence[str]) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no cache there; write one with `foleygram cache`")
        self.manifest = json.loads(path.read_text(encoding="utf-8"))
        missing = set(fields) - set(self.manifest["fields"])
        if missing:
            raise ValueError(f"{self.folder}: the cache has no {sorted(missing)}, only {self.manifest['fields']}")
        self.fields = tuple(fields)
        self.places = [(s, i) for s, shard in enumerate(self.manifest["shards"]) for i in range(shard["count"])]
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        shard, row = self.places[index % len(self.places)]
        described = self.manifest["shards"][shard]
        file = self._shard(shard)
        item: dict[str, Any] = {}
        for name in self.fields:
            value = file.get_slice(name)[row]
            item[name] = value.float() if value.dtype == torch.float16 else value
        return item | {key: values[row] for key, values in described["strings"].items()}

    def _shard(self, shard: int) -> Any:
        if shard not in self._open:
            described = self.manifest["shards"][shard]
            path = self.folder / described["file"]
            if not path.is_file() or path.stat().st_size != described["bytes"]:
                raise ValueError(f"{path}: missing or not of the size in the manifest; write the cache again")
            self._open[shard] = safe_open(path, framework="pt")
        return self._open[shard]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}
