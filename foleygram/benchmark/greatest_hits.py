"""The benchmark on real clips: a release, re-encodings of the same clips, and other systems' outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foleygram.benchmark.pairs import files_by_stem
from foleygram.benchmark.reencodings import ORIGINAL, REENCODINGS, cut, reencode_clip
from foleygram.benchmark.report import Finding, Report
from foleygram.benchmark.run import JUDGE_FOLDER, WEIGHTS
from foleygram.benchmark.scoring import choose_metrics, load_networks, score
from foleygram.benchmark.sounds import REFERENCE, ClipSounds, pick_clips
from foleygram.datasets.annotated import annotated_clips
from foleygram.datasets.clip import Clip
from foleygram.distributed import joined_processes, progress_bar
from foleygram.envelope.envelope import Envelope
from foleygram.evaluation.scores import Scores
from foleygram.files import file_hash
from foleygram.media.audio import read_audio, sound_rate
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import INDEX

PREDICTED, TRUE = "predicted envelope", "true envelope"
ROBUSTNESS = {
    "onset_f1_50": "F1, 50 ms",
    "onset_f1_100": "F1, 100 ms",
    "envelope_correlation": "correlation",
    "onset_count_ratio": "onsets, found / true",
}


def greatest_hits(
    checkpoint: str | Path,
    folder: str | Path,
    out: str | Path,
    *,
    split: str = "test",
    seconds: float = 10.0,
    annotations: str | Path | None = None,
    peers: str | Path | None = None,
    reencodings: Sequence[str] = tuple(REENCODINGS),
    metrics: Sequence[str] | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    limit: int | None = None,
    seed: int = 0,
    weights: str | Path = WEIGHTS,
    embedders: Sequence[str] = (),
    device: str | torch.device = "cpu",
    show_progress: bool = True,
) -> Report:
    """Score a release on annotated clips, on re-encodings of them, and `peers` on the clips that all systems have.

    `folder`, `split`, `seconds` and `annotations` as for `annotated_clips`; `peers` holds one folder of sounds or
    videos per system, each file named as its clip (`clip_name`). Sounds, re-encoded clips and features are kept in
    `out`. Raises ValueError for an unknown re-encoding, and for a peer without any of the clips.
    """
    if unknown := [name for name in reencodings if name not in REENCODINGS]:
        raise ValueError(f"unknown re-encoding {unknown[0]!r}; there are {', '.join(REENCODINGS)}")
    checkpoint, out = Path(checkpoint), Path(out)
    clips = annotated_clips(folder, split=split, seconds=seconds, annotations=annotations)
    clips = [clips[i] for i in pick_clips(len(clips), limit)]
    peer_sounds = _peer_sounds(Path(peers), clips) if peers is not None else {}
    if peer_sounds:
        clips = [clip for clip in clips if all(clip_name(clip) in files for files in peer_sounds.values())]
        if not clips:
            raise ValueError(f"{peers}: no clip that all of {', '.join(peer_sounds)} have")
    names = choose_metrics(metrics, alignment=True, judge=(checkpoint / JUDGE_FOLDER).is_dir())
    names = tuple(name for name in names if name != "alignment")
    networks = load_networks(
        names, checkpoint=checkpoint, judge=checkpoint / JUDGE_FOLDER, weights=Path(weights), embedders=embedders,
        device=device,
    )  # fmt: skip
    pipeline = FoleyGRAMPipeline.from_pretrained(checkpoint).to(device)
    sampling: dict[str, Any] = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}

    system = {
        "checkpoint": checkpoint.name, "checkpoint_sha256": file_hash(checkpoint / INDEX), "data": Path(folder).name,
        "split": split, "seed": seed, **sampling,
    }  # fmt: skip
    sounds = ClipSounds(out / "sounds", system)
    for clip in clips:
        if not sounds.path(REFERENCE, clip).is_file():
            sounds.write(REFERENCE, clip, *_true_sound(clip))
    for name in (PREDICTED, TRUE, *reencodings):
        with progress_bar(f"generating, {name}", len(clips), shown=show_progress) as advance:
            for number, clip in enumerate(clips, start=1):
                if not sounds.path(name, clip).is_file():
                    sound = pipeline(
                        _film(name, clip, out / "clips"),
                        envelope=Envelope.from_audio(*_true_sound(clip)) if name == TRUE else "predicted",
                        generator=seed, **sampling,
                    )  # fmt: skip
                    sounds.write(name, clip, sound.audio, sound.sample_rate)
                advance(number)
    pairs = {
        name: [sounds.pair(name, clip, clip) for clip in clips] for name in (REFERENCE, PREDICTED, TRUE, *reencodings)
    }
    for name, files in peer_sounds.items():
        pairs[name] = [replace(sounds.pair(name, clip, clip), generated=files[clip_name(clip)]) for clip in clips]
    with joined_processes() as process:
        report = score(
            pairs, networks, names, system, process, cache=out / "features", seed=seed, show_progress=show_progress
        )
    robustness = _robustness({ORIGINAL: report.scores[PREDICTED]} | {name: report.scores[name] for name in reencodings})
    return replace(
        report,
        title=f"Greatest Hits: {len(clips)} clips",
        oracle=(TRUE,),
        scores={name: scored for name, scored in report.scores.items() if name not in reencodings},
        intervals={name: values for name, values in report.intervals.items() if name not in reencodings},
        findings=(robustness,) if reencodings else (),
    )


def _film(name: str, clip: Clip, folder: Path) -> Path:
    """The video of a clip that a system gets, without sound: the clip as it is, or encoded again below `folder`."""
    name = name if name in REENCODINGS else ORIGINAL
    out = folder / name.replace(" ", "_") / f"{clip_name(clip)}.mp4"
    return cut(clip, out) if name == ORIGINAL else reencode_clip(clip, REENCODINGS[name], out)


def clip_name(clip: Clip) -> str:
    """A clip's name in the benchmark's folders: the video's, with the start in ms where it is not the beginning."""
    return f"{clip.video_id}_{round(1000 * clip.start):06d}" if clip.start else clip.video_id


