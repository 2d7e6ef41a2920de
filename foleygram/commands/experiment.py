"""`foleygram experiment NAME`: the paper's experiments, each a report with tables and plots."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foleygram.commands.errors import reported
from foleygram.commands.options import MINI, BatchSize, Checkpoint, Device, Limit, Seed, Split
from foleygram.files import shipped

if TYPE_CHECKING:
    from foleygram.experiments.conditioning import Run
    from foleygram.experiments.frozen_heads import Features
    from foleygram.experiments.training_experiments import Budget, Setup

QUICK_CLIPS, QUICK_STEPS, STEPS = 50, 25, 50

Data = Annotated[Path, typer.Option(help="Greatest Hits' folder, or a rendered one.")]
Out = Annotated[Path, typer.Option(help="Folder for report.json, per_clip.csv, report.html and the sounds.")]
Quick = Annotated[bool, typer.Option("--quick", help=f"{QUICK_CLIPS} clips, {QUICK_STEPS} steps.")]
Steps = Annotated[int | None, typer.Option(min=1, help=f"Sampling steps; {STEPS}, with --quick {QUICK_STEPS}.")]
Guidance = Annotated[float, typer.Option(help="Guidance scale; 1 is none.")]
Rendered = Annotated[Path, typer.Option(help="Videos to train on, in Greatest Hits' layout.")]
Scored = Annotated[Path, typer.Option(help="Videos that no training used; their test split is scored.")]
Base = Annotated[Path, typer.Option("--checkpoint", help="Release folder that every variant begins with.")]
Media = Annotated[Path | None, typer.Option(help="Folder of the caches train, test, heldout; OUT/media by default.")]
Configs = Annotated[Path, typer.Option(help="Folder of alignment.yaml and generation.yaml.")]
AlignmentSteps = Annotated[int, typer.Option(min=1, help="Steps of each alignment.")]
GenerationSteps = Annotated[int, typer.Option(min=1, help="Steps of each stage 2.")]
Starts = Annotated[list[str], typer.Option(metavar="NAME=FOLDER", help="Folder of three encoders; repeatable.")]
Seeds = Annotated[int, typer.Option(min=1, help="Number of seeds.")]
MaxSteps = Annotated[int, typer.Option(min=25, help="Maximum steps of a training; it stops when validation flattens.")]
CONFIGS = Path("configs/mini")


def conditioning(
    checkpoint: Checkpoint, data: Data, out: Out, split: Split = "test", quick: Quick = False, limit: Limit = None,
    steps: Steps = None, guidance: Guidance = 5.0, seed: Seed = 0, batch_size: BatchSize = 8, device: Device = "auto",
    true_envelope: Annotated[bool, typer.Option("--true-envelope", help="Use the reference's envelope.")] = False,
) -> None:  # fmt: skip
    """(a) Which of sound, video and text determine the material: A, V, T and combinations; oracles are marked."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments import conditioning as experiments

        run = _run(checkpoint, data, out, split, quick, limit, steps, guidance, seed, batch_size, device)
        report_results(experiments.conditioning(run, true_envelope=true_envelope), out)


def perturbation(
    checkpoint: Checkpoint, data: Data, out: Out, split: Split = "test", quick: Quick = False, limit: Limit = None,
    steps: Steps = None, guidance: Guidance = 5.0, seed: Seed = 0, batch_size: BatchSize = 8, device: Device = "auto",
) -> None:  # fmt: skip
    """(b) The envelope moved by known amounts, shuffled, and flat: scores must fall accordingly."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments import conditioning as experiments

        run = _run(checkpoint, data, out, split, quick, limit, steps, guidance, seed, batch_size, device)
        report_results(experiments.perturbation(run), out)


def smoothing(
    checkpoint: Checkpoint, data: Data, out: Out, split: Split = "test", quick: Quick = False, limit: Limit = None,
    steps: Steps = None, guidance: Guidance = 5.0, seed: Seed = 0, batch_size: BatchSize = 8, device: Device = "auto",
) -> None:  # fmt: skip
    """(h) Temporal smoothing: onsets and envelope at control scales 0 to 1.5 under the true envelope."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments import conditioning as experiments

        run = _run(checkpoint, data, out, split, quick, limit, steps, guidance, seed, batch_size, device)
        report_results(experiments.smoothing(run), out)


