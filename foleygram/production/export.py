"""Writes the files of one result: sound, video with the sound, stems, takes, timeline, and the record beside them."""

import glob
import json
import math
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from foleygram.envelope.editing.hits import hit_markers
from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import fit_length, read_audio, resample, sound_rate, write_audio
from foleygram.media.isolate import MediaError, run_isolated, time_limit
from foleygram.media.loudness import loudness, loudness_gain
from foleygram.media.markers import Marker, Region, edit_list, reaper_table
from foleygram.media.mux import FORMATS, SOUNDS, SoundCodec, mux
from foleygram.media.timecode import TimeCode
from foleygram.media.timeline import Clip, Timeline, event_clips, write_otio
from foleygram.media.video import probe
from foleygram.production.comparison import Comparison, compare_file, compare_film, deviations

if TYPE_CHECKING:  # the processes that write do without the networks' packages
    from foleygram.production.batch_runner import Take

MIX_DB = (-60.0, 12.0)
"""Gains at which a video's own sound is mixed in."""
HEADROOM_DB = 0.05
"""A sound that is lowered by less, so that no sample is above full scale, is not reported."""
LUFS_TOLERANCE = 0.5
STEM_FADE_SEC = 0.02
"""Cross-fade between consecutive stems; the sum of all stems is the whole sound."""


@dataclass(frozen=True)
class ExportOptions:
    """Which files are written, and in which formats."""

    container: Literal["mp4", "mov", "mkv", "webm"] = "mp4"
    """MKV, MOV or MP4, in this order, replaces a container that cannot hold the video."""
    codec: SoundCodec | None = None
    """Default: AAC, in MKV FLAC, in WebM Opus."""
    mix_original_db: float | None = None
    """Gain in dB of the video's own sound under the new one; None leaves it out."""
    stems: bool = False
    """Also a sound file per segment."""
    lufs: float | None = None
    """Loudness of the video's sound (ITU-R BS.1770); None keeps the level."""
    timeline: bool = False
    """Also the onsets as an EDL and an OpenTimelineIO file, if the frame rate has time code, and as a Reaper table."""

    def __post_init__(self) -> None:
        """Raise ValueError if the container cannot hold the sound codec."""
        codecs = SOUNDS[f".{self.container}"]
        if self.codec is not None and self.codec not in codecs:
            raise ValueError(f"{self.codec} cannot be stored in {self.container}; give one of {', '.join(codecs)}")


def parse_level(text: str) -> float:
    """Decibels written as -12dB; raises ValueError for a number without unit or outside `MIX_DB`."""
    number, least, most = text.strip().lower(), *MIX_DB
    try:
        level = float(number.removesuffix("db")) if number.endswith("db") else math.nan
    except ValueError:
        level = math.nan
    if not least <= level <= most:
        raise ValueError(f"--mix-original {text}: write a level from {least:g}dB to {most:g}dB, such as -12dB")
    return level


@dataclass(frozen=True)
class Track:
    """The sound of one video: base name of its files, samples (channels, n), rate in Hz, and the other takes."""

    name: str
    samples: np.ndarray
    sample_rate: int
    edges: tuple[float, ...] = ()
    """Times in seconds at which segments meet."""
    others: tuple[tuple[int, np.ndarray], ...] = ()
    """Number and samples of each other take."""
    asked: Envelope | None = None
    """The envelope that the sound should follow; None compares nothing."""


class Written(NamedTuple):
    """Notes and measures of a result."""

    notes: list[str]
    """Contents that the container could not hold."""
    deviations: list[str]
    """Deviations of the result from its options."""
    comparison: Comparison | None
    """The WAV file compared with the envelope asked for."""


def export_result(
    video: Path,
    name: str,
    takes: Sequence["Take"],
    options: ExportOptions,
    record: Callable[[Mapping[str, Path], Written], dict[str, Any]],
    *,
    edges: Sequence[float],
    work: Path,
    out: Path,
) -> tuple[tuple[str, ...], Written]:
    """Write the results `name` into `work`, then move them to `out` together; returns their paths relative to `out`.

    The first take becomes the video's sound, the others are written beside it. `record` maps the files by name, and
    what is known of them, to the content of `name`.json, which is moved last. If writing raises, nothing is left.
    """
    output = takes[0].output
    others = tuple((take.number, take.output.audio.numpy()) for take in takes[1:])
    track = Track(name, output.audio.numpy(), output.sample_rate, tuple(edges), others, output.envelope)
    folder = work / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        written: Written = run_isolated(
            write_track, video, track, options, folder, timeout_sec=time_limit(output.envelope.seconds)
        )
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        sidecar = folder / f"{name}.json"
        content = json.dumps(record(files, written), indent=1, ensure_ascii=False)
        sidecar.write_text(content + "\n", encoding="utf-8")
        files[sidecar.name] = sidecar
        for relative, path in files.items():
            (out / relative).parent.mkdir(parents=True, exist_ok=True)
            path.replace(out / relative)
        return tuple(files), written
    finally:
        shutil.rmtree(folder)


