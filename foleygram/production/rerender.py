"""Renders a result again from the record beside it."""

import glob
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from foleygram.envelope.editing.files import chosen_envelope
from foleygram.files import file_hash
from foleygram.media.isolate import run_isolated, time_limit
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import SoundRequest
from foleygram.production.batch_runner import TakeRule, render_takes
from foleygram.production.export import ExportOptions, Written, export_result
from foleygram.production.inputs import read_request
from foleygram.production.manifest import WORK
from foleygram.production.provenance import Environment, Sidecar
from foleygram.production.workers import segment_edges


class Rerendered(NamedTuple):
    """The files written, and those whose hash differs from the record."""

    written: tuple[str, ...]
    changed: list[str]


def rerender(
    pipeline: FoleyGRAMPipeline,
    sidecar: Sidecar,
    environment: Environment,
    out: Path,
    *,
    callback: Callable[[int], None] | None = None,
) -> Rerendered:
    """Render the kept take of a record into `out`, in its slot of a batch of the recorded size.

    Raises ValueError if `out` holds a file of that name.
    """
    if existing := list(out.glob(f"{glob.escape(sidecar.name)}.*")):
        raise ValueError(f"{existing[0]}: already exists; choose another --out")
    spec = pipeline.spec
    seconds = sidecar.slots[sidecar.slot].num_latents * spec.latent_hop / spec.sample_rate
    envelope = chosen_envelope(sidecar.options.envelope)
    request: SoundRequest = run_isolated(
        read_request, sidecar.video, sidecar.options, spec, envelope, timeout_sec=time_limit(seconds)
    )
    items: list[Any] = list(sidecar.slots)
    items[sidecar.slot] = replace(request, seed=sidecar.record["seed"])
    outcome = render_takes(pipeline, items, sidecar.sampling, TakeRule(), callback=callback)[sidecar.slot]
    if not isinstance(outcome, list):
        raise ValueError(f"{sidecar.video}: {outcome}")
    changed: list[str] = []

    def record(results: Mapping[str, Path], _: Written) -> dict[str, Any]:
        hashes = {name: file_hash(path) for name, path in results.items()}
        changed.extend(name for name, content in hashes.items() if sidecar.record["outputs"].get(name) != content)
        return {**sidecar.record, **environment._asdict(), "outputs": hashes}

    work = out / WORK
    try:
        written, _ = export_result(
            sidecar.video, sidecar.name, outcome, ExportOptions(**sidecar.record["export"]), record,
            edges=segment_edges(request), work=work, out=out,
        )  # fmt: skip
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Rerendered(written, changed)
