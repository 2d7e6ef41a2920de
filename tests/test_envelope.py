"""`foleygram envelope`: predicted, taken or given, edited in the order of the command line, written and drawn."""

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.envelope.editing.edits import add_hit, mute, quantise, scale_peak, shift
from foleygram.envelope.editing.files import read_envelope, write_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import read_audio
from foleygram.media.timecode import TimeCode
from foleygram.media.video import probe
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import read_video
from foleygram.production import film_strip


def run(*arguments):
    return CliRunner().invoke(app, ["envelope", *map(str, arguments)])


@pytest.fixture(scope="module")
def video(rendered: Path) -> Path:
    return sorted(rendered.glob("*.mp4"))[0]


@pytest.fixture
def drawn(tmp_path: Path, video: Path) -> Path:
    """Three hits in an envelope as long as the video."""
    hits = [Hit(0.4, 0.1, 0.05), Hit(0.9, 0.05, 0.05), Hit(1.4, 0.15, 0.05)]
    path = tmp_path / "drawn.json"
    write_envelope(path, draw_hits(hits, seconds=probe(video).duration_sec).slice(0.0, probe(video).duration_sec))
    return path


def test_it_is_the_envelope_that_generate_follows(tiny_release: Path, video: Path, tmp_path: Path) -> None:
    result = run(video, "-o", tmp_path / "a" / "clip.csv", "--checkpoint", tiny_release, "--device", "cpu")
    assert result.exit_code == 0, result.output
    pipeline = FoleyGRAMPipeline.from_pretrained(tiny_release)
    followed = pipeline.envelope_of(read_video(video, pipeline.spec))
    written = read_envelope(tmp_path / "a" / "clip.csv").values
    np.testing.assert_allclose(written, followed.values, rtol=1e-5)
    assert f"{len(followed.onsets())} onsets" in result.output


def test_json_lists_the_hits_and_quiet_prints_nothing(video: Path, drawn: Path, tmp_path: Path) -> None:
    common = (video, "-o", tmp_path / "clip.csv", "--from", drawn)
    printed = json.loads(run(*common, "--json").stdout)
    assert [(hit["time"], hit["level"]) for hit in printed["hits"]] == [
        (time, pytest.approx(level, rel=0.05)) for time, level in ((0.4, 0.1), (0.9, 0.05), (1.4, 0.15))
    ]
    assert printed["written"] == [str(tmp_path / "clip.csv")]
    assert printed["seconds"] == pytest.approx(probe(video).duration_sec, abs=0.01)
    assert run(*common, "--quiet").output == ""
    help_of = CliRunner().invoke(app, ["envelope", "-h"])
    assert help_of.exit_code == 0 and "--scale-peak" in help_of.output


def test_the_video_s_own_sound(video: Path, tmp_path: Path) -> None:
    assert run(video, "-o", tmp_path / "clip.json", "--from", "audio").exit_code == 0
    found, seconds = read_envelope(tmp_path / "clip.json"), probe(video).duration_sec
    heard = Envelope.from_audio(read_audio(video, sample_rate=16_000), 16_000)
    times = np.arange(round(seconds * 125) + 1) / 125
    assert (found.rate, len(found.values)) == (125, len(times))
    np.testing.assert_allclose(found.values, heard.at(times), atol=1e-6)


def test_edits_apply_in_the_order_of_the_command_line(video: Path, drawn: Path, tmp_path: Path) -> None:
    before = read_envelope(drawn)
    common = (video, "--from", drawn, "-o", tmp_path / "clip.json")
    orders = {
        ("--mute", "0.3:0.8", "--shift", "500ms"): shift(mute(before, 0.3, 0.8), 0.5),
        ("--shift", "500ms", "--mute", "0.3:0.8"): mute(shift(before, 0.5), 0.3, 0.8),
        ("--shift", "-0.2s", "--mute", "0.3:0.8", "--shift=200ms"): shift(mute(shift(before, -0.2), 0.3, 0.8), 0.2),
        ("--add-hit", "0.65:0.1", "--quantise", "24", "--scale-peak", "-10dB"): scale_peak(
            quantise(add_hit(before, 0.65, 0.1), 24.0), 10**-0.5
        ),
    }
    for options, expected in orders.items():
        result = run(*common, *options)
        assert result.exit_code == 0, result.output
        np.testing.assert_allclose(read_envelope(tmp_path / "clip.json").values, expected.values, rtol=1e-6)
        assert f"{len(expected.onsets())} onsets" in result.output


