"""Release folders: every part with its config, an index with rates, hashes and licences."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from foleygram.generation.conditioning import SemanticProjectors
from foleygram.generation.controlnet import EnvelopeControlNet
from foleygram.hub import check_folder, explained, load_network
from foleygram.media.files import atomic_path, file_hash
from foleygram.spec import ClipSpec

INDEX = "model_index.json"
PARTS = {
    "video_encoder": "foleygram.alignment.encoders.VideoEncoder",
    "text_encoder": "foleygram.alignment.encoders.TextEncoder",
    "tokenizer": "transformers.BertTokenizerFast",
    "audio_encoder": "foleygram.alignment.encoders.AudioEncoder",
    "projectors": "foleygram.generation.conditioning.SemanticProjectors",
    "controlnet": "foleygram.generation.controlnet.EnvelopeControlNet",
    "envelope_predictor": "foleygram.envelope.predictor.EnvelopePredictor",
    "vae": "diffusers.AutoencoderOobleck",
    "transformer": "diffusers.StableAudioDiTModel",
    "projection_model": "diffusers.StableAudioProjectionModel",
    "prompt_encoder": "transformers.T5EncoderModel",
    "prompt_tokenizer": "transformers.T5TokenizerFast",
}
OPTIONAL = frozenset({"prompt_encoder", "prompt_tokenizer"})


def part_class(name: str) -> Any:
    """The class that stands behind a part of a release folder."""
    module, _, attribute = PARTS[name].rpartition(".")
    return getattr(import_module(module), attribute)


def save_release(folder: Path, parts: Mapping[str, Any], spec: ClipSpec, sigmas: tuple[float, float]) -> None:
    """Write every part and the index below `folder`; the index comes last, so half a release has none."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    write_index(folder, spec, sigmas)


def write_index(folder: Path, spec: ClipSpec, sigmas: tuple[float, float]) -> None:
    """Describe the parts that lie in `folder`; raises FileNotFoundError when a needed one is missing."""
    missing = [name for name in PARTS if name not in OPTIONAL and not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(f"{folder}: no {', '.join(missing)}; train or copy these parts first")
    present = [name for name in PARTS if (folder / name).is_dir()]
    index = {
        "_class_name": "FoleyGRAMPipeline",
        "foleygram": version("foleygram"),
        "spec": asdict(spec),
        "sigma_min": sigmas[0],
        "sigma_max": sigmas[1],
        "parts": {name: {"class": PARTS[name], "licence": "Apache-2.0"} for name in present},
        "sha256": {str(path.relative_to(folder)): file_hash(path) for path in sorted(folder.glob("*/*.safetensors"))},
    }
    with atomic_path(folder / INDEX) as path:
        path.write_text(json.dumps(index, indent=2) + "\n")


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a release folder; raises FileNotFoundError or ValueError naming what is wrong with it."""
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; {folder} is no release folder (the shipped one is checkpoints/mini)"
        )
    try:
        index = json.loads(path.read_text())
        ClipSpec(**index["spec"])
        return index
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error!r}); fetch or export the release again") from error


def load_release(folder: Path) -> tuple[dict[str, Any], ClipSpec, tuple[float, float]]:
    """Parts, spec and (sigma_min, sigma_max) of a release folder, weights checked against their hashes."""
    index = read_index(folder)
    for name, expected in index["sha256"].items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing; fetch or export the release again")
        if file_hash(path) != expected:
            raise ValueError(f"{path}: its content does not match the index, it is damaged; fetch the release again")
    parts = {name: load_part(folder, name) for name in index["parts"]}
    return parts, ClipSpec(**index["spec"]), (index["sigma_min"], index["sigma_max"])


def load_part(folder: Path, name: str) -> Any:
    """One part of a release or a run's folder, in float32.

    Raises FileNotFoundError or ValueError naming what is absent, damaged or does not fit.
    """
    kind, path = part_class(name), folder / name
    if issubclass(kind, torch.nn.Module):
        # Weights may be stored in half precision; networks compute in the precision that the caller asks for.
        return load_network(kind, path, pickles=False)
    check_folder(path)
    with explained(str(path), str(path)):
        return kind.from_pretrained(path)


def load_projectors(folder: str) -> SemanticProjectors:
    """The trained projectors of a release or a run's folder; for YAML, where diffusers' own loader says no type."""
    return load_part(Path(folder), "projectors")


def load_controlnet(folder: str) -> EnvelopeControlNet:
    """The trained ControlNet of a release or a run's folder; for YAML as well."""
    return load_part(Path(folder), "controlnet")


def export_release(
    run: Path, out: Path, spec: ClipSpec, sigmas: tuple[float, float], *, base: Path | None = None, half: bool = False
) -> None:
    """Copy a run's trained parts, and those of the release `base` that it did not train, into an indexed release.

    `half` stores floats as float16. Raises FileNotFoundError when a part is missing.
    """
    for name in PARTS:
        for source in (run, base):
            if source and (source / name).is_dir():
                shutil.copytree(source / name, out / name, dirs_exist_ok=True)
                break
    if half:
        for path in out.glob("*/*.safetensors"):
            tensors = {k: v.half() if v.dtype == torch.float32 else v for k, v in load_file(path).items()}
            with atomic_path(path) as temporary:
                save_file(tensors, temporary, metadata={"format": "pt"})
    write_index(out, spec, sigmas)
