"""The files of one result, written aside and moved into place together, the record of where they come from last."""

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from foleygram.media.isolate import run_isolated, time_limit
from foleygram.production.batch_runner import Take
from foleygram.production.export import Delivery, Track, deliver

Record = Callable[[Mapping[str, Path]], dict[str, Any]]
"""From the files by name to what is recorded of them."""


def write_results(
    video: Path,
    name: str,
    takes: Sequence[Take],
    delivery: Delivery,
    record: Record,
    *,
    edges: Sequence[float],
    work: Path,
    out: Path,
) -> tuple[tuple[str, ...], list[str]]:
    """Write the results called `name` below `out`, by way of `work`; returns their names, relative to `out`, and notes.

    The first take is delivered, the others lie beside it as sounds. Raises what writing raises, with nothing left.
    """
    output = takes[0].output
    others = tuple((take.number, take.output.audio.numpy()) for take in takes[1:])
    track = Track(name, output.audio.numpy(), output.sample_rate, tuple(edges), others)
    folder = work / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        notes: list[str] = run_isolated(
            deliver, video, track, delivery, folder, timeout_sec=time_limit(output.envelope.seconds)
        )
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        sidecar = folder / f"{name}.json"
        sidecar.write_text(json.dumps(record(files), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for relative, path in {**files, sidecar.name: sidecar}.items():
            (out / relative).parent.mkdir(parents=True, exist_ok=True)
            path.replace(out / relative)
        return (*files, sidecar.name), notes
    finally:
        shutil.rmtree(folder)


def remove_results(out: Path, names: Iterable[str]) -> None:
    """Remove files below `out` that an earlier run wrote, and the folders that this leaves empty."""
    for name in names:
        path = out / name
        if not path.resolve().is_relative_to(out.resolve()):  # a manifest that somebody else wrote
            continue
        path.unlink(missing_ok=True)
        for folder in path.parents[: len(Path(name).parents) - 1]:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
