"""The envelope of a video, without generating sound."""

from pathlib import Path

import torch

from foleygram.envelope.editing.files import CHOICES
from foleygram.envelope.editing.hits import RATE
from foleygram.envelope.envelope import Envelope
from foleygram.media.isolate import run_isolated, time_limit
from foleygram.media.video import probe
from foleygram.pipeline.conditions import envelope_of_request
from foleygram.pipeline.release import find_release, load_part, read_index
from foleygram.pipeline.request import VideoInput, envelope_of_video, read_video
from foleygram.spec import ClipSpec


def video_envelope(
    video: Path, source: str | Envelope, *, checkpoint: Path, device: str | torch.device = "cpu"
) -> Envelope:
    """The envelope of `video`, as long as its video stream; at 125 values per second unless predicted.

    `source` is "predicted", by the predictor of the release folder `checkpoint`; "audio", measured on the video's own
    sound; or an Envelope, which is cut or padded with silence. Raises MediaError if the video or its sound cannot be
    read.
    """
    if source == "predicted":
        return predicted_envelope(video, checkpoint, device)
    seconds = _length(video)
    if isinstance(source, str):
        if source not in CHOICES:
            raise ValueError(f"envelope is {source!r}: give {', '.join(CHOICES)} or an Envelope")
        own: Envelope = run_isolated(envelope_of_video, video, ClipSpec(), timeout_sec=time_limit(seconds))
        source = own
    return source.resampled(RATE).slice(0.0, seconds)


def predicted_envelope(video: Path, checkpoint: Path, device: str | torch.device = "cpu") -> Envelope:
    """The envelope that `generate` predicts for `video`; loads only the predictor."""
    checkpoint = find_release(checkpoint)
    spec = ClipSpec(**read_index(checkpoint)["spec"])
    seen: VideoInput = run_isolated(read_video, video, spec, timeout_sec=time_limit(_length(video)))
    predictor = load_part(checkpoint, "envelope_predictor")
    return envelope_of_request(predictor.eval().to(device), seen, "predicted", spec)


def _length(video: Path) -> float:
    return float(run_isolated(probe, video, timeout_sec=time_limit(0.0)).duration_sec)