def test_every_form_at_once_and_back(video: Path, drawn: Path, tmp_path: Path) -> None:
    names = ["clip.csv", "clip.json", "clip.wav", "clip.mid", "clip.markers.csv", "clip.reaper.csv"]
    outs = [argument for name in [*names, "clip.edl"] for argument in ("-o", tmp_path / name)]
    result = run(video, "--from", drawn, *outs)
    assert result.exit_code == 0, result.output
    clock, listed = TimeCode.of(probe(video).frame_rate), (tmp_path / "clip.edl").read_text()
    assert all(f" {clock.label(clock.frame_at(time))} " in listed for time in read_envelope(drawn).onsets())
    for name in names:
        assert run(video, "--from", tmp_path / name, "-o", tmp_path / "back.json", "--decay", 0.05).exit_code == 0
        back = read_envelope(tmp_path / "back.json")
        assert len(back.values) == len(read_envelope(drawn).values)
        np.testing.assert_allclose(back.onsets(), read_envelope(drawn).onsets(), atol=0.012)


def test_the_plot_shows_frames_envelope_and_the_previous_envelope(video: Path, drawn: Path, tmp_path: Path) -> None:
    def count(name: str, colour: str) -> int:
        pixels = matplotlib.image.imread(tmp_path / name)[..., :3]
        assert pixels.shape[1] == 150 * film_strip.WIDTH_IN
        below = pixels[len(pixels) // 2 :]  # the strip's own colours are anyone's
        return int((np.abs(below - np.array(matplotlib.colors.to_rgb(colour))).max(-1) < 0.02).sum())

    common = (video, "--from", drawn, "--plot")
    assert run(*common, tmp_path / "edited.png", "--gain", "1:2:-6dB").exit_code == 0
    assert run(*common, tmp_path / "plain.png").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.json", "edited.png", "plain.png"]
    for name in ("edited.png", "plain.png"):
        assert count(name, film_strip.DRAWN) > 200 and count(name, film_strip.ONSET) > 40
    assert count("edited.png", film_strip.BEFORE) > 50 and count("plain.png", film_strip.BEFORE) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["{video}"], 2, "-o FILE"),
        (["-o", "{out}/a.csv"], 2, "VIDEO"),
        (["{video}", "-o", "{out}/a.csv", "--mute", "loud"], 2, "--mute loud"),
        (["{video}", "-o", "{out}/a.csv", "--shift", "12"], 2, "120ms"),
        (["{video}", "-o", "{out}/a.csv", "--sparkle", "1"], 2, "--sparkle"),
        (["absent.mp4", "-o", "{out}/a.csv", "--from", "{drawn}"], 1, "absent.mp4"),
        (["{drawn}", "-o", "{out}/a.csv", "--from", "{drawn}"], 1, "drawn.json"),
        (["{video}", "-o", "{out}/a.mp3", "--from", "{drawn}"], 1, "a.mp3"),
        (["{video}", "-o", "{out}/a.csv", "--from", "nothing.csv"], 1, "nothing.csv"),
        (["{video}", "-o", "{out}/a.csv", "--checkpoint", "nowhere"], 1, "nowhere"),
        (["{video}", "-o", "{out}/a.csv", "--from", "{drawn}", "--remove-hit", "1.15"], 1, "no hit within"),
        (["{video}", "-o", "{out}/a.csv", "--from", "{drawn}", "--mute", "90:91"], 1, "90 s is outside"),
        (["{video}", "-o", "{out}/a.csv", "--from", "{drawn}", "--gain", "40dB"], 1, "full scale"),
        (["{video}", "--plot", "{out}/a.txt", "--from", "{drawn}"], 1, "a.txt"),
    ],
)
def test_wrong_use_is_one_clear_line_and_leaves_nothing(
    video: Path, drawn: Path, tmp_path: Path, arguments: list[str], code: int, named: str
) -> None:
    out = tmp_path / "out"
    result = run(*(argument.format(video=video, drawn=drawn, out=out) for argument in arguments))
    assert result.exit_code == code and named in result.output and "Traceback" not in result.output
    assert not out.exists() or not list(out.iterdir())
