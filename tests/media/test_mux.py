"""The video's packets are copied unchanged, the sound is in sync with them, and a failure leaves nothing behind."""

import resource
import signal
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from foleygram.media import mux as muxing
from foleygram.media.audio import read_audio
from foleygram.media.isolate import MediaError
from foleygram.media.video import probe, read_frames


def mux(*arguments, **options):
    """The file that is written."""
    return muxing.mux(*arguments, **options).path


IRREGULAR = [Fraction(n, 90) for n in (0, 3, 5, 11, 12, 30, 33, 36, 70, 71, 90, 120, 150, 160, 170, 180)]

FRAME = {"aac": 1024, "flac": 0, "opus": 320, "pcm_s16le": 0}
"""Samples of one audio frame, by which a sound may be longer than what was written."""


def packets(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        origin = stream.start_time or 0
        return [
            (bytes(packet), (packet.pts - origin) * stream.time_base, (packet.dts - origin) * stream.time_base)
            for packet in container.demux(stream)
            if packet.size
        ]


def contents(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


def clicking(times, seconds, rate, channels=1):
    audio = torch.zeros(channels, round(seconds * rate))
    for moment in times:
        audio[:, round(moment * rate) : round(moment * rate) + 6] = 0.8
    return audio


@pytest.mark.parametrize("start", [Fraction(0), Fraction(7, 5)], ids=["at 0", "at 1.4 s"])
@pytest.mark.parametrize("seconds", [0.7, 2.0, 3.5])
def test_packets_and_their_times_are_kept(tmp_path, videos, start, seconds):
    path = videos.write(tmp_path / "in.mp4", [start + stamp for stamp in IRREGULAR])
    out = mux(path, clicking((0.3,), seconds, 16_000), 16_000, tmp_path / "out é.mp4")
    assert out == tmp_path / "out é.mp4"
    assert packets(out) == packets(path)
    assert probe(out).duration_sec == pytest.approx(probe(path).duration_sec, abs=1e-6)
    sound = read_audio(out, sample_rate=16_000)
    assert seconds <= sound.shape[1] / 16_000 < seconds + 0.15
    assert sound[0].abs().argmax() / 16_000 == pytest.approx(0.3, abs=0.002)
    assert {item.name for item in tmp_path.iterdir()} == {"in.mp4", "out é.mp4"}


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 17_000])
def test_rates_and_channels(tmp_path, videos, rate):
    path = videos.write(tmp_path / "in.mp4", videos.constant(25, 25), audio=np.zeros((1, 16_000)))
    audio = clicking((0.5,), 1.0, rate, channels=2)
    audio[1] = 0
    out = mux(path, audio, rate, tmp_path / "out.mp4")
    info = probe(out)
    assert (info.num_audio_channels, info.audio_rate) == (2, rate if rate != 17_000 else 48_000)
    left, right = read_audio(out, sample_rate=info.audio_rate, channels=2)
    assert left.abs().max() > 10 * right.abs().max()
    assert left.abs().argmax() / info.audio_rate == pytest.approx(0.5, abs=0.002)
    with av.open(str(out)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix", "written"),
    [
        ("libvpx", "yuv420p", ".webm", ".mkv"),
        ("ffv1", "yuv420p", ".mkv", ".mkv"),
        ("rawvideo", "yuv420p", ".avi", ".mkv"),
        ("mpeg4", "yuv420p", ".avi", ".mp4"),
        ("libx264", "yuv420p", ".ts", ".mp4"),
        ("libsvtav1", "yuv420p", ".mkv", ".mp4"),  # read by a decoder of another name, that has no encoder
        ("libx264", "yuv420p", ".mkv", ".mp4"),
    ],
)
def test_container_follows_the_codec(tmp_path, videos, codec, pixels, suffix, written):
    path = videos.write(tmp_path / f"in{suffix}", videos.constant(30, 30), codec=codec, pixels=pixels)
    out = mux(path, clicking((0.5,), 1.0, 16_000), 16_000, tmp_path / "out.mp4")
    assert out == tmp_path / f"out{written}"
    times = np.array([0.05, 0.55, 0.95])
    assert torch.equal(read_frames(out, times, size=64).frames, read_frames(path, times, size=64).frames)
    assert [videos.number_of(frame) for frame in read_frames(out, times, size=64).frames] == [1, 16, 28]
    assert probe(out).video_codec == {"libvpx": "vp8", "libx264": "h264", "libsvtav1": "av1"}.get(codec, codec)


