"""Exported files: levels, stems, takes, lengths; and the record from which the same bytes are rendered again."""

import csv
import dataclasses
import json
import os
import shutil
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import read_audio
from foleygram.media.loudness import loudness
from foleygram.media.timeline import read_otio
from foleygram.media.video import probe
from foleygram.production.export import ExportOptions, Track, mix_with_original, parse_level, split_stems, write_track
from foleygram.production.manifest import WORK
from foleygram.production.provenance import current_environment


def tone(seconds, rate, hertz=440.0, level=0.1):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate, dtype=np.float32))[None]


@pytest.fixture(scope="module")
def sounding(tmp_path_factory):
    """A video of 2 s whose own track, stereo at 48 kHz, is a tone of 1 kHz."""
    import av

    path = tmp_path_factory.mktemp("sounding") / "sounding.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("flac", rate=48_000, layout="stereo")
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(tone(2.0, 48_000, 1000).repeat(2, 0), format="fltp", layout="stereo")
        block.sample_rate, block.pts, block.time_base = 48_000, 0, Fraction(1, 48_000)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    return path


def level(audio, rate, hertz):
    """Amplitude of one frequency in mono sound (samples,)."""
    times = torch.arange(len(audio)) / rate
    return float(2 * (audio * torch.exp(-2j * torch.pi * hertz * times)).mean().abs())


def test_the_original_is_mixed_with_its_gain(sounding):
    mixed, rate = mix_with_original(sounding, torch.from_numpy(tone(2.0, 16_000)), 16_000, -12.0)
    assert rate == 48_000 and mixed.shape == (2, 96_000)
    for channel in mixed:
        assert level(channel, rate, 1000) == pytest.approx(0.1 * 10 ** (-12 / 20), rel=0.02)
        assert level(channel, rate, 440) == pytest.approx(0.1, rel=0.02)


def test_stems_add_up_and_end_where_the_next_begins():
    audio = torch.from_numpy(tone(3.0, 16_000))
    parts = split_stems(audio, 16_000, (1.0, 2.5))
    assert [name for name, _ in parts] == ["1_0.00-1.00", "2_1.00-2.50", "3_2.50-3.00"]
    torch.testing.assert_close(sum(part for _, part in parts), audio)
    assert not parts[1][1][:, : round(0.98 * 16_000)].any() and not parts[1][1][:, round(2.52 * 16_000) :].any()
    torch.testing.assert_close(parts[1][1][:, 17_000:39_000], audio[:, 17_000:39_000])


