"""What the pipeline returns, lists of videos, and arguments of wrong kinds."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch

from foleygram import Envelope, FoleyGRAMPipeline
from foleygram.media.audio import read_audio
from foleygram.media.video import probe
from foleygram.pipeline.output import PLAYER_SEC, FoleyOutput, envelope_svg
from foleygram.pipeline.request import read_video

RATE = 16_000


@pytest.fixture(scope="module")
def pipeline(tiny_release):
    return FoleyGRAMPipeline.from_pretrained(tiny_release)


@pytest.fixture(scope="module")
def videos(rendered):
    return sorted(rendered.rglob("*_denoised.mp4"))[:2]


@pytest.fixture
def output():
    audio = torch.zeros(1, 2 * RATE)
    for start in (0.5, 1.25):
        first = round(start * RATE)
        audio[0, first : first + 1600] = 0.5 * torch.exp(-torch.arange(1600) / 300) * torch.randn(1600).clamp(-1, 1)
    return FoleyOutput(audio, RATE, Envelope.from_audio(audio, RATE))


def test_it_is_saved_as_wav(output, tmp_path):
    path = output.save(tmp_path / "sound.wav")
    assert torch.allclose(read_audio(path, sample_rate=RATE), output.audio, atol=1 / 2**15)
    with pytest.raises(ValueError, match=r"end the name in \.wav"):
        output.save(tmp_path / "sound.mp3")


def test_it_is_muxed_under_a_video(pipeline, videos, tmp_path):
    sound = pipeline(videos[0], num_inference_steps=2)
    film = sound.mux(videos[0], tmp_path / "film.mov", codec="pcm")
    assert film.path == tmp_path / "film.mov" and probe(film.path).duration_sec == probe(videos[0]).duration_sec
    heard = read_audio(film.path, sample_rate=RATE)
    assert torch.allclose(heard, sound.audio.clamp(-1, 1), atol=2 / 2**15)


def test_its_repr_is_short_and_its_html_holds_the_sound(output):
    assert repr(output) == "FoleyOutput(2.00 s, mono, 16000 Hz, 2 onsets)"
    html = output._repr_html_()
    ElementTree.fromstring(html.replace("<audio controls ", '<audio controls="" '))  # well-formed
    sound = base64.b64decode(re.search(r"data:audio/wav;base64,([^\"]+)", html)[1])
    samples, rate = soundfile.read(io.BytesIO(sound), always_2d=True)
    assert rate == RATE and np.allclose(samples.T, output.audio, atol=1 / 2**15)
    assert html.count("<line ") == 2 and "mono, 16000 Hz" in html


def test_the_html_of_a_long_sound_notes_that_it_is_cut():
    audio = torch.zeros(1, round((PLAYER_SEC + 5) * 100))
    html = FoleyOutput(audio, 100, Envelope(np.zeros(1000), 8.0))._repr_html_()
    assert "the player holds the first 120 s" in html


@pytest.mark.parametrize("values", [[0.0], [0.3], np.zeros(7), np.linspace(0, 1, 5000)])
def test_any_envelope_is_drawn_within_its_frame(values):
    drawing = ElementTree.fromstring(envelope_svg(Envelope(np.asarray(values), 125.0)))
    points = [tuple(map(float, pair.split(","))) for pair in drawing.find("polyline").get("points").split()]
    assert points and all(0 <= x <= 640 and 0 <= y <= 90 for x, y in points)
    if len(values) > 1 and max(values) > 0:
        assert min(y for _, y in points) == 0


def test_a_list_of_videos_gives_what_each_gives_alone(pipeline, videos):
    prompts, seeds = ["A person hits wood.", None], [1, 2]
    together = pipeline(videos, prompt=prompts, generator=seeds, num_inference_steps=2)
    assert isinstance(together, list) and len(together) == 2
    for video, prompt, seed, output in zip(videos, prompts, seeds, together, strict=True):
        alone = pipeline(video, prompt=prompt, generator=seed, num_inference_steps=2)
        assert isinstance(alone, FoleyOutput)
        torch.testing.assert_close(output.audio, alone.audio, atol=1e-4, rtol=1e-3)


def test_one_argument_serves_all_videos(pipeline, videos):
    seen = [read_video(video, pipeline.spec) for video in videos]
    every = pipeline(tuple(seen), prompt="A person hits wood.", num_inference_steps=2)
    each = pipeline(seen, prompt=["A person hits wood."] * 2, generator=[0, 0], num_inference_steps=2)
    assert all(torch.equal(one.audio, other.audio) for one, other in zip(every, each, strict=True))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"video": 3}, "video is 3 (int): give a path"),
        ({"video": None}, "video is None (NoneType): give a path"),
        ({"prompt": 7}, "prompt is 7 (int): give a text or None"),
        ({"prompt": ["wood"]}, "prompt is ['wood'] (list): give a text or None"),
        ({"negative_prompt": b"x"}, "negative_prompt is b'x' (bytes)"),
        ({"reference_audio": "hit.wav"}, "reference_audio is 'hit.wav' (str): give samples at 16 kHz"),
        ({"envelope": np.zeros(4)}, "foleygram.Envelope"),
        ({"envelope": None}, 'envelope is None (NoneType): give "predicted"'),
        ({"weights": {"video": 1}}, "weights is {'video': 1} (dict): give ModalityWeights"),
        ({"segments": [(0, 1)]}, "segments is (0, 1) (tuple): give Segment"),
        ({"segments": 4}, "segments is 4 (int): give a list of Segment"),
        ({"generator": "0"}, "generator is '0' (str): give an integer seed"),
        ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5 (float): give a whole number"),
        ({"guidance_scale": "5"}, "guidance_scale is '5' (str): give a number"),
        ({"controlnet_conditioning_scale": None}, "controlnet_conditioning_scale is None (NoneType): give a number"),
        ({"callback": 3}, "callback is 3: give a function of the finished step's number"),
    ],
)
def test_an_argument_of_another_kind_is_named(pipeline, videos, change, named):
    with pytest.raises(TypeError, match=re.escape(named)):
        pipeline(**({"video": videos[0], "num_inference_steps": 1} | change))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"video": []}, "video is an empty list"),
        ({"prompt": ["wood"]}, "prompt is a list of 1 for 2 videos"),
        ({"generator": [1, 2, 3]}, "generator is a list of 3 for 2 videos"),
    ],
)
def test_lists_of_other_lengths_are_named(pipeline, videos, change, named):
    with pytest.raises(ValueError, match=named):
        pipeline(**({"video": videos, "num_inference_steps": 1} | change))
