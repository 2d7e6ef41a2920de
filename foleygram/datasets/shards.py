"""Cached clips as WebDataset shards: read in a stream from a folder, over HTTP, or from a command's output."""

import itertools
import json
import logging
import random
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from webdataset import TarWriter
from webdataset.filters import shuffle
from webdataset.gopen import gopen
from webdataset.tariterators import group_by_keys, tar_file_expander

from foleygram.datasets.cache import MANIFEST, LatentCrop, as_float32, check_manifest, parse_manifest
from foleygram.spec import ClipSpec

SHARD_NAME = re.compile(r"shard-\d{5,}\.tar")
"""The only file names accepted in a manifest: they are put into URLs and shell commands."""

log = logging.getLogger(__name__)


def write_tar(path: Path, prefix: str, tensors: Mapping[str, Tensor], strings: Mapping[str, Sequence[Any]]) -> None:
    """Write `tensors` (clips, ...) and `strings` as a WebDataset shard: a safetensors and a JSON member per clip.

    The same input gives the same bytes.
    """
    count = len(next(iter(tensors.values()), ()))
    with path.open("wb") as file, TarWriter(file, encoder=False, mtime=0.0, user="", group="") as writer:
        for row in range(count):
            clip = {name: value[row].contiguous() for name, value in tensors.items()}
            labels = {name: values[row] for name, values in strings.items()}
            members = {"safetensors": save(clip), "json": json.dumps(labels).encode()}
            writer.write({"__key__": f"{prefix}-{row:05d}"} | members)