def volumes(
    checkpoint: Checkpoint, data: Data, out: Out, split: Split = "test", quick: Quick = False, limit: Limit = None,
    batch_size: BatchSize = 8, device: Device = "auto",
) -> None:  # fmt: skip
    """(c) GRAM volumes of matched and mismatched triplets, by material."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.console import pick_device
        from foleygram.experiments.volumes import volumes as experiment

        report = experiment(
            checkpoint, data, split, limit=_limit(quick, limit), batch_size=batch_size, device=pick_device(device)
        )
        report_results(report, out)


def projections(
    checkpoint: Checkpoint, data: Data, out: Out, split: Split = "test", quick: Quick = False, limit: Limit = None,
    steps: Steps = None, guidance: Guidance = 5.0, seed: Seed = 0, batch_size: BatchSize = 8, device: Device = "auto",
) -> None:  # fmt: skip
    """(d) Learned projectors against random ones of the same scale."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments import conditioning as experiments

        run = _run(checkpoint, data, out, split, quick, limit, steps, guidance, seed, batch_size, device)
        report_results(experiments.projections(run), out)


def objectives(
    rendered: Rendered, scored: Scored, out: Out, checkpoint: Base = MINI, media: Media = None,
    configs: Configs = CONFIGS, alignment_steps: AlignmentSteps = 150, generation_steps: GenerationSteps = 600,
    limit: Limit = QUICK_CLIPS, steps: Steps = QUICK_STEPS, seed: Seed = 0, device: Device = "auto",
) -> None:  # fmt: skip
    """(e) GRAM against anchor-based, all-pairs and Symile alignment from the same start. Trains; hours on a CPU."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.console import pick_device
        from foleygram.experiments import training_experiments, training_reports

        setup, budget = _training(
            rendered, scored, out, checkpoint, media, configs, alignment_steps, generation_steps, limit, steps
        )
        results = training_experiments.compare_objectives(out, setup, budget, seed=seed, device=pick_device(device))
        report_results(training_reports.objectives_report(results), out)


def sensitivity(
    rendered: Rendered, scored: Scored, out: Out, checkpoint: Base = MINI, media: Media = None,
    configs: Configs = CONFIGS, alignment_steps: AlignmentSteps = 150, seed: Seed = 0,
) -> None:  # fmt: skip
    """(f) GRAM alignment under other embedding sizes and temperatures. Trains; hours on a CPU."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments import training_experiments, training_reports

        setup, budget = _training(rendered, scored, out, checkpoint, media, configs, alignment_steps, 0, None, None)
        results = training_experiments.alignment_sensitivity(out, setup, budget, seed=seed)
        report_results(training_reports.sensitivity_report(results), out)


def control(
    rendered: Rendered, scored: Scored, out: Out, checkpoint: Base = MINI, media: Media = None,
    configs: Configs = CONFIGS, generation_steps: GenerationSteps = 600, limit: Limit = QUICK_CLIPS,
    steps: Steps = QUICK_STEPS, seed: Seed = 0, device: Device = "auto",
) -> None:  # fmt: skip
    """(g) The RMS envelope against an onset track as the control. Trains; hours on a CPU."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.console import pick_device
        from foleygram.experiments import training_experiments, training_reports

        setup, budget = _training(rendered, scored, out, checkpoint, media, configs, 0, generation_steps, limit, steps)
        results = training_experiments.compare_controls(out, setup, budget, seed=seed, device=pick_device(device))
        report_results(training_reports.control_report(results), out)


def spaces(
    rendered: Rendered, scored: Scored, out: Out, start: Starts, seeds: Seeds = 3, max_steps: MaxSteps = 2000,
    batch_size: BatchSize = 64, media: Media = None,
) -> None:  # fmt: skip
    """(i) GRAM, TRIANGLE, Symile, all pairs, each anchor from several starts, over seeds: heads on frozen networks."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments.spaces import compare_spaces

        folders = {}
        for text in start:
            name, separator, folder = text.partition("=")
            if not separator or not name or name in folders:
                raise ValueError(f"--start {text}: write NAME=FOLDER, each name once")
            folders[name] = Path(folder)
        sets = {n: (shipped(f), *_frozen(f, rendered, scored, media or out / "media")) for n, f in folders.items()}
        report = compare_spaces(sets, seeds=range(seeds), max_steps=max_steps, batch_size=batch_size)
        report_results(report, out)