def remove_results(out: Path, names: Iterable[str]) -> None:
    """Remove files below `out` that an earlier run wrote, and the folders that become empty."""
    for name in names:
        path = out / name
        if not path.resolve().is_relative_to(out.resolve()):  # an edited manifest
            continue
        path.unlink(missing_ok=True)
        for folder in path.parents[: len(Path(name).parents) - 1]:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def write_track(video: Path, track: Track, options: ExportOptions, folder: Path) -> Written:
    """Write a track, the video with it, its stems and other takes below `folder`, all with the same gain.

    The gain is lowered where a sample would be above full scale. The files are read again and compared with the
    envelope asked for. A video that no container can hold leaves the WAV. Runs in a process of its own, because copying
    a damaged video can crash or hang. WAVs have cue points at onsets.
    """
    notes: list[str] = []
    audio, rate = torch.from_numpy(track.samples), track.sample_rate
    others = [(number, torch.from_numpy(samples)) for number, samples in track.others]
    mixed, mixed_rate, missing = _mixed(video, audio, rate, options.mix_original_db)
    gain, limited = export_gain(mixed, mixed_rate, [audio, *(take for _, take in others)], options.lufs)
    markers = onset_markers(audio, rate)
    wav = folder / f"{track.name}.wav"
    write_audio(wav, gain * audio, rate, markers=markers)
    unmet = missing + limited
    if options.timeline:
        bounds = [0.0, *track.edges, audio.shape[-1] / rate]
        unmet += write_timeline(folder / track.name, video, markers, bounds)
    for name, stem in split_stems(audio, rate, track.edges) if options.stems else ():
        path = folder / "stems" / track.name / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, gain * stem, rate)
    for number, take in others:
        path = folder / "takes" / track.name / f"{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, gain * take, rate, markers=onset_markers(take, rate))
        if track.asked:
            unmet += [f"take {number}: {found}" for found in deviations(compare_file(path, track.asked, gain))]
    comparison = compare_file(wav, track.asked, gain) if track.asked else None
    try:
        film = mux(video, gain * mixed, mixed_rate, folder / f"{track.name}.{options.container}", codec=options.codec)
        notes += film.notes
        unmet += compare_film(film.path, gain * mixed, mixed_rate)
    except MediaError as error:
        unmet.append(f"no film beside the WAV: {error}")
    if options.timeline:
        bounds = [0.0, *track.edges, audio.shape[-1] / rate]
        notes += write_otio_timeline(folder, track.name, video, markers, bounds)
    return Written(notes, (deviations(comparison) if comparison else []) + unmet, comparison)


def _mixed(video: Path, audio: Tensor, rate: int, original_db: float | None) -> tuple[Tensor, int, list[str]]:
    """The sound of the film and its rate, and why the video's own sound is not in it although it was asked for."""
    if original_db is None:
        return audio, rate, []
    if not probe(video).has_audio:
        return audio, rate, ["--mix-original: the video has no sound to mix"]
    return *mix_with_original(video, audio, rate, original_db), []


def export_gain(
    mixed: Tensor, sample_rate: int, others: Sequence[Tensor], lufs: float | None
) -> tuple[float, list[str]]:
    """The factor that brings `mixed` (channels, n) to `lufs`, lowered so that no sample of any sound clips.

    Returns with it why the loudness or the level is another than asked for.
    """
    gain = 1.0 if lufs is None else loudness_gain(mixed, sample_rate, lufs)
    peak = max(float(sound.abs().max()) for sound in (mixed, *others))
    limited = gain if not gain * peak > 1 else 1 / peak
    if lufs is not None:
        reached = loudness(limited * mixed, sample_rate)
        off = not abs(reached - lufs) <= LUFS_TOLERANCE
        return limited, [f"its loudness is {reached:.1f} LUFS, not {lufs:g}: its peak allows no more"] if off else []
    lowered_db = 20 * math.log10(gain / limited)
    return limited, [f"lowered by {lowered_db:.1f} dB, or it would clip"] if lowered_db > HEADROOM_DB else []


