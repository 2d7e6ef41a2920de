"""A user's video, edits and takes, without a browser; the page's fields mean the same as the command line."""

import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from foleygram import FoleyGRAMPipeline
from foleygram.app.limits import Limits
from foleygram.app.session import Session, close_session, make_take, open_session, own_sound, region_edit
from foleygram.app.uploads import read_content, read_mono
from foleygram.envelope.editing.edits import add_hit, gain, mute, quantise, shift
from foleygram.envelope.editing.files import read_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import read_audio, write_audio
from foleygram.media.isolate import MediaError
from foleygram.media.video import probe
from foleygram.pipeline.request import SoundRequest
from foleygram.production.batch_runner import Sampling, take_seed
from foleygram.spec import ClipSpec

LIMITS = Limits(seconds=10.0)
SPEC = ClipSpec(seconds=2.0, num_frames=2, image_size=16, motion_size=32)
HITS = draw_hits([Hit(0.5, 0.2), Hit(1.26, 0.1)], seconds=2.0)


@pytest.fixture(scope="module")
def video(rendered: Path) -> Path:
    return min(rendered.glob("*.mp4"))


@pytest.fixture(scope="module")
def pipeline(tiny_release: Path) -> FoleyGRAMPipeline:
    return FoleyGRAMPipeline.from_pretrained(tiny_release)


