"""Generated sounds and their references: two folders matched by name, and how a pair is read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from foleygram.datasets.clip import parse_events
from foleygram.datasets.folder import SUFFIXES, read_captions
from foleygram.evaluation.envelopes import INAUDIBLE
from foleygram.evaluation.extraction import TOO_LARGE
from foleygram.evaluation.onsets import peak
from foleygram.evaluation.scores import ScoredClip
from foleygram.media.audio import SOUND_FILES, fit_length, read_audio, sound_rate
from foleygram.media.isolate import MediaError, run_isolated

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aiff", ".aif")
"""Preferred in this order over a video of the same name, whose sound may be compressed."""
RECORDING_ENDINGS = ("_denoised", "_mic")
"""Suffixes of Greatest Hits' ids; of two recordings the denoised one is used."""
LENGTH_TOLERANCE_SEC = 0.05
"""Lengths that differ by more get a remark; the generated sound is fitted to the reference in any case."""
SHORTEST_SEC = 0.05
"""A shorter reference is left out: it has no envelope to follow."""
LARGEST = 1e4
"""Larger samples, where full scale is 1, mean a damaged file or integers read as floats."""
READ_TIMEOUT_SEC = 300.0


ClipKey = tuple[str, float]
"""Video id and start."""


@dataclass(frozen=True)
class SoundPair:
    """A generated sound and its reference on disk; `event_times` is None without annotation."""

    generated: Path
    reference: Path
    video_id: str
    start: float = 0.0
    event_times: list[float] | None = None
    event_actions: list[str] = field(default_factory=list)
    material: str | None = None
    caption: str | None = None
    video: Path | None = None
    """The video that the sounds belong to, where there is one; `start` counts in it."""

    @property
    def key(self) -> ClipKey:
        """Names the clip within a set."""
        return self.video_id, self.start


@dataclass(frozen=True)
class Matched:
    """Pairs of two folders, and the files that only one of them holds."""

    pairs: list[SoundPair]
    without_reference: list[Path]
    without_generated: list[Path]


def match_folders(generated: Path, reference: Path, captions: Path | None = None) -> Matched:
    """Pair the sounds or videos directly in two folders by stem, without `_denoised` and `_mic`.

    A `_times.txt` beside a reference holds its events; `captions` is a CSV file with the columns `file` and `caption`.
    Raises FileNotFoundError for a folder without sound, ValueError for two sounds of a name, when nothing matches, or a
    caption names no file.
    """
    ours, references = files_by_stem(generated), files_by_stem(reference)
    texts = _read_captions(captions, ours.keys() | references.keys()) if captions else {}
    common = sorted(ours.keys() & references.keys())
    if not common:
        raise ValueError(
            f"{generated} and {reference} have no stem in common (the first are {min(ours)} and {min(references)}); "
            "name each generated file as its reference"
        )
    return Matched(
        pairs=[_pair(stem, ours[stem], references[stem], texts.get(stem)) for stem in common],
        without_reference=[ours[stem] for stem in sorted(ours.keys() - references.keys())],
        without_generated=[references[stem] for stem in sorted(references.keys() - ours.keys())],
    )


def plain_stem(path: Path | str) -> str:
    """A file's stem without Greatest Hits' suffixes."""
    stem = Path(path).stem
    for ending in RECORDING_ENDINGS:
        stem = stem.removesuffix(ending)
    return stem


def files_by_stem(folder: Path) -> dict[str, Path]:
    """The sounds or videos directly in a folder by stem.

    Raises FileNotFoundError for a folder without any, ValueError for two sounds of one name.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; check the path")
    order = {suffix: rank for rank, suffix in enumerate((*SOUND_SUFFIXES, *sorted(SUFFIXES)))}
    files = [path for path in folder.iterdir() if path.suffix.lower() in order and path.name[0] != "."]
    if not files:
        raise FileNotFoundError(f"{folder}: no sound and no video in it; check the path")
    _refuse_two_of_a_name(folder, [path for path in files if path.suffix.lower() in SOUND_SUFFIXES])
    files.sort(key=lambda path: (path.stem.endswith("_mic"), order[path.suffix.lower()], path.name), reverse=True)
    return {plain_stem(path): path for path in files}  # the preferred one comes last


def _refuse_two_of_a_name(folder: Path, sounds: Iterable[Path]) -> None:
    """Raise ValueError for two sounds of a name, unless one is Greatest Hits' own recording before it was denoised."""
    known: dict[str, Path] = {}
    for path in sorted(sounds, reverse=True):  # X_mic before X_denoised
        other = known.setdefault(plain_stem(path), path)
        recordings = {path.name, other.name} == {plain_stem(path) + e + path.suffix for e in RECORDING_ENDINGS}
        if other != path and not recordings:
            raise ValueError(f"{folder}: {path.name} and {other.name} both are {plain_stem(path)}; keep one of them")


