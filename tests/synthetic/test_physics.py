"""The simulated world: a folder in Greatest Hits' layout, the same from its seed, whose sound falls on contacts."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.media.video import probe
from foleygram.spec import ClipSpec
from foleygram.synthetic.physics.render import check_opengl

# Not imported here: MuJoCo chooses its backend when imported, and `check_opengl` names one before that.
if not (find_spec("mujoco") and find_spec("pyroomacoustics")):
    pytest.skip("the extra `render` is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        check_opengl()
    except RuntimeError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("world")
    render(folder)
    return folder


def render(folder: Path) -> None:
    command = ["render", folder, "--world", "physics", "--videos", 3, "--seed", 4, "--seconds", "1.5", "--workers", 1]
    result = CliRunner().invoke(app, [*map(str, command), "--test-share", "0.34"], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_it_is_a_folder_of_greatest_hits(world: Path) -> None:
    spec = ClipSpec(seconds=1.5, sample_rate=44_100, audio_channels=1, latent_hop=1536, motion_size=32)
    for split, count in (("train", 2), ("test", 1)):
        clips = GreatestHits(world, split, spec=spec, fields=("audio",))
        assert len({clip.video_id for clip in clips.clips}) == count
    for video in world.glob("*_denoised.mp4"):
        audio, rate = soundfile.read(video.with_suffix(".wav"))
        assert rate == 44_100 and len(audio) / rate == pytest.approx(1.5, abs=0.01) and np.isfinite(audio).all()
        assert probe(video).duration_sec == pytest.approx(1.5, abs=0.2)


def test_the_same_seed_gives_the_same_sounds_and_events(world: Path, tmp_path: Path) -> None:
    render(tmp_path)
    for path in [*world.glob("*.wav"), *world.glob("*.txt")]:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_sound_starts_at_events(world: Path) -> None:
    checked = 0
    for times in world.glob("*_times.txt"):
        audio, rate = soundfile.read(str(times).replace("_times.txt", "_denoised.wav"))
        for line in times.read_text().splitlines():
            at = float(line.split()[0])
            before, after = (
                audio[max(0, int(rate * (at + a))) : int(rate * (at + b))] for a, b in ((-0.03, -0.005), (0, 0.05))
            )
            if at > 0.05 and len(after) > 100:
                checked += bool(np.abs(after).max() > np.abs(before).max())
    events = sum(len(times.read_text().splitlines()) for times in world.glob("*_times.txt"))
    assert checked >= 0.7 * events - 1


def test_options_of_the_other_world_and_absent_recordings_are_refused(tmp_path: Path) -> None:
    for options, message in (
        (["--world", "physics", "--shares", "real"], "needs --world"),
        (["--sounds", str(tmp_path / "none"), "--workers", "1"], "a folder of recordings needs an index.csv"),
    ):
        result = CliRunner().invoke(app, ["render", str(tmp_path / "out"), "--videos", "1", *options])
        assert result.exit_code == 1 and message in " ".join(result.output.split())
