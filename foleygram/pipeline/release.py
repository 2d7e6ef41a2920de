"""Release folders: every part with its config, an index with rates, hashes and licences."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from huggingface_hub import snapshot_download

from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.files import error_text, file_hash, read_json, share, shipped, write_json
from foleygram.generation.controlnet import EnvelopeControlNet
from foleygram.generation.model import SemanticProjectors
from foleygram.generation.sampling import SamplerSettings
from foleygram.pipeline.card import SCORES, write_card
from foleygram.pipeline.parts import Parts, dtype_of
from foleygram.spec import ClipSpec
from foleygram.weights.hub import check_folder, explained, load_network
from foleygram.weights.location import cache_only_if_offline, hub_id

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
OWN_LICENCE = "Apache-2.0"
"""Licence of parts that this project trained on its own data."""
CLASS_FILES = dict.fromkeys(("video_encoder", "text_encoder", "audio_encoder", "vae"), "config.json") | {
    "tokenizer": "tokenizer_config.json"
}
"""Parts whose class may differ from `PARTS`, and the file in their folder that names the class."""
CLASS_KEYS = {"tokenizer": "tokenizer_class", "vae": "_class_name"}
"""Key in that file that holds the class, where it is not `class_path`."""
ADAPTERS = "foleygram.alignment."
"""Where the `class_path` in an encoder's config.json may point; from elsewhere nothing is imported."""
ASYMMETRIC_VAE = "foleygram.generation.oobleck.AsymmetricOobleck"
"""Class of an autoencoder whose decoder has strides and widths of its own."""
CLIP_TOKENIZER = "transformers.CLIPTokenizerFast"
"""Class of the tokenizer of encoders that read text as CLIP does."""


def part_class(name: str, folder: Path | None = None) -> Any:
    """The class of a part of a release; with its `folder`, the encoder that config.json there names.

    Raises ValueError for a `class_path` that is no class of `foleygram.alignment`.
    """
    module, _, attribute = class_path(name, folder).rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError):
        raise ValueError(f"{folder}/config.json: class_path names no class, {module}.{attribute}") from None


def class_path(name: str, folder: Path | None = None) -> str:
    """Import path of a part's class; a config that cannot be read is left to the class's loader.

    Raises ValueError for a `class_path` outside of `foleygram.alignment`.
    """
    config = folder / CLASS_FILES[name] if folder and name in CLASS_FILES else None
    if config is None or not config.is_file():
        return PARTS[name]
    try:
        content = read_json(config)
        class_path = content.get(CLASS_KEYS.get(name, "class_path")) or PARTS[name]
    except (ValueError, AttributeError):
        return PARTS[name]
    if name == "vae":
        return ASYMMETRIC_VAE if class_path == ASYMMETRIC_VAE.rpartition(".")[2] else PARTS[name]
    if name == "tokenizer":
        return CLIP_TOKENIZER if str(class_path).startswith("CLIP") else PARTS[name]
    if class_path != PARTS[name] and not str(class_path).startswith(ADAPTERS):
        raise ValueError(f"{config}: class_path is {class_path!r}; an encoder's must begin with {ADAPTERS}")
    return str(class_path)


def write_index(
    folder: Path,
    spec: ClipSpec,
    sampler: SamplerSettings | None,
    licences: Mapping[str, str] = MappingProxyType({}),
    trained_on: Mapping[str, Any] = MappingProxyType({}),
    *,
    temperature: float | None = None,
) -> None:
    """Write the index and model card of the parts in `folder`, under `licences` or else this project's own.

    `sampler` is None for a folder whose parts cannot generate yet.
    An evaluation warns about the videos in `trained_on` (`data`, `video_ids`); `temperature` is that of the encoders'
    alignment, for continued training.
    With `sampler`, raises FileNotFoundError when a part that generating needs is missing, ValueError for parts of
    another spec.
    """
    if sampler:
        refuse_missing(folder, folder.iterdir())
        _check_rates(folder, spec)
    present = [name for name in PARTS if (folder / name).is_dir()]
    for name in present:
        share(folder / name)
    index = {
        "_class_name": "FoleyGRAMPipeline",
        "foleygram": version("foleygram"),
        "spec": asdict(spec),
        **({"sampler": asdict(sampler)} if sampler else {}),
        **({"trained_on": dict(trained_on)} if trained_on else {}),
        **({} if temperature is None else {"temperature": temperature}),
        "parts": {
            name: {"class": class_path(name, folder / name), "licence": licences.get(name, OWN_LICENCE)}
            for name in present
        },
        "sha256": {str(path.relative_to(folder)): file_hash(path) for path in sorted(folder.glob("*/*.safetensors"))},
    }
    write_card(folder, index)
    write_json(folder / INDEX, index, indent=2)


