"""How frames become squares: what a release says, what is read, and that older caches count as squashed."""

import itertools
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from foleygram.datasets.cache import check_manifest
from foleygram.datasets.clip import read_clip
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.media.video import read_frames, read_squares
from foleygram.pipeline.release import read_index
from foleygram.pipeline.request import read_video
from foleygram.spec import ClipSpec, read_spec

ROOT = Path(__file__).parents[2]
RATES = {"seconds": 2.0, "sample_rate": 16_000, "audio_channels": 1, "latent_hop": 512, "num_frames": 2}


def test_a_crop_is_the_middle_of_the_frame_in_its_proportions(rendered: Path) -> None:
    video = min(rendered.glob("*_denoised.mp4"))
    times = np.array([0.5, 1.2])
    whole = read_frames(video, times, size=32, squash=False).frames
    height, width = whole.shape[-2:]
    assert min(height, width) == 32 < max(height, width)  # the rendered videos are wide
    left = round((width - 32) / 2)
    found = read_squares(video, times, size=32, transform="crop")
    assert torch.equal(found, whole[..., :, left : left + 32])
    squashed = read_squares(video, times, size=32)
    assert torch.equal(squashed, read_frames(video, times, size=32).frames)
    assert found.shape == squashed.shape and not torch.equal(found, squashed)


def test_training_and_generating_use_the_release_s_frame_transform(rendered: Path) -> None:
    for transform in ("squash", "crop"):
        spec = ClipSpec(**RATES, image_size=32, motion_size=32, frame_transform=transform)
        clip = GreatestHits(rendered, "train", spec=spec, fields=("frames",)).clips[0]
        frames = read_clip(clip, spec, ("frames",), fast=False)["frames"]
        times = np.array([0.5, 1.5])
        assert torch.equal(frames, read_squares(clip.video_path, times, size=32, transform=transform))
        assert torch.equal(read_video(clip.video_path, spec).frames[0], frames)


def test_the_miniature_keeps_its_own_and_the_papers_size_has_grams() -> None:
    assert ClipSpec(**read_index(ROOT / "checkpoints" / "mini")["spec"]).frame_transform == "squash"
    assert read_spec(ROOT / "configs" / "greatest_hits" / "clip.yaml").frame_transform == "crop"
    with pytest.raises(ValueError, match="frame_transform is 'stretch': write squash or crop"):
        ClipSpec(frame_transform="stretch")  # type: ignore[arg-type]


def test_a_cache_without_the_field_is_one_of_squashed_frames() -> None:
    squash, crop = ClipSpec(), ClipSpec(frame_transform="crop")
    assert "frame_transform" not in squash.facts() and crop.facts() == asdict(crop)
    for cached, asked in itertools.product((squash, crop), repeat=2):
        manifest = {"fields": ["frames"], "identity": {"spec": cached.facts()}}
        if cached == asked:
            check_manifest(manifest, "cache", fields=["frames"], spec=asked)
        else:
            with pytest.raises(ValueError, match="frame_transform"):
                check_manifest(manifest, "cache", fields=["frames"], spec=asked)