def _peer_sounds(folder: Path, clips: Sequence[Clip]) -> Mapping[str, Mapping[str, Path]]:
    """Each system's files by clip name; raises for a folder without systems or a system without any of the clips."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give one with a folder of sounds per system")
    systems = {path.name: files_by_stem(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    if not systems:
        raise ValueError(f"{folder}: no folder in it; put each system's sounds in a folder of its own")
    names = {clip_name(clip) for clip in clips}
    for name, files in systems.items():
        if not names & files.keys():
            raise ValueError(f"{folder / name}: holds none of the {len(names)} clips, such as {min(names)}")
    return systems


def _true_sound(clip: Clip) -> tuple[Tensor, int]:
    rate = sound_rate(clip.audio_path)
    return read_audio(clip.audio_path, sample_rate=rate, start=clip.start, seconds=clip.seconds), rate


def _robustness(scores: Mapping[str, Scores]) -> Finding:
    """Timing of the predicted envelope on the original files and on each re-encoding, and the largest loss in F1."""
    metrics = {name: {key: scored.summary.get(key) for key in ROBUSTNESS} for name, scored in scores.items()}
    losses = {
        name: (metrics[ORIGINAL]["onset_f1_50"] or 0) - (values["onset_f1_50"] or 0)
        for name, values in metrics.items()
        if name != ORIGINAL
    }
    text = "Envelope predicted from the same clips, encoded again."
    if losses:
        worst = max(losses, key=lambda name: losses[name])
        text += f" Largest loss in F1 at 50 ms: {losses[worst]:.3f}, {worst}."
    rows = tuple(
        (name, *("-" if value is None else f"{value:.3f}" for value in values.values()))
        for name, values in metrics.items()
    )
    return Finding("Re-encodings", text, ("clips", *ROBUSTNESS.values()), rows, metrics)
