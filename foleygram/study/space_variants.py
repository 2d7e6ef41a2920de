"""Variants of the aligned space: encoders trained on from one start, and what their space is like."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder, load_tokenizer
from foleygram.alignment.retrieval import Embeddings, retrieval_report
from foleygram.alignment.volume import gram_volume
from foleygram.caching import write_cache
from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import collate_clips
from foleygram.features import FeatureEncoder
from foleygram.media.files import atomic_path
from foleygram.spec import ClipSpec
from foleygram.study.variants import train_variant

ENCODERS = {"video_encoder": VideoEncoder, "text_encoder": TextEncoder, "audio_encoder": AudioEncoder}
MEDIA_FIELDS = ["frames", "envelope_audio"]
EMBEDDINGS = ["video_embedding", "text_embedding", "audio_embedding"]


def align(
    folder: Path, start: Path, media: Path, config: Path, *, steps: int, seed: int, changes: Mapping[str, Any]
) -> Path:
    """Train the encoders of `start` on as `config` says, with `changes`; returns where they end, `folder`/encoders.

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


def cache_embeddings(encoders: Path, media: Path, out: Path, spec: ClipSpec) -> Path:
    """Embeddings of the clips of a media cache by the encoders of a folder, as a cache; returns its folder."""
    encode = FeatureEncoder(encoders, spec, ["embeddings"])
    clips = CachedClips(media, fields=[*MEDIA_FIELDS, "start"], spec=spec)
    identity = {"spec": asdict(spec), "fields": ["embeddings"], "encoders": encode.identity}
    write_cache(clips, out, identity=identity, encode=encode, batch_size=32)
    return out


def space_figures(encoders: Path, cache: Path, *, batch_size: int = 32) -> dict[str, float]:
    """Retrieval, cosines and volumes on a cache's clips of the space that the encoders of a folder span."""
    video, text, audio = (kind.from_pretrained(encoders / name).eval() for name, kind in ENCODERS.items())
    tokenizer = load_tokenizer(str(encoders / "tokenizer"))
    clips = CachedClips(cache, fields=MEDIA_FIELDS)
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
