"""Folders of videos through the pipeline: one bad file never stops the rest, nothing is left half-written."""

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from foleygram.datasets.folder import find_videos
from foleygram.envelope.curve import Envelope
from foleygram.inputs import VideoInput, envelope_of_sound, read_video
from foleygram.media.audio import read_audio, write_audio
from foleygram.media.mux import mux
from foleygram.media.video import guarded
from foleygram.pipeline import FoleyGRAMPipeline

READ_TIMEOUT_SEC = 300.0


@dataclass(frozen=True)
class GenerationOptions:
    """What every video of a run has in common."""

    prompt: str | None = None
    negative_prompt: str | None = None
    envelope: str | Envelope = "predicted"
    num_inference_steps: int = 50
    guidance_scale: float = 5.0
    controlnet_conditioning_scale: float = 1.0
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True)
class FileResult:
    """One row of the closing table; `error` is None where the file was done."""

    video: Path
    written: tuple[Path, ...] = ()
    seconds: float = 0.0
    envelope: str = ""
    num_onsets: int = 0
    seconds_spent: float = 0.0
    skipped: bool = False
    error: str | None = None


Progress = Callable[[Path, int], None]
"""Told which video is at which step."""


def generate_folder(
    pipeline: FoleyGRAMPipeline, source: Path, out: Path, options: GenerationOptions, *, progress: Progress
) -> list[FileResult]:
    """Generate a track for a video or every video of a folder; one result per file, failures among them.

    Raises FileNotFoundError when there is no video at all.
    """
    videos = find_videos(source)
    out.mkdir(parents=True, exist_ok=True)
    return [_generate_or_report(pipeline, video, out / name, options, progress) for video, name in _names(videos)]


def _names(videos: list[Path]) -> list[tuple[Path, str]]:
    """Output stems; two inputs that differ in their suffix alone keep it, so neither overwrites the other."""
    stems = [video.stem for video in videos]
    return [(v, v.stem if stems.count(v.stem) == 1 else v.name.replace(".", "_")) for v in videos]


def _generate_or_report(
    pipeline: FoleyGRAMPipeline, video: Path, stem: Path, options: GenerationOptions, progress: Progress
) -> FileResult:
    try:
        return _generate_file(pipeline, video, stem, options, progress)
    except (ValueError, OSError, RuntimeError, MemoryError) as error:
        message = str(error) or type(error).__name__
        return FileResult(video, error=message if str(video.name) in message else f"{video}: {message}")


def _generate_file(
    pipeline: FoleyGRAMPipeline, video: Path, stem: Path, options: GenerationOptions, progress: Progress
) -> FileResult:
    begun = time.monotonic()
    wav = stem.with_name(stem.name + ".wav")
    done = [stem.with_name(stem.name + suffix) for suffix in (".mp4", ".mkv")]
    if wav.exists() and any(path.exists() for path in done) and not options.overwrite:
        return FileResult(video, skipped=True)
    if video.resolve() in {path.resolve() for path in done}:
        raise ValueError(f"{video}: the output would overwrite it; choose another --out")
    seen: VideoInput = guarded(read_video, video, pipeline.spec, timeout_sec=READ_TIMEOUT_SEC)
    envelope = _chosen_envelope(pipeline, video, options)
    output = pipeline(
        seen,
        prompt=options.prompt,
        negative_prompt=options.negative_prompt,
        envelope=envelope,
        num_inference_steps=options.num_inference_steps,
        guidance_scale=options.guidance_scale,
        controlnet_conditioning_scale=options.controlnet_conditioning_scale,
        generator=clip_seed(options.seed, video.name),
        callback=lambda step: progress(video, step),
    )
    written = mux(video, output.audio, output.sample_rate, done[0])
    write_audio(wav, output.audio, output.sample_rate)
    spent = time.monotonic() - begun
    named = options.envelope if isinstance(options.envelope, str) else "given"
    return FileResult(video, (wav, written), seen.seconds, named, len(output.envelope.onsets()), spent)


def _chosen_envelope(pipeline: FoleyGRAMPipeline, video: Path, options: GenerationOptions) -> str | Envelope:
    if options.envelope != "audio":
        return options.envelope
    spec = pipeline.spec
    sound = guarded(_read_mono, video, spec.envelope_sample_rate, timeout_sec=READ_TIMEOUT_SEC)
    return envelope_of_sound(sound, spec.envelope_sample_rate, spec)


def _read_mono(video: Path, sample_rate: int) -> Tensor:
    return read_audio(video, sample_rate=sample_rate, channels=1, allow_silence=False)[0]


def clip_seed(seed: int, name: str) -> int:
    """A file's own seed: it depends on the run's seed and the file's name, not on its neighbours."""
    # A CRC of both, because torch's CPU generator reads no more than 32 bits of a seed.
    return zlib.crc32(f"{seed}/{name}".encode())
