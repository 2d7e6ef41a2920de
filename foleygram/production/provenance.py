"""Where a result comes from, as JSON beside it: enough to render the same bytes again, and to see when one cannot."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from foleygram.envelope.envelope import Envelope
from foleygram.files import file_hash, read_json
from foleygram.pipeline.pipeline import BatchPlaceholder
from foleygram.pipeline.release import INDEX, read_index
from foleygram.production.batch_runner import Sampling, Take
from foleygram.production.job import Wish, plain_wish, told_wish, wish_files

PACKAGES = ("foleygram", "torch", "diffusers", "transformers", "av", "soxr", "numpy")
FORMAT = 1


class Surroundings(NamedTuple):
    """What the bytes of a result depend on besides what was asked: weights, device, packages."""

    checkpoint: dict[str, Any]
    device: str
    threads: int
    versions: dict[str, str]
    licence: str


def surroundings(checkpoint: Path, device: torch.device) -> Surroundings:
    """What a run's results depend on, here and now."""
    index = read_index(checkpoint)
    licences = sorted({part["licence"] for part in index["parts"].values()})
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Surroundings(
        checkpoint={
            "folder": str(checkpoint.absolute()),
            "index_sha256": file_hash(checkpoint / INDEX),
            "sha256": index["sha256"],
        },
        device=f"{device.type}, {name}",
        threads=torch.get_num_threads(),
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        licence=f"made by foleygram (Apache-2.0) with weights under {', '.join(licences)}; the video's terms stand",
    )


def sidecar(
    here: Surroundings,
    video: Path,
    wish: Wish,
    sampling: Sampling,
    take: Take,
    *,
    place: int,
    extents: Sequence[BatchPlaceholder],
    delivery: Mapping[str, Any],
    results: Mapping[str, Path],
) -> dict[str, Any]:
    """The record of one result; `results` are its files by name.

    It holds no time of day: the same result has the same record.
    """
    return {
        "format": FORMAT,
        **here._asdict(),
        "input": {"file": str(video.absolute()), "sha256": file_hash(video)},
        "wish": plain_wish(wish),
        "wish_sha256": {str(path): file_hash(path) for path in wish_files(wish)},
        "envelope": {"rate": take.output.envelope.rate, "sha256": envelope_hash(take.output.envelope)},
        "sampling": asdict(sampling),
        "seed": take.seed,
        "take": take.number,
        "batch": {"place": place, "extents": [list(extent) for extent in extents]},
        "delivery": dict(delivery),
        "outputs": {name: file_hash(path) for name, path in results.items()},
    }


def envelope_hash(envelope: Envelope) -> str:
    """SHA-256 of an envelope's values as float32."""
    return hashlib.sha256(envelope.values.tobytes()).hexdigest()


class Recorded(NamedTuple):
    """What a sidecar asks for."""

    name: str
    video: Path
    wish: Wish
    sampling: Sampling
    seed: int
    take: int
    place: int
    extents: list[BatchPlaceholder]
    record: dict[str, Any]


def read_sidecar(path: Path, video: Path | None = None) -> Recorded:
    """What a sidecar recorded; `video` says where its input lies now.

    Raises FileNotFoundError, and ValueError for what is no sidecar, or where an input is not what it was.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the .json beside a result")
    try:
        record = read_json(path)
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, this version reads {FORMAT}")
        found = Recorded(
            path.stem, video or Path(record["input"]["file"]), told_wish(Wish(), record["wish"], path.parent),
            Sampling(**record["sampling"]), record["seed"], record["take"], record["batch"]["place"],
            [BatchPlaceholder(*extent) for extent in record["batch"]["extents"]], record,
        )  # fmt: skip
        inputs = {found.video: record["input"]["sha256"]} | {Path(f): h for f, h in record["wish_sha256"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: no sidecar of this program ({error!r}); give the .json beside a result") from None
    for file, expected in inputs.items():
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file, and {path} needs it; a moved video may be given by name")
        if file_hash(file) != expected:
            raise ValueError(f"{file}: its content is not what {path} was made from")
    return found


def differences(record: Mapping[str, Any], here: Surroundings) -> list[str]:
    """Why the same bytes cannot be promised here: what differs, there and here."""
    found = []
    if record["checkpoint"]["index_sha256"] != here.checkpoint["index_sha256"]:
        found.append(f"other weights than {record['checkpoint']['folder']} had")
    for name in ("device", "threads"):
        if record[name] != getattr(here, name):
            found.append(f"{name}: {record[name]} there, {getattr(here, name)} here")
    for name, there in record["versions"].items():
        if here.versions.get(name) != there:
            found.append(f"{name} {there} there, {here.versions.get(name, 'absent')} here")
    return found
