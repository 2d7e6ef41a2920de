"""A result rendered again from the record beside it."""

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
from foleygram.production.export import Delivery
from foleygram.production.manifest import WORK
from foleygram.production.provenance import Recorded, Surroundings
from foleygram.production.requests import read_request
from foleygram.production.results import write_results


class Again(NamedTuple):
    """The files written, and those among them that are not what the record says."""

    written: tuple[str, ...]
    changed: list[str]


def render_again(
    pipeline: FoleyGRAMPipeline,
    recorded: Recorded,
    here: Surroundings,
    out: Path,
    *,
    callback: Callable[[int], None] | None = None,
) -> Again:
    """Render what a sidecar recorded into `out`: the take that was kept, in its place of its batch.

    Raises ValueError where `out` holds a file of that name.
    """
    if there := list(out.glob(f"{glob.escape(recorded.name)}.*")):
        raise ValueError(f"{there[0]}: is there already; choose another --out")
    envelope = chosen_envelope(recorded.wish.envelope)
    spec = pipeline.spec
    seconds = recorded.extents[recorded.place].num_latents * spec.latent_hop / spec.sample_rate
    request: SoundRequest = run_isolated(
        read_request, recorded.video, recorded.wish, spec, envelope, timeout_sec=time_limit(seconds)
    )
    places: list[Any] = list(recorded.extents)
    places[recorded.place] = replace(request, seed=recorded.seed)
    outcome = render_takes(pipeline, places, recorded.sampling, TakeRule(), callback=callback)[recorded.place]
    if not isinstance(outcome, list):
        raise ValueError(f"{recorded.video}: {outcome}")
    changed: list[str] = []

    def record(results: Mapping[str, Path]) -> dict[str, Any]:
        hashes = {name: file_hash(path) for name, path in results.items()}
        changed.extend(name for name, content in hashes.items() if recorded.record["outputs"].get(name) != content)
        return {**recorded.record, **here._asdict(), "outputs": hashes}

    work = out / WORK
    try:
        written, _ = write_results(
            recorded.video, recorded.name, outcome, Delivery(**recorded.record["delivery"]), record,
            edges=[region.end for region in request.regions()[:-1]], work=work, out=out,
        )  # fmt: skip
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Again(written, changed)
