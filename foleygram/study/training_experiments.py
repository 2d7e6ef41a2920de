"""Experiments that train: the paper's open question of GRAM against other objectives, and how sensitive it is."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder, load_tokenizer
from foleygram.alignment.retrieval import Embeddings, retrieval_report
from foleygram.alignment.volume import gram_volume
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import collate_clips
from foleygram.media.files import atomic_path
from foleygram.study.variants import train_variant

OBJECTIVES = {
    "GRAM": "foleygram.alignment.losses.GramLoss",
    "anchor": "foleygram.alignment.losses.AnchorInfoNCE",
    "all pairs": "foleygram.alignment.losses.PairwiseInfoNCE",
    "Symile": "foleygram.alignment.losses.Symile",
}
EMBEDDING_DIMS = (16, 64, 128, 512)
TEMPERATURES = (0.02, 0.07, 0.2)
ENCODERS = {"video_encoder": VideoEncoder, "text_encoder": TextEncoder, "audio_encoder": AudioEncoder}


def compare_objectives(
    out: Path, *, start: Path, media: Path, heldout: Path, config: Path, steps: int, seed: int
) -> dict[str, Any]:
    """GRAM, anchor-based, all-pairs and Symile alignment from the same start: retrieval and volumes of each.

    `start` holds the encoders after the pairwise start, `media` the caches `train` and `test` with frames and sound,
    `heldout` is a cache of videos that no training used, `config` the alignment's YAML. Writes `out`/alignment.json;
    `out`/NAME/encoders holds each variant's encoders.
    """
    figures = {"start": space_figures(start, heldout)}
    for name, objective in OBJECTIVES.items():
        folder = out / name.replace(" ", "_")
        changes = {"model.init_args.objective": {"class_path": objective}}
        _align(folder, start, media, config, steps, seed, changes)
        figures[name] = space_figures(folder / "encoders", heldout)
    return _write(out / "alignment.json", figures, steps=steps, seed=seed)


def alignment_sensitivity(
    out: Path, *, start: Path, media: Path, heldout: Path, config: Path, steps: int, seed: int
) -> dict[str, Any]:
    """GRAM alignment under other embedding sizes and temperatures: retrieval and volumes of each.

    Every variant of the size begins with fresh heads on the start's networks, the start's own size too, so that they
    differ in nothing else; those of the temperature begin with the start as it is.
    """
    figures = {}
    for dim in EMBEDDING_DIMS:
        folder = out / f"dim_{dim}"
        fresh = _with_fresh_heads(start, folder / "start", dim, seed)
        _align(folder, fresh, media, config, steps, seed, {"model.init_args.lr": 1e-4})
        figures[f"{dim} dimensions"] = space_figures(folder / "encoders", heldout)
    for temperature in TEMPERATURES:
        loss = {"class_path": OBJECTIVES["GRAM"], "init_args": {"temperature": temperature}}
        changes = {"model.init_args.objective": loss}
        folder = out / f"temperature_{temperature:g}"
        _align(folder, start, media, config, steps, seed, changes)
        figures[f"temperature {temperature:g}"] = space_figures(folder / "encoders", heldout)
    return _write(out / "sensitivity.json", figures, steps=steps, seed=seed)


def _align(
    folder: Path, start: Path, media: Path, config: Path, steps: int, seed: int, changes: Mapping[str, Any]
) -> None:
    """Fine-tune the encoders of `start` as `config` says, with `changes`; they end in `folder`/encoders."""
    data = "data.init_args.{}.init_args.folder"
    common: dict[str, Any] = {
        **{f"model.init_args.{name}.init_args.pretrained_model_name_or_path": str(start / name) for name in ENCODERS},
        "model.init_args.tokenizer.init_args.folder": str(start / "tokenizer"),
        "model.init_args.out": str(folder / "encoders"),
        "model.init_args.total_steps": steps,
        "model.init_args.seed": seed,
        "seed_everything": seed,
        "trainer.max_steps": steps,
        data.format("train"): str(media / "train"),
        data.format("val"): str(media / "test"),
    }
    train_variant(folder, config, {**common, **changes})


def _with_fresh_heads(start: Path, out: Path, embedding_dim: int, seed: int) -> Path:
    """The networks of `start` under untrained heads of another size, drawn from `seed`."""
    for name, encoder in ENCODERS.items():
        if (out / name / "config.json").is_file():
            continue
        part = encoder.from_pretrained(start / name)
        head = torch.nn.Linear(part.head.in_features, embedding_dim, bias=False)
        generator = torch.Generator().manual_seed(seed)
        torch.nn.init.normal_(head.weight, std=head.in_features**-0.5, generator=generator)
        part.head, part.config.embedding_dim = head, embedding_dim
        with atomic_path(out / name) as temporary:
            part.save_pretrained(temporary)
    load_tokenizer(str(start / "tokenizer")).save_pretrained(out / "tokenizer")
    return out


def space_figures(encoders: Path, cache: Path, *, batch_size: int = 32) -> dict[str, float]:
    """Retrieval, cosines and volumes on a cache's clips of the space that the encoders of a folder span."""
    video, text, audio = (kind.from_pretrained(encoders / name).eval() for name, kind in ENCODERS.items())
    tokenizer = load_tokenizer(str(encoders / "tokenizer"))
    clips = CachedClips(cache, fields=["frames", "envelope_audio"])
    parts: list[list[Tensor]] = []
    captions: list[str] = []
    materials: list[str] = []
    for first in range(0, len(clips), batch_size):
        batch = collate_clips([clips[i] for i in range(first, min(first + batch_size, len(clips)))])
        tokens = tokenizer(batch["caption"], padding=True, truncation=True, max_length=40, return_tensors="pt")
        with torch.inference_mode():
            parts.append(
                [
                    video(batch["frames"]),
                    text(tokens["input_ids"], tokens["attention_mask"]),
                    audio.embed_waveform(batch["envelope_audio"]),
                ]
            )
        captions += batch["caption"]
        materials += batch["materials"]
    space = Embeddings(*(torch.cat(rows) for rows in zip(*parts, strict=True)))
    matched = gram_volume(torch.stack(space, dim=1))
    report = retrieval_report(space, captions, materials)
    return report | {"volume_matched": matched.mean().item(), "num_clips": float(len(clips))}


def _write(path: Path, figures: Mapping[str, Mapping[str, float]], **protocol: Any) -> dict[str, Any]:
    content = {"protocol": protocol, "figures": {name: dict(values) for name, values in figures.items()}}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


def figure_rows(figures: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> list[list[str]]:
    """A table's rows: the name of each variant and its figures."""
    return [[name, *(f"{values[key]:.3f}" for key in names)] for name, values in figures.items()]
