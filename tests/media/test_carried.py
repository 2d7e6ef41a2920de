"""A film keeps what it carried: tags, display data, tracks; what a container cannot hold is named."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from foleygram.media.audio import read_audio
from foleygram.media.extras import contents, missing_contents, subtitle_text
from foleygram.media.isolate import MediaError
from foleygram.media.mux import FORMATS, SOUNDS, Film, mux
from foleygram.media.video import probe, read_frames

RATE = 48_000
SILENCE = torch.zeros(1, RATE)


def delivered(path: Path, suffix: str, **options: str) -> Film:
    return mux(path, SILENCE, RATE, path.with_name(f"out{suffix}"), **options)


def add_sound(container, codec="aac", language="und", seconds=1.0):
    sound = container.add_stream(codec, rate=RATE, layout="mono")
    sound.metadata["language"] = language
    block = av.AudioFrame.from_ndarray(np.zeros((1, round(seconds * RATE)), np.float32), format="fltp", layout="mono")
    block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), 0
    return sound, block


def encode(container, stream, count=25):
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """A film with tags, chapters, a time code, wide pixels, colour, two sound tracks, subtitles."""
    path = tmp_path / "rich.mov"
    with av.open(str(path), "w") as container:
        container.metadata.update(title="My Film", artist="Someone", creation_time="2020-01-01T00:00:00.000000Z")
        clock = {"time_base": Fraction(1, 1000)}
        container.set_chapters(
            [
                {"id": n, "start": 500 * n, "end": 500 * n + 500, "metadata": {"title": f"part {n}"}, **clock}
                for n in (0, 1)
            ]
        )
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        stream.codec_context.color_primaries = 1
        stream.codec_context.color_trc = 1
        stream.codec_context.colorspace = 1
        stream.set_display_rotation(90)
        stream.metadata["timecode"] = "10:00:00:00"
        sounds = [add_sound(container, language=language) for language in ("eng", "fra")]
        subtitles = container.add_mux_stream("mov_text")
        subtitles.time_base = Fraction(1, 1000)
        subtitles.metadata["language"] = "spa"
        encode(container, stream)
        for sound, block in sounds:
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
        text = av.Packet("\0\4Tür".encode())
        text.pts = text.dts = 200
        text.duration, text.time_base, text.stream = 300, Fraction(1, 1000), subtitles
        container.mux(text)
    return path


def test_the_fixture_holds_what_it_should(rich: Path) -> None:
    held = contents(rich)
    assert held["tag title"] == "My Film" and held["start time code"] == "10:00:00:00" and held["rotation"] == "90"
    assert held["chapter 1"] == "part 0" and held["aspect ratio"] == "85.3:48" and held["colour"].startswith("1/1/1")
    assert {"sound track 1 (aac, fra)", "subtitles 1 (text, spa)"} <= held.keys()
    assert probe(rich).start_timecode == "10:00:00:00"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_everything_is_kept(rich: Path, suffix: str) -> None:
    film = delivered(rich, suffix)
    assert (film.path.suffix, film.notes) == (suffix, ())
    assert missing_contents(contents(rich), contents(film.path)) == []
    with av.open(str(film.path)) as container:
        (track,) = container.streams.subtitles
        cues = [packet for packet in container.demux(track) if packet.size > 2]
        assert [subtitle_text(bytes(cue), track.codec_context.name) for cue in cues] == ["Tür"]
        assert cues[0].pts * cues[0].time_base == Fraction(1, 5)
        assert [int(stream.disposition) & 1 for stream in container.streams.audio] == [1, 0]
        assert [chapter["start"] * chapter["time_base"] for chapter in container.chapters()] == [0, Fraction(1, 2)]


@pytest.mark.parametrize("text", ["{\\b1}A\\NB", "0,0,Default,,0,0,0,,{\\b1}A\\NB"])
def test_styles_of_subtitles_become_plain_text(text: str) -> None:
    assert subtitle_text(text.encode(), "ass") == "A\nB"


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
@pytest.mark.parametrize(
    ("source", "suffix", "kept"),
    [(".mp4", ".mp4", True), (".mp4", ".mkv", True), (".mkv", ".mp4", True), (".mp4", ".mov", False)],
)
def test_a_cover_is_kept_or_named(tmp_path: Path, codec: str, source: str, suffix: str, kept: bool) -> None:
    path = tmp_path / f"cover{source}"
    made = av.CodecContext.create(codec, "w")
    made.width, made.height, made.time_base = 16, 16, Fraction(1, 1)
    made.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}[codec]
    (packet,) = [*made.encode(av.VideoFrame(16, 16, made.pix_fmt)), *made.encode(None)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if source == ".mkv":
            kind = codec.replace("m", "", 1) if codec == "mjpeg" else codec
            container.add_attachment(f"cover.{kind}", f"image/{kind}", bytes(packet))
        else:
            cover = container.add_stream(codec, rate=1)
            cover.width, cover.height, cover.pix_fmt = 16, 16, made.pix_fmt
            cover.disposition = av.stream.Disposition.attached_pic
            packet.stream, packet.pts, packet.dts = cover, 0, 0
        encode(container, stream)
        if source == ".mp4":
            container.mux(packet)
    assert contents(path)["cover"] == "yes"
    film = delivered(path, suffix)
    assert film.notes == (() if kept else (f"{suffix[1:]} does not hold cover",))
    assert ("cover" in contents(film.path)) == kept


def test_what_a_container_cannot_hold_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["mood"] = "gloomy"
        container.add_attachment("font.ttf", "font/ttf", b"glyphs")
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sounds = [add_sound(container), add_sound(container, "flac", "eng")]
        encode(container, stream)
        for sound, block in sounds:
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    assert delivered(path, ".mkv").notes == ()
    (note,) = delivered(path, ".mov").notes
    assert note.startswith("mov does not hold attachment 1") and "sound track 1 (flac, eng)" in note
    assert "tag mood" in note


@pytest.mark.parametrize("tag", ["hvc1", "hev1"])
def test_hevc_keeps_its_tag(tmp_path: Path, tag: str) -> None:
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.codec_tag = tag
        encode(container, stream)
    for suffix in (".mp4", ".mov"):
        with av.open(str(delivered(path, suffix).path)) as container:
            assert container.streams.video[0].codec_tag == tag
    through = delivered(path, ".mkv").path.rename(tmp_path / "through.mkv")
    with av.open(str(mux(through, SILENCE, RATE, tmp_path / "apple.mp4").path)) as container:
        assert container.streams.video[0].codec_tag == "hvc1"  # the one that Apple's players read


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_hdr_data_is_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "in.mp4"
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"x265-params": f"log-level=none:{light}"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, 16, 9, 1
        encode(container, stream)
    held = contents(path)
    assert held["colour"] == "9/16/9/1" and {"mastering display metadata", "content light level"} <= held.keys()
    film = delivered(path, suffix)
    assert film.notes == () and missing_contents(held, contents(film.path)) == []


@pytest.mark.parametrize(("profile", "pixels"), [("0", "yuv422p10le"), ("3", "yuv422p10le"), ("4", "yuva444p10le")])
def test_prores_keeps_its_kind(tmp_path: Path, profile: str, pixels: str) -> None:
    path = tmp_path / "in.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("prores_ks", rate=25, options={"profile": profile})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        encode(container, stream, 3)
    for suffix in (".mov", ".mkv"):
        film = delivered(path, suffix)
        with av.open(str(path)) as before, av.open(str(film.path)) as after:
            assert after.streams.video[0].codec_tag == before.streams.video[0].codec_tag
            assert next(after.decode(video=0)).format.name == next(before.decode(video=0)).format.name


def test_frames_that_an_edit_list_hides_stay_hidden_in_every_container(tmp_path: Path, videos) -> None:
    whole, cut = videos.write(tmp_path / "whole.mp4", videos.constant(25, 50)), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                shift = round(Fraction(2, 5) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copied
                target.mux(packet)
    for suffix, written in {".mp4": ".mp4", ".mov": ".mov", ".mkv": ".mov", ".webm": ".mov"}.items():
        film = delivered(cut, suffix)
        assert film.path.suffix == written
        assert bool(film.notes) == (suffix != written) and all("hidden by an edit list" in note for note in film.notes)
        with av.open(str(film.path)) as container:
            shown = [frame for frame in container.decode(video=0) if frame.pts >= 0]
        assert len(shown) == 40 and probe(film.path).duration_sec == pytest.approx(1.6, abs=0.01)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_of_an_avi_are_shown_in_their_order(tmp_path: Path, videos, suffix: str) -> None:
    numbered = videos.write(tmp_path / "in.mp4", videos.constant(25, 50))
    path = tmp_path / "in.avi"
    with av.open(str(numbered)) as source, av.open(str(path), "w") as target:  # which knows only when they are decoded
        stream = source.streams.video[0]
        assert stream.codec_context.has_b_frames
        annexb = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
        copied = target.add_stream_from_template(stream)
        copied.time_base = Fraction(1, 25)
        packets = [made for packet in source.demux(stream) if packet.size for made in annexb.filter(packet)]
        for number, packet in enumerate(packets):
            packet.time_base, packet.pts, packet.dts, packet.stream = Fraction(1, 25), number, number, copied
            target.mux(packet)
    times = (np.arange(50) + 0.5) / 25
    assert [videos.number_of(frame) for frame in read_frames(path, times, size=64).frames] == list(range(50))
    film = delivered(path, suffix)
    assert [videos.number_of(frame) for frame in read_frames(film.path, times, size=64).frames] == list(range(50))
    assert probe(film.path).duration_sec == pytest.approx(2.0, abs=1e-3)


VIDEOS = {
    "H.264": ("libx264", "yuv420p", ".mp4"),
    "HEVC": ("libx265", "yuv420p", ".mp4"),
    "AV1": ("libsvtav1", "yuv420p", ".mp4"),
    "VP9": ("libvpx-vp9", "yuv420p", ".webm"),
    "VP8": ("libvpx", "yuv420p", ".webm"),
    "MPEG-4": ("mpeg4", "yuv420p", ".mp4"),
    "MPEG-2": ("mpeg2video", "yuv420p", ".mpg"),
    "MJPEG": ("mjpeg", "yuvj420p", ".mov"),
    "ProRes": ("prores_ks", "yuv422p10le", ".mov"),
    "DNxHR": ("dnxhd", "yuv422p", ".mov"),
    "DV": ("dvvideo", "yuv420p", ".mov"),
    "FFV1": ("ffv1", "yuv420p", ".mkv"),
    "raw": ("rawvideo", "yuv420p", ".avi"),
    "CineForm": ("cfhd", "yuv422p10le", ".mov"),
    "Animation": ("qtrle", "rgb24", ".mov"),
    "v210": ("v210", "yuv422p10le", ".mov"),
    "PNG": ("png", "rgb24", ".mov"),
    "JPEG 2000": ("jpeg2000", "yuv420p", ".mov"),
    "H.263": ("h263", "yuv420p", ".3gp"),
    "MPEG-1": ("mpeg1video", "yuv420p", ".mpg"),
}
"""Encoder, pixel format and the container of the source for each line of the table."""
PAGE = (Path(__file__).parents[2] / "docs" / "containers.md").read_text()


def written_in_docs(name: str) -> list[str]:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in row.strip("|").split("|")[1:]]


def write_codec(path: Path, codec: str, pixels: str, timecode: str | None = None) -> Path:
    size = {"dnxhd": (256, 120), "dvvideo": (720, 576), "h263": (176, 144)}.get(codec, (64, 48))
    options = {"dnxhd": {"profile": "dnxhr_sq"}, "libx265": {"x265-params": "log-level=none"}}.get(codec, {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        if timecode:
            stream.metadata["timecode"] = container.metadata["timecode"] = timecode
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), 9 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VIDEOS)
def test_the_table_of_codecs_and_containers_is_true(tmp_path: Path, name: str) -> None:
    codec, pixels, own = VIDEOS[name]
    path = write_codec(tmp_path / f"in{own}", codec, pixels)
    with av.open(str(path)) as container:
        before = [frame.to_ndarray() for frame in container.decode(video=0)]
    found = []
    for suffix in FORMATS:
        film = delivered(path, suffix)
        with av.open(str(film.path)) as container:
            after = [frame.to_ndarray() for frame in container.decode(video=0)]
        assert len(after) == len(before) and all(np.array_equal(*pair) for pair in zip(before, after, strict=True))
        found.append(film.path.suffix[1:])
        assert bool(film.notes) == (film.path.suffix != suffix)
    assert written_in_docs(name) == found


@pytest.mark.parametrize(("codec", "pixels", "suffix"), [("wmv2", "yuv420p", ".wmv"), ("utvideo", "yuv420p", ".avi")])
def test_a_video_that_no_container_carries_is_named(tmp_path: Path, codec: str, pixels: str, suffix: str) -> None:
    path = write_codec(tmp_path / f"in{suffix}", codec, pixels)
    with pytest.raises(MediaError, match=rf"in\{suffix}: no container here carries its video \({codec}\); re-encode"):
        delivered(path, ".mp4")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", ["10:00:00:00", "00:00:00:00"])
@pytest.mark.parametrize(("name", "suffixes"), [("ProRes", [".mov", ".mkv"]), ("DNxHR", [".mov"]), ("MJPEG", [".mp4"])])
def test_the_start_time_code_of_every_codec_is_kept(tmp_path: Path, name: str, suffixes: list[str], start: str) -> None:
    codec, pixels, own = VIDEOS[name]
    path = write_codec(tmp_path / f"in{own}", codec, pixels, timecode=start)
    assert probe(path).start_timecode == start
    for suffix in suffixes:
        film = delivered(path, suffix)
        assert (film.path.suffix, film.notes) == (suffix, ())
        assert probe(film.path).start_timecode == start


@pytest.mark.parametrize(("own", "suffix"), [(".ts", ".mp4"), (".m2ts", ".mp4"), (".mts", ".mov")])
def test_hevc_of_a_transport_stream_gets_the_tag_that_apple_reads(tmp_path: Path, own: str, suffix: str) -> None:
    path = write_codec(tmp_path / f"in{own}", "libx265", "yuv420p")
    with av.open(str(path)) as before, av.open(str(delivered(path, suffix).path)) as after:
        assert after.streams.video[0].codec_tag == "hvc1"
        decoded = [[frame.to_ndarray() for frame in container.decode(video=0)] for container in (before, after)]
    assert len(decoded[0]) == 25 and np.array_equal(*decoded)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_what_phones_write_about_a_film_is_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "in.mov"
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["com.apple.quicktime.make"] = "Apple"
        container.metadata["com.apple.quicktime.location.ISO6709"] = "+48.1-011.6+500/"
        container.metadata["creation_time"] = "2020-01-01T00:00:00.000000Z"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        encode(container, stream)
    held = contents(path)
    assert held["tag com.apple.quicktime.make"] == "Apple" and "tag creation_time" in held
    film = delivered(path, suffix)
    assert film.notes == () and missing_contents(held, contents(film.path)) == []


def test_a_camera_s_file_is_named_by_what_it_loses_alone(tmp_path: Path) -> None:
    """The numbers by which MXF names itself and its writer are no contents of the film."""
    path = write_codec(tmp_path / "in.mxf", "mpeg2video", "yuv422p", timecode="10:00:00:00")
    for suffix in (".mov", ".mp4", ".mkv"):
        film = delivered(path, suffix)
        assert (film.path.suffix, film.notes, probe(film.path).start_timecode) == (suffix, (), "10:00:00:00")


def test_packets_of_two_frames_are_taken_apart(tmp_path: Path, videos) -> None:
    """As DivX and Xvid write B-frames into AVI: a packet with the next frame too, then one that stands for it."""
    path = tmp_path / "in.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.max_b_frames = 64, 48, "yuv420p", 1
        packets = []
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            packets += [bytes(packet) for packet in stream.encode(frame)]
        first, *others = packets + [bytes(packet) for packet in stream.encode(None)]
        packed = [b"\0\0\1\xb2DivX503b1393p" + first]
        for reference, between in zip(others[::2], others[1::2], strict=True):
            packed += [reference + between, b"\0\0\1\xb6\0\0"]
        for number, data in enumerate(packed):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, number == 0
            container.mux(packet)
    for suffix in (".mp4", ".mov", ".mkv"):
        with av.open(str(delivered(path, suffix).path)) as container:
            sizes = [bytes(packet).count(b"\0\0\1\xb6") for packet in container.demux(video=0) if packet.size]
            assert sizes == [1] * 25
        with av.open(str(delivered(path, suffix).path)) as container:
            shown = [(float(frame.time), round(frame.to_ndarray().mean())) for frame in container.decode(video=0)]
        assert [time for time, _ in shown] == pytest.approx(np.arange(25) / 25, abs=2e-3)
        assert [level for _, level in shown] == sorted({level for _, level in shown})


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize(("suffix", "codec"), [(suffix, name) for suffix, names in SOUNDS.items() for name in names])
def test_an_onset_is_at_its_time_for_every_player(tmp_path: Path, videos, suffix: str, codec: str, rate: int) -> None:
    """For one that honours time stamps, and for one that plays the decoded samples from the first on."""
    encoder = "libvpx" if suffix == ".webm" else "libx264"
    path = videos.write(tmp_path / "in.mkv", videos.constant(25, 75), codec=encoder)
    clock = torch.arange(3 * rate) / rate - 2
    click = torch.where(clock >= 0, 0.7 * torch.exp(-clock / 0.05) * torch.cos(2 * torch.pi * 1000 * clock), 0.0)
    film = mux(path, click[None], rate, tmp_path / f"out{suffix}", codec=codec)
    assert film.path.suffix == suffix

    def onset(samples: np.ndarray) -> float:
        return float(np.argmax(np.abs(samples) > 0.3 * np.abs(samples).max())) / RATE

    assert onset(read_audio(film.path, sample_rate=RATE)[0].numpy()) == pytest.approx(2.0, abs=1e-3)
    with av.open(str(film.path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        blocks = [block for frame in container.decode(audio=0) for block in resampler.resample(frame)]
        assert onset(np.concatenate([block.to_ndarray()[0] for block in blocks])) == pytest.approx(2.0, abs=1e-3)
    if codec == "aac" and suffix == ".mkv":  # no player has a delay to skip
        with av.open(str(film.path)) as container:
            assert next(packet for packet in container.demux(audio=0)).pts * Fraction(1, 1000) in (0, Fraction(1, 1000))


def test_a_sound_of_an_unknown_codec_does_not_fail_the_film(tmp_path: Path) -> None:
    path = tmp_path / "in.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        sound, block = add_sound(container, "pcm_s16le")
        block = av.AudioFrame.from_ndarray(np.zeros((1, RATE), np.int16), format="s16", layout="mono")
        block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), 0
        encode(container, stream)
        container.mux(sound.encode(block))
    data = path.read_bytes()
    assert data.count(b"sowt") == 1
    path.write_bytes(data.replace(b"sowt", b"apac"))
    assert probe(path).has_audio is False
    assert delivered(path, ".mp4").path.is_file()
    with pytest.raises(MediaError, match=r"in\.mov: its sound has an unknown codec; convert"):
        read_audio(path, sample_rate=RATE)
