from fractions import Fraction

import av
import numpy as np
import pytest

from foleygram.benchmark.reencodings import REENCODINGS, cut, reencode_clip
from foleygram.datasets.clip import Clip
from foleygram.media.encoding import Encoding, encode
from foleygram.media.video import open_media, read_frames, video_stream

RATE, SECONDS = 15, 4.0
TIMES = np.arange(int(RATE * SECONDS)) / RATE


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A bright square that moves right by one pixel a frame, below a dark bar; 96 x 64."""
    frames = np.full((len(TIMES), 64, 96, 3), 90, np.uint8)
    frames[:, :16] = 20
    for number, frame in enumerate(frames):
        frame[30:46, number : number + 16] = 240
    path = tmp_path_factory.mktemp("reencodings") / "square.mp4"
    encode(path, frames, TIMES, Encoding(quality=0.95))
    return Clip("square", path, path, 0.0, SECONDS)


def times_of(path):
    with open_media(path) as container:
        stream = video_stream(path, container)
        return np.array([float(frame.time) for frame in container.decode(stream)])


@pytest.mark.parametrize("name", REENCODINGS)
def test_a_reencoding_shows_the_same_frames_upright_at_the_same_times(clip, tmp_path, name):
    path = reencode_clip(clip, REENCODINGS[name], tmp_path / "again.mp4")
    times = np.arange(3, 50) / RATE + 0.5 / RATE
    before, after = (read_frames(one, times, size=64, fast=False).frames.float() for one in (clip.video_path, path))
    difference = (before - after).abs().mean((1, 2, 3))
    turned = (before - after.rot90(1, (2, 3))).abs().mean()
    assert difference.median() < 6 < 15 < turned


def test_rates_and_lost_frames_are_those_that_are_named(clip, tmp_path):
    spacing = {
        name: np.diff(times_of(reencode_clip(clip, REENCODINGS[name], tmp_path / f"{name}.mp4")))
        for name in ("23.976 fps", "60 fps", "variable rate")
    }
    assert spacing["23.976 fps"] == pytest.approx(1001 / 24000, abs=1e-4)
    assert spacing["60 fps"] == pytest.approx(1 / 60, abs=1e-4)
    kept = np.delete(TIMES, np.s_[4::5])
    assert spacing["variable rate"] == pytest.approx(np.diff(kept), abs=1e-4)


def test_portrait_hevc_declares_a_quarter_turn(clip, tmp_path):
    path = reencode_clip(clip, REENCODINGS["portrait HEVC"], tmp_path / "portrait.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("hevc", 64, 96)


def test_a_cut_holds_the_clip_alone_and_a_whole_video_is_not_encoded_again(clip, tmp_path):
    assert cut(clip, tmp_path / "whole.mp4") == clip.video_path
    part = Clip("square", clip.video_path, clip.audio_path, 1.0, 2.0)
    times = times_of(cut(part, tmp_path / "part.mp4"))
    assert len(times) == 2 * RATE and times[0] == 0
    assert np.diff(times) == pytest.approx(float(Fraction(1, RATE)), abs=1e-4)


def test_a_clip_beyond_the_end_is_named(clip, tmp_path):
    with pytest.raises(ValueError, match="no frame from 9 to 11 s"):
        cut(Clip("square", clip.video_path, clip.audio_path, 9.0, 2.0), tmp_path / "none.mp4")
