"""Embeddings of many files: read ahead by threads, embedded in full batches, cached."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from foleygram.evaluation.embedders import AudioEmbedder, num_covered, sound_windows
from foleygram.evaluation.feature_cache import FeatureCache, Features
from foleygram.files import content_hash
from foleygram.media.audio import fit_length, read_audio

TOO_LARGE = "it declares more sound than fits into memory; is its header damaged? Export it again"
READ_AHEAD = 4
"""Clips that a reader thread may be ahead of the network."""


class AudioClip(NamedTuple):
    """A stretch of a file's sound, zero-padded where the file ends earlier; `seconds` None is all from `start`."""

    path: Path
    start: float = 0.0
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.path}" if self.seconds is None else f"{self.path} at {self.start:g} s"


class Extraction(NamedTuple):
    """Features of each clip, in the order given, None where a clip failed; and the reasons by index."""

    features: list[Features | None]
    failures: dict[int, str]


class _Windows(NamedTuple):
    """Windows of a clip that is not in the cache."""

    windows: Tensor
    num_covered: int
    peak: float
    key: dict[str, Any] | None


def feature_key(clip: AudioClip, embedder: AudioEmbedder) -> dict[str, Any]:
    """Cache key of a clip's embeddings: the file's content, the stretch, the embedder and its windows."""
    return {
        "content": content_hash(clip.path),
        "start": clip.start,
        "seconds": clip.seconds,
        "embedder": dict(embedder.identity),
        "windows": window_protocol(embedder),
    }


def window_protocol(embedder: AudioEmbedder) -> dict[str, Any]:
    """The windows of an embedder, for reports: rate in Hz, seconds, and how the tail is treated."""
    return {
        "sample_rate": embedder.sample_rate,
        "window_sec": embedder.window_sec,
        "hop_sec": embedder.hop_sec,
        "tail": embedder.tail,
        "channels": "mean",
        "resampler": "soxr HQ",
    }


def extract(
    clips: Sequence[AudioClip],
    embedder: AudioEmbedder,
    *,
    cache: FeatureCache | None = None,
    batch_size: int = 32,
    num_readers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Extraction:
    """Embeddings of clips; `cache` is read first, and written as soon as a clip is done.

    Threads read and resample while the network runs on full batches of `batch_size` windows; `progress` gets the number
    of clips done. A clip that cannot be read, is empty or gives values that are not finite becomes a failure that names
    it; the other clips are embedded. Several processes may share one cache.
    """
    features: list[Features | None] = [None] * len(clips)
    failures: dict[int, str] = {}
    for done, (index, outcome) in enumerate(_outcomes(clips, embedder, cache, batch_size, num_readers), 1):
        if isinstance(outcome, str):
            failures[index] = outcome
        else:
            features[index] = outcome
        if progress:
            progress(done)
    return Extraction(features, failures)


def _outcomes(
    clips: Sequence[AudioClip], embedder: AudioEmbedder, cache: FeatureCache | None, batch_size: int, num_readers: int
) -> Iterator[tuple[int, Features | str]]:
    batches = _Batches(embedder, batch_size)
    with ThreadPoolExecutor(num_readers) as pool:
        for index, windows in _read_ahead(pool, clips, embedder, cache, num_readers):
            if not isinstance(windows, _Windows):
                yield index, windows
                continue
            for finished, item, embeddings in batches.add(index, windows):
                yield finished, _kept(clips[finished], item, embeddings, cache)
    for finished, item, embeddings in batches.flush():
        yield finished, _kept(clips[finished], item, embeddings, cache)


def _read_ahead(
    pool: ThreadPoolExecutor,
    clips: Sequence[AudioClip],
    embedder: AudioEmbedder,
    cache: FeatureCache | None,
    num_readers: int,
) -> Iterator[tuple[int, Features | _Windows | str]]:
    waiting: deque[tuple[int, Future[Features | _Windows | str]]] = deque()
    upcoming = iter(enumerate(clips))
    while True:
        while len(waiting) < READ_AHEAD * num_readers:
            following = next(upcoming, None)
            if following is None:
                break
            waiting.append((following[0], pool.submit(_read, following[1], embedder, cache)))
        if not waiting:
            return
        index, future = waiting.popleft()
        yield index, future.result()


def _read(clip: AudioClip, embedder: AudioEmbedder, cache: FeatureCache | None) -> Features | _Windows | str:
    try:
        key = None
        if cache is not None and clip.path.is_file():
            key = feature_key(clip, embedder)
            cached = cache.read(key)
            if cached is not None:
                return cached
        rate = embedder.sample_rate
        audio = read_audio(clip.path, sample_rate=rate, channels=1, start=clip.start, seconds=clip.seconds)[0]
        if clip.seconds is not None:
            audio = fit_length(audio, round(clip.seconds * rate))
        if len(audio) == 0:
            return f"{clip}: no sound there; it is left out"
        windows = sound_windows(audio, embedder)
        return _Windows(windows, num_covered(len(audio), embedder), float(audio.abs().max()), key)
    except MemoryError as error:
        return f"{clip}: {TOO_LARGE} ({error}); it is left out"
    except (ValueError, OSError) as error:
        return f"{error}; it is left out"


def _kept(clip: AudioClip, item: _Windows, embeddings: Tensor, cache: FeatureCache | None) -> Features | str:
    if not bool(torch.isfinite(embeddings).all()):
        return f"{clip}: its embedding holds values that are not finite; it is left out"
    features = Features(embeddings, item.num_covered, item.peak)
    if cache is not None and item.key is not None:
        cache.write(item.key, features)
    return features


class _Batches:
    """Full batches across clips; a clip is finished when its last window has its row."""

    def __init__(self, embedder: AudioEmbedder, batch_size: int) -> None:
        self.embedder, self.batch_size = embedder, batch_size
        self.waiting: deque[tuple[int, _Windows]] = deque()
        self.embeddings: list[Tensor] = []
        self.num_waiting = self.num_embedded = 0

    def add(self, index: int, item: _Windows) -> Iterator[tuple[int, _Windows, Tensor]]:
        """Queue a clip; the clips that the batches now full have finished."""
        self.waiting.append((index, item))
        self.num_waiting += len(item.windows)
        while self.num_waiting - self.num_embedded >= self.batch_size:
            self._embed()
        yield from self._finished()

    def flush(self) -> Iterator[tuple[int, _Windows, Tensor]]:
        """The clips that are left, the last batch smaller than the rest."""
        while self.num_waiting > self.num_embedded:
            self._embed()
        yield from self._finished()

    def _embed(self) -> None:
        parts: list[Tensor] = []
        skip, room = self.num_embedded, self.batch_size
        for _, item in self.waiting:
            parts.append(item.windows[skip : skip + room])
            skip, room = max(0, skip - len(item.windows)), room - len(parts[-1])
            if room == 0:
                break
        self.embeddings.append(self.embedder(torch.cat(parts)))
        self.num_embedded += self.batch_size - room

    def _finished(self) -> Iterator[tuple[int, _Windows, Tensor]]:
        while self.waiting and self.num_embedded >= len(self.waiting[0][1].windows):
            index, item = self.waiting.popleft()
            count, embeddings = len(item.windows), torch.cat(self.embeddings)
            self.embeddings = [embeddings[count:]]
            self.num_waiting, self.num_embedded = self.num_waiting - count, self.num_embedded - count
            yield index, item, embeddings[:count].clone()
