"""FAVD's profiles, their networks, and embeddings of video frames."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from foleygram.evaluation.extraction import AudioClip, Extraction
from foleygram.evaluation.feature_cache import FeatureCache, Features
from foleygram.evaluation.networks.i3d import FRAME_RATE, I3D, SHORT_SIDE, STACK
from foleygram.evaluation.networks.i3d import WHERE as WHERE_I3D
from foleygram.evaluation.networks.pwc import WHERE as WHERE_PWC
from foleygram.evaluation.networks.pwc import PWCNet
from foleygram.evaluation.networks.vggish import WHERE as WHERE_VGGISH
from foleygram.evaluation.networks.vggish import Output, VGGish
from foleygram.files import content_hash
from foleygram.media.isolate import run_isolated
from foleygram.media.video import motion_times, probe, read_frames

STACKS_AT_ONCE = 8
"""Embeddings per read of a video: about 70 MB of frames."""


class Profile(NamedTuple):
    """Networks of a profile: I3D on frames, with or without I3D on PWC-Net's optical flow, and VGGish's output."""

    flow: Literal["corners not aligned", "corners aligned"] | None
    """Sampling mode of PWC-Net: see `PWCNet`."""
    sound: Output


PROFILES = {
    "favd-rgb-pwc-vggish": Profile("corners not aligned", "raw"),
    "favd-rgb-pwc-aligned-vggish": Profile("corners aligned", "raw"),
    "favd-rgb-pwc-vggish-quantised": Profile("corners not aligned", "quantised"),
    "favd-rgb-vggish": Profile(None, "raw"),
    "favd-rgb-vggish-quantised": Profile(None, "quantised"),
}
"""Each is a metric of its own; the first is the published one (PEAVS)."""


class WeightFile(NamedTuple):
    """A weight file's name pattern, and where to get it."""

    pattern: str
    where: str


RGB, FLOW = WeightFile("i3d_rgb.pt", WHERE_I3D), WeightFile("i3d_flow.pt", WHERE_I3D)
PWC = WeightFile("pwc_net_sintel.pt", WHERE_PWC)
VGGISH, PCA = WeightFile("vggish-*.pth", WHERE_VGGISH), WeightFile("vggish_pca_params*", WHERE_VGGISH)


def load_profile(name: str, weights: str | Path) -> tuple[I3D, VGGish]:
    """The networks of a profile, from a folder of weights; no file is replaced by another profile's.

    Raises FileNotFoundError naming every missing file and where to get it, ValueError for an unknown profile and for
    files that do not fit.
    """
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}")
    profile, weights = PROFILES[name], Path(weights)
    needed = [RGB, VGGISH, *([FLOW, PWC] if profile.flow else []), *([PCA] if profile.sound == "quantised" else [])]
    paths = {file: path for file in needed if (path := min(weights.glob(file.pattern), default=None))}
    missing = [f"{weights / file.pattern}: missing; {file.where}" for file in needed if file not in paths]
    if missing:
        raise FileNotFoundError(f"{name} is left out: {'; '.join(missing)}")
    sound = VGGish.from_weights(paths[VGGISH], output=profile.sound, pca_path=paths.get(PCA))
    estimator = (
        PWCNet.from_weights(paths[PWC], align_corners=profile.flow == "corners aligned") if profile.flow else None
    )
    return I3D.from_weights(paths[RGB], flow_path=paths.get(FLOW), estimator=estimator), sound


def extract_videos(
    clips: Sequence[AudioClip],
    network: I3D,
    *,
    cache: FeatureCache | None = None,
    progress: Callable[[int], None] | None = None,
) -> Extraction:
    """Embeddings of the videos of clips: one per 24 frames at 25 fps, so that they pair with VGGish's every 0.96 s.

    Frames are those on screen in the middle of each 25th of a second, their short side 256. A video that cannot be
    read or is shorter than 25 frames becomes a failure that names it; the other clips are embedded.
    """
    features: list[Features | None] = []
    failures: dict[int, str] = {}
    for index, clip in enumerate(clips):
        try:
            features.append(_video_features(clip, network, cache))
        except (ValueError, OSError) as error:
            features.append(None)
            failures[index] = f"{error}; it is left out"
        if progress:
            progress(index + 1)
    return Extraction(features, failures)


def _video_features(clip: AudioClip, network: I3D, cache: FeatureCache | None) -> Features:
    key: dict[str, Any] = {"start": clip.start, "seconds": clip.seconds, "embedder": dict(network.identity)}
    if cache is not None and clip.path.is_file():
        key["content"] = content_hash(clip.path)
        cached = cache.read(key)
        if cached is not None:
            return cached
    seconds = run_isolated(probe, clip.path).duration_sec - clip.start if clip.seconds is None else clip.seconds
    times = motion_times(clip.start, seconds, FRAME_RATE)
    count = (len(times) - 1) // STACK
    if count < 1:
        raise ValueError(f"{clip}: {max(0.0, seconds):g} s of video, but I3D needs {(STACK + 1) / FRAME_RATE:g} s")
    parts: list[Tensor] = []
    for first in range(0, count, STACKS_AT_ONCE):
        last = min(count, first + STACKS_AT_ONCE)
        stretch = times[first * STACK : last * STACK + 1]
        frames = run_isolated(read_frames, clip.path, stretch, size=SHORT_SIDE, squash=False).frames
        parts.append(network(rearrange(frames.unfold(0, STACK + 1, STACK), "n c h w t -> n t c h w")))
    embeddings = torch.cat(parts)
    if not bool(torch.isfinite(embeddings).all()):
        raise ValueError(f"{clip}: its embeddings hold values that are not finite")
    features = Features(embeddings, len(embeddings), peak=1.0)
    if cache is not None:
        cache.write(key, features)
    return features