@pytest.mark.parametrize(
    ("picture", "suffix", "codec", "written", "heard"),
    [
        ("libx264", ".mp4", None, ".mp4", "aac"),
        ("libx264", ".mp4", "flac", ".mp4", "flac"),
        ("libx264", ".mp4", "opus", ".mp4", "opus"),
        ("libx264", ".mov", None, ".mov", "aac"),
        ("libx264", ".mov", "pcm", ".mov", "pcm_s16le"),
        ("libx264", ".mkv", "flac", ".mkv", "flac"),
        ("libx264", ".mkv", "pcm", ".mkv", "pcm_s16le"),
        ("libvpx", ".webm", None, ".webm", "opus"),
        ("libx264", ".webm", None, ".mkv", "opus"),
        ("ffv1", ".mp4", None, ".mkv", "flac"),
        ("libvpx", ".mov", "pcm", ".mkv", "pcm_s16le"),
    ],
)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_containers_and_sound_codecs(tmp_path, videos, picture, suffix, codec, written, heard, rate):
    path = videos.write(tmp_path / "in.mkv", videos.constant(Fraction(24_000, 1001), 50), codec=picture)
    audio = clicking((0.5, 1.5), 50 * 1001 / 24_000, rate)
    out = mux(path, audio, rate, tmp_path / f"out{suffix}", codec=codec)
    assert out.suffix == written
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.name == heard
    assert contents(out) == contents(path)
    sound = read_audio(out, sample_rate=48_000)[0]
    assert probe(out).duration_sec == pytest.approx(probe(path).duration_sec, abs=0.01)
    assert len(sound) / 48_000 == pytest.approx(audio.shape[1] / rate, abs=FRAME[heard] / min(rate, 16_000) + 1e-3)
    assert sound[:48_000].abs().argmax() / 48_000 == pytest.approx(0.5, abs=0.002)
    again = mux(path, audio, rate, tmp_path / f"again{suffix}", codec=codec)
    assert again.read_bytes() == out.read_bytes()


def test_rotation_and_pixel_shape_are_kept(tmp_path, videos):
    path = videos.write(tmp_path / "in.mp4", videos.constant(25, 10), rotation=90)
    out = mux(path, clicking((), 1.0, 16_000), 16_000, tmp_path / "out.mp4")
    assert torch.equal(*(read_frames(p, np.array([0.1]), size=64).frames for p in (path, out)))
    with av.open(str(out)) as container:
        assert next(container.decode(video=0)).rotation == 90
    wide = tmp_path / "wide.mp4"
    with av.open(str(wide), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    with av.open(str(mux(wide, clicking((), 1.0, 16_000), 16_000, out))) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


def test_frames_hidden_by_an_edit_list_stay_hidden(tmp_path, videos):
    whole, cut = videos.write(tmp_path / "whole.mp4", videos.constant(25, 50)), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                shift = round(Fraction(2, 5) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                target.mux(packet)
    out = mux(cut, clicking((1.0,), 1.6, 16_000), 16_000, tmp_path / "out.mp4")
    frames, _ = read_frames(out, np.array([0.0, 0.1, 1.0]), size=64)
    assert [videos.number_of(frame) for frame in frames] == [10, 12, 35]
    assert read_audio(out, sample_rate=16_000)[0].abs().argmax() / 16_000 == pytest.approx(1.0, abs=0.002)


def test_silence_and_no_sample_at_all(tmp_path, videos):
    path = videos.write(tmp_path / "in.mp4", videos.constant(25, 25))
    out = mux(path, torch.zeros(1, 16_000), 16_000, tmp_path / "out.mp4")
    assert not read_audio(out, sample_rate=16_000).any()
    assert packets(mux(path, torch.zeros(1, 0), 16_000, tmp_path / "none.mp4")) == packets(path)


def test_refusals_name_what_is_wrong(tmp_path, videos):
    path, audio = videos.write(tmp_path / "in.mp4", videos.constant(25, 5)), torch.zeros(1, 1_600)
    with pytest.raises(ValueError, match=r"out\.avi.*\.mp4, \.mov, \.mkv"):
        mux(path, audio, 16_000, tmp_path / "out.avi")
    with pytest.raises(ValueError, match=r"out\.webm: aac does not go into it; there are opus"):
        mux(path, audio, 16_000, tmp_path / "out.webm", codec="aac")
    with pytest.raises(ValueError, match=r"\(3, 1600\)"):
        mux(path, audio.expand(3, -1), 16_000, tmp_path / "out.mp4")
    with pytest.raises(ValueError, match="finite"):
        mux(path, audio / 0, 16_000, tmp_path / "out.mp4")
    with pytest.raises(OSError, match=r"out\.mp4"):
        mux(path, audio, 16_000, tmp_path / "no such folder" / "out.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"text\.mp4"):
        mux(tmp_path / "text.mp4", audio, 16_000, tmp_path / "out.mp4")
    assert {item.name for item in tmp_path.iterdir()} == {"in.mp4", "text.mp4"}


@pytest.mark.parametrize("limit", [0, 3_000, 12_000])
def test_full_disk_leaves_nothing_and_keeps_the_old_file(tmp_path, videos, limit):
    path = videos.write(tmp_path / "in.mp4", videos.constant(25, 100))
    out = tmp_path / "out.mp4"
    out.write_bytes(b"earlier")
    noise = torch.rand(1, 64_000) - 0.5
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"out\.mp4: cannot be written"):
            mux(path, noise, 16_000, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert out.read_bytes() == b"earlier"
    assert {item.name for item in tmp_path.iterdir()} == {"in.mp4", "out.mp4"}
