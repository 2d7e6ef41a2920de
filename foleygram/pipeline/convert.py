"""Checks a release, unpacks training checkpoints, and converts weights between formats."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import ModelMixin
from torch import nn
from transformers import CLIPTokenizer

from foleygram.alignment.encoders import load_tokenizer
from foleygram.alignment.imagebind import ImageBindEncoders, load_imagebind
from foleygram.alignment.languagebind import LanguageBindEncoders, load_languagebind
from foleygram.alignment.pretrained import load_gram_checkpoint
from foleygram.datasets.cache import CachedClips
from foleygram.files import atomic_path
from foleygram.generation.backbone import load_backbone
from foleygram.generation.native_folders import CONFIG, load_native, save_native
from foleygram.pipeline.release import PARTS, load_parts, part_class, read_index, write_index
from foleygram.spec import ClipSpec
from foleygram.weights.checkpoint_parts import parts_of
from foleygram.weights.download import ORIGIN, SOURCES
from foleygram.weights.hub import explained
from foleygram.weights.state_dict import load_state

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


def seen_videos(sources: Sequence[Path], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A release's `trained_on`: the videos of caches or lists of ids, added to those `known` already.

    Empty without any. Raises FileNotFoundError for a missing source, ValueError for an empty one.
    """
    names, ids = ([known["data"]], set(known["video_ids"])) if known else ([], set())
    for source in sources:
        if source.is_dir():
            found = {video for video, _ in CachedClips(source, fields=()).names() if video}
        elif source.is_file():
            found = set(source.read_text(encoding="utf-8-sig").split())
        else:
            raise FileNotFoundError(f"{source}: neither a cache nor a list of ids")
        if not found:
            raise ValueError(f"{source}: names no video")
        names.append(source.name)
        ids |= found
    return {"data": ", ".join(dict.fromkeys(names)), "video_ids": sorted(ids)} if ids else {}


def unpack_checkpoint(path: Path, out: Path) -> None:
    """Write the parts that the training checkpoint `path` holds below `out`, each as its stage writes it at the end.

    Raises FileNotFoundError, and ValueError for a file that holds no parts, or weights that do not fit their config.
    """
    files, weights = parts_of(path)
    for name, texts in files.items():
        if name not in PARTS:
            raise ValueError(f"{path}: holds {name!r}, which is not a part of a release; there are {', '.join(PARTS)}")
        folder, kind = out / name, part_class(name)
        folder.mkdir(parents=True)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        if issubclass(kind, nn.Module):
            with explained(f"{path} ({name})", str(path)):
                part: Any = _from_config(kind, folder)
            load_state(part, weights[name], f"{path} ({name})")
            part.save_pretrained(folder)


def _from_config(kind: Any, folder: Path) -> nn.Module:
    """A network of the config in `folder`, with random weights."""
    if issubclass(kind, ModelMixin):
        return kind.from_config(kind.load_config(folder))  # type: ignore[attr-defined]
    return kind(kind.config_class.from_pretrained(folder))


def convert(source: Path, out: Path, *, tokenizer: str | None = None) -> str:
    """Convert weights into `out`, which must not exist; returns a line on what was converted.

    A folder of stable-audio-tools (`model_config.json`) becomes diffusers', one of diffusers or a release becomes
    stable-audio-tools', GRAM's released folder (`log/hps.json`) a release folder of its aligned encoders, for which
    `tokenizer` names BERT's. So does a file of ImageBind (`.pth`), for which `tokenizer` names CLIP's, and a folder
    that holds LanguageBind's two. Raises FileNotFoundError for a folder of another kind, FileExistsError if `out`
    exists, ValueError for weights that do not fit; `out` is written atomically.
    """
    if out.exists():
        raise FileExistsError(f"{out}: already there; choose another folder or remove it")
    if source.suffix == ".pth" or (source / LANGUAGEBIND[0]).is_dir():
        return _convert_binding(source, out, tokenizer)
    if (source / CONFIG).is_file():
        parts: Mapping[str, Any] = load_native(source)
        made = "stable-audio-tools -> diffusers"
    elif (source / "log" / "hps.json").is_file():
        if tokenizer is None:
            raise ValueError(f"{source}: GRAM's folder holds no tokenizer; name BERT's with --tokenizer")
        encoders = load_gram_checkpoint(source)
        named = zip(("video_encoder", "text_encoder", "audio_encoder"), encoders[:3], strict=True)
        parts = dict(named) | {"tokenizer": load_tokenizer(tokenizer)}
        made = f"GRAM -> aligned encoders of a release, trained at temperature {encoders.temperature:.4g}"
    elif (source / "transformer" / "config.json").is_file():
        backbone = load_backbone(str(source))
        with atomic_path(out) as folder:
            save_native(
                folder, transformer=backbone.transformer, vae=backbone.vae, projection_model=backbone.projection_model
            )
        return "diffusers -> stable-audio-tools"
    else:
        raise FileNotFoundError(
            f"{source}: holds neither {CONFIG}, transformer/config.json, log/hps.json nor {LANGUAGEBIND[0]}; give a "
            "folder of weights, or ImageBind's .pth file"
        )
    with atomic_path(out) as folder:
        for name, part in parts.items():
            part.save_pretrained(folder / name)
        if "video_encoder" in parts:
            image_size = parts["video_encoder"].network.config.image_size
            licences = dict.fromkeys(parts, SOURCES["gram"].licence)
            write_index(
                folder,
                ClipSpec(image_size=image_size, frame_transform=encoders.frame_transform),
                None,
                licences,
                temperature=encoders.temperature,
            )
        elif (source / ORIGIN).is_file():
            shutil.copyfile(source / ORIGIN, folder / ORIGIN)
    return made


def _convert_binding(source: Path, out: Path, tokenizer: str | None) -> str:
    """Write the towers of ImageBind or LanguageBind as a release's encoders; stage 2 can be trained on them."""
    if source.suffix == ".pth":
        if tokenizer is None:
            raise ValueError(f"{source}: ImageBind's file holds no tokenizer; name CLIP's with --tokenizer")
        towers: ImageBindEncoders | LanguageBindEncoders = load_imagebind(source)
        image_size, licence, made = towers.video.config.image_size, IMAGEBIND_LICENCE, "ImageBind"
    else:
        folders = [source / name for name in LANGUAGEBIND]
        towers = load_languagebind(*folders)
        image_size, licence, made = towers.video.size[0], LANGUAGEBIND_LICENCE, "LanguageBind"
        tokenizer = tokenizer or str(folders[0])
    named = dict(zip(("video_encoder", "text_encoder", "audio_encoder"), towers, strict=True))
    with explained(f"{tokenizer} (tokenizer)", tokenizer):
        words = CLIPTokenizer.from_pretrained(tokenizer)
    with atomic_path(out) as folder:
        for name, part in (named | {"tokenizer": words}).items():
            part.save_pretrained(folder / name)
        licences = dict.fromkeys([*named, "tokenizer"], licence)
        write_index(folder, ClipSpec(image_size=image_size, frame_transform="crop"), None, licences)
    return f"{made} -> encoders of a release"