def missing_parts(present: Iterable[str | Path]) -> list[str]:
    """Parts that generating needs and that are not among `present` (names or folders)."""
    not_missing = OPTIONAL | {Path(folder).name for folder in present}
    return [name for name in PARTS if name not in not_missing]


def refuse_missing(folder: Path, present: Iterable[str | Path]) -> None:
    """Raise FileNotFoundError where a part that generating needs is not among `present` (names or folders)."""
    if missing := missing_parts(present):
        raise FileNotFoundError(f"{folder}: no {', '.join(missing)}; train or copy these parts first")


def find_release(name: str | Path) -> Path:
    """The release folder `name`, or that of a hub id, fetched into the hub client's cache unless it is there.

    Raises FileNotFoundError for an absent folder or hub id, PermissionError for a gated one, ConnectionError without a
    network.
    """
    identifier = hub_id(name)
    if identifier is None:
        return shipped(name)
    patterns = [INDEX, SCORES, *(f"{part}/*" for part in PARTS)]
    with explained(identifier, identifier):
        return Path(snapshot_download(identifier, allow_patterns=patterns, **cache_only_if_offline()))


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a release folder; raises FileNotFoundError or ValueError naming what is wrong with it."""
    path = shipped(folder) / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; {folder} is not a release folder (the shipped one is checkpoints/mini)"
        )
    try:
        index = read_json(path)
        ClipSpec(**index["spec"])
        parts = {name: (part["class"], str(part["licence"])) for name, part in index["parts"].items()}
        unknown = [
            f"{name} of {kind}"
            for name, (kind, _) in parts.items()
            if name not in PARTS or class_path(name, path.parent / name) != kind
        ]
        if not index["sha256"].items() or unknown:
            raise ValueError(f"no hashes, or unknown parts {unknown}")
        sampler_settings(index)
        _check_training_data(index.get("trained_on") or {})
        return index
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error_text(error)}); fetch or export the release again") from error


def _check_training_data(trained_on: Mapping[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError unless `trained_on` is empty or as `export.training_data` makes it."""
    if not trained_on:
        return
    videos, recordings = trained_on["video_ids"], trained_on.get("recordings", [])
    if not isinstance(videos, list) or not all(isinstance(credit, list) and len(credit) == 3 for credit in recordings):
        raise ValueError("trained_on: video_ids must be a list, recordings a list of [attribution, licence, source]")
    if not all(isinstance(text, str) for text in [trained_on["data"], *videos, *chain(*recordings)]):
        raise ValueError("trained_on: data, video_ids and recordings must hold strings")


def sampler_settings(index: Mapping[str, Any]) -> SamplerSettings | None:
    """Sampler settings in an index; None for a release whose parts cannot generate.

    Indexes of earlier versions have only the noise levels. Raises ValueError or TypeError for invalid values.
    """
    if "sampler" in index:
        return SamplerSettings(**index["sampler"])
    if "sigma_min" in index:
        return SamplerSettings(sigma_min=index["sigma_min"], sigma_max=index["sigma_max"])
    return None


def sampler_of(folder: Path) -> SamplerSettings:
    """Sampler settings of a release folder, the defaults if its index has none. Raises as `read_index` does."""
    return sampler_settings(read_index(folder)) or SamplerSettings()


