"""How frames become squares: what a release says, what is read, and that older caches count as squashed."""

import itertools
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
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


def write_still(path: Path, picture: np.ndarray, shape: Fraction, turn: int) -> Path:
    """A lossless film of one picture (height, width, 3), its pixels of `shape`, turned by `turn` degrees."""
    with av.open(str(path), "w") as target:
        stream: Any = target.add_stream("ffv1", rate=1)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "bgr0"
        stream.codec_context.sample_aspect_ratio = shape
        stream.set_display_rotation(turn)
        target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(stream.encode(None))
    return path


def disc(width: int) -> np.ndarray:
    """A picture (90, width, 3) of a disc before a ramp from left to right and one from top to bottom."""
    y, x = np.mgrid[:90, :width]
    inside = np.hypot(x + 0.5 - width / 2, y + 0.5 - 45) < 25
    return np.stack([255 * inside, 255 * x / width, 255 * y / 90], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("turn", [0, 90])
@pytest.mark.parametrize(
    ("shape", "shown"), [(Fraction(2), 256), (Fraction(1, 2), 64), (Fraction(45, 64), 90), (Fraction(999), 128)]
)
def test_a_crop_of_oblong_pixels_is_that_of_the_film_as_a_player_shows_it(
    tmp_path: Path, shape: Fraction, shown: int, turn: int
) -> None:
    picture = disc(shown)
    columns = ((np.arange(128) + 0.5) * shown / 128).astype(int)
    oblong = write_still(tmp_path / "oblong.mp4", picture[:, columns], shape, turn)
    square = write_still(tmp_path / "square.mp4", picture, Fraction(1), turn)
    found, expected = (read_squares(path, np.zeros(1), size=45, transform="crop") for path in (oblong, square))
    assert found.shape == (1, 3, 45, 45)
    assert (found.float() - expected.float()).abs().mean() < 3


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
