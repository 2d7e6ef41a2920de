"""Variants of the aligned space: encoders trained on from one start, and what their space is like."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder, load_tokenizer
from foleygram.alignment.retrieval import retrieval_report
from foleygram.alignment.volume import gram_volume
from foleygram.benchmark.alignment import embed_clips
from foleygram.datasets.cache import CachedClips
from foleygram.experiments.variants import train_variant
from foleygram.features.encoder import EMBEDDERS, FeatureEncoder
from foleygram.features.writer import write_cache
from foleygram.files import atomic_path
from foleygram.pipeline.parts import Encoders
from foleygram.pipeline.release import load_part
from foleygram.spec import ClipSpec

ENCODERS = {"video_encoder": VideoEncoder, "text_encoder": TextEncoder, "audio_encoder": AudioEncoder}
MEDIA_FIELDS = ["frames", "envelope_audio"]
EMBEDDINGS = ["video_embedding", "text_embedding", "audio_embedding"]


def align(
    folder: Path, start: Path, media: Path, config: Path, *, steps: int, seed: int, changes: Mapping[str, Any]
) -> Path:
    """Continue training the encoders of `start` by `config` with `changes`; returns `folder`/encoders.

    `media` holds the caches `train` and `test` of frames and sound.
    """
    data = "data.init_args.{}.init_args.{}"
    common: dict[str, Any] = {
        **{f"model.init_args.{name}.init_args.pretrained_model_name_or_path": str(start / name) for name in ENCODERS},
        "model.init_args.tokenizer.init_args.folder": str(start / "tokenizer"),
        "model.init_args.out": str(folder / "encoders"),
        "model.init_args.total_steps": steps,
        "model.init_args.seed": seed,
        "seed_everything": seed,
        "trainer.max_steps": steps,
        "trainer.val_check_interval": steps,
        data.format("train", "folder"): str(media / "train"),
        data.format("val", "folder"): str(media / "test"),
        **{data.format(part, "spec"): None for part in ("train", "val")},  # these caches are of `start`'s own
    }
    train_variant(folder, config, {**common, **changes})
    return folder / "encoders"


def with_fresh_heads(start: Path, out: Path, embedding_dim: int, seed: int) -> Path:
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


def cache_features(encode: FeatureEncoder, clips: Dataset, out: Path) -> Path:
    """Cache the outputs of `encode` for clips, read or cached; returns the folder."""
    kind = {"spec": asdict(encode.spec), "fields": sorted(encode.fields), "encoders": encode.identity}
    write_cache(clips, out, identity=kind | {"features": type(encode).__name__}, encode=encode)
    return out


def cache_embeddings(encoders: Path, media: Path, out: Path, spec: ClipSpec) -> Path:
    """Embeddings of the clips of a media cache by the encoders of a folder, as a cache; returns its folder."""
    clips = CachedClips(media, fields=[*MEDIA_FIELDS, "start"], spec=spec)
    return cache_features(FeatureEncoder(encoders, spec, ["embeddings"]), clips, out)


def space_metrics(encoders: Path, cache: Path) -> dict[str, float]:
    """Retrieval, cosines and volumes on a cache's clips of the space that the encoders of a folder span."""
    clips = CachedClips(cache, fields=MEDIA_FIELDS)
    space = Encoders(**{name: load_part(encoders, name) for name in EMBEDDERS})
    found = embed_clips(space, clips, indices=range(len(clips)), batch_size=32)
    volumes = gram_volume(torch.stack(found.embeddings, dim=1))
    metrics = {"volume_matched": volumes.mean().item(), "num_clips": float(len(clips))}
    return retrieval_report(*found) | metrics
