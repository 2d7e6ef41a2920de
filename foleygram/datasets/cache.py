"""Reads cached clips: safetensors shards with a manifest, written by `foleygram.features.writer`."""

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from foleygram.files import content_hash, error_text
from foleygram.spec import ClipSpec, as_spec

MANIFEST = "manifest.json"
MARK = "cache"
"""Key of a shard's own metadata under which its `shard_mark` lies."""
OVER_LATENTS = frozenset({"latents_mean", "latents_scale", "control_latents"})
"""Cached tensors whose last axis counts latents."""


class CachedClips(Dataset):
    """Cached clips, one dictionary each: the tensors that `fields` name, and every string the cache holds.

    With `spec` and `encoders` (one or several release folders) the cache must be made with them: see `check_manifest`.
    `crop_seconds` takes a random stretch of that length out of longer cached latents and moves `seconds_start` to where
    it begins; the stretch is drawn from (seed, index). Indices past the end wrap, so a later pass draws anew. Raises
    FileNotFoundError without a manifest, ValueError for a cache that does not fit or a shard that is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        fields: Sequence[str],
        spec: str | ClipSpec | None = None,
        encoders: str | list[str] | None = None,
        crop_seconds: float | None = None,
        seed: int = 0,
    ) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no cache there; write one with `foleygram cache`")
        self.manifest = parse_manifest(path.read_text(encoding="utf-8", errors="replace"), str(path))
        if self.manifest.get("format") == "webdataset":
            raise ValueError(f"{self.folder}: these are WebDataset shards; read them with ShardedClips")
        check_manifest(self.manifest, str(self.folder), fields=fields, spec=spec, encoders=encoders)
        self.fields = tuple(fields)
        self._check_shards()
        self._starts = [0, *accumulate(shard["count"] for shard in self.manifest["shards"])]
        self._crop = LatentCrop(self.manifest, fields, crop_seconds, seed) if crop_seconds else None
        self._open: dict[int, Any] = {}

    @property
    def crops(self) -> bool:
        """Whether latents are random stretches of those cached."""
        return self._crop is not None

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = index % len(self)
        shard = bisect_right(self._starts, place) - 1
        row = place - self._starts[shard]
        described = self.manifest["shards"][shard]
        file = self._shard(shard)
        item = {name: as_float32(file.get_slice(name)[row]) for name in self.fields}
        item |= {key: values[row] for key, values in described["strings"].items()}
        return self._crop(item, index) if self._crop else item

    def names(self) -> list[tuple[str, float | None]]:
        """Video and start in seconds of each clip, if the cache records them."""
        clips: list[tuple[str, float | None]] = []
        for number, shard in enumerate(self.manifest["shards"]):
            count = shard["count"]
            starts = self._shard(number).get_tensor("start").tolist() if "start" in shard["fields"] else [None] * count
            clips += zip(shard["strings"].get("video_id", [""] * count), starts, strict=True)
        return clips

    def _shard(self, shard: int) -> Any:
        if shard not in self._open:
            self._open[shard] = self._opened(self.manifest["shards"][shard])
        return self._open[shard]

    def _opened(self, described: Mapping[str, Any]) -> Any:
        """A shard whose mark and rows are as the manifest has them; one without a mark is of an older version."""
        path = self.folder / described["file"]
        try:
            file = safe_open(path, framework="pt")
            rows = {name: file.get_slice(name).get_shape()[0] for name in self.fields}
            mark = (file.metadata() or {}).get(MARK)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: damaged ({error}); write the cache again") from error
        if mark not in (None, shard_mark(self.manifest["identity"], path.name)):
            raise ValueError(f"{path}: a shard of another cache, or under another's name; write the cache again")
        if other := {name: count for name, count in rows.items() if count != described["count"]}:
            raise ValueError(
                f"{path}: holds {other} clips, not {described['count']} as its manifest says; write it again"
            )
        return file

    def _check_shards(self) -> None:
        for described in self.manifest["shards"]:
            path = self.folder / described["file"]
            if path.parent != self.folder or not path.is_file() or path.stat().st_size != described["bytes"]:
                raise ValueError(f"{path}: missing or not of the size in the manifest; write the cache again")

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}


class JoinedClips(Dataset):
    """Clips whose fields lie in several caches, embeddings of one run beside the latents of another for example.

    The caches must hold the same clips in the same order. Raises ValueError naming the first that differs, a field that
    two of them give, caches of other lengths, and crops of latents beside whole ones.
    """

    def __init__(self, caches: list[CachedClips]) -> None:
        if not caches:
            raise ValueError("no caches to join")
        self.caches = caches
        fields = [name for cache in caches for name in cache.fields]
        twice = sorted({name for name in fields if fields.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(str(c.folder) for c in caches)}: {twice} asked of more than one; choose one")
        for other in caches[1:]:
            _check_same_clips(caches[0], other)
        cropped = {cache for cache in caches if cache.crops}
        if cropped and any(OVER_LATENTS & set(cache.fields) for cache in caches if cache not in cropped):
            names = ", ".join(str(cache.folder) for cache in caches)
            raise ValueError(
                f"{names}: crops of latents in one of them and whole ones in another; cache those together"
            )

    def __len__(self) -> int:
        return len(self.caches[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {name: value for cache in reversed(self.caches) for name, value in cache[index].items()}


def _check_same_clips(first: CachedClips, other: CachedClips) -> None:
    places = f"{first.folder} and {other.folder}"
    lengths = [cache.manifest["identity"].get("spec", {}).get("seconds") for cache in (first, other)]
    if len(first) != len(other) or lengths[0] != lengths[1]:
        differing = " against ".join(
            f"{len(cache)} clips of {length} s" for cache, length in zip((first, other), lengths, strict=True)
        )
        raise ValueError(f"{places} hold other clips: {differing}; cache the same split to the same spec")
    for number, ((video, start), (its_video, its_start)) in enumerate(zip(first.names(), other.names(), strict=True)):
        if video != its_video or (start != its_start and None not in (start, its_start)):
            raise ValueError(
                f"{places} hold other clips: number {number} is {video} from {start} s against {its_video} from "
                f"{its_start} s; cache the same split again"
            )


def as_float32(value: Tensor) -> Tensor:
    """A tensor (...) of half precision as float32; any other is returned unchanged."""
    return value.float() if value.dtype == torch.float16 else value


class LatentCrop:
    """Crops all latents of an item to the same random stretch of `seconds`, and updates its start.

    Raises ValueError when the cached clips are shorter, or when a field would not follow.
    """

    def __init__(self, manifest: Mapping[str, Any], fields: Sequence[str], seconds: float, seed: int) -> None:
        spec = ClipSpec(**manifest["identity"]["spec"])
        self.num_latents = math.ceil(round(seconds * spec.sample_rate) / spec.latent_hop)
        self.num_starts = spec.num_latents - self.num_latents + 1
        self.hop_sec, self.seed = spec.latent_hop / spec.sample_rate, seed
        if self.num_starts < 1:
            raise ValueError(f"crops of {seconds:g} s from cached clips of {spec.seconds:g} s; take shorter ones")
        whole = set(fields) & {"audio", "envelope_audio", "motion"}
        if whole or "seconds_start" not in fields:
            raise ValueError(
                f"crops are taken of {', '.join(sorted(OVER_LATENTS))} and need the field seconds_start; "
                f"leave out {sorted(whole)}"
            )

    def __call__(self, item: dict[str, Any], index: int) -> dict[str, Any]:
        """The item with its latents (..., T) cut to (..., num_latents), and its new `seconds_start`.

        Where it is cut depends on the seed and `index` alone.
        """
        first = int(np.random.default_rng((self.seed, index)).integers(self.num_starts))
        stretch = slice(first, first + self.num_latents)
        cut = {name: item[name][..., stretch] for name in OVER_LATENTS & item.keys()}
        return item | cut | {"seconds_start": item["seconds_start"] + first * self.hop_sec}


def parse_manifest(text: str, source: str) -> dict[str, Any]:
    """A manifest; raises ValueError naming `source` where it is none."""
    try:
        manifest = json.loads(text)
        for shard in manifest["shards"]:
            count = shard["count"]
            if not (isinstance(shard["file"], str) and isinstance(count, int) and 0 <= count <= shard["bytes"]):
                raise ValueError(f"{shard['file']!r} of {shard['bytes']!r} bytes with {count!r} clips")
            if odd := [name for name, values in shard["strings"].items() if len(values) != count]:
                raise ValueError(f"{shard['file']}: {odd} of other lengths than {count}")
            shard["fields"] + manifest["fields"]
        manifest["identity"].get("spec", {}).get("seconds"), manifest["identity"].get("encoders", {}).items()
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{source}: no manifest of a cache ({error_text(error)}); write the cache again") from error


def shard_mark(identity: Mapping[str, Any], name: str) -> str:
    """Metadata of a shard: its file `name` and the identity of its cache."""
    return hashlib.sha256(json.dumps([identity, name], sort_keys=True).encode()).hexdigest()


def check_manifest(
    manifest: Mapping[str, Any],
    source: str,
    *,
    fields: Sequence[str],
    spec: str | ClipSpec | None = None,
    encoders: str | list[str] | None = None,
) -> None:
    """Raise ValueError unless a cache holds `fields`, was cut to `spec`, and was made by the networks of `encoders`.

    What is None is not checked. Networks are compared by the hashes of their weights and config files, each of which
    must lie in one of the folders that `encoders` names.
    """
    missing = set(fields) - set(manifest["fields"])
    if missing:
        raise ValueError(f"{source}: the cache has no {sorted(missing)}, only {manifest['fields']}")
    identity = manifest["identity"]
    cached = {"frame_transform": "squash"} | identity.get("spec", {})  # older caches do not name it
    wanted = asdict(as_spec(spec)) if spec else {}
    differing = {k: (cached.get(k), v) for k, v in wanted.items() if cached.get(k) != v}
    if differing:
        changes = ", ".join(f"{name} {theirs} where {ours} is asked for" for name, (theirs, ours) in differing.items())
        raise ValueError(f"{source}: cached with another ClipSpec ({changes}); write the cache again")
    if encoders is None:
        return
    folders = [encoders] if isinstance(encoders, str) else encoders
    for name, expected in identity.get("encoders", {}).items():
        present = [path for path in (Path(folder) / name for folder in folders) if path.is_file()]
        if not present:
            raise ValueError(f"{source}: made with {name}, which is not in {', '.join(folders)}; name its folder too")
        if expected not in [content_hash(path) for path in present]:
            raise ValueError(f"{source}: made by another network than {present[0]}; write the cache again")