def test_files_of_a_result(sounding, tmp_path):
    track = Track("clip", tone(2.0, 16_000), 16_000, (0.5,), ((2, tone(2.0, 16_000, 220)),))
    write_track(sounding, track, ExportOptions("mkv", "flac", -12.0, True, -20.0), tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    assert files == [
        "clip.mkv",
        "clip.wav",
        "stems/clip/1_0.00-0.50.wav",
        "stems/clip/2_0.50-2.00.wav",
        "takes/clip/2.wav",
    ]
    mixed = read_audio(tmp_path / "clip.mkv", sample_rate=48_000, channels=2)
    assert loudness(mixed, 48_000) == pytest.approx(-20, abs=0.1)
    own = read_audio(tmp_path / "clip.wav", sample_rate=16_000)[0]
    assert level(own, 16_000, 440) == pytest.approx(level(mixed[0], 48_000, 440), rel=0.02)  # one gain for all
    both = [read_audio(path, sample_rate=16_000)[0] for path in sorted((tmp_path / "stems/clip").iterdir())]
    torch.testing.assert_close(both[0] + both[1], own, atol=1e-4, rtol=0)


def knocks(times, seconds, rate):
    clock = np.arange(round(seconds * rate)) / rate
    decays = sum(np.where(clock >= time, np.exp(-(clock - time) / 0.03), 0.0) for time in times)
    return (0.3 * decays * np.random.default_rng(0).standard_normal(len(clock))).astype(np.float32).clip(-1, 1)[None]


def cue_times(path):
    """Times of the cue points of a mono 16-bit file, in seconds, read by the layout of the format."""
    wav = path.read_bytes()
    at, rate = wav.index(b"cue ") + 8, soundfile.info(path).samplerate
    return [struct.unpack_from("<I", wav, at + 4 + 24 * n + 20)[0] / rate for n in range(wav[at])]


def test_onsets_are_cue_points_and_on_timelines(sounding, tmp_path):
    times = [0.3, 0.9, 1.5]
    track = Track("clip", knocks(times, 2.0, 16_000), 16_000, (1.2,), ((2, knocks([0.5], 2.0, 16_000)),))
    write_track(sounding, track, ExportOptions(timeline=True), tmp_path)
    assert cue_times(tmp_path / "clip.wav") == pytest.approx(times, abs=0.013)
    assert cue_times(tmp_path / "takes/clip/2.wav") == pytest.approx([0.5], abs=0.013)
    table = list(csv.DictReader((tmp_path / "clip.reaper.csv").read_text().splitlines()))
    assert [row["#"] for row in table] == ["M1", "M2", "M3", "R1", "R2"]
    assert [float(row["Start"][5:]) for row in table] == pytest.approx([*times, 0.0, 1.2], abs=0.013)
    events = [line.split()[4] for line in (tmp_path / "clip.edl").read_text().splitlines() if " AX " in line]
    frames = [int(label[6:8]) * 25 + int(label[9:]) for label in events]  # 25 frames per second
    assert [frame / 25 for frame in frames] == pytest.approx(times, abs=0.02 + 0.013)
    timeline = read_otio(tmp_path / "clip.otio")
    assert [marker.time for marker in timeline.markers] == pytest.approx(times, abs=0.013)
    assert timeline.film == "clip.mp4" and timeline.seconds == pytest.approx(2.0)
    assert {clip.media for clip in timeline.clips} == {"clip.wav"} and timeline.clips[-1].end == 2.0
    assert [clip.start for clip in timeline.clips] == pytest.approx([0.0, *times], abs=0.013)


def test_a_timeline_plays_every_sample_of_every_stem(sounding, tmp_path):
    track = Track("clip", knocks([0.3, 0.9], 2.0, 16_000) + 0.01, 16_000, (0.613, 1.2))
    write_track(sounding, track, ExportOptions(timeline=True, stems=True), tmp_path)
    clips = read_otio(tmp_path / "clip.otio").clips
    assert len(clips) == 3
    for clip in clips:
        sound, rate = soundfile.read(tmp_path / clip.media)
        heard = np.flatnonzero(sound) / rate
        assert clip.start <= heard[0] and heard[-1] <= clip.end


def test_without_time_code_there_is_a_table_and_no_edl(write_flicker, tmp_path, monkeypatch):
    from foleygram.production import export

    video = write_flicker(tmp_path / "v.mp4", 1.0)
    odd = dataclasses.replace(probe(video), frame_rate=27.3)
    monkeypatch.setattr(export, "probe", lambda _: odd)
    written = write_track(video, Track("a", knocks([0.4], 1.0, 16_000), 16_000), ExportOptions(timeline=True), tmp_path)
    (note,) = written.deviations
    assert note.startswith("no edit decision list: 27.3 frames per second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a.reaper.csv", "a.wav", "v.mp4"]


def test_the_edl_starts_at_the_videos_time_code(write_flicker, tmp_path, monkeypatch):
    from foleygram.production import export

    video = write_flicker(tmp_path / "v.mp4", 1.0)
    coded = dataclasses.replace(probe(video), frame_rate=29.97, start_timecode="10:00:00:00")
    monkeypatch.setattr(export, "probe", lambda _: coded)
    write_track(video, Track("a", knocks([0.4], 1.0, 16_000), 16_000), ExportOptions(timeline=True), tmp_path)
    events = (tmp_path / "a.edl").read_text()
    assert "FCM: NON-DROP FRAME" in events and "* LOC: 10:00:00:12 " in events


def test_a_video_that_no_container_holds_leaves_the_wav(write_flicker, tmp_path, monkeypatch):
    monkeypatch.setattr("foleygram.media.mux.takes_codec", lambda *_: False)
    video = write_flicker(tmp_path / "v.mp4", 1.0)
    (note,) = write_track(video, Track("a", tone(1.0, 16_000), 16_000), ExportOptions(), tmp_path).deviations
    assert note.startswith("no film beside the WAV: ") and "re-encode it" in note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "v.mp4"]


