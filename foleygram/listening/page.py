"""Writes a listening test: folders of sounds or videos in, a static page with blinded media out, its key beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import soundfile
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from foleygram.datasets.folder import SUFFIXES as VIDEO_SUFFIXES
from foleygram.distributed import progress_bar
from foleygram.files import atomic_path, file_hash
from foleygram.listening.plan import ANCHOR, SCALES, Plan, Stimulus, Tasks, plan_trials
from foleygram.media.audio import read_audio
from foleygram.media.isolate import MediaError, run_isolated
from foleygram.media.mux import mux
from foleygram.media.video import probe

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff"})
BROWSER_CODECS = frozenset({"h264", "vp9", "av1"})
"""Video codecs that current browsers play from MP4."""
SAMPLE_RATE, CHANNELS = 48_000, 2
"""Rate and channels of every medium on the page: a different format would reveal a system."""
MAX_SECONDS = 600.0
MIN_NOISE = 0.05
NOISE_GAIN = 2.0
"""A spoilt sound is mixed with white noise of twice its level, and of this level at least."""
MEDIA_TIMEOUT_SEC = 300.0
Media = Literal["auto", "audio", "video"]


class StimulusFiles(NamedTuple):
    """Files of a stimulus: its sound, a sound file or a video's track, and the video it is shown with."""

    sound: Path
    video: Path | None


class Match(NamedTuple):
    """Clips that every system has, their sources, and a line for each one left out."""

    systems: list[str]
    clips: list[str]
    sources: dict[Stimulus, StimulusFiles]
    left_out: list[str]


def match_systems(folders: Sequence[Path], *, media: Media = "auto", videos: Path | None = None) -> Match:
    """Match the files of two or more folders, one per system, by stem.

    A sound file beside a video of its name is that video's sound. `videos` is a folder of videos that
    are shown with every system's sound. `media="auto"` shows videos where every clip has one. Raises ValueError for
    fewer than two folders, one given twice, two files of a kind with one stem, no stem in common, or videos that
    are asked for and missing; FileNotFoundError for folders without media.
    """
    if len(folders) < 2:
        raise ValueError(f"{len(folders)} folder: a listening test compares two or more, one per system")
    systems = _system_names(folders)
    found = {system: _find_media(folder) for system, folder in zip(systems, folders, strict=True)}
    shown = {stem: video for stem, (_, video) in _find_media(videos).items() if video} if videos else {}
    stems = sorted(set().union(*found.values()))
    missing = {stem: [system for system in systems if stem not in found[system]] for stem in stems}
    clips = [stem for stem in stems if not missing[stem]]
    left_out = [f"{stem}: not in {', '.join(missing[stem])}" for stem in stems if missing[stem]]
    if not clips:
        raise ValueError(
            f"no name that all of {', '.join(systems)} have, so nothing to compare; {'; '.join(left_out[:3])}"
        )
    sources = {}
    for clip in clips:
        for system in systems:
            sound, video = found[system][clip]
            sources[Stimulus(system, clip)] = StimulusFiles(next(filter(None, (sound, video))), shown.get(clip, video))
    blind = [f"{key.system}/{key.clip}" for key, source in sources.items() if source.video is None]
    if media == "video" and blind:
        raise ValueError(
            f"no video for {len(blind)} of {len(sources)}, first {blind[0]}; give --videos, or --media audio"
        )
    if media == "audio" or blind:
        sources = {key: StimulusFiles(source.sound, None) for key, source in sources.items()}
    return Match(systems, clips, sources, left_out)


def _system_names(folders: Sequence[Path]) -> list[str]:
    places = [folder.resolve() for folder in folders]
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"{place}: given twice; each folder is a system of its own")
    names = [place.name for place in places]
    return names if len(set(names)) == len(names) else [place.as_posix() for place in places]