def modalities(
    rendered: Rendered, scored: Scored, out: Out, checkpoint: Base = MINI, seeds: Seeds = 3,
    max_steps: MaxSteps = 2000, batch_size: BatchSize = 64, media: Media = None,
) -> None:  # fmt: skip
    """(j) GRAM with modalities of other sizes and noise, with three and four, and sizes from an aligned start."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments.modalities import vary_modalities

        sets = _frozen(checkpoint, rendered, scored, media or out / "media")
        report = vary_modalities(
            shipped(checkpoint), *sets, seeds=range(seeds), max_steps=max_steps, batch_size=batch_size
        )
        report_results(report, out)


def granularity(rendered: Rendered, scored: Scored, out: Out, checkpoint: Base = MINI, media: Media = None) -> None:
    """(k) Whether nearest neighbours share the material, the object, the action."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments.granularity import granularity as experiment

        scored_features = _frozen(checkpoint, rendered, scored, media or out / "media")[2]
        report_results(experiment(shipped(checkpoint), scored_features), out)


def volume_success(
    checkpoint: Checkpoint, data: Data, out: Out,
    report: Annotated[Path, typer.Option(help="Folder of report.json and sounds that `evaluate --out` wrote.")],
    split: Split = "test",
) -> None:  # fmt: skip
    """(l) Rank correlation of a generated sound's GRAM volume with its success, by clip."""
    with reported():
        from foleygram.benchmark.output import report_results
        from foleygram.experiments.volume_success import volume_success as experiment

        report_results(experiment(shipped(checkpoint), data, report, split=split), out)


def _frozen(checkpoint: Path, rendered: Path, scored: Path, media: Path) -> "tuple[Features, Features, Features]":
    """Features of a folder's encoders on the caches train, test, heldout, written where they are missing."""
    from foleygram.datasets.cache import CachedClips
    from foleygram.experiments.frozen_heads import frozen_features
    from foleygram.experiments.training_experiments import cache_media
    from foleygram.pipeline.release import INDEX
    from foleygram.spec import read_spec

    index, fields = shipped(MINI) / INDEX, ("frames", "envelope_audio")
    cache_media(media, rendered, scored, index, fields)
    train, val, held_out = (
        frozen_features(shipped(checkpoint), clips, len(clips), read_spec(index))
        for clips in (CachedClips(media / name, fields=fields) for name in ("train", "test", "heldout"))
    )
    return train, val, held_out


def _training(
    rendered: Path, scored: Path, out: Path, checkpoint: Path, media: Path | None, configs: Path, alignment_steps: int,
    generation_steps: int, limit: int | None, steps: int | None,
) -> "tuple[Setup, Budget]":  # fmt: skip
    """The setup and budget of experiments that train; missing caches are written."""
    from foleygram.experiments.training_experiments import Budget, Setup, cache_media
    from foleygram.pipeline.release import INDEX

    media = media or out / "media"
    checkpoint, configs = shipped(checkpoint), shipped(configs)
    cache_media(media, rendered, scored, checkpoint / INDEX)
    budget = Budget(
        alignment_steps=alignment_steps, generation_steps=generation_steps, clips=limit or QUICK_CLIPS,
        num_inference_steps=steps or QUICK_STEPS,
    )  # fmt: skip
    return Setup(checkpoint, media, rendered, scored, configs), budget


def _run(
    checkpoint: Path, data: Path, out: Path, split: str, quick: bool, limit: int | None, steps: int | None,
    guidance: float, seed: int, batch_size: int, device: str,
) -> "Run":  # fmt: skip
    """The benchmark with everything but the conditions decided."""
    from functools import partial

    from foleygram.benchmark.output import FEATURES, SOUNDS, kept_folder
    from foleygram.benchmark.run import evaluate
    from foleygram.console import pick_device

    return partial(
        evaluate, shipped(checkpoint), data, split, num_inference_steps=steps or (QUICK_STEPS if quick else STEPS),
        guidance_scale=guidance, seed=seed, limit=_limit(quick, limit), batch_size=batch_size,
        sounds=kept_folder(out, SOUNDS), cache=kept_folder(out, FEATURES), device=pick_device(device),
    )  # fmt: skip


def _limit(quick: bool, limit: int | None) -> int | None:
    return limit or (QUICK_CLIPS if quick else None)