def test_a_video_without_sound_has_nothing_to_mix(write_flicker, tmp_path):
    video = write_flicker(tmp_path / "v.mp4", 1.0)
    mixing = write_track(video, Track("a", tone(1.0, 16_000), 16_000), ExportOptions(mix_original_db=-6.0), tmp_path)
    assert mixing.deviations == ["--mix-original: the video has no sound to mix"]
    write_track(video, Track("b", tone(1.0, 16_000), 16_000), ExportOptions(), tmp_path)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_sound_above_full_scale_is_lowered_with_a_note(write_flicker, tmp_path):
    video, loud = write_flicker(tmp_path / "v.mp4", 1.0), tone(1.0, 16_000, level=2.0)
    (note,) = write_track(video, Track("a", loud, 16_000), ExportOptions(), tmp_path).deviations
    assert note == "lowered by 6.0 dB, or it would clip"
    heard = read_audio(tmp_path / "a.wav", sample_rate=16_000)
    torch.testing.assert_close(heard, torch.from_numpy(loud) / 2, atol=1e-4, rtol=0)
    take = write_track(video, Track("b", loud / 4, 16_000, others=((2, loud),)), ExportOptions(), tmp_path)
    assert take.deviations == [note]  # one gain for all


def test_a_loudness_that_the_peak_does_not_allow_is_named(write_flicker, tmp_path):
    video, click = write_flicker(tmp_path / "v.mp4", 1.0), np.zeros((1, 16_000), np.float32)
    click[0, 8_000] = 0.5
    (note,) = write_track(video, Track("a", click, 16_000), ExportOptions(lufs=-16.0), tmp_path).deviations
    assert "not -16: its peak allows no more" in note


def test_the_files_are_compared_with_the_envelope_asked_for(write_flicker, tmp_path):
    video, sound = write_flicker(tmp_path / "v.mp4", 2.0), knocks([0.3, 0.9, 1.5], 2.0, 16_000)
    right, wrong = (Envelope.from_audio(knocks(times, 2.0, 16_000), 16_000) for times in ([0.3, 0.9, 1.5], [0.6]))
    followed = write_track(video, Track("a", sound, 16_000, asked=right), ExportOptions(lufs=-30.0), tmp_path)
    assert followed.deviations == [] and followed.comparison.correlation > 0.999  # whatever the gain
    missed = write_track(
        video, Track("b", sound, 16_000, others=((2, sound),), asked=wrong), ExportOptions(), tmp_path
    ).deviations
    assert "1 of 1 onsets are missing" in missed and "take 2: 3 of its 3 onsets were not asked for" in missed


@pytest.mark.parametrize("text", ["12", "-12", "200dB", "-90dB", "nandB", "dB", "loud", "-12 Hz"])
def test_a_level_without_unit_or_beyond_sense_is_refused(text):
    with pytest.raises(ValueError, match=r"--mix-original .*: write a level from -60dB to 12dB"):
        parse_level(text)


def test_a_level_is_read_with_its_unit():
    assert [parse_level(text) for text in ("-12dB", "-12 db", " 0DB ")] == [-12, -12, 0]


