"""ComfyUI's VIDEO, IMAGE and AUDIO as what foleygram's pipeline takes; nothing here imports ComfyUI."""

import io
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from foleygram.media.audio import resample
from foleygram.media.motion import SAME_RATE
from foleygram.media.video import Frames, motion_times
from foleygram.pipeline.request import REFERENCE_RATE, VideoInput, envelope_of_sound, read_video, sample_video
from foleygram.spec import ClipSpec


def read_input(video: Any | None, images: Tensor | None, fps: float, spec: ClipSpec) -> VideoInput:
    """What a model of `spec` needs of a VIDEO, or of an IMAGE batch shown at `fps`.

    Raises ValueError unless exactly one of them is connected, MediaError for a video that cannot be read.
    """
    if (video is None) == (images is None):
        raise ValueError("connect either video or images, one of them")
    if images is not None:
        return read_images(images, fps, spec)
    # ComfyUI before cropping has no such method: its videos show their stream's frames.
    if getattr(video, "has_pending_frame_edits", lambda: False)():
        shown = video.get_components()
        return read_images(shown.images, float(shown.frame_rate), spec)
    with stream_of(video) as path:
        start, seconds = trim_window(video)
        return read_video(path, spec, start=start, seconds=seconds)


@contextmanager
def stream_of(video: Any) -> Iterator[Path]:
    """The file of a VIDEO; a stream in memory is written to a temporary one."""
    source = video.get_stream_source()
    if not isinstance(source, io.BytesIO):
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stream.mkv"  # the content tells the container
        path.write_bytes(source.getvalue())
        yield path


def trim_window(video: Any) -> tuple[float, float | None]:
    """Start and length in seconds of the part of its stream that a VIDEO shows; None: to the end."""
    # ComfyUI before trimming has no such method: its videos show the whole stream.
    start, seconds = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
    return start, seconds or None


def read_images(images: Tensor, fps: float, spec: ClipSpec) -> VideoInput:
    """What a model of `spec` needs of an IMAGE batch (B, H, W, C), values 0 to 1, shown at `fps` per second."""
    if images.ndim != 4 or not len(images) or images.shape[-1] not in (3, 4):
        raise ValueError(f"images of shape {tuple(images.shape)}: connect an IMAGE batch (frames, height, width, 3)")
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"fps is {fps}: give the frame rate of the images")

    square = partial(_cropped if spec.frame_transform == "crop" else _squashed, size=spec.image_size)
    rate = spec.motion_frame_rate
    step = max(1, math.ceil(fps / rate - SAME_RATE))  # as `read_motion` leaves frames out

    def motion(reach: float) -> Frames:
        times = motion_times(0.0, reach, rate)
        return _shown(images[::step], fps / step, times, partial(_squashed, size=spec.motion_size))

    return sample_video(lambda times: _shown(images, fps, times, square).frames, motion, len(images) / fps, spec)


def _shown(images: Tensor, fps: float, times: np.ndarray, square: Callable[[Tensor], Tensor]) -> Frames:
    """The images shown at `times`, made square, and how long each had been there."""
    indices = np.clip(np.floor(times * fps + 1e-6), 0, len(images) - 1).astype(int)
    small = {int(index): square(images[index]) for index in np.unique(indices)}
    ages = torch.from_numpy(times - indices / fps).float().clamp_min(0)
    return Frames(torch.stack([small[int(index)] for index in indices]), ages)


def _cropped(image: Tensor, size: int) -> Tensor:
    """uint8 (3, size, size) from the middle of an image (H, W, C) whose shorter side is scaled to `size`."""
    pixels = (image[..., :3].float().cpu().clamp(0, 1) * 255).round().permute(2, 0, 1)
    sides = [int(size * side / min(pixels.shape[1:])) for side in pixels.shape[1:]]
    scaled = interpolate(pixels[None], sides, mode="bilinear", antialias=True, align_corners=False)[0]
    top, left = (round((side - size) / 2) for side in sides)
    return scaled[:, top : top + size, left : left + size].round().to(torch.uint8)


def _squashed(image: Tensor, size: int) -> Tensor:
    """uint8 (3, size, size) of an image (H, W, C), scaled as frames of video files are."""
    pixels = (image[..., :3].float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    scaled = frame.reformat(width=size, height=size, format="rgb24", interpolation="BICUBIC").to_ndarray()
    return torch.from_numpy(scaled).permute(2, 0, 1).contiguous()


def mono(audio: dict[str, Any] | None) -> tuple[Tensor, int] | None:
    """Mono sound (samples,) and rate in Hz of the first item of an AUDIO; None for no AUDIO, or one without samples."""
    waveform = None if audio is None else audio.get("waveform")
    if audio is None or waveform is None or not waveform.numel():
        return None
    return waveform.reshape(-1, *waveform.shape[-2:])[0].detach().float().cpu().mean(0), int(audio["sample_rate"])


def reference_of(audio: dict[str, Any] | None) -> Tensor | None:
    """A reference sound (samples,) at 16 kHz of an AUDIO; None for none."""
    found = mono(audio)
    return None if found is None else resample(found[0][None], found[1], REFERENCE_RATE)[0]


def envelope_of_audio(audio: dict[str, Any] | None, spec: ClipSpec) -> Any:
    """The envelope of an AUDIO; raises ValueError for one without sound."""
    found = mono(audio)
    if found is None or not found[0].any():
        raise ValueError("the audio is missing or silent, so it has no envelope; connect one with sound")
    return envelope_of_sound(*found, spec)
