"""Insertion hallucination: how often a still video with an envelope of zeros gets audible sound."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foleygram.benchmark.report import Finding
from foleygram.distributed import progress_bar
from foleygram.envelope.envelope import Envelope
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import SoundRequest, VideoInput

PROMPTS = (None, "hits metal", "hits water", "hits wood", "hits glass", "scratches plastic")
AUDIBLE_DBFS = -50.0
"""A clip that peaks above this level is not silent."""
FAINTEST_DBFS = -180.0


def insertion_hallucination(
    pipeline: FoleyGRAMPipeline,
    frame: Tensor,
    reference_audio: Tensor,
    *,
    options: Mapping[str, Any],
    num_seeds: int = 20,
    batch_size: int = 8,
    show_progress: bool = False,
) -> Finding:
    """Share of clips above -50 dBFS of a still `frame` (3, S, S) uint8 with an envelope of zeros.

    `num_seeds` seeds for each of `PROMPTS`, with `reference_audio` (samples,) at 16 kHz and without one. `options` are
    keyword arguments of `pipeline.generate` for sampling. The levels are those of the model's output as it is.
    """
    still = _still(frame, pipeline)
    zeros = Envelope(np.zeros(pipeline.spec.num_envelope_values, np.float32), pipeline.spec.envelope_rate)
    kinds = [(prompt, reference) for prompt in PROMPTS for reference in (None, reference_audio)]
    encoded = [
        pipeline.encode(SoundRequest(still, prompt=prompt, reference_audio=reference, envelope=zeros))
        for prompt, reference in kinds
    ]
    requests = [one.with_seed(seed) for one in encoded for seed in range(num_seeds)]
    peaks: list[float] = []
    with progress_bar("silence", len(requests), shown=show_progress) as advance:
        for first in range(0, len(requests), batch_size):
            outputs = pipeline.generate(requests[first : first + batch_size], **options)
            peaks += [float(output.audio.abs().max()) for output in outputs]
            advance(len(peaks))
    levels = 20 * np.log10(np.maximum(peaks, 10 ** (FAINTEST_DBFS / 20))).reshape(len(kinds), num_seeds)
    rows = tuple(
        (
            prompt or "no prompt",
            "with" if reference is not None else "none",
            f"{(peak > AUDIBLE_DBFS).sum()}",
            f"{max(peak):.1f}",
        )
        for (prompt, reference), peak in zip(kinds, levels, strict=True)
    )
    audible = int((levels > AUDIBLE_DBFS).sum())
    text = (
        f"Still video, zero envelope: {audible} of {levels.size} clips peak above {AUDIBLE_DBFS:g} dBFS, the "
        f"loudest at {levels.max():.1f} dBFS."
    )
    columns = ("prompt", "reference", f"audible of {num_seeds}", "loudest, dBFS")
    metrics = {"audible_share": audible / levels.size, "loudest_dbfs": float(levels.max()), "num_clips": levels.size}
    return Finding("Silence (insertion hallucination)", text, columns, rows, metrics)


def _still(frame: Tensor, pipeline: FoleyGRAMPipeline) -> VideoInput:
    """A video of one clip's length that shows `frame` (3, S, S) throughout."""
    spec = pipeline.spec
    motion = torch.zeros(spec.num_motion_frames, 3, spec.motion_size, spec.motion_size, dtype=torch.uint8)
    return VideoInput(
        spec.seconds, frame.expand(1, spec.num_frames, -1, -1, -1), motion, torch.zeros(spec.num_motion_frames)
    )
