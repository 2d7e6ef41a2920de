"""Variants of stage 2: projectors and ControlNet trained for another space or another control, as releases to score."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from foleygram.envelope.envelope import onset_track
from foleygram.experiments.space_variants import EMBEDDINGS
from foleygram.experiments.variants import train_variant
from foleygram.features.encoder import FeatureEncoder
from foleygram.pipeline.release import INDEX, PARTS, licences_of, read_index, sampler_settings, write_index
from foleygram.spec import ClipSpec

LATENTS = ["latents_mean", "latents_scale", "seconds_start", "seconds_total"]


class OnsetFeatures(FeatureEncoder):
    """Features whose control is the onset track of each envelope variant in place of the envelope."""

    def envelopes(self, batch: dict[str, Any]) -> list[Tensor]:
        """Onset tracks (B, values) of the true, predicted and augmented envelopes."""
        return [onset_track(envelope, self.spec.envelope_rate) for envelope in super().envelopes(batch)]


def train_generation(
    folder: Path,
    base: Path,
    caches: Mapping[str, Sequence[tuple[Path, Sequence[str]]]],
    config: Path,
    *,
    steps: int,
    seed: int,
    controlnet: bool,
    changes: Mapping[str, Any],
) -> Path:
    """Train fresh projectors on the backbone of `base` by `config` with `changes`; returns their folder.

    `caches` names for `train` and `val` the caches to join and the fields to take of each; with `controlnet` the
    ControlNet of `base` is trained on, else one begins as a copy of the DiT's blocks.
    """
    common: dict[str, Any] = {
        "model.init_args.backbone.init_args.pretrained_model_name_or_path": str(base),
        "model.init_args.out": str(folder / "trained"),
        "model.init_args.total_steps": steps,
        "model.init_args.seed": seed,
        "seed_everything": seed,
        "trainer.max_steps": steps,
        "trainer.val_check_interval": steps,
        **{f"data.init_args.{name}": _joined(members) for name, members in caches.items()},
    }
    if controlnet:
        common["model.init_args.controlnet"] = {
            "class_path": "foleygram.pipeline.release.load_controlnet",
            "init_args": {"folder": str(base)},
        }
    train_variant(folder, config, {**common, **changes})
    return folder / "trained"


def _joined(members: Sequence[tuple[Path, Sequence[str]]]) -> dict[str, Any]:
    caches = [
        {"class_path": "foleygram.datasets.cache.CachedClips", "init_args": {"folder": str(path), "fields": [*fields]}}
        for path, fields in members
    ]
    return {"class_path": "foleygram.datasets.cache.JoinedClips", "init_args": {"caches": caches}}


def joined_fields(latents: Path, control: Path, embeddings: Path) -> list[tuple[Path, Sequence[str]]]:
    """Stage 2's fields, and which of three caches of the same clips gives them."""
    return [(latents, LATENTS), (control, ["control_latents"]), (embeddings, EMBEDDINGS)]


def assemble_release(out: Path, *folders: Path) -> Path:
    """A release folder in which each part is copied from the first of `folders` that has it; the last is a release."""
    if (out / INDEX).is_file():
        return out
    base = folders[-1]
    for name in PARTS:
        holder = next((folder for folder in folders if (folder / name).is_dir()), None)
        if holder is not None:
            shutil.copytree(holder / name, out / name, dirs_exist_ok=True)
    index = read_index(base)
    write_index(out, ClipSpec(**index["spec"]), sampler_settings(index), licences_of(base))
    return out