def generate(*arguments):
    result = CliRunner().invoke(app, ["generate", *map(str, arguments)])
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def made(tiny_release, flickers, tmp_path_factory):
    """Results of a run with everything that a record holds: a reference, a segment, takes, stems."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(flickers, folder / "videos")
    soundfile.write(folder / "reference.wav", np.random.default_rng(0).normal(0, 0.1, 9_000), 22_050)
    result = generate(
        folder / "videos", "--out", folder / "out", "--checkpoint", tiny_release, "--device", "cpu", "--steps", 2,
        "--batch-size", 4, "--takes", 2, "--reference-audio", folder / "reference.wav", "--segment", "0:0.5:wood",
        "--container", "mkv", "--audio-codec", "opus", "--stems",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize("name", ["clip 1", "clip 2", "clip 3"])
def test_the_record_renders_the_same_bytes_again(made, tmp_path, name):
    again = generate("--from-sidecar", made / "out" / f"{name}.json", "--out", tmp_path / "again", "--device", "cpu")
    assert again.exit_code == 0, again.output
    assert again.output.count("same bytes") == 4 and not (tmp_path / "again" / WORK).exists()
    record = json.loads((made / "out" / f"{name}.json").read_text())
    for file in ["wav", "mkv"]:
        assert (tmp_path / "again" / f"{name}.{file}").read_bytes() == (made / "out" / f"{name}.{file}").read_bytes()
    assert json.loads((tmp_path / "again" / f"{name}.json").read_text())["seed"] == record["seed"]
    assert "Apache-2.0" in record["licence"] and record["versions"]["torch"] == torch.__version__


def test_the_dtype_is_recorded_and_keeps_results_apart(tiny_release, flickers, tmp_path):
    options = ("--checkpoint", tiny_release, "--device", "cpu", "--steps", 1)
    for name in ("float32", "bfloat16"):
        result = generate(flickers / "clip 0.mp4", "--out", tmp_path / name, *options, "--dtype", name)
        assert result.exit_code == 0, result.output
    whole, half = ((tmp_path / name / "clip 0.wav").read_bytes() for name in ("float32", "bfloat16"))
    assert whole != half
    kept = generate(flickers / "clip 0.mp4", "--out", tmp_path / "bfloat16", *options)
    assert "with other settings" in " ".join(kept.output.split())
    sidecar = tmp_path / "bfloat16" / "clip 0.json"
    assert json.loads(sidecar.read_text())["sampling"]["dtype"] == "bfloat16"
    again = generate("--from-sidecar", sidecar, "--out", tmp_path / "again", "--device", "cpu")
    assert again.exit_code == 0 and (tmp_path / "again" / "clip 0.wav").read_bytes() == half
    sidecar.write_text(sidecar.read_text().replace("bfloat16", "int3"))
    wrong = generate("--from-sidecar", sidecar, "--out", tmp_path / "new", "--device", "cpu")
    assert wrong.exit_code == 1 and "unknown dtype 'int3'" in wrong.output


def test_a_record_names_its_weights_by_absolute_path(tiny_release):
    here = current_environment(Path(os.path.relpath(tiny_release)), torch.device("cpu"))
    assert Path(here.checkpoint["folder"]).is_absolute() and tiny_release.samefile(here.checkpoint["folder"])


def test_a_record_whose_inputs_changed_is_refused(made, tmp_path, tiny_release):
    sidecar, out = made / "out" / "clip 0.json", tmp_path / "out"
    video = shutil.copy(made / "videos" / "clip 0.mp4", tmp_path / "moved.mp4")
    assert generate(video, "--from-sidecar", sidecar, "--out", out, "--device", "cpu").exit_code == 0
    refused = generate(video, "--from-sidecar", sidecar, "--out", out)
    assert refused.exit_code == 1 and "already exists" in refused.output
    with (tmp_path / "moved.mp4").open("ab") as file:
        file.write(b"x")
    changed = generate(video, "--from-sidecar", sidecar, "--out", tmp_path / "new")
    assert changed.exit_code == 1 and "moved.mp4: its content differs from what" in changed.output
    bracket = shutil.copy(sidecar, tmp_path / "shot[1].json")
    (tmp_path / "brackets").mkdir()
    (tmp_path / "brackets" / "shot[1].wav").write_bytes(b"mine")
    kept = generate(made / "videos" / "clip 0.mp4", "--from-sidecar", bracket, "--out", tmp_path / "brackets")
    assert kept.exit_code == 1 and "shot[1].wav: already exists" in kept.output
    assert (tmp_path / "brackets" / "shot[1].wav").read_bytes() == b"mine"
    for text in ("{}", "[1]", "not json", '{"format": 99}'):
        (tmp_path / "wrong.json").write_text(text)
        wrong = generate("--from-sidecar", tmp_path / "wrong.json", "--out", tmp_path / "new")
        assert wrong.exit_code == 1 and "not a record of foleygram" in wrong.output


def test_other_weights_are_reported_and_change_the_bytes(made, tmp_path):
    sidecar = made / "out" / "clip 4.json"
    record = json.loads(sidecar.read_text())
    record["checkpoint"]["index_sha256"] = "0" * 64
    record["seed"] += 1
    (tmp_path / "clip 4.json").write_text(json.dumps(record))
    again = generate("--from-sidecar", tmp_path / "clip 4.json", "--out", tmp_path / "out", "--device", "cpu")
    assert again.exit_code == 1 and "other weights than" in again.output
    assert again.output.count("differs from the record") == 4  # the sound, the video, both stems


@pytest.mark.parametrize("rate", [Fraction(24_000, 1001), Fraction(15), Fraction(50)])
def test_the_sound_is_as_long_as_the_video(tiny_release, tmp_path, write_flicker, rate):
    import av

    path, stamps = tmp_path / "v.mkv", [0, 1, 2, 5, 6, 7, 8, 15, 16, 17, 18, 19, 40]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), stamp, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(stamp / rate * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for container in ("mp4", "mov", "mkv"):
        out = tmp_path / container
        common = ("--checkpoint", tiny_release, "--steps", 1, "--device", "cpu", "--container", container)
        assert generate(path, "--out", out, *common).exit_code == 0
        seconds = probe(path).duration_sec
        assert probe(out / f"v.{container}").duration_sec == pytest.approx(seconds, abs=0.002)
        sound = read_audio(out / f"v.{container}", sample_rate=16_000)
        assert 0 <= sound.shape[1] / 16_000 - seconds + 0.001 < 1024 / 16_000 + 0.002
