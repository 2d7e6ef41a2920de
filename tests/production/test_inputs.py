"""Reading a video and its options into a request; long videos are read in two passes and limited by their length."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from foleygram.datasets.clip import Clip, read_clip
from foleygram.envelope.predictor import grid_lead
from foleygram.media import motion
from foleygram.media import video as media_video
from foleygram.media.audio import read_audio, write_audio
from foleygram.media.isolate import MediaError
from foleygram.media.video import motion_times, read_frames, segment_middles
from foleygram.pipeline import request as pipeline_request
from foleygram.pipeline.request import ModalityWeights, read_video, window_seconds
from foleygram.production import inputs as production_inputs
from foleygram.production.inputs import read_length, read_request
from foleygram.production.job import JobOptions, SegmentOptions
from foleygram.production.plan import output_names
from foleygram.spec import ClipSpec

SPEC = ClipSpec(seconds=2.0, sample_rate=16_000, latent_hop=512, num_frames=2, image_size=16, motion_size=32)


def test_a_long_video_is_decoded_twice_and_each_window_has_its_own_frames(write_flicker, tmp_path, monkeypatch):
    video, passes = write_flicker(tmp_path / "v.mp4", 11.0), []

    def counted(path, times, **options):
        passes.append(len(times))
        return read_frames(path, times, **options)

    for module in (media_video, motion):
        monkeypatch.setattr(module, "read_frames", counted)
    seen, starts = read_video(video, SPEC), window_seconds(11.0, SPEC)
    assert len(starts) == 7 and passes == [14, 330]
    for start, frames in zip(starts, seen.frames, strict=True):
        assert torch.equal(frames, read_frames(video, segment_middles(start, 2.0, 2), size=16).frames)
    assert torch.equal(seen.motion, read_frames(video, motion_times(0.0, 11, 30), size=32).frames)
    np.testing.assert_allclose(seen.motion_ages[:5], [1 / 60, 0.05, 0, 1 / 30, 1 / 15], atol=1e-4)


def test_evaluate_reads_the_frames_and_ages_that_generate_does(write_flicker, tmp_path):
    """A clip of a data set, and a video: one grid, from which the predictor computes its own lead."""
    video = write_flicker(tmp_path / "v.mp4", 2.0)
    seen, clip = read_video(video, SPEC), Clip("v", video, video, 0.0, 2.0, ())
    read = read_clip(clip, SPEC, ("motion",), fast=False)
    assert torch.equal(read["motion"], seen.motion) and torch.equal(read["motion_ages"], seen.motion_ages)
    assert grid_lead(seen.motion_ages[None], 30.0).item() == pytest.approx(1 / 120, abs=1e-3)  # at 12 per second


def test_the_time_limits_of_reading_and_writing_grow_with_the_video(tiny_release, write_flicker, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from foleygram.cli import app
    from foleygram.production import export, workers

    limits = []

    def spied(name, run_isolated):
        def spy(function, *arguments, timeout_sec, **options):
            limits.append((name, timeout_sec))
            return run_isolated(function, *arguments, timeout_sec=timeout_sec, **options)

        return spy

    for module in (workers, export):
        monkeypatch.setattr(module, "run_isolated", spied(module.__name__.split(".")[-1], module.run_isolated))
    command = ["generate", "--checkpoint", tiny_release, "--steps", 1, "--device", "cpu", "--out", tmp_path / "out"]
    for seconds in (1.0, 9.0):
        video = write_flicker(tmp_path / f"{seconds}.mp4", seconds)
        assert CliRunner().invoke(app, [*map(str, command), str(video)]).exit_code == 0
    (_, short_read), (_, short_write), (_, long_read), (_, long_write) = limits
    assert [name for name, _ in limits] == ["workers", "export"] * 2
    assert [long_read - short_read, long_write - short_write] == pytest.approx([80.0, 80.0], abs=2)


def test_a_request_holds_all_options_of_a_file(rendered, tmp_path):
    video = sorted(rendered.glob("*.mp4"))[0]
    sound, other = video.with_suffix(".wav"), sorted(rendered.glob("*.wav"))[-1]
    weights = ModalityWeights(0.5, 2.0, 1.5)
    options = JobOptions("wood", "metal", "audio", 7, sound, weights, (SegmentOptions(0.2, 1.0, "water", other),))
    request = read_request(video, options, SPEC, "audio")
    assert (request.prompt, request.negative_prompt, request.weights) == ("wood", "metal", weights)
    assert request.seed == zlib.crc32(f"7/{video.name}".encode())
    heard, in_segment = (read_audio(path, sample_rate=16_000)[0] for path in (sound, other))
    assert torch.equal(request.reference_audio, heard)
    (segment,) = request.segments
    assert (segment.start, segment.end, segment.prompt) == (0.2, 1.0, "water")
    assert torch.equal(segment.reference_audio, in_segment)
    expected = pipeline_request.envelope_of_video(video, SPEC)
    assert np.array_equal(request.envelope.values, expected.values) and len(expected.onsets()) > 0
    assert read_request(video, options, SPEC, expected).envelope is expected
    write_audio(tmp_path / "mute.wav", torch.zeros(1, 16_000), 16_000)
    with pytest.raises(MediaError, match=r"mute\.wav: its sound track is silent"):
        read_request(video, JobOptions(reference=tmp_path / "mute.wav"), SPEC, "predicted")


def test_every_result_has_a_unique_name():
    names = output_names([Path(name) for name in ("b/a.mp4", "b/c.mp4", "b/a.mov", "b/a_mp4.mp4")])
    assert names == ["a_mp4", "c", "a_mov", "a_mp4_mp4"]


def test_names_of_earlier_runs_stay_when_the_folder_grows_or_moves():
    earlier = {str(Path("b/a.mp4").absolute()): "a", str(Path("b/c.mp4").absolute()): "c"}
    grown = [Path("b/a.mov"), Path("b/a.mp4"), Path("b/c.mkv")]
    assert output_names(grown, earlier) == ["a_mov", "a", "c_mkv"]
    assert output_names([Path("moved/a.mp4"), Path("moved/a.mov")], earlier) == ["a", "a_mov"]
    again = output_names([Path("x/a.mp4"), Path("y/a.mp4")])
    kept = dict(zip([str(Path(folder, "a.mp4").absolute()) for folder in "xy"], again, strict=True))
    assert output_names([Path("y/a.mp4"), Path("x/a.mp4")], kept) == again[::-1]


def test_names_are_short_and_in_utf_8():
    long, other = Path("x" * 250 + ".mp4"), Path("x" * 249 + "y.mp4")
    names = output_names([long, other, Path("ä" * 120 + ".mp4"), Path(os.fsdecode(b"caf\xe9.mp4"))])
    assert len(set(names)) == 4 and all(len(name.encode()) <= 200 for name in names)
    assert names[3] == r"caf\xe9" and output_names([other, long]) == names[1::-1]


def test_a_video_above_the_limit_is_refused_with_a_command_to_split_it(write_flicker, tmp_path, monkeypatch):
    monkeypatch.setattr(production_inputs, "MAX_SECONDS", 1.5)
    with pytest.raises(MediaError, match=r"2 s long .* split it, e\.g\. with ffmpeg -i v\.mp4 .* part%02d\.mp4"):
        read_length(write_flicker(tmp_path / "v.mp4", 2.0), JobOptions(), SPEC)


WORKERS = """
from foleygram.media.isolate import preload, run_isolated
from foleygram.production.inputs import read_length
from foleygram.production.export import write_track
import sys
assert not {"diffusers", "transformers"} & set(sys.modules)
preload(read_length.__module__, write_track.__module__)
print(run_isolated(eval, "{*__import__('sys').modules} & {'foleygram.production.export', 'diffusers'}"))
"""


def test_processes_that_read_and_write_start_with_their_modules_and_without_the_networks_packages():
    done = subprocess.run([sys.executable, "-c", WORKERS], capture_output=True, text=True, check=True)
    assert done.stdout == "{'foleygram.production.export'}\n"