class Share(NamedTuple):
    """Which part of every pass a process reads, and in what batches; without a seed in the shards' own order."""

    rank: int = 0
    world_size: int = 1
    batch_size: int = 1
    seed: int | None = None

    def num_clips(self, total: int) -> int:
        """Clips of a pass for each process, the same for all.

        In training whole batches, fewer than one per process left over. Otherwise all clips, some of them twice where
        their number does not divide, as `DistributedSampler` does.
        """
        if self.seed is None:
            return -(-total // self.world_size)
        return total // (self.world_size * self.batch_size) * self.batch_size

    def num_batches(self, total: int) -> int:
        """Batches of a pass for each process."""
        return -(-self.num_clips(total) // self.batch_size)

    def stretch(self, total: int, worker: int, num_workers: int) -> tuple[int, int]:
        """First place and number of the clips that one of the process's workers reads, in batches worker, worker + n...

        A last uneven batch falls to the worker whose turn it is.
        """
        clips, size = self.num_clips(total), self.batch_size
        turns = [range(w * size, clips, num_workers * size) for w in range(num_workers)]
        counts = [sum(min(size, clips - first) for first in turn) for turn in turns]
        return self.rank * clips + sum(counts[:worker]), counts[worker]


def segments(counts: Sequence[int], order: Sequence[int], first: int, count: int) -> Iterator[tuple[int, int, int]]:
    """(shard, first row, row after the last) of `count` clips from place `first` on, shards laid end to end.

    `counts` are the shards' clips, `order` how they are laid, over and over.
    """
    place = 0
    for shard in itertools.cycle(order):
        start, stop = max(0, first - place), min(counts[shard], first + count - place)
        if start < stop:
            yield shard, start, stop
        place += counts[shard]
        if place >= first + count:
            return


class ShardedClips(IterableDataset):
    """Cached clips from the WebDataset shards of `source`, one dictionary each, as `CachedClips` gives them.

    `source` is a folder, its URL (`https://...`), or `pipe:` and a shell command that writes the file
    `{file}` of it to standard output. A pass lays the shards end to end in an order drawn from the seed and cuts them
    into equal stretches for processes and workers; within a stretch clips are shuffled over a buffer of `buffer_size`.
    `crop_seconds` takes a random stretch of longer cached latents, drawn from (`seed`, pass, clip): see `CachedClips`.
    Missing and damaged clips of a shard are counted in the log, and others of the stretch take their place.
    Raises OSError or ValueError for a manifest that cannot be read or does not fit (`check_manifest`), and ValueError
    when no clip of a stretch can be read.
    """

    def __init__(
        self,
        source: str,
        *,
        fields: Sequence[str],
        spec: str | ClipSpec | None = None,
        encoders: str | list[str] | None = None,
        buffer_size: int = 1024,
        crop_seconds: float | None = None,
        seed: int = 0,
    ) -> None:
        self.source, self.fields, self.buffer_size = source, tuple(fields), buffer_size
        self.manifest = parse_manifest(_read_manifest(source), f"{source}: {MANIFEST}")
        self.names = [shard["file"] for shard in self.manifest["shards"]]
        self.counts = [shard["count"] for shard in self.manifest["shards"]]
        odd = [name for name in self.names if not SHARD_NAME.fullmatch(name)]
        if odd or not sum(self.counts):
            raise ValueError(
                f"{source}: its manifest names no WebDataset shards, but {odd[:1]}; use CachedClips for those"
            )
        check_manifest(self.manifest, source, fields=fields, spec=spec, encoders=encoders)
        self._crop = LatentCrop(self.manifest, fields, crop_seconds, seed) if crop_seconds else None
        self.share, self.pass_number, self.batches_done = Share(), 0, 0
        self._reported: set[str] = set()

    def num_clips(self) -> int:
        """Clips in all shards."""
        return sum(self.counts)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        num_workers = info.num_workers if info else 1
        # On resuming the loader asks worker 0 first, whose turn it was not: they change places.
        worker = ((info.id if info else 0) + self.batches_done) % num_workers
        first, count = self.share.stretch(self.num_clips(), worker, num_workers)
        order = list(range(len(self.counts)))
        clips: Iterator[dict[str, Any]]
        if self.share.seed is None:
            clips = self._clips(order, first, count)
        else:
            random.Random(f"{self.share.seed}/{self.pass_number}").shuffle(order)
            draws = random.Random(f"{self.share.seed}/{self.pass_number}/{first}")
            clips = shuffle(self.buffer_size, initial=self.buffer_size, rng=draws)(self._clips(order, first, count))
        done = len(range(worker, self.batches_done, num_workers)) * self.share.batch_size
        for clip in itertools.islice(clips, done, None):
            yield {name: as_float32(value) if isinstance(value, Tensor) else value for name, value in clip.items()}

    def _clips(self, order: Sequence[int], first: int, count: int) -> Iterator[dict[str, Any]]:
        """`count` clips from place `first` on; where some are missing, the first of the rest again."""
        num_given = 0
        while num_given < count:
            num_read = 0
            for shard, start, stop in segments(self.counts, order, first, count):
                for clip in itertools.islice(self._shard(shard, start, stop), count - num_given):
                    num_read, num_given = num_read + 1, num_given + 1
                    yield clip
            if not num_read:
                raise ValueError(
                    f"{self.source}: none of {count} clips could be read (see the log); are the shards there?"
                )

    def _shard(self, shard: int, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The clips of a shard's rows that can be read."""
        name, num_given = self.names[shard], 0
        problems: list[Exception] = []
        for sample in itertools.islice(self._samples(name, problems), start, stop):
            try:
                clip = self._decoded(sample)
            except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
                problems.append(error)
                continue
            num_given += 1
            yield clip
        if num_given < stop - start and name not in self._reported:
            self._reported.add(name)
            why = str(problems[0])[:200] if problems else "it ends early"
            log.warning(
                "%s: %s lacks %d of %d clips (%s); others take their place",
                self.source, name, stop - start - num_given, stop - start, why,
            )  # fmt: skip

    def _samples(self, name: str, problems: list[Exception]) -> Iterator[dict[str, Any]]:
        """The members of each clip of a shard, undecoded; what ends it early is added to `problems`."""

        def stop(error: Exception) -> bool:
            problems.append(error)
            return False

        try:
            stream = open_file(self.source, name)
        except OSError as error:
            problems.append(error)
            return
        try:
            members = tar_file_expander([{"url": name, "stream": stream}], handler=stop)
            yield from group_by_keys(members, handler=stop)
        finally:
            with suppress(OSError):  # a command that is not read to its end raises
                stream.close()

    def _decoded(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """A clip from its two members; raises what its readers do for one that is not whole."""
        for member in ("safetensors", "json"):
            if member not in sample:
                raise KeyError(f"{sample['__key__']} has no {member}")
        tensors, strings = load(sample["safetensors"]), json.loads(sample["json"])
        clip = dict(strings) | {name: tensors[name] for name in self.fields}
        place = f"{self.pass_number}/{sample['__key__']}"
        return self._crop(clip, zlib.crc32(place.encode())) if self._crop else clip


def _read_manifest(source: str) -> str:
    try:
        with closing(open_file(source, MANIFEST)) as stream:
            return stream.read().decode(errors="replace")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise OSError(f"{source}: its {MANIFEST} cannot be read ({error}); check address and permissions") from error


def open_file(source: str, name: str) -> Any:
    """A stream of the file `name` in `source`: a folder, an address, or a command; see `ShardedClips`.

    Raises ValueError for another kind of address or a command without `{file}`, OSError when it cannot be opened.
    """
    if source.startswith("pipe:"):
        if "{file}" not in source:
            raise ValueError(f"{source}: write {{file}} in the command, where the shard's name goes")
        return gopen(source.replace("{file}", name))
    if source.startswith(("http://", "https://")):
        return gopen(f"{source.rstrip('/')}/{name}")
    if "://" in source:
        raise ValueError(f"{source}: give a folder, http(s)://, or pipe: and a command that prints {{file}}")
    path = Path(source) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; write shards with `foleygram cache --format webdataset`")
    return path.open("rb")


class ShardLoader(DataLoader):
    """Batches of a process's share, as many in every pass; `position` tells pass and batches done before each."""

    def __init__(
        self,
        clips: ShardedClips,
        share: Share,
        *,
        position: Callable[[], tuple[int, int]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(clips, batch_size=share.batch_size, **options)
        clips.share, self.clips, self.share, self.position = share, clips, share, position

    def __len__(self) -> int:
        return self.share.num_batches(self.clips.num_clips())

    def __iter__(self) -> Any:
        if self.position is not None:
            self.clips.pass_number, self.clips.batches_done = self.position()
        return super().__iter__()
