"""Takes of an open film: generated from a request, or one region of a take rendered again."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from foleygram.app.films import Film, KeptTake
from foleygram.app.limits import MAX_KEPT_TAKES, Limits
from foleygram.app.messages import RegionRequest, SoundOptions, TakesRequest
from foleygram.envelope.envelope import Envelope
from foleygram.evaluation.envelopes import ENVELOPE_RATE
from foleygram.media.audio import write_audio
from foleygram.pipeline.pipeline import FoleyGRAMPipeline, FoleyOutput
from foleygram.pipeline.request import ModalityWeights, Segment, SoundRequest
from foleygram.production.batch_runner import Sampling, sampling_of, take_seed, window_prompts
from foleygram.production.export import onset_markers
from foleygram.production.region import rerender_region
from foleygram.production.takes import envelopes_of_take, rank_takes, score_take
from foleygram.production.workers import segment_edges

Report = Callable[[float, str], None]
"""Called with the progress from 0 to 1 and a text; raises to stop the work."""


def sound_request(film: Film, options: SoundOptions, envelope: Envelope, limits: Limits) -> SoundRequest:
    """The model's request; raises ValueError for segments that overlap or leave the film, or unknown references."""
    segments = tuple(
        Segment(s.start, s.end, s.prompt or None, film.reference(s.reference, limits))
        for s in sorted(options.segments, key=lambda segment: segment.start)
    )
    return SoundRequest(
        film.content.seen,
        options.seed,
        (options.prompt or "").strip() or None,
        (options.negative_prompt or "").strip() or None,
        film.reference(options.reference, limits),
        envelope,
        ModalityWeights(options.weights.video, options.weights.text, options.weights.audio),
        segments,
    )


def chosen_sampling(pipeline: FoleyGRAMPipeline, options: SoundOptions) -> Sampling:
    """The sampling options of a request, the release's where it gives none."""
    return sampling_of(
        pipeline.sampler, options.control_scale, num_inference_steps=options.steps, guidance_scale=options.guidance
    )


def make_takes(
    pipeline: FoleyGRAMPipeline, film: Film, asked: TakesRequest, request: SoundRequest, report: Report
) -> list[int]:
    """Generate takes one after another and keep each; returns their numbers. What `report` raises ends the work."""
    made: list[int] = []
    sampling = chosen_sampling(pipeline, asked)
    steps = sampling.num_inference_steps
    for index in range(asked.count):
        request_of_take = replace(request, seed=take_seed(request.seed, index + 1))

        def step(number: int, index: int = index) -> None:
            share = (index + number / steps) / asked.count
            report(share, f"take {index + 1} of {asked.count}, step {number} of {steps}")

        report(index / asked.count, f"take {index + 1} of {asked.count}")
        [output] = pipeline.generate([request_of_take], **sampling.options(), callback=step)
        made.append(keep_take(pipeline, film, request_of_take, output).number)
    return made


def make_region(
    pipeline: FoleyGRAMPipeline, film: Film, parent: KeptTake, asked: RegionRequest, request: SoundRequest,
    report: Report,
) -> list[int]:  # fmt: skip
    """Render a region of a take again as a new take; returns its number. What `report` raises ends the work."""
    region = (asked.start, min(asked.end, film.seconds))
    sampling = chosen_sampling(pipeline, asked)
    steps = sampling.num_inference_steps

    def step(number: int) -> None:
        report(number / steps, f"region, step {number} of {steps}")

    report(0.0, "region")
    output = rerender_region(pipeline, request, sampling, parent.audio(), *region, callback=step)
    return [keep_take(pipeline, film, request, output, parent=parent.number, region=region).number]


def keep_take(
    pipeline: FoleyGRAMPipeline,
    film: Film,
    request: SoundRequest,
    output: FoleyOutput,
    *,
    parent: int | None = None,
    region: tuple[float, float] | None = None,
) -> KeptTake:
    """Score a take and write it into the film's folder; the oldest goes once there are `MAX_KEPT_TAKES`."""
    score = score_take(pipeline, request.video, output, prompts=window_prompts(request, pipeline.spec))
    _, obtained = envelopes_of_take(output.audio.mean(0), output.sample_rate, output.envelope)
    folder = Path(tempfile.mkdtemp(prefix="take-", dir=film.folder))
    samples, sound = folder / "samples.npy", folder / "sound.wav"
    np.save(samples, output.audio.numpy(), allow_pickle=False)
    write_audio(sound, output.audio, output.sample_rate, markers=onset_markers(output.audio, output.sample_rate))
    with film.lock:
        take = KeptTake(
            film.next_take, request.seed, score, output.envelope, Envelope(obtained.numpy(), ENVELOPE_RATE), samples,
            sound, output.sample_rate, tuple(segment_edges(request)), parent, region,
        )  # fmt: skip
        film.next_take += 1
        film.takes[take.number] = take
        while len(film.takes) > MAX_KEPT_TAKES:
            film.takes.pop(next(iter(film.takes)))
    return take


def ranks(film: Film) -> dict[int, int]:
    """Rank of each take by its number, 1 for the best."""
    takes = list(film.takes.values())
    order = rank_takes([take.score for take in takes])
    return {takes[index].number: rank for rank, index in enumerate(order, start=1)}
