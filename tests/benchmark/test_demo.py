"""A result's plot is drawn from real files: a rendered video, a sound, its event times."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import benchmarks.demo.plot as demo
from foleygram.envelope.envelope import Envelope
from foleygram.envelope.predictor import EnvelopePredictor
from foleygram.media.audio import read_audio, write_audio
from foleygram.pipeline.release import write_index
from foleygram.spec import ClipSpec
from foleygram.synthetic.drumstick.render import render_dataset


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    [video_id] = render_dataset(folder, num_videos=1, seed=5, seconds=(1.5, 1.5), num_workers=1, progress=False)
    return folder / f"{video_id}_denoised.mp4"


def test_draws_frames_sound_envelopes_and_events(video: Path, tmp_path: Path) -> None:
    sound = video.with_suffix(".wav")
    followed = Envelope.from_audio(read_audio(sound, sample_rate=16_000), 16_000)
    out = tmp_path / "demo.png"
    demo.draw_result(video, sound, out, followed=followed, events=demo.find_events(video))
    pixels = matplotlib.image.imread(out)[..., :3]
    assert pixels.shape[1] == 150 * demo.WIDTH_IN
    for colour in (demo.DRAWN, demo.OBTAINED):
        wanted = np.array(matplotlib.colors.to_rgb(colour))
        blended = 0.55 * wanted + 0.45 if colour == demo.DRAWN else wanted
        assert (np.abs(pixels - blended).max(-1) < 0.02).sum() > 50
    assert [path.name for path in tmp_path.iterdir()] == ["demo.png"]


def test_silence_is_black(video: Path, tmp_path: Path) -> None:
    write_audio(tmp_path / "silence.wav", torch.zeros(1, 24_000), 16_000)
    demo.draw_result(video, tmp_path / "silence.wav", tmp_path / "silence.png")
    pixels = matplotlib.image.imread(tmp_path / "silence.png")[..., :3]
    middle = pixels[int(0.42 * len(pixels)), pixels.shape[1] // 4 : -pixels.shape[1] // 4]
    assert middle.max() < 0.05


@pytest.mark.parametrize("name", ["clip.mp4", "clip_denoised.mp4", "clip_mic.mp4"])
def test_finds_events_beside_the_video(tmp_path: Path, name: str) -> None:
    (tmp_path / "clip_times.txt").write_text("0.5 wood hit static\n0.25 None scratch None\n")
    assert [(event.time, event.material) for event in demo.find_events(tmp_path / name)] == [
        (0.25, None),
        (0.5, "wood"),
    ]
    assert demo.find_events(tmp_path / "other.mp4") == []


def test_the_command_line_names_what_is_missing(tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(demo.main)
    outcome = CliRunner().invoke(app, [str(tmp_path / "no.mp4"), str(tmp_path / "no.wav"), str(tmp_path / "out.png")])
    assert outcome.exit_code == 1 and "no.mp4: no such file" in outcome.output
    assert not (tmp_path / "out.png").exists()


def test_draws_the_envelope_that_the_release_predicts(video: Path, tmp_path: Path) -> None:
    spec = ClipSpec(seconds=1.0, motion_size=16)
    predictor = EnvelopePredictor.build(motion_size=16, motion_frame_rate=spec.motion_frame_rate, envelope_rate=125.0)
    predictor.save_pretrained(tmp_path / "envelope_predictor")
    write_index(tmp_path, spec, None)
    followed = demo.predicted_envelope(video, tmp_path)
    assert followed.rate == 125.0 and abs(followed.seconds - 1.5) < 0.04
