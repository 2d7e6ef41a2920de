"""Experiments that train: GRAM against other objectives, its sensitivity, and what the control should carry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from foleygram.benchmark.run import evaluate
from foleygram.benchmark.settings import choose_conditions
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.experiments.generation_variants import (
    OnsetFeatures,
    assemble_release,
    joined_fields,
    train_generation,
)
from foleygram.experiments.space_variants import (
    align,
    cache_embeddings,
    cache_features,
    space_metrics,
    with_fresh_heads,
)
from foleygram.features.encoder import FeatureEncoder
from foleygram.features.writer import cache_dataset
from foleygram.files import write_json
from foleygram.pipeline.release import read_index
from foleygram.spec import ClipSpec

OBJECTIVES = {
    "GRAM": "foleygram.alignment.losses.GramLoss",
    "anchor": "foleygram.alignment.losses.AnchorInfoNCE",
    "all pairs": "foleygram.alignment.losses.PairwiseInfoNCE",
    "Symile": "foleygram.alignment.losses.Symile",
}
EMBEDDING_DIMS = (16, 64, 128, 512)
TEMPERATURES = (0.02, 0.07, 0.2)
SPACE_CONDITIONS = ("v+true", "avt+true")
CONTROL_CONDITIONS = {"RMS envelope": "v+true", "onset track": "v+onsets"}
CONTROLS = {"RMS envelope": FeatureEncoder, "onset track": OnsetFeatures}
Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Budget:
    """Training steps of variants, and clips and sampling steps of their scores.

    `lr` and `vision_lr` are the alignment's rates; `batch_size` is both stages', their configs' own where None.
    """

    alignment_steps: int = 150
    generation_steps: int = 600
    lr: float = 1e-4
    vision_lr: float = 1e-5
    clips: int = 50
    num_inference_steps: int = 25
    batch_size: int | None = None

    @property
    def batches(self) -> dict[str, Any]:
        """Changes to a stage's config."""
        return {} if self.batch_size is None else {"data.init_args.batch_size": self.batch_size}


@dataclass(frozen=True)
class Setup:
    """The common start of all variants: a release, its data, and the configs of its stages.

    `media` holds caches `train` and `test` with the fields frames, motion and envelope_audio of clips of `rendered`,
    and `heldout` those of `scored`, videos that no training used. `configs` is the folder of the stages' YAMLs.
    """

    base: Path
    media: Path
    rendered: Path
    scored: Path
    configs: Path

    @property
    def spec(self) -> ClipSpec:
        """The base's rates and durations."""
        return ClipSpec(**read_index(self.base)["spec"])


def cache_media(
    media: Path,
    rendered: Path,
    scored: Path,
    spec_file: Path,
    fields: Sequence[str] = ("frames", "motion", "envelope_audio"),
) -> None:
    """Write the three caches of `Setup.media` where they are missing; `spec_file` is a release's index."""
    for name, data, split in (("train", rendered, "train"), ("test", rendered, "test"), ("heldout", scored, "test")):
        cache_dataset(
            data, media / name, spec_path=spec_file, fields=list(fields), checkpoint=None,
            split=split, num_workers=1,
        )  # fmt: skip