def _pair(stem: str, generated: Path, reference: Path, caption: str | None) -> SoundPair:
    times = next(
        (path for name in (stem, reference.stem) if (path := reference.with_name(f"{name}_times.txt")).is_file()), None
    )
    events = parse_events(times.read_text(encoding="utf-8-sig", errors="replace"), str(times)) if times else []
    materials = {event.material for event in events if event.material}
    return SoundPair(
        generated,
        reference,
        stem,
        event_times=[event.time for event in events] if times else None,
        event_actions=[event.action or "" for event in events],
        material=materials.pop() if len(materials) == 1 else None,
        caption=caption,
        video=_video(stem, reference),
    )


def _video(stem: str, reference: Path) -> Path | None:
    """The reference itself if it is a video, else the one beside it."""
    if reference.suffix.lower() in SUFFIXES:
        return reference
    names = dict.fromkeys((reference.stem, *(stem + ending for ending in ("", *RECORDING_ENDINGS))))
    candidates = (reference.with_name(name + suffix) for name in names for suffix in sorted(SUFFIXES))
    return next((path for path in candidates if path.is_file()), None)


def _read_captions(path: Path, stems: Iterable[str]) -> dict[str, str]:
    captions = {plain_stem(name): text or "" for name, text in read_captions(path).items()}
    unknown = sorted(captions.keys() - set(stems))
    if unknown:
        raise ValueError(f"{path}: names {len(unknown)} files that neither folder holds, first {unknown[0]}")
    return captions


@dataclass
class Remarks:
    """Remarks on files: without a partner, left out, cut or padded, silent."""

    without_reference: list[str] = field(default_factory=list)
    without_generated: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    refitted: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


def read_pair(pair: SoundPair, remarks: Remarks) -> ScoredClip | None:
    """Both sounds, mono, at the higher of their two rates, the generated one as long as its reference.

    It is cut or zero-padded. None, with a remark, where one of them cannot be read or has samples far over full scale,
    or where the reference is shorter than 50 ms.
    """
    try:
        rates = [isolate_unless_sound_file(sound_rate, path) for path in (pair.generated, pair.reference)]
        generated, reference = (
            isolate_unless_sound_file(read_audio, path, sample_rate=max(rates))[0]
            for path in (pair.generated, pair.reference)
        )
        _check(pair, generated, reference, max(rates))
    except MediaError as error:
        remarks.left_out.append(f"{error}; {pair.video_id} is left out of every metric")
        return None
    seconds = [len(sound) / max(rates) for sound in (generated, reference)]
    if abs(seconds[0] - seconds[1]) > LENGTH_TOLERANCE_SEC:
        change = "cut" if seconds[0] > seconds[1] else "padded with silence"
        remarks.refitted.append(f"{pair.generated}: {seconds[0]:.2f} s, {change} to its reference's {seconds[1]:.2f} s")
    if peak(generated) < INAUDIBLE:
        remarks.silent.append(f"{pair.generated}: silent, scored as it is")
    if peak(reference) < INAUDIBLE and pair.generated != pair.reference:
        remarks.silent.append(f"{pair.reference}: a silent reference has no envelope to follow: no correlation, no lag")
    return ScoredClip(
        generated=fit_length(generated, len(reference)),
        reference=reference,
        sample_rate=max(rates),
        event_times=pair.event_times,
        event_actions=pair.event_actions,
        material=pair.material,
        video_id=pair.video_id,
        start=pair.start,
    )


def _check(pair: SoundPair, generated: Tensor, reference: Tensor, sample_rate: int) -> None:
    for path, sound in ((pair.generated, generated), (pair.reference, reference)):
        if peak(sound) > LARGEST:
            raise MediaError(f"{path}: samples up to {peak(sound):.3g}, where full scale is 1; export it again")
    if len(reference) < SHORTEST_SEC * sample_rate:
        milliseconds = 1000 * len(reference) / sample_rate
        raise MediaError(f"{pair.reference}: {milliseconds:.3g} ms, but scoring needs {1000 * SHORTEST_SEC:g} ms")


def isolate_unless_sound_file(read: Callable[..., Any], path: Path, **options: Any) -> Any:
    """Call `read` on a file, in a process of its own unless it is a plain sound file.

    Raises MediaError for a file that declares more than fits into memory, or that brings the decoder down.
    """
    if path.suffix.lower() in SOUND_FILES:
        try:
            return read(path, **options)
        except MemoryError as error:
            raise MediaError(f"{path}: {TOO_LARGE} ({error})") from None
    return run_isolated(read, path, timeout_sec=READ_TIMEOUT_SEC, **options)
