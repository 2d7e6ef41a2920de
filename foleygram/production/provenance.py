"""The record beside each result (`clip.json`): enough to render the same bytes again, and to see why they differ."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from foleygram.files import error_text, file_hash, read_json
from foleygram.pipeline.pipeline import BatchPlaceholder
from foleygram.pipeline.release import INDEX, read_index
from foleygram.production.batch_runner import Sampling, Take
from foleygram.production.job import JobOptions, override

PACKAGES = ("foleygram", "torch", "diffusers", "transformers", "av", "soxr", "numpy")
FORMAT = 2
RENAMED = {"wish": "options", "wish_sha256": "options_sha256", "delivery": "export"}
"""New names of the keys of sidecars of format 1, which are still read."""


class Environment(NamedTuple):
    """The environment on which the bytes of a result depend: weights, device, packages."""

    checkpoint: dict[str, Any]
    device: str
    threads: int
    versions: dict[str, str]
    licence: str


def current_environment(checkpoint: Path, device: torch.device) -> Environment:
    """The environment of this process with the weights in `checkpoint`."""
    index = read_index(checkpoint)
    licences = sorted({part["licence"] for part in index["parts"].values()})
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return Environment(
        checkpoint={
            "folder": str(checkpoint.absolute()),
            "index_sha256": file_hash(checkpoint / INDEX),
            "sha256": index["sha256"],
        },
        device=f"{device.type}, {name}",
        threads=torch.get_num_threads(),
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        licence=f"made by foleygram (Apache-2.0) with weights under {', '.join(licences)}; the video's own terms apply",
    )


def make_sidecar(
    environment: Environment,
    video: Path,
    options: JobOptions,
    sampling: Sampling,
    take: Take,
    *,
    slot: int,
    slots: Sequence[BatchPlaceholder],
    export: Mapping[str, Any],
    results: Mapping[str, Path],
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    """The record of one result; `slots` are the sizes of its batch, `results` its files by name.

    `measured` compares the sound with the envelope asked for. The record holds no time of day: the same
    result has the same record.
    """
    envelope = take.output.envelope
    return {
        "format": FORMAT,
        **environment._asdict(),
        "input": {"file": str(video.absolute()), "sha256": file_hash(video)},
        "options": options.record(),
        "options_sha256": {str(path): file_hash(path) for path in options.files()},
        "envelope": {"rate": envelope.rate, "sha256": hashlib.sha256(envelope.values.tobytes()).hexdigest()},
        "sampling": asdict(sampling),
        "seed": take.seed,
        "take": take.number,
        "batch": {"slot": slot, "slots": [list(size) for size in slots]},
        "export": dict(export),
        "measured": dict(measured),
        "outputs": {name: file_hash(path) for name, path in results.items()},
    }


class Sidecar(NamedTuple):
    """A record that was read, with what rendering needs of it."""

    name: str
    video: Path
    options: JobOptions
    sampling: Sampling
    slot: int
    slots: list[BatchPlaceholder]
    record: dict[str, Any]


def read_sidecar(path: Path, video: Path | None = None) -> Sidecar:
    """The record in `path`; `video` is where its input is now, if it has moved.

    Raises FileNotFoundError, and ValueError for a file that is not a record, or an input that has changed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the .json beside a result")
    try:
        record = _current_format(read_json(path))
        sidecar = Sidecar(
            path.stem, video or Path(record["input"]["file"]), override(JobOptions(), record["options"], path.parent),
            Sampling(**record["sampling"]), record["batch"]["slot"],
            [BatchPlaceholder(*size) for size in record["batch"]["slots"]], record,
        )  # fmt: skip
        inputs = {sidecar.video: record["input"]["sha256"]}
        inputs |= {Path(file): content for file, content in record["options_sha256"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"not a record of foleygram ({error_text(error)})"
        raise ValueError(f"{path}: {problem}; give the .json beside a result") from None
    for file, expected in inputs.items():
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such file, but {path} needs it; name the video if it has moved")
        if file_hash(file) != expected:
            raise ValueError(f"{file}: its content differs from what {path} was made from; restore it")
    return sidecar


def _current_format(record: dict[str, Any]) -> dict[str, Any]:
    if record["format"] == 1:
        batch = {"slot": record["batch"]["place"], "slots": record["batch"]["extents"]}
        record = {RENAMED.get(name, name): value for name, value in record.items()}
        record |= {"format": FORMAT, "batch": batch}
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']}, but this version reads 1 to {FORMAT}")
    return record


def differences(record: Mapping[str, Any], environment: Environment) -> list[str]:
    """Why the same bytes are not certain in `environment`: everything in which it differs from the record's."""
    found = []
    if record["checkpoint"]["index_sha256"] != environment.checkpoint["index_sha256"]:
        found.append(f"other weights than those in {record['checkpoint']['folder']} then")
    recorded = {"device": record["device"], "threads": record["threads"], **record["versions"]}
    current = {"device": environment.device, "threads": environment.threads, **environment.versions}
    for name, value in recorded.items():
        if current.get(name) != value:
            found.append(f"{name} was {value}, is {current.get(name, 'absent')}")
    return found
