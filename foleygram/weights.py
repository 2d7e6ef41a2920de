"""Weight files of others and of one's own: what a release holds, and public weights fetched and verified."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from torch import nn

from foleygram.alignment.encoders import load_tokenizer
from foleygram.alignment.pretrained import load_gram_checkpoint
from foleygram.checkpoints import file_hash, load_release, read_index
from foleygram.generation.backbone import load_backbone
from foleygram.generation.native_folders import CONFIG, load_native, save_native
from foleygram.media.files import atomic_path

TRAINED_IN_STAGE_2 = frozenset({"projectors", "controlnet"})
"""The share of a release that the paper's second stage trains; all else stands frozen while it does."""


@dataclass(frozen=True)
class Source:
    """Where public weights come from: a hub id and the files wanted of it, or a page where a person fetches them."""

    licence: str
    used_for: str
    hub_id: str | None = None
    patterns: tuple[str, ...] = ()
    page: str | None = None


SOURCES: Mapping[str, Source] = {
    "stable-audio-open": Source(
        licence="Stability AI Community License",
        used_for="backbone: transformer, vae, projection_model, prompt encoder",
        hub_id="stabilityai/stable-audio-open-1.0",
        patterns=("transformer/*", "vae/*", "projection_model/*", "text_encoder/*", "tokenizer/*", "model_index.json"),
    ),
    "bert-base": Source(
        licence="Apache-2.0",
        used_for="text encoder before alignment",
        hub_id="google-bert/bert-base-uncased",
        patterns=("config.json", "model.safetensors", "tokenizer*", "vocab.txt"),
    ),
    "eva-clip-g": Source(
        licence="MIT",
        used_for="video encoder before alignment",
        hub_id="QuanSun/EVA-CLIP",
        patterns=("EVA01_CLIP_g_14_psz14_s11B.pt",),
    ),
    "laion-clap": Source(
        licence="Apache-2.0",
        used_for="FAD-LC and CLAP-score",
        hub_id="laion/clap-htsat-unfused",
        patterns=("*.json", "model.safetensors", "merges.txt"),
    ),
    "microsoft-clap": Source(
        licence="MIT",
        used_for="FAD-C and CLAP-score",
        hub_id="microsoft/msclap",
        patterns=("CLAP_weights_2023.pth",),
    ),
    "gpt2-tokenizer": Source(
        licence="MIT",
        used_for="texts of Microsoft CLAP",
        hub_id="openai-community/gpt2",
        patterns=("vocab.json", "merges.txt", "tokenizer*.json"),
    ),
    "vggish": Source(
        licence="Apache-2.0",
        used_for="FAVD, and FAD with VGGish",
        page="the release v0.1 of harritaylor/torchvggish on GitHub, vggish-10086976.pth and vggish_pca_params",
    ),
    "i3d": Source(
        licence="Apache-2.0",
        used_for="FAVD",
        page="models/i3d/checkpoints of v-iashin/video_features on GitHub, i3d_rgb.pt and i3d_flow.pt",
    ),
    "raft": Source(
        licence="BSD-3-Clause",
        used_for="FAVD's profiles with motion, where torchvision is installed",
        page="torchvision's page on Raft_Large_Weights, raft_large_C_T_SKHT_V1-0b8c9e55.pth",
    ),
    "beats": Source(
        licence="MIT",
        used_for="audio encoder before alignment",
        page="the BEATs folder of Microsoft's unilm repository on GitHub, BEATs_iter3+ (AS2M)",
    ),
    "gram": Source(
        licence="see its repository",
        used_for="the three aligned encoders",
        page="the repository ispamm/GRAM on GitHub, its pretrained checkpoint",
    ),
}


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
    parts, _, _ = load_release(folder)
    index = read_index(folder)["parts"]
    rows = []
    for name, part in parts.items():
        kind = index[name]["class"].rpartition(".")[2]
        rows.append(PartFacts(name, kind, _count(part), name in TRAINED_IN_STAGE_2, index[name]["licence"]))
    return rows


def _count(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters()) if isinstance(part, nn.Module) else 0


def fetch(name: str, out: Path, *, revision: str = "main") -> Path:
    """Download public weights into `out`/`name`, a broken download going on where it stopped; returns that folder.

    Every file that the hub keeps a SHA-256 of is compared with it. Raises ValueError for an unknown name, for weights
    that only a person can fetch, and for a file whose hash differs; PermissionError for gated weights; OSError without
    a network.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown weights {name!r}; there are {', '.join(SOURCES)}")
    source = SOURCES[name]
    if source.hub_id is None:
        raise ValueError(f"{name}: not on the hub; get it from {source.page}; docs/weights.md goes on from there")
    folder = out / name
    try:
        info = HfApi().model_info(source.hub_id, revision=revision, files_metadata=True)
        snapshot_download(source.hub_id, revision=info.sha, allow_patterns=list(source.patterns), local_dir=folder)
    except GatedRepoError as error:
        raise PermissionError(
            f"{name}: gated. Accept the terms on the hub's page of {source.hub_id}, then log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ValueError(f"{name}: the hub has no {source.hub_id}, or it is private to you") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise OSError(f"{name}: {source.hub_id} cannot be downloaded ({error}); run it again, it goes on") from error
    known = {sibling.rfilename: sibling.lfs.sha256 for sibling in info.siblings or [] if sibling.lfs}
    verify(folder, known)
    return folder


def verify(folder: Path, known: Mapping[str, str]) -> None:
    """Compare the files of `folder` that are there with their SHA-256; raises ValueError for a damaged one."""
    for name, expected in known.items():
        path = folder / name
        if path.is_file() and file_hash(path) != expected:
            path.unlink()
            raise ValueError(f"{path}: its SHA-256 was not the hub's, so it was removed; fetch it again")


def convert(source: Path, out: Path, *, tokenizer: str | None = None) -> str:
    """Write weights in their other form into `out`, which must not exist; says what was made of what.

    A folder of stable-audio-tools (`model_config.json`) becomes diffusers', one of diffusers or a release becomes
    stable-audio-tools', GRAM's released folder (`log/hps.json`) the aligned encoders of a release, for which
    `tokenizer` names BERT's. Raises FileNotFoundError for a folder of another kind, FileExistsError for an `out` that
    is there, ValueError for weights that do not fit; `out` is whole or absent.
    """
    if out.exists():
        raise FileExistsError(f"{out}: already there; choose another folder or remove it")
    if (source / CONFIG).is_file():
        parts: Mapping[str, Any] = load_native(source)
        made = "stable-audio-tools -> diffusers"
    elif (source / "log" / "hps.json").is_file():
        if tokenizer is None:
            raise ValueError(f"{source}: GRAM's folder holds no tokenizer; name BERT's with --tokenizer")
        encoders = load_gram_checkpoint(source)
        named = zip(("video_encoder", "text_encoder", "audio_encoder"), encoders[:3], strict=True)
        parts = dict(named) | {"tokenizer": load_tokenizer(tokenizer)}
        made = "GRAM -> aligned encoders of a release"
    elif (source / "transformer" / "config.json").is_file():
        backbone = load_backbone(str(source))
        with atomic_path(out) as folder:
            save_native(
                folder, transformer=backbone.transformer, vae=backbone.vae, projection_model=backbone.projection_model
            )
        return "diffusers -> stable-audio-tools"
    else:
        raise FileNotFoundError(
            f"{source}: neither {CONFIG}, transformer/config.json nor log/hps.json there, so no known kind of weights"
        )
    with atomic_path(out) as folder:
        for name, part in parts.items():
            part.save_pretrained(folder / name)
    return made