def onset_markers(audio: Tensor, sample_rate: int) -> list[Marker]:
    """Markers at the onsets of a sound (channels, n), with their MIDI velocity."""
    return hit_markers(Envelope.from_audio(audio, sample_rate), audio.shape[-1] / sample_rate)


def write_timeline(stem: Path, video: Path, markers: Sequence[Marker], bounds: Sequence[float]) -> list[str]:
    """Write `markers` as a Reaper table, with the segments between `bounds` (seconds), and as an EDL.

    The EDL starts at the video's time code. If it cannot be written, the returned note gives the reason.
    """
    spans = list(pairwise(bounds))
    regions = [Region(*span, f"segment {number}") for number, span in enumerate(spans, start=1)]
    table = reaper_table(markers, regions if len(regions) > 1 else ())
    stem.with_name(f"{stem.name}.reaper.csv").write_text(table, encoding="utf-8")
    info = probe(video)
    try:
        events = edit_list(markers, TimeCode.of(info.frame_rate, start=info.start_timecode), title=stem.name)
    except ValueError as error:
        return [f"no edit decision list: {error}"]
    stem.with_name(f"{stem.name}.edl").write_text(events, encoding="utf-8", newline="")
    return []


def write_otio_timeline(
    folder: Path, name: str, video: Path, markers: Sequence[Marker], bounds: Sequence[float]
) -> list[str]:
    """Write `name`.otio: the film and, on audio tracks, its stems, or where there are none, its sound cut at `markers`.

    Played, the clips give the whole sound. The timeline starts at the video's time code. If it cannot be written, the
    returned note gives the reason.
    """
    info = probe(video)
    stems = sorted((folder / "stems" / name).glob("*.wav"), key=lambda path: int(path.name.partition("_")[0]))
    films = [path for suffix in FORMATS for path in folder.glob(f"{glob.escape(name)}{suffix}")]
    if stems:
        half = STEM_FADE_SEC / 2
        spans = [(max(0.0, start - half), min(bounds[-1], end + half)) for start, end in pairwise(bounds)]
        files = [path.relative_to(folder).as_posix() for path in stems]
        clips = tuple(Clip(path.stem, *span, file) for path, span, file in zip(stems, spans, files, strict=True))
    else:
        clips = event_clips(markers, bounds[-1], f"{name}.wav")
    try:
        clock = TimeCode.of(info.frame_rate, start=info.start_timecode)
        film = films[0].name if films else ""
        write_otio(folder / f"{name}.otio", Timeline(name, clock, clips, tuple(markers), film, bounds[-1]))
    except (ImportError, ValueError) as error:
        return [f"no OpenTimelineIO timeline: {error}"]
    return []


def mix_with_original(video: Path, audio: Tensor, sample_rate: int, gain_db: float) -> tuple[Tensor, int]:
    """`audio` (channels, n) plus the video's own sound at `gain_db`, and the rate: the higher of the two.

    The mix is mono only if both are.
    """
    rate = max(sample_rate, sound_rate(video))
    own = read_audio(video, sample_rate=rate, channels=min(2, max(len(audio), probe(video).num_audio_channels)))
    audio = resample(audio, sample_rate, rate)
    return audio + 10 ** (gain_db / 20) * fit_length(own, audio.shape[-1]), rate


def split_stems(audio: Tensor, sample_rate: int, edges: Sequence[float]) -> list[tuple[str, Tensor]]:
    """The sound (channels, n) cut at `edges` (seconds) into named stems of full length, which add up to it."""
    times = torch.arange(audio.shape[-1]) / sample_rate
    starts = [torch.ones_like(times), *(((times - edge) / STEM_FADE_SEC + 0.5).clamp(0, 1) for edge in edges)]
    ends = [*starts[1:], torch.zeros_like(times)]
    spans = pairwise([0.0, *edges, audio.shape[-1] / sample_rate])
    return [
        (f"{number}_{begin:.2f}-{end:.2f}", audio * (fade_in - fade_out))
        for number, ((begin, end), fade_in, fade_out) in enumerate(zip(spans, starts, ends, strict=True), start=1)
    ]
