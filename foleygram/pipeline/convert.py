"""Checks a release, and converts weights between formats."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from transformers import CLIPTokenizer

from foleygram.alignment.encoders import load_tokenizer
from foleygram.alignment.imagebind import load_imagebind
from foleygram.alignment.languagebind import load_languagebind
from foleygram.alignment.pretrained import load_gram_checkpoint
from foleygram.files import atomic_path
from foleygram.generation.backbone import load_backbone
from foleygram.generation.native_folders import CONFIG, load_native, save_native
from foleygram.pipeline.release import load_parts, read_index, write_index
from foleygram.spec import ClipSpec, FrameTransform
from foleygram.weights.download import ORIGIN, SOURCES
from foleygram.weights.hub import explained

LANGUAGEBIND = ("LanguageBind_Video_FT", "LanguageBind_Audio_FT")
"""Names of the published folders of LanguageBind's towers."""
IMAGEBIND_LICENCE, LANGUAGEBIND_LICENCE = "CC-BY-NC-SA-4.0", "MIT"
TRAINED_IN_STAGE_2 = frozenset({"projectors", "controlnet"})
"""The parts that the paper's second stage trains; the others are frozen."""


@dataclass(frozen=True)
class PartFacts:
    """One row of `weights check`."""

    name: str
    kind: str
    parameters: int
    trained_in_stage_2: bool
    licence: str


def check_release(folder: Path) -> list[PartFacts]:
    """Load every part of a release folder, its weights verified against the index's hashes.

    Raises FileNotFoundError or ValueError naming the file that is missing, damaged or does not fit.
    """
    parts, index = load_parts(folder), read_index(folder)["parts"]
    rows = []
    for name, part in parts.items():
        kind = index[name]["class"].rpartition(".")[2]
        count = sum(parameter.numel() for parameter in part.parameters()) if isinstance(part, nn.Module) else 0
        rows.append(PartFacts(name, kind, count, name in TRAINED_IN_STAGE_2, index[name]["licence"]))
    return rows


class PublishedEncoders(NamedTuple):
    """The aligned encoders of another project by their names in a release, and facts for the release's index."""

    parts: dict[str, Any]
    image_size: int
    frame_transform: FrameTransform
    licence: str
    converted: str
    """A line on what was converted."""
    temperature: float | None = None


def convert(source: Path, out: Path, *, tokenizer: str | None = None) -> str:
    """Convert weights into `out`, which must not exist; returns a line on what was converted.

    A folder of stable-audio-tools (`model_config.json`) is converted to diffusers' layout; a folder of diffusers or a
    release to that of stable-audio-tools. GRAM's released folder (`log/hps.json`), a file of ImageBind (`.pth`) and a
    folder with LanguageBind's two towers become a release folder of aligned encoders; `tokenizer` names BERT's for
    GRAM and CLIP's for ImageBind. Raises FileNotFoundError for a folder of another kind, FileExistsError if `out`
    exists, ValueError for weights that do not fit; `out` is written atomically.
    """
    if out.exists():
        raise FileExistsError(f"{out}: already there; choose another folder or remove it")
    if source.suffix == ".pth" or (source / LANGUAGEBIND[0]).is_dir() or (source / "log" / "hps.json").is_file():
        encoders = _read_encoders(source, tokenizer)
        with atomic_path(out) as folder:
            _save(encoders.parts, folder)
            spec = ClipSpec(image_size=encoders.image_size, frame_transform=encoders.frame_transform)
            licences = dict.fromkeys(encoders.parts, encoders.licence)
            write_index(folder, spec, None, licences, temperature=encoders.temperature)
        return encoders.converted
    if (source / CONFIG).is_file():
        parts = load_native(source)
        with atomic_path(out) as folder:
            _save(parts, folder)
            if (source / ORIGIN).is_file():
                shutil.copyfile(source / ORIGIN, folder / ORIGIN)
        return "stable-audio-tools -> diffusers"
    if (source / "transformer" / "config.json").is_file():
        backbone = load_backbone(str(source))
        with atomic_path(out) as folder:
            save_native(
                folder, transformer=backbone.transformer, vae=backbone.vae, projection_model=backbone.projection_model
            )
        return "diffusers -> stable-audio-tools"
    raise FileNotFoundError(
        f"{source}: holds neither {CONFIG}, transformer/config.json, log/hps.json nor {LANGUAGEBIND[0]}; give a "
        "folder of weights, or ImageBind's .pth file"
    )


def _save(parts: Mapping[str, Any], folder: Path) -> None:
    for name, part in parts.items():
        part.save_pretrained(folder / name)


def _read_encoders(source: Path, tokenizer: str | None) -> PublishedEncoders:
    """The encoders of LanguageBind, ImageBind or GRAM, on which stage 2 can be trained, with their tokenizer."""

    def named(video: Any, text: Any, audio: Any, words: Any) -> dict[str, Any]:
        return {"video_encoder": video, "text_encoder": text, "audio_encoder": audio, "tokenizer": words}

    if (source / LANGUAGEBIND[0]).is_dir():
        folders = [source / name for name in LANGUAGEBIND]
        towers = load_languagebind(*folders)
        parts = named(*towers, _clip_tokenizer(tokenizer or str(folders[0])))
        return PublishedEncoders(
            parts, towers.video.size[0], "crop", LANGUAGEBIND_LICENCE, "LanguageBind -> encoders of a release"
        )
    holder, needed = ("ImageBind's file", "CLIP's") if source.suffix == ".pth" else ("GRAM's folder", "BERT's")
    if tokenizer is None:
        raise ValueError(f"{source}: {holder} holds no tokenizer; name {needed} with --tokenizer")
    if source.suffix == ".pth":
        video, text, audio = load_imagebind(source)
        parts = named(video, text, audio, _clip_tokenizer(tokenizer))
        return PublishedEncoders(
            parts, video.config.image_size, "crop", IMAGEBIND_LICENCE, "ImageBind -> encoders of a release"
        )
    gram = load_gram_checkpoint(source)
    return PublishedEncoders(
        named(gram.video, gram.text, gram.audio, load_tokenizer(tokenizer)),
        gram.video.config.network["image_size"],
        gram.frame_transform,
        SOURCES["gram"].licence,
        f"GRAM -> aligned encoders of a release, trained at temperature {gram.temperature:.4g}",
        gram.temperature,
    )


def _clip_tokenizer(name: str) -> CLIPTokenizer:
    with explained(f"{name} (tokenizer)", name):
        return CLIPTokenizer.from_pretrained(name)
