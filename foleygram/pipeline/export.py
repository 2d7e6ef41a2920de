"""Assembles a release from what a training wrote: its folder of parts, or one of its checkpoints."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors.torch import load_file, save_file
from torch import nn

from foleygram.datasets.cache import CachedClips
from foleygram.files import atomic_path
from foleygram.generation.backbone import load_backbone
from foleygram.generation.sampling import SamplerSettings
from foleygram.pipeline.release import PARTS, licences_of, part_class, refuse_missing, write_index
from foleygram.spec import ClipSpec
from foleygram.weights.checkpoint_parts import read_parts
from foleygram.weights.download import licence_of
from foleygram.weights.hub import explained
from foleygram.weights.state_dict import load_state


def training_data(
    sources: Sequence[Path], credits: Sequence[Sequence[str]] = (), *, known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A release's `trained_on`: videos of caches or lists of ids, and credits, added to what is `known` already.

    A credit is a recording's attribution, licence and source. Empty without any of them. Raises FileNotFoundError for a
    missing source, ValueError for an empty one.
    """
    recordings = sorted({tuple(credit) for credit in (*(known or {}).get("recordings", ()), *credits)})
    names, ids = ([known["data"]], set(known["video_ids"])) if known else ([], set())
    for source in sources:
        if source.is_dir():
            video_ids = {video for video, _ in CachedClips(source, fields=()).names() if video}
        elif source.is_file():
            video_ids = set(source.read_text(encoding="utf-8-sig").split())
        else:
            raise FileNotFoundError(f"{source}: neither a cache nor a list of ids")
        if not video_ids:
            raise ValueError(f"{source}: names no video")
        names.append(source.name)
        ids |= video_ids
    if not (names or recordings):
        return {}
    data = {"data": ", ".join(dict.fromkeys(names)) or "recorded sounds", "video_ids": sorted(ids)}
    return data | ({"recordings": [list(credit) for credit in recordings]} if recordings else {})


def unpack_checkpoint(path: Path, out: Path) -> None:
    """Write the parts that the training checkpoint `path` holds below `out`, each as its stage writes it at the end.

    Raises FileNotFoundError, and ValueError for a file that holds no parts, or weights that do not fit their config.
    """
    files, weights = read_parts(path)
    for name, texts in files.items():
        if name not in PARTS:
            raise ValueError(f"{path}: holds {name!r}, which is not a part of a release; parts: {', '.join(PARTS)}")
        folder = out / name
        folder.mkdir(parents=True)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        kind = part_class(name, folder)
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


def export_release(
    run: Path,
    out: Path,
    spec: ClipSpec,
    sampler: SamplerSettings,
    *,
    base: Path | None = None,
    backbone: str | None = None,
    half: bool = False,
    licences: Mapping[str, str] = MappingProxyType({}),
    trained_on: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Copy a run's trained parts, and those of the release `base` that it did not train, into an indexed release.

    Missing backbone parts load from `backbone`, any that `load_backbone` takes, under the licence with which it was
    fetched. `licences` overrides the licences of parts. `half` stores floats as float16. Parts already in `out` are
    replaced. Raises FileNotFoundError when a part is missing, ValueError for a licence of no part, an
    `out` that holds another part, or that is itself a source; `out` is unchanged then.
    """
    if unknown := licences.keys() - PARTS.keys():
        raise ValueError(f"licence of {', '.join(sorted(unknown))}: no such part; there are {', '.join(PARTS)}")
    if not run.is_dir():
        raise FileNotFoundError(f"{run}: no such folder or checkpoint; give what the run wrote as model.init_args.out")
    if not any((run / name).is_dir() for name in PARTS):
        raise FileNotFoundError(f"{run}: holds none of {', '.join(PARTS)}, so there is nothing to export")
    base_licences = licences_of(base) if base else {}
    holders = {name: source for name in PARTS for source in (base, run) if source and (source / name).is_dir()}
    frozen = vars(load_backbone(backbone)) if backbone is not None else {}
    added = {name: part for name, part in frozen.items() if part is not None and name not in holders}
    base_licences |= dict.fromkeys(added, licence_of(str(backbone)) or f"unknown: from {backbone}")
    refuse_missing(run, [*holders, *added])
    _make_room(out, [*holders, *added], {Path(source).resolve() for source in (run, base, backbone) if source})
    for name, source in holders.items():
        shutil.copytree(source / name, out / name)
    for name, part in added.items():
        part.save_pretrained(out / name)
    if half:
        for path in out.glob("*/*.safetensors"):
            tensors = {k: v.half() if v.dtype == torch.float32 else v for k, v in load_file(path).items()}
            with atomic_path(path) as temporary:
                save_file(tensors, temporary, metadata={"format": "pt"})
    write_index(out, spec, sampler, {**base_licences, **licences}, trained_on)


def _make_room(out: Path, names: Collection[str], sources: Collection[Path]) -> None:
    """Remove the parts `names` of an earlier release from `out`, unless it has others, or is one of the `sources`."""
    if out.resolve() in sources:
        raise ValueError(f"{out}: is a source of this export; name another folder")
    if stale := [name for name in PARTS if (out / name).exists() and name not in names]:
        raise ValueError(f"{out}: holds {stale[0]}, which is not in this release; remove it or name another folder")
    for name in names:
        if (out / name).exists():
            shutil.rmtree(out / name)
