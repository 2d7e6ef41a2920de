"""Which frame is on screen when, at any rate and any start; damaged files become MediaErrors."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foleygram.media.isolate import MediaError
from foleygram.media.video import motion_times, probe, read_frames, segment_draws, segment_middles

IRREGULAR = [Fraction(n, 1000) for n in (0, 33, 50, 117, 133, 300, 317, 350, 700, 717, 733, 900, 1500, 1517, 1800)]
RATES = [Fraction(15), Fraction(24_000, 1001), Fraction(25), Fraction(30), Fraction(30_000, 1001), Fraction(60)]


def expected_numbers(stamps, times):
    relative = np.array([float(stamp - stamps[0]) for stamp in stamps])
    return np.maximum(np.searchsorted(relative, np.asarray(times) + 1e-5, side="right") - 1, 0), relative


@pytest.mark.parametrize("fast", [False, True], ids=["pyav", "decord"])
@pytest.mark.parametrize("rate", [*RATES, None], ids=[*(f"{float(rate):.2f}" for rate in RATES), "variable"])
def test_each_time_gets_the_frame_on_screen(tmp_path, videos, rate, fast):
    stamps = videos.constant(rate, int(2 * rate)) if rate else IRREGULAR
    path = videos.write(tmp_path / "v.mp4", stamps)
    times = motion_times(0.0, 2.0, 30)
    frames, ages = read_frames(path, times, size=64, fast=fast)
    numbers, relative = expected_numbers(stamps, times)
    assert [videos.number_of(frame) for frame in frames] == list(numbers)
    assert np.allclose(ages.numpy(), np.maximum(times - relative[numbers], 0), atol=5e-5)
    assert frames.dtype == torch.uint8 and frames.shape == (60, 3, 64, 64)


@pytest.mark.parametrize("fast", [False, True], ids=["pyav", "decord"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".mov"])
def test_start_time_is_subtracted(tmp_path, videos, suffix, fast):
    stamps = videos.constant(25, 50, start=Fraction(7, 5))
    path = videos.write(tmp_path / f"v{suffix}", stamps)
    times = segment_middles(0.5, 1.0, 8)
    frames, _ = read_frames(path, times, size=64, fast=fast)
    assert [videos.number_of(frame) for frame in frames] == list(expected_numbers(stamps, times)[0])
    assert probe(path).duration_sec == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("fast", [False, True], ids=["pyav", "decord"])
def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path, videos, fast):
    """A file cut without re-encoding keeps frames before its start for decoding; they are not on screen."""
    whole, cut = videos.write(tmp_path / "whole.mp4", videos.constant(25, 50)), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                shift = round(Fraction(2, 5) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                target.mux(packet)
    frames, _ = read_frames(cut, np.array([0.0, 0.1, 1.0]), size=64, fast=fast)
    assert [videos.number_of(frame) for frame in frames] == [10, 12, 35]
    assert probe(cut).duration_sec == pytest.approx(1.6, abs=0.01)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.floats(0, 9), min_size=1, max_size=6).map(sorted))
def test_any_ascending_times(tmp_path_factory, videos, times):
    path = tmp_path_factory.getbasetemp() / "any_times.mp4"
    stamps = videos.constant(20, 160)
    if not path.exists():
        videos.write(path, stamps)
    frames, ages = read_frames(path, np.array(times), size=64)
    numbers, relative = expected_numbers(stamps, times)
    assert [videos.number_of(frame) for frame in frames] == list(numbers)
    assert np.allclose(ages, np.maximum(times - relative[numbers], 0), atol=1e-4)


def test_both_decoders_agree_and_apply_rotation(tmp_path, videos):
    path = videos.write(tmp_path / "turned.mp4", videos.constant(30, 20), rotation=90)
    slow, fast = (read_frames(path, np.array([0.35]), size=64, fast=fast).frames[0] for fast in (False, True))
    assert (slow.float() - fast.float()).abs().mean() < 2
    # number 10 has stripes 1 and 3 white; counterclockwise, the left of the frame comes to the bottom
    assert videos.number_of(slow.flip(1).transpose(1, 2)) == 10


def test_shrinking_is_antialiased(tmp_path):
    path = tmp_path / "fine.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv444p"
        picture = np.zeros((256, 256, 3), np.uint8)
        picture[:, ::2] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    small = read_frames(path, np.array([0.0]), size=32).frames.float()
    assert (small[..., 2:-2] - 127.5).abs().max() < 12


def test_times_must_ascend_and_may_be_none(tmp_path, videos):
    path = videos.write(tmp_path / "v.mp4", videos.constant(10, 5))
    assert read_frames(path, np.array([]), size=16).frames.shape == (0, 3, 16, 16)
    with pytest.raises(ValueError, match="ascend"):
        read_frames(path, np.array([1.0, 0.5]), size=16)
    with pytest.raises(ValueError, match="finite"):
        read_frames(path, np.array([np.nan]), size=16)


def test_grids():
    assert segment_middles(2.0, 4.0, 8)[[0, -1]] == pytest.approx([2.25, 5.75])
    drawn = np.stack([segment_draws(2.0, 4.0, 8, np.random.default_rng(seed)) for seed in range(200)])
    place = (drawn - 2.0) / 0.5 - np.arange(8)  # within its own segment, anywhere in it
    assert (place >= 0).all() and (place < 1).all() and place.min() < 0.05 and place.max() > 0.95
    assert abs(place.mean() - 0.5) < 0.03
    assert motion_times(1.0, 4.0, 30)[[0, -1]] == pytest.approx([1 + 1 / 60, 5 - 1 / 60])
    assert len(motion_times(0.0, 4.0, 30)) == 120


def test_probe_reads_size_codec_audio_and_duration(tmp_path, videos):
    sound = np.zeros((2, 16_000))
    path = videos.write(tmp_path / "une vidéo 鼓 #1%d?.mp4", videos.constant(15, 30), audio=sound)
    info = probe(path)
    assert (info.width, info.height, info.video_codec) == (*videos.size, "h264")
    assert (info.num_audio_channels, info.audio_rate, info.has_audio) == (2, 16_000, True)
    assert info.duration_sec == pytest.approx(2.0, abs=0.001)
    assert len(read_frames(path, segment_middles(0, 2, 4), size=16).frames) == 4
    assert not probe(videos.write(tmp_path / "mute.mp4", videos.constant(15, 30))).has_audio


def test_paths_that_look_like_urls_are_files(tmp_path, videos, monkeypatch):
    monkeypatch.chdir(tmp_path)
    videos.write(tmp_path / "v.mp4", videos.constant(15, 3)).rename("http:clip.mp4")
    assert probe(Path("http:clip.mp4")).width == videos.size[0]


def hostile_files(folder, videos):
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("This is no video.\n" * 50)
    (folder / "playlist.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    whole = videos.write(folder / "whole.mp4", videos.constant(30, 60)).read_bytes()
    (folder / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(folder / "sound only.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        block.sample_rate = 16_000
        container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    (folder / "sound only.m4a").rename(folder / "sound.mp4")
    (folder / "folder.mp4").mkdir()
    return ["empty", "text", "playlist", "truncated", "sound", "folder", "missing"]


def test_hostile_files_are_named_in_the_error(tmp_path, videos):
    for name in hostile_files(tmp_path, videos):
        path = tmp_path / f"{name}.mp4"
        for attempt in (lambda p: probe(p), lambda p: read_frames(p, np.array([0.0]), size=16)):
            with pytest.raises(MediaError, match=rf"{name}\.mp4: .*(;|is no video stream)"):
                attempt(path)


def test_absurd_stamps_and_sizes_are_refused(tmp_path, videos, monkeypatch):
    leap = videos.write(tmp_path / "leap.mp4", [0, Fraction(1, 25), 200])
    with pytest.raises(MediaError, match=r"leap\.mp4: its time stamps jump by 200 s"):
        probe(leap)
    crowd = videos.write(tmp_path / "crowd.mp4", videos.constant(2000, 200))
    with pytest.raises(MediaError, match=r"crowd\.mp4: 200 frames in 0\.1"):
        probe(crowd)
    monkeypatch.setattr("foleygram.media.video.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(MediaError, match=r"leap\.mp4: frames of 64 x 48 pixels"):
        probe(leap)


def test_frames_without_time_stamps_are_no_damage(tmp_path, videos):
    path = videos.write(tmp_path / "in.h264", videos.constant(25, 25), container_format="h264")
    with pytest.raises(MediaError, match=r"in\.h264: its frames have no time stamps; put it into MP4: ffmpeg -r 25"):
        probe(path)


def test_damage_in_the_middle_is_passed_over(tmp_path, videos):
    path = videos.write(tmp_path / "v.mp4", videos.constant(30, 90))
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][40]
        begin, end = packet.pos, packet.pos + packet.size
    data = path.read_bytes()
    path.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    frames, _ = read_frames(path, np.array([0.1, 2.9]), size=64)
    assert [videos.number_of(frame) for frame in frames] == [3, 87]


def test_file_cut_short_shows_its_last_frame(tmp_path, videos):
    path = videos.write(tmp_path / "v.ts", videos.constant(30, 90))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seconds = probe(path).duration_sec
    assert 0.3 < seconds < 2.5
    frames, ages = read_frames(path, np.array([0.2, seconds, 3.0]), size=64)
    assert videos.number_of(frames[0]) == 6 and torch.equal(frames[1], frames[2]) and ages[2] > 0.4


def test_frames_that_keep_their_proportions_are_scaled_as_pillow_scales(tmp_path):
    from PIL import Image

    path, picture = tmp_path / "wide.mkv", np.random.default_rng(0).integers(0, 256, (120, 214, 3), np.uint8)
    with av.open(str(path), "w") as target:
        stream = target.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 214, 120, "bgr0"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")), *stream.encode()]:
            target.mux(packet)
    (found,) = read_frames(path, np.zeros(1), size=64, squash=False).frames
    expected = np.asarray(Image.fromarray(picture).resize((114, 64), Image.Resampling.BILINEAR))
    assert np.abs(found.permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1
    (whole,) = read_frames(path, np.zeros(1), size=120, squash=False, fast=True).frames
    assert np.array_equal(whole.permute(1, 2, 0).numpy(), picture)