def _find_media(folder: Path) -> dict[str, tuple[Path | None, Path | None]]:
    """Sound file and video of each stem in `folder`, one of which may be missing."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; check the path")
    found: dict[str, tuple[Path | None, Path | None]] = {}
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.name[0] == "." or suffix not in SOUND_SUFFIXES | VIDEO_SUFFIXES or not path.is_file():
            continue
        sound, video = found.get(path.stem, (None, None))
        other = sound if suffix in SOUND_SUFFIXES else video
        if other is not None:
            raise ValueError(f"{folder}: {other.name} and {path.name} both are {path.stem}; keep one of them")
        found[path.stem] = (path, video) if suffix in SOUND_SUFFIXES else (sound, path)
    if not found:
        raise FileNotFoundError(f"{folder}: no sound or video in it")
    return found


def write_test(
    out: Path,
    match: Match,
    *,
    seed: int,
    title: str = "Listening test",
    scales: Mapping[str, str] | None = None,
    tasks: Tasks = "both",
    num_checks: int = 0,
) -> Plan:
    """Write the page `out` (index.html and media/) and its key `out`.key.json, both whole or not at all.

    Every medium becomes 48 kHz stereo without its file's metadata: FLAC, or AAC with the copied video stream in MP4.
    Raises ValueError when page or key exist already, because their answers would become useless; MediaError for a file
    that cannot be read or shown by browsers, or lasts longer than ten minutes; and what `plan_trials` raises.
    """
    key = key_path(out)
    for path in (out, key):
        if path.exists():
            raise ValueError(f"{path}: exists already, and there may be answers to it; choose another --out")
    with_video = next(iter(match.sources.values())).video is not None
    asked = {name: text for name, text in SCALES.items() if with_video or name != "timing"}
    sounds = [match.sources[Stimulus(system, clip)].sound for clip in match.clips for system in match.systems]
    plan = plan_trials(
        match.systems, match.clips, seed=seed, scales=asked if scales is None else scales, tasks=tasks,
        num_checks=num_checks, salt="".join(map(file_hash, sounds)),
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    bar = progress_bar("media", len(plan.media), shown=True)
    with atomic_path(out) as page, atomic_path(key) as secret, bar as advance:
        (page / "media").mkdir(parents=True)
        seconds = {}
        for done, (name, stimulus) in enumerate(plan.media.items(), start=1):
            seconds[name] = _write_medium(page / "media" / name, stimulus, plan, match.sources)
            advance(done)
        (page / "index.html").write_text(_render(plan, title, with_video, seconds), encoding="utf-8")
        secret.write_text(plan.to_json(), encoding="utf-8")
    return plan


def key_path(page: Path) -> Path:
    """Where a page's key lies: beside it, so that the folder can be handed out as it is."""
    page = page.resolve()
    return page.with_name(page.name + ".key.json")


def _write_medium(path: Path, stimulus: Stimulus, plan: Plan, sources: Mapping[Stimulus, StimulusFiles]) -> float:
    noise_seed = None
    if stimulus.system == ANCHOR:  # the whole sound of the pair, spoilt
        check = next(c for c in plan.checks.values() if plan.media[c].clip == stimulus.clip)
        stimulus, noise_seed = plan.media[check], plan.seed
    source = sources[stimulus]
    return run_isolated(blind_medium, source.sound, source.video, path, noise_seed, timeout_sec=MEDIA_TIMEOUT_SEC)


def blind_medium(sound: Path, video: Path | None, path: Path, noise_seed: int | None) -> float:
    """Write one medium as `path`.flac or, with a video, `path`.mp4; returns its seconds.

    With a `noise_seed` it is spoilt. Raises MediaError where sound or video cannot be read or shown.
    """
    audio = read_audio(sound, sample_rate=SAMPLE_RATE, channels=CHANNELS, seconds=MAX_SECONDS + 1)
    seconds = audio.shape[1] / SAMPLE_RATE
    if not 0 < seconds <= MAX_SECONDS:
        raise MediaError(f"{sound}: {seconds:g} s of sound; a clip to judge has some, and {MAX_SECONDS:g} s at most")
    if noise_seed is not None:
        audio = spoil(audio, torch.Generator().manual_seed(noise_seed))
    if video is None:
        soundfile.write(path.with_suffix(".flac"), audio.clamp(-1, 1).T.numpy(), SAMPLE_RATE, subtype="PCM_16")
        return seconds
    info = probe(video)
    if info.video_codec not in BROWSER_CODECS:
        known = ", ".join(sorted(BROWSER_CODECS))
        raise MediaError(
            f"{video}: browsers do not show {info.video_codec}; re-encode as one of {known}, or --media audio"
        )
    mux(video, audio, SAMPLE_RATE, path.with_suffix(".mp4"), keep_extras=False)
    return max(seconds, info.duration_sec)


def spoil(audio: Tensor, generator: torch.Generator) -> Tensor:
    """Sound (channels, samples) beneath white noise louder than itself: nobody who listens prefers it."""
    level = max(MIN_NOISE, NOISE_GAIN * float(audio.square().mean().sqrt()))
    return 0.5 * audio + level * torch.randn(audio.shape[-1], generator=generator).clamp(-3, 3)


def _render(plan: Plan, title: str, with_video: bool, seconds: Mapping[str, float]) -> str:
    test = plan.public() | {"video": with_video, "seconds": {name: round(s, 2) for name, s in seconds.items()}}
    templates = Environment(loader=PackageLoader("foleygram.listening"), autoescape=True, undefined=StrictUndefined)
    templates.policies["json.dumps_kwargs"] = {"sort_keys": False}  # scales are asked for in their order
    return templates.get_template("listening.html").render(title=title, test=test)