def compare_objectives(
    out: Path, setup: Setup, budget: Budget, *, seed: int = 0, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """GRAM, anchor-based, all-pairs and Symile alignment from the same start: retrieval, volume and generation scores.

    The start is the base's own space, so it is scored as well. Every space, the start's too, gets fresh projectors
    trained on the base's backbone, and its ControlNet is trained on. Sounds are made and scored on `device`. Writes
    `out`/objectives.json; a killed run resumes.
    """
    spaces = {"start": setup.base}
    for name, objective in OBJECTIVES.items():
        changes = {"model.init_args.objective": {"class_path": objective}}
        spaces[name] = _aligned(out / name.replace(" ", "_"), setup.base, setup, budget, seed, changes)
    metrics = {name: space_metrics(encoders, setup.media / "heldout") for name, encoders in spaces.items()}
    for name, encoders in spaces.items():
        folder = out / name.replace(" ", "_")
        caches = _feature_caches(out, folder, encoders, setup, FeatureEncoder)
        trained = train_generation(
            folder / "generation", setup.base, caches, setup.configs / "generation.yaml",
            steps=budget.generation_steps, seed=seed, controlnet=True, changes=budget.batches,
        )  # fmt: skip
        release = assemble_release(folder / "release", trained, encoders, setup.base)
        metrics[name] |= _generation_metrics(folder, release, setup, budget, SPACE_CONDITIONS, seed, device)
    return _write(out / "objectives.json", metrics, budget, seed)


def alignment_sensitivity(out: Path, setup: Setup, budget: Budget, *, seed: int = 0) -> dict[str, Any]:
    """GRAM alignment under other embedding sizes and temperatures: retrieval and volumes of each.

    Every variant of the size begins with fresh heads on the base's networks, the base's own size too, so that they
    differ in nothing else; those of the temperature begin with the base as it is. Writes `out`/sensitivity.json.
    """
    metrics: Metrics = {}
    for dim in EMBEDDING_DIMS:
        folder = out / f"dim_{dim}"
        fresh = with_fresh_heads(setup.base, folder / "start", dim, seed)
        encoders = _aligned(folder, fresh, setup, budget, seed, {})
        metrics[f"{dim} dimensions"] = space_metrics(encoders, setup.media / "heldout")
    for temperature in TEMPERATURES:
        loss = {"class_path": OBJECTIVES["GRAM"], "init_args": {"temperature": temperature}}
        changes = {"model.init_args.objective": loss}
        encoders = _aligned(out / f"temperature_{temperature:g}", setup.base, setup, budget, seed, changes)
        metrics[f"temperature {temperature:g}"] = space_metrics(encoders, setup.media / "heldout")
    return _write(out / "sensitivity.json", metrics, budget, seed)


def compare_controls(
    out: Path, setup: Setup, budget: Budget, *, seed: int = 0, device: str | torch.device = "cpu"
) -> dict[str, Any]:
    """The RMS envelope against an onset track as the control: fresh ControlNets, equal steps, scores of each.

    Both get the ground truth, as a curve or as pulses, so the scores differ by what the control carries. Sounds are
    made and scored on `device`. Writes `out`/control.json.
    """
    metrics: Metrics = {}
    for name, features in CONTROLS.items():
        folder = out / name.replace(" ", "_")
        caches = _feature_caches(out, folder, setup.base, setup, features)
        trained = train_generation(
            folder / "generation", setup.base, caches, setup.configs / "generation.yaml",
            steps=budget.generation_steps, seed=seed, controlnet=False, changes=budget.batches,
        )  # fmt: skip
        release = assemble_release(folder / "release", trained, setup.base)
        metrics[name] = _generation_metrics(folder, release, setup, budget, [CONTROL_CONDITIONS[name]], seed, device)
    return _write(out / "control.json", metrics, budget, seed)


def _aligned(folder: Path, start: Path, setup: Setup, budget: Budget, seed: int, changes: Mapping[str, Any]) -> Path:
    rates = {"model.init_args.lr": budget.lr, "model.init_args.vision_lr": budget.vision_lr}
    config = setup.configs / "alignment.yaml"
    steps = budget.alignment_steps
    return align(
        folder, start, setup.media, config, steps=steps, seed=seed, changes={**rates, **budget.batches, **changes}
    )


def _feature_caches(
    out: Path, folder: Path, encoders: Path, setup: Setup, features: type[FeatureEncoder]
) -> dict[str, Any]:
    """Caches to join for `train` and `val`; latents and controls are shared by the variants that have the same."""
    caches = {}
    for name, split in (("train", "train"), ("val", "test")):
        media = setup.media / split
        clips = CachedClips(media, fields=["envelope_audio", "motion", "motion_ages", "start"])
        sound = GreatestHits(setup.rendered, split, spec=setup.spec, fields=("audio",))
        latents = cache_features(FeatureEncoder(setup.base, setup.spec, ["latents"]), sound, out / "latents" / split)
        encode = features(setup.base, setup.spec, ["control_latents"])
        control = cache_features(encode, clips, out / "controls" / features.__name__ / split)
        embeddings = cache_embeddings(encoders, media, folder / "embeddings" / split, setup.spec)
        caches[name] = joined_fields(latents, control, embeddings)
    return caches


def _generation_metrics(
    folder: Path,
    release: Path,
    setup: Setup,
    budget: Budget,
    names: Sequence[str],
    seed: int,
    device: str | torch.device,
) -> dict[str, float]:
    """Scores of a release on held-out clips, as `condition: metric`."""
    report = evaluate(
        release, setup.scored, "test", conditions=choose_conditions(names, controls=False),
        num_inference_steps=budget.num_inference_steps, seed=seed, limit=budget.clips, sounds=folder / "sounds",
        judge=setup.base / "judge", device=device,
    )  # fmt: skip
    return {
        f"{name}: {metric}": value
        for name in names
        for metric, value in report.scores[name].summary.items()
        if value is not None
    }


def _write(path: Path, metrics: Mapping[str, Mapping[str, float]], budget: Budget, seed: int) -> dict[str, Any]:
    content = {"protocol": vars(budget) | {"seed": seed}, "metrics": metrics}
    write_json(path, content)
    return content
