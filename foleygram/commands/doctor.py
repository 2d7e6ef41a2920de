"""`foleygram doctor`: what this machine and a release or configuration have, and what is missing."""

import json
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
import yaml

from foleygram.commands.errors import reported
from foleygram.files import shipped

PATH_KEYS = {
    "captions", "checkpoint", "data", "encoders", "folder", "judge", "path", "pretrained_model_name_or_path",
    "recordings", "rendered", "root", "spec", "start_from",
}  # fmt: skip
"""Keys of the shipped YAML files whose values are files or folders that must exist."""
REMEDIES = (
    ("data/rendered/cache", "foleygram cache"),
    ("data/rendered", "foleygram render"),
    ("data/", "docs/data.md"),
    ("cache/", "foleygram cache"),
    ("runs/", "train the previous stage"),
    ("releases/", "foleygram weights export"),
    ("", "your own: correct the path"),
)
"""How to get a missing path, by the beginning of its name; the first match counts."""
DECODERS = ("h264", "hevc", "vp9", "av1", "prores", "aac", "opus", "flac")
EXTRAS = {
    "app": ("fastapi", "the editor"),
    "adapters": ("peft", "distillation with low-rank adapters"),
    "otio": ("opentimelineio", "timelines"),
    "render": ("mujoco", "rendered physics scenes"),
}
"""Each extra's main package, and what it is for."""
ENCODERS = ("libx264", "aac", "libopus", "flac", "pcm_s24le")


class Item(NamedTuple):
    """A file or folder: its size in bytes, None if it is missing; its licence; and how to get it."""

    name: str
    size: int | None
    licence: str
    remedy: str
    on_hub: bool = False
    """The name is a hub id, which is downloaded when it is used."""

    @property
    def missing(self) -> bool:
        """Whether it is neither here nor on the hub."""
        return self.size is None and not self.on_hub


def doctor(
    target: Annotated[Path, typer.Argument(metavar="[CONFIG|RELEASE]", help="A YAML file or a release folder.")] = Path(
        "checkpoints/mini"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List device, precision and codecs, and each file a release or YAML needs; exit code 1 if one is missing."""
    with reported():
        path = shipped(target)
        if not path.exists():
            raise FileNotFoundError(f"{target}: no such file or folder; give a YAML file or a release folder")
        items = release_items(path) if path.is_dir() else config_items(path)
        facts = list(machine())
    missing = [item for item in items if item.missing]
    if as_json:
        files = [item._asdict() | {"missing": item.missing} for item in items]
        typer.echo(json.dumps({"machine": facts, "path": str(path), "files": files, "missing": len(missing)}, indent=1))
        raise typer.Exit(1 if missing else 0)
    for name, value in facts:
        typer.echo(f"{name:<10} {value}")
    typer.echo(f"\n{path}")
    for item in items:
        state = "on the hub" if item.on_hub else "missing" if item.size is None else _shown(item.size)
        typer.echo(f"  {item.name:<44} {state:>10}  {item.licence:<28} {item.remedy if item.missing else ''}")
    typer.echo(f"{len(missing)} missing" if missing else "nothing is missing")
    raise typer.Exit(1 if missing else 0)


def machine() -> Iterator[tuple[str, str]]:
    """Facts about this machine that generating depends on, as (name, value)."""
    import av
    import torch

    from foleygram.console import pick_device

    yield "foleygram", f"{version('foleygram')}, Python {platform.python_version()} on {sys.platform}"
    yield "torch", f"{torch.__version__}, {torch.get_num_threads()} CPU threads"
    device = pick_device("auto")
    yield "device", device.type if device.type != "cuda" else f"cuda, {torch.cuda.get_device_name(device)}"
    native = device.type == "cuda" and torch.cuda.is_bf16_supported()
    yield "precision", f"float32, float16, bfloat16{'' if native else ' (without speed-up)'}"
    for name, codecs, mode in (("decodes", DECODERS, "r"), ("encodes", ENCODERS, "w")):
        yield name, ", ".join(codec for codec in codecs if _has_codec(av, codec, mode))
    for extra, (package, purpose) in EXTRAS.items():
        build = _installed(package)
        state = f"{package} {build}" if build else f"not installed: pip install 'foleygram[{extra}]'"
        yield f"[{extra}]", f"{purpose}: {state}"
    for name in ("torchvision", "torchaudio"):
        if build := _installed(name):
            yield "warning", f"{name} {build} is installed; a build for another torch stops foleygram from importing"


def _has_codec(av: Any, name: str, mode: str) -> bool:
    try:
        av.codec.Codec(name, mode)
    except ValueError:
        return False
    return True


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def release_items(folder: Path) -> list[Item]:
    """Every part of a release folder, and its index."""
    from foleygram.pipeline.release import INDEX, OPTIONAL, PARTS, licences_of

    licences = licences_of(folder)
    names = [name for name in PARTS if name in licences or name not in OPTIONAL]
    remedy = "foleygram weights export"
    return [Item(name, _size(folder / name), licences.get(name, ""), remedy) for name in (INDEX, *names)]


def config_items(path: Path) -> list[Item]:
    """Every file and folder that a YAML file reads. Raises ValueError for what is not YAML."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a YAML file ({error})") from error
    paths = dict.fromkeys(_paths(content))
    return [_config_item(name, path.parent) for name in paths]


def _paths(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            names = value if isinstance(value, list) else [value]
            if key in PATH_KEYS and all(isinstance(name, str) for name in names):
                yield from names
            else:
                yield from _paths(value)
    elif isinstance(content, list):
        for value in content:
            yield from _paths(value)


def _config_item(name: str, beside: Path) -> Item:
    from foleygram.weights.download import SOURCES, licence_of
    from foleygram.weights.location import hub_id

    path = next((path for path in (shipped(name), beside / name) if path.exists()), Path(name))
    try:
        if not path.exists() and hub_id(name):
            return Item(name, None, licence_of(name) or "unknown", "", on_hub=True)
    except (FileNotFoundError, ValueError):
        pass  # not a hub id
    source_name = next((one for one in SOURCES if one in name.lower()), None) if "weights/" in name else None
    if source_name is None:
        remedy = next(remedy for start, remedy in REMEDIES if name.startswith(start))
        return Item(name, _size(path), "", remedy)
    source = SOURCES[source_name]
    remedy = f"foleygram weights fetch {source_name}" if source.hub_id else f"by hand: {source.page}"
    return Item(name, _size(path), source.licence, remedy)


def _shown(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _size(path: Path) -> int | None:
    """Bytes of a file, or of the files in a folder; None if there is nothing."""
    if path.is_file():
        return path.stat().st_size
    files = [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) if files else None
