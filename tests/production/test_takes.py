"""Takes are scored against the envelope asked for, and ranked by a rule that is checked by hand."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from foleygram import Envelope, FoleyGRAMPipeline
from foleygram.alignment.volume import gram_volume
from foleygram.pipeline.pipeline import FoleyOutput
from foleygram.pipeline.request import read_video, window_seconds
from foleygram.production.takes import TakeScore, _ranks, rank_takes, score_take

RATE = 16_000


def hits(times, seconds=2.0, level=0.5):
    """Decaying noise bursts, and their envelope."""
    generator, time = torch.Generator().manual_seed(0), torch.arange(round(seconds * RATE)) / RATE
    noise = torch.randn(len(time), generator=generator)
    audio = sum(level * noise * torch.exp(-(time - at) / 0.03) * (time >= at) for at in times)
    return audio[None], Envelope.from_audio(audio[None], RATE)


def a_score(l1=0.1, lag=0.0, leak=-60.0, volume=0.5):
    return TakeScore(l1, lag, leak, volume, asked_level=0.1)


@pytest.fixture(scope="module")
def pipeline(tiny_release):
    return FoleyGRAMPipeline.from_pretrained(tiny_release)


@pytest.fixture(scope="module")
def seen(pipeline, rendered):
    return read_video(sorted(rendered.glob("*.mp4"))[0], pipeline.spec)


def test_a_sound_with_the_envelope_asked_for_has_no_error(pipeline, seen):
    audio, envelope = hits([0.3, 1.1])
    score = score_take(pipeline, seen, FoleyOutput(audio, RATE, envelope))
    assert score.envelope_l1 == pytest.approx(0, abs=1e-6) and score.lag_ms == pytest.approx(0, abs=0.5)
    assert score.leak_db is not None and score.leak_db < -50
    assert score.relative_l1 <= 0.01


@pytest.mark.parametrize("late", [0.04, -0.04])
def test_a_late_sound_has_its_lag(pipeline, seen, late):
    _, envelope = hits([0.3, 1.1])
    score = score_take(pipeline, seen, FoleyOutput(hits([0.3 + late, 1.1 + late])[0], RATE, envelope))
    assert score.lag_ms == pytest.approx(1000 * late, abs=5) and score.relative_l1 > 0.2


def test_noise_in_the_gaps_leaks(pipeline, seen):
    audio, envelope = hits([0.3, 1.5])
    noise = 0.05 * torch.randn(audio.shape, generator=torch.Generator().manual_seed(1))
    clean, noisy = (score_take(pipeline, seen, FoleyOutput(sound, RATE, envelope)) for sound in (audio, audio + noise))
    assert noisy.leak_db > clean.leak_db + 20


def test_a_prompt_enters_the_volume_only_if_there_is_one(pipeline, seen):
    audio, envelope = hits([0.3])
    output, seen = FoleyOutput(audio, RATE, envelope), replace(seen, seconds=2.0, frames=seen.frames[:1])
    silent, prompted = score_take(pipeline, seen, output), score_take(pipeline, seen, output, prompts=["wood"])
    embedded = pipeline.parts.embed({"frames": seen.frames, "envelope_audio": audio})
    cosine = float(embedded["video"][0] @ embedded["audio"][0])
    assert silent.volume != prompted.volume
    assert silent.volume == pytest.approx(np.sqrt(1 - cosine**2), abs=1e-3)  # two vectors: the sine between them


def test_every_window_is_scored_with_its_own_frames_sound_and_prompt(pipeline, seen):
    starts = window_seconds(seen.seconds, pipeline.spec)
    prompts = ["wood", None, "hits"][: len(starts)]
    audio, envelope = hits([0.3, 1.9], seconds=seen.seconds)
    score = score_take(pipeline, seen, FoleyOutput(audio, RATE, envelope), prompts=prompts)
    volumes = []
    for frames, start, prompt in zip(seen.frames, starts, prompts, strict=True):
        heard = torch.zeros(1, 2 * RATE)
        stretch = audio[:, round(start * RATE) :][:, : 2 * RATE]
        heard[:, : stretch.shape[1]] = stretch
        clip = {"frames": frames[None], "caption": [prompt or ""], "envelope_audio": heard}
        embedded = {name: rows[0] for name, rows in pipeline.parts.embed(clip).items()}
        names = ("video", "text", "audio") if prompt else ("video", "audio")
        volumes.append(float(gram_volume(torch.stack([embedded[name] for name in names]))))
    assert len(volumes) > 1 and max(volumes) - min(volumes) > 1e-4
    assert score.volume == pytest.approx(np.mean(volumes), abs=1e-5)


def test_silence_is_scored_and_ranks_last(pipeline, seen):
    audio, envelope = hits([0.3, 1.1])
    mute = score_take(pipeline, seen, FoleyOutput(torch.zeros_like(audio), RATE, envelope))
    assert mute.lag_ms is None and mute.relative_l1 == pytest.approx(1)
    good = score_take(pipeline, seen, FoleyOutput(audio, RATE, envelope))
    assert rank_takes([mute, replace(good, volume=mute.volume)]) == [1, 0]


def test_the_best_in_every_score_is_first_in_any_order():
    scores = [a_score(0.1, 1, -60, 0.2), a_score(0.2, -2, -50, 0.3), a_score(0.3, 3, -40, 0.4)]
    for order in itertools.permutations(range(3)):
        ranked = rank_takes([scores[i] for i in order])
        assert [order[i] for i in ranked] == [0, 1, 2]


def test_envelope_and_volume_ranks_count_equally():
    exact, near = a_score(0.1, 1, -60, 0.9), a_score(0.2, 2, -50, 0.1)
    assert rank_takes([near, exact]) == [1, 0]  # equal ranks: the smaller E-L1 decides
    middling = a_score(0.1, 2, -50, 0.1)  # as exact in one of three, and near
    assert rank_takes([exact, middling]) == [1, 0]
    early, late = a_score(0.1, -50), a_score(0.1, 10)
    assert rank_takes([early, late]) == [1, 0]  # early is no better than late


def test_equal_takes_share_the_mean_of_their_ranks():
    assert _ranks([2.0, 1.0, 2.0, 3.0]) == [1.5, 0, 1.5, 3]
    assert a_score(0.05).relative_l1 == 0.5


def test_equal_takes_keep_their_order():
    assert rank_takes([a_score()] * 4) == [0, 1, 2, 3] and rank_takes([]) == []