def licences_of(folder: Path) -> dict[str, str]:
    """Each part's licence, as the index of a release folder gives it."""
    return {name: part["licence"] for name, part in read_index(folder)["parts"].items()}


def load_parts(folder: Path, torch_dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """The parts of a release folder, whole or not, each weight file checked against its hash in the index.

    Raises FileNotFoundError or ValueError naming the file that is missing, damaged, unlisted or does not fit.
    """
    index = read_index(folder)
    for name, expected in index["sha256"].items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing; fetch or export the release again")
        if file_hash(path) != expected:
            raise ValueError(f"{path}: its content does not match the index, it is damaged; fetch the release again")
    for path in (file for part in index["parts"] for file in (folder / part).glob("*.safetensors")):
        if path.relative_to(folder).as_posix() not in index["sha256"]:
            raise ValueError(
                f"{path}: not in the index, so its content is unverified; remove it or export the release again"
            )
    return {name: load_part(folder, name, dtype_of(name, torch_dtype)) for name in index["parts"]}


def load_release(folder: Path, torch_dtype: torch.dtype = torch.float32) -> tuple[Parts, ClipSpec, SamplerSettings]:
    """Parts, spec and sampler settings of a release folder, as `load_parts` loads them.

    Raises FileNotFoundError naming the parts that are missing, and as `load_parts` does.
    """
    index = read_index(folder)
    missing, sampler = missing_parts(index["parts"]), sampler_settings(index)
    if missing or sampler is None:
        needed = ", ".join(missing) or "sampler settings"
        raise FileNotFoundError(f"{folder}: holds only {', '.join(index['parts'])}; generating needs {needed} too")
    parts, spec = load_parts(folder, torch_dtype), ClipSpec(**index["spec"])
    _check_rates(folder, spec)
    return Parts(**parts), spec, sampler


def _check_rates(folder: Path, spec: ClipSpec) -> None:
    """Raise ValueError where a folder's autoencoder or predictor has other rates than `spec`."""
    vae, predictor = (read_json(folder / name / "config.json") for name in ("vae", "envelope_predictor"))
    own = {
        "sample_rate": vae["sampling_rate"],
        "audio_channels": vae["audio_channels"],
        "latent_hop": math.prod(vae["downsampling_ratios"]),
        "motion_frame_rate": predictor["motion_frame_rate"],
        "motion_size": predictor["motion_size"],
        "envelope_rate": predictor["envelope_rate"],
    }
    other = [f"{name} {getattr(spec, name)}, not {rate}" for name, rate in own.items() if getattr(spec, name) != rate]
    if other:
        raise ValueError(
            f"{folder}: its networks were made for another ClipSpec ({'; '.join(other)}); export it with their ClipSpec"
        )


def load_part(folder: Path, name: str, torch_dtype: torch.dtype = torch.float32) -> Any:
    """One part of a release or a run's folder, in `torch_dtype`, whatever the dtype of its stored weights.

    Raises FileNotFoundError or ValueError naming what is absent, damaged or does not fit.
    """
    path = shipped(folder) / name
    kind = part_class(name, path)
    if issubclass(kind, torch.nn.Module):
        return load_network(kind, path, torch_dtype=torch_dtype, pickles=False)
    check_folder(path)
    with explained(str(path), str(path)):
        return kind.from_pretrained(path)


def load_projectors(folder: str) -> SemanticProjectors:
    """The trained projectors of a release or a run's folder; for YAML: diffusers' loader has no return type."""
    return load_part(Path(folder), "projectors")


def load_controlnet(folder: str) -> EnvelopeControlNet:
    """The trained ControlNet of a release or a run's folder; for YAML as well."""
    return load_part(Path(folder), "controlnet")


def load_predictor(folder: str) -> EnvelopePredictor:
    """The trained envelope predictor of a release or a run's folder, in training mode; for YAML as well."""
    return load_part(Path(folder), "envelope_predictor").train()