@pytest.fixture(scope="module")
def opened(pipeline: FoleyGRAMPipeline, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return open_session(pipeline, video, tmp_path_factory.mktemp("page"), LIMITS)


@pytest.fixture
def session(opened: Session) -> Session:
    return replace(opened, source=HITS, envelope=HITS)


def edited(session: Session, name: str, start=0.4, end=1.0, amount=None) -> Session:
    return session.edited(*region_edit(session, name, start, end, amount))


def test_an_opened_video_has_a_predicted_envelope_and_a_film_strip(opened, pipeline, video) -> None:
    assert np.array_equal(opened.envelope.values, pipeline.envelope_of(opened.content.seen).values)
    info = probe(video)
    assert opened.content.info == info and opened.seconds == info.duration_sec and opened.edits == ()
    assert len(opened.content.frames) == round(1000 / (84 * info.width / info.height))
    assert all(frame.startswith("data:image/jpeg;base64,") for frame in opened.content.frames)
    assert opened.folder.is_dir()


@pytest.mark.parametrize(
    ("name", "amount", "expected", "text"),
    [
        ("gain", -6.0, lambda e: gain(e, -6.0, 0.4, 1.0), "--gain 0.400:1.000:-6dB"),
        ("mute", None, lambda e: mute(e, 0.4, 1.0), "--mute 0.400:1.000"),
        ("shift", 120, lambda e: shift(e, 0.12, 0.4, 1.0), "--shift 0.400:1.000:120ms"),
        ("add-hit", "", lambda e: add_hit(e, 0.4), "--add-hit 0.400"),
        ("add-hit", " -20dB ", lambda e: add_hit(e, 0.4, 0.1), "--add-hit 0.400:-20dB"),
        ("quantise", None, lambda e: quantise(e, 24000 / 1001), "--quantise 24000/1001"),
    ],
)
def test_a_button_does_what_the_option_does(session, name, amount, expected, text) -> None:
    info = replace(session.content.info, frame_rate=23.976023976023978)
    after = edited(replace(session, content=session.content._replace(info=info)), name, amount=amount)
    assert np.array_equal(after.envelope.values, expected(HITS).values)
    assert after.command() == text
    assert np.array_equal(session.envelope.values, HITS.values)  # unchanged


def test_a_hit_is_removed_by_its_time(session) -> None:
    after = edited(session, "remove-hit", start=1.3)
    assert after.envelope.onsets() == pytest.approx([0.5], abs=0.01) and after.command() == "--remove-hit 1.300"


def test_edits_compose_and_are_undone_one_by_one(session) -> None:
    once = edited(session, "mute")
    twice = edited(once, "add-hit", start=1.6, amount="")
    assert twice.command() == "--mute 0.400:1.000 --add-hit 1.600"
    assert twice.envelope.onsets() == pytest.approx([1.26, 1.6], abs=0.01)
    assert np.array_equal(twice.undone().envelope.values, once.envelope.values)
    assert np.array_equal(twice.undone().undone().envelope.values, HITS.values)
    with pytest.raises(ValueError, match="no edit to undo"):
        session.undone()


def test_another_envelope_is_fitted_to_the_length_of_the_video(session) -> None:
    after = edited(session, "mute").started_from(Envelope(HITS.at(np.arange(250) / 250), 250.0))
    assert after.edits == () and after.source is after.envelope
    assert after.envelope.rate == HITS.rate and after.envelope.seconds == pytest.approx(session.seconds, abs=0.005)
    assert after.envelope.values[:120] == pytest.approx(HITS.values[:120], abs=1e-6)
    assert not after.envelope.values[126:].any()
    with pytest.raises(ValueError, match="full scale is 1"):
        session.started_from(gain(HITS, 20.0, 0.4, 1.0))


@pytest.mark.parametrize(
    ("name", "start", "end", "amount", "message"),
    [
        ("mute", 0.5, 0.5, None, "select a time span first"),
        ("mute", None, 1.0, None, "fill in From"),
        ("gain", 0.4, None, 3.0, "fill in To"),
        ("gain", 0.4, 1.0, None, "in dB"),
        ("shift", 0.4, 1.0, math.nan, "in ms"),
        ("gain", 50.0, 60.0, 1.0, "outside the envelope"),
        ("add-hit", 0.4, 1.0, "loud", "not a number"),
        ("add-hit", 0.4, 1.0, "6dB", "is not between 0 and 1"),
        ("remove-hit", 1.9, 2.0, None, "no hit within 100 ms"),
        ("gain", 0.4, 1.0, 20.0, r"the level reaches 1\.9\d* at .* full scale is 1"),
    ],
)
def test_invalid_fields_are_reported(session, name, start, end, amount, message) -> None:
    with pytest.raises(ValueError, match=message):
        edited(session, name, start, end, amount)


def test_a_video_without_a_frame_rate_has_no_frames_to_snap_to(session) -> None:
    info = replace(session.content.info, frame_rate=0.0)
    with pytest.raises(ValueError, match="no frame rate"):
        edited(replace(session, content=session.content._replace(info=info)), "quantise")


def test_a_video_beyond_the_limit_is_refused_by_name_and_leaves_nothing(pipeline, video, tmp_path) -> None:
    with pytest.raises(MediaError, match=rf"{video.name}: .* s long, the limit is 1.5 s"):
        open_session(pipeline, video, tmp_path, Limits(seconds=1.5))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_video_is_refused_by_name(tmp_path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"notes\.mp4"):
        read_content(tmp_path / "notes.mp4", SPEC, LIMITS)


def test_a_rotated_video_fills_the_strip(video, tmp_path) -> None:
    turned = tmp_path / "turned.mp4"
    with av.open(str(video)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    info = probe(turned)
    data = bytearray(turned.read_bytes())
    at = data.index((0x10000).to_bytes(4, "big") + bytes(12) + (0x10000).to_bytes(4, "big"), data.index(b"tkhd"))
    quarter = [0, 0x10000, 0, (-0x10000) & 0xFFFFFFFF, 0, 0, info.height << 16, 0, 0x40000000]
    data[at : at + 36] = b"".join(value.to_bytes(4, "big") for value in quarter)
    turned.write_bytes(data)
    content = read_content(turned, SPEC, LIMITS)
    assert len(content.frames) == round(1000 / (84 * info.height / info.width))


def test_sounds_are_cut_at_the_limit_and_silence_is_refused(tmp_path) -> None:
    tone = 0.1 * torch.sin(torch.arange(48_000) / 10)[None]
    write_audio(tmp_path / "long.wav", tone, 16_000)
    assert read_mono(tmp_path / "long.wav", 8_000, Limits(seconds=1.0)).shape == (8_000,)
    write_audio(tmp_path / "silent.wav", 0 * tone, 16_000)
    with pytest.raises(MediaError, match="silent"):
        read_mono(tmp_path / "silent.wav", 16_000, LIMITS)


def test_a_videos_own_sound_gives_its_envelope(opened, pipeline) -> None:
    expected = Envelope.from_audio(read_audio(opened.video, sample_rate=16_000), 16_000)
    assert own_sound(opened, pipeline.spec, LIMITS).values == pytest.approx(expected.values, abs=1e-6)


def test_a_take_is_three_consistent_files_and_removed_with_its_session(pipeline, video, tmp_path) -> None:
    session = open_session(pipeline, video, tmp_path, LIMITS)
    session = session.started_from(draw_hits([Hit(0.5, 0.2)], seconds=session.seconds))
    request = SoundRequest(session.content.seen, 3, "wood", envelope=session.envelope)
    steps: list[int] = []
    take = make_take(pipeline, session, request, Sampling(2, 3.0), number=2, progress=steps.append)
    assert (take.take.number, take.take.seed, steps) == (2, take_seed(3, 2), [1, 2])
    assert {path.name for path in (take.video, take.sound, take.curve)} == {
        f"{video.stem}-take2{suffix}" for suffix in (".mp4", ".wav", ".csv")
    }
    assert read_envelope(take.curve).values == pytest.approx(session.envelope.values, abs=1e-6)
    sound = read_audio(take.sound, sample_rate=16_000)
    assert sound.shape[1] == round(session.seconds * 16_000)
    assert probe(take.video).has_audio and probe(take.video).duration_sec == pytest.approx(session.seconds, abs=1e-3)
    again = make_take(pipeline, session, replace(request, seed=take.take.seed), Sampling(2, 3.0), number=1)
    assert torch.equal(read_audio(again.sound, sample_rate=16_000), sound) and again.sound != take.sound
    assert take.obtained.values == pytest.approx(Envelope.from_audio(sound, 16_000).values, abs=1e-4)
    close_session(session)
    assert list(tmp_path.iterdir()) == [] and video.exists()
    close_session(None)
