"""FAVD's profiles by name: which networks each is made of, whether they are at hand, and rows of the picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from foleygram.evaluation.extraction import AudioClip, Extraction
from foleygram.evaluation.feature_cache import FeatureCache, Features
from foleygram.evaluation.networks import pwc, raft
from foleygram.evaluation.networks.i3d import FRAME_RATE, I3D, SHORT_SIDE, STACK, FlowEstimator
from foleygram.evaluation.networks.i3d import WHERE as WHERE_I3D
from foleygram.evaluation.networks.pwc import PWCNet
from foleygram.evaluation.networks.vggish import WHERE as WHERE_VGGISH
from foleygram.evaluation.networks.vggish import Output, VGGish
from foleygram.files import content_hash
from foleygram.media.isolate import run_isolated
from foleygram.media.video import motion_times, probe, read_frames

STACKS_AT_ONCE = 8
"""Rows made of one reading of a video: about 70 MB of frames."""


class Profile(NamedTuple):
    """What a profile is made of: I3D on pictures, alone or with I3D on motion by PWC-Net or RAFT; VGGish's output."""

    motion: Literal["pwc", "raft"] | None
    sound: Output


PROFILES = {
    "favd-rgb-pwc-vggish": Profile("pwc", "raw"),
    "favd-rgb-pwc-vggish-quantised": Profile("pwc", "quantised"),
    "favd-rgb-raft-vggish": Profile("raft", "raw"),
    "favd-rgb-raft-vggish-quantised": Profile("raft", "quantised"),
    "favd-rgb-vggish": Profile(None, "raw"),
    "favd-rgb-vggish-quantised": Profile(None, "quantised"),
}
"""Each is a figure of its own; the first is the published one (PEAVS)."""


class Needed(NamedTuple):
    """A weight file by pattern, and where it is to be had."""

    pattern: str
    where: str


RGB, FLOW = Needed("i3d_rgb.pt", WHERE_I3D), Needed("i3d_flow.pt", WHERE_I3D)
PWC, RAFT = Needed("pwc_net_sintel.pt", pwc.WHERE), Needed("raft_large*.pth", raft.WHERE)
VGGISH, PCA = Needed("vggish-*.pth", WHERE_VGGISH), Needed("vggish_pca_params*", WHERE_VGGISH)


def lacking(name: str, weights: str | Path) -> list[str]:
    """What a profile lacks, and how to get it; empty where a folder of weights and the packages have it all.

    Raises ValueError listing the profiles for a name that is none.
    """
    found = _found(_profile(name), Path(weights))
    reasons = [f"{Path(weights) / one.pattern}: missing; {one.where}" for one, path in found.items() if path is None]
    if _profile(name).motion == "raft" and not raft.has_torchvision():
        reasons.append(raft.WITHOUT)
    return reasons


def load_profile(name: str, weights: str | Path) -> tuple[I3D, VGGish]:
    """The networks of a profile, from a folder of weights; never others in their place.

    Raises FileNotFoundError saying what is lacking and how to get it, ValueError for an unknown name or files that do
    not fit.
    """
    reasons = lacking(name, weights)
    if reasons:
        raise FileNotFoundError(f"{name} is left out: {'; '.join(reasons)}")
    profile = _profile(name)
    paths = {needed: path for needed, path in _found(profile, Path(weights)).items() if path is not None}
    sound = VGGish.from_weights(paths[VGGISH], output=profile.sound, pca_path=paths.get(PCA))
    estimator: FlowEstimator | None = None
    if profile.motion is not None:
        estimator = PWCNet.from_weights(paths[PWC]) if profile.motion == "pwc" else raft.Raft.from_weights(paths[RAFT])
    return I3D.from_weights(paths[RGB], flow_path=paths.get(FLOW), estimator=estimator), sound


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; there are {', '.join(PROFILES)}")
    return PROFILES[name]


def _found(profile: Profile, weights: Path) -> dict[Needed, Path | None]:
    motion = {None: [], "pwc": [FLOW, PWC], "raft": [FLOW, RAFT]}[profile.motion]
    needed = [RGB, VGGISH, *motion, *([PCA] if profile.sound == "quantised" else [])]
    return {one: min(weights.glob(one.pattern), default=None) for one in needed}


def extract_pictures(
    clips: Sequence[AudioClip],
    network: I3D,
    *,
    cache: FeatureCache | None = None,
    progress: Callable[[int], None] | None = None,
) -> Extraction:
    """Rows of the pictures of clips: one per 24 frames at 25 fps, so that they pair with VGGish's every 0.96 s.

    Frames are those on screen in the middle of each 25th of a second, their short side 256. A video that cannot be
    read or is shorter than 25 frames is a failure with a reason that names it, and the rest goes on.
    """
    features: list[Features | None] = []
    failures: dict[int, str] = {}
    for index, clip in enumerate(clips):
        try:
            features.append(_picture(clip, network, cache))
        except (ValueError, OSError) as error:
            features.append(None)
            failures[index] = f"{error}; it is left out"
        if progress:
            progress(index + 1)
    return Extraction(features, failures)


def _picture(clip: AudioClip, network: I3D, cache: FeatureCache | None) -> Features:
    key: dict[str, Any] = {"start": clip.start, "seconds": clip.seconds, "embedder": dict(network.identity)}
    if cache is not None and clip.path.is_file():
        key["content"] = content_hash(clip.path)
        kept = cache.read(key)
        if kept is not None:
            return kept
    seconds = run_isolated(probe, clip.path).duration_sec - clip.start if clip.seconds is None else clip.seconds
    times = motion_times(clip.start, seconds, FRAME_RATE)
    count = (len(times) - 1) // STACK
    if count < 1:
        raise ValueError(f"{clip}: {max(0.0, seconds):g} s of picture, of which I3D needs {(STACK + 1) / FRAME_RATE:g}")
    parts: list[Tensor] = []
    for first in range(0, count, STACKS_AT_ONCE):
        last = min(count, first + STACKS_AT_ONCE)
        stretch = times[first * STACK : last * STACK + 1]
        frames = run_isolated(read_frames, clip.path, stretch, size=SHORT_SIDE, squash=False).frames
        parts.append(network(rearrange(frames.unfold(0, STACK + 1, STACK), "n c h w t -> n t c h w")))
    rows = torch.cat(parts)
    if not bool(torch.isfinite(rows).all()):
        raise ValueError(f"{clip}: its rows hold values that are not finite")
    found = Features(rows, len(rows), peak=1.0)
    if cache is not None:
        cache.write(key, found)
    return found
