"""Public weights: their sources, resumable downloads, and verification of every file."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from foleygram.files import file_hash, read_json, write_json
from foleygram.weights.hub import explained
from foleygram.weights.location import PREFIX

ORIGIN = "source.json"
"""File in a folder of fetched weights that holds their source and licence."""


@dataclass(frozen=True)
class Source:
    """Where public weights come from: a hub id and file patterns, or a page to download them from by hand."""

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
    "pwc-net": Source(
        licence="see sniklaus/pytorch-pwc on GitHub",
        used_for="FAVD as published: motion",
        page="models/pwc/checkpoints of v-iashin/video_features on GitHub, pwc_net_sintel.pt",
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


def fetch(
    name: str, out: Path, *, revision: str = "main", progress: Callable[[str, int], None] = lambda file, size: None
) -> Path:
    """Download public weights into `out`/`name`, every file verified; returns that folder.

    A complete file is kept, and an interrupted download resumes at its last byte, in another process as well;
    `progress` is called with each downloaded file and its size in bytes. Raises ValueError for an unknown name,
    for weights that must be downloaded by hand, and for a file whose hash is not the hub's; PermissionError for gated
    weights; FileNotFoundError for a repository or revision that is gone; ConnectionError without a network.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown weights {name!r}; there are {', '.join(SOURCES)}")
    source = SOURCES[name]
    if source.hub_id is None:
        raise ValueError(f"{name}: not on the hub; get it from {source.page}; see docs/weights.md")
    folder, label = out / name, f"{name} ({source.licence})"
    on = "the downloaded part is kept: run it again to resume"
    with explained(label, source.hub_id, again=on):
        info = HfApi().model_info(source.hub_id, revision=revision, files_metadata=True)
    files = [file for file in info.siblings or [] if any(fnmatch(file.rfilename, p) for p in source.patterns)]
    if not files:
        raise FileNotFoundError(f"{label}: {source.hub_id} at {revision} has none of {', '.join(source.patterns)}")
    for file in files:
        path = folder / file.rfilename
        if path.is_file() and _is_whole(path, file):
            continue
        progress(file.rfilename, file.size or 0)
        with explained(f"{label}: {file.rfilename}", source.hub_id, again=on):
            partial = _download(hf_hub_url(source.hub_id, file.rfilename, revision=info.sha), path, file)
        if not _is_whole(partial, file):
            partial.unlink()
            raise ValueError(f"{path}: its hash differs from the hub's, so it was removed; "
                             "fetch it again")  # fmt: skip
        partial.replace(path)
    origin = {"name": name, "hub_id": source.hub_id, "revision": info.sha, "licence": source.licence}
    write_json(folder / ORIGIN, origin)
    return folder


def _download(url: str, path: Path, file: Any) -> Path:
    """The file beside `path` that a download is gathered in, complete."""
    partial = path.with_name(f".{path.name}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    # The hub client's own download restarts in every process.
    with partial.open("ab") as gathered:
        if file.size and gathered.tell() > file.size:
            gathered.truncate(0)
        http_get(
            url, gathered, resume_size=gathered.tell(), headers=build_hf_headers(), expected_size=file.size,
            displayed_filename=file.rfilename,
        )  # fmt: skip
    return partial


def _is_whole(path: Path, file: Any) -> bool:
    """Whether a file's hash is the hub's: SHA-256 of a large file, git's hash of a small one."""
    if file.lfs:
        return file_hash(path) == file.lfs.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.blob_id


def origin_of(folder: Path) -> dict[str, str]:
    """Where the weights in `folder` were fetched from, and their licence; empty for a folder without a record.

    Raises ValueError for a damaged record.
    """
    path = folder / ORIGIN
    try:
        return read_json(path) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); fetch the weights again") from error


def licence_of(name: str) -> str | None:
    """The licence of fetched weights in a folder, or of a known hub id; None if unknown."""
    licences = (source.licence for source in SOURCES.values() if source.hub_id == name.removeprefix(PREFIX))
    return origin_of(Path(name)).get("licence") or next(licences, None)
