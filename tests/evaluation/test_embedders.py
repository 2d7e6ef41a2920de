import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foleygram.alignment.encoders import AudioEncoder
from foleygram.evaluation.embedders import AlignedEmbedder, num_covered, sound_windows


class Probe:
    """An embedder that only has windows."""

    def __init__(self, sample_rate=100, window_sec=7.0, hop_sec=1.0, tail="pad"):
        self.sample_rate, self.window_sec, self.hop_sec, self.tail = sample_rate, window_sec, hop_sec, tail
        self.identity = {"name": "probe"}

    def __call__(self, windows):
        return windows.double().cumsum(-1)[:, ::25].float()


def test_ten_seconds_give_ten_windows_and_those_at_the_end_are_padded():
    sound = torch.arange(1.0, 1001.0)
    windows = sound_windows(sound, Probe())
    assert windows.shape == (10, 700)
    assert torch.equal(windows[3], sound[300:1000])
    assert torch.equal(windows[9], torch.cat([sound[900:], torch.zeros(600)]))


@pytest.mark.parametrize(("seconds", "covered"), [(10.0, 4), (7.0, 1), (6.99, 1), (0.01, 1), (7.99, 1), (8.0, 2)])
def test_covered_windows_come_first(seconds, covered):
    sound, embedder = torch.ones(round(seconds * 100)), Probe()
    assert num_covered(len(sound), embedder) == covered
    whole = (sound_windows(sound, embedder) == 1).all(1)
    assert whole[: covered if seconds >= 7 else 0].all()
    assert not whole[covered:].any()


@given(st.integers(1, 3000), st.integers(1, 9), st.integers(1, 9), st.sampled_from(["pad", "drop"]))
def test_windows_are_stretches_of_the_sound(num_samples, window_sec, hop_sec, tail):
    embedder = Probe(window_sec=window_sec, hop_sec=hop_sec, tail=tail)
    sound = torch.arange(1.0, num_samples + 1)
    windows = sound_windows(sound, embedder)
    covered = num_covered(num_samples, embedder)
    assert len(windows) == (covered if tail == "drop" else -(-num_samples // (100 * hop_sec)))
    for index, window in enumerate(windows):
        stretch = sound[100 * hop_sec * index :][: 100 * window_sec]
        assert torch.equal(window[: len(stretch)], stretch)
        assert not window[len(stretch) :].any()


@pytest.mark.parametrize("shape", [(0,), (2, 100)])
def test_what_is_no_mono_sound_is_refused(shape):
    with pytest.raises(ValueError, match="at least one"):
        sound_windows(torch.zeros(shape), Probe())


def test_a_release_embeds_sound_and_text_into_its_own_space(tiny_release):
    embedder = AlignedEmbedder.from_pretrained(tiny_release)
    sound = torch.randn(3, 33_280, generator=torch.Generator().manual_seed(0))
    encoder = AudioEncoder.from_pretrained(tiny_release / "audio_encoder")
    assert embedder.window_sec == 2.08
    torch.testing.assert_close(embedder(sound), encoder.embed_waveform(sound).detach(), rtol=0, atol=1e-6)
    assert embedder.identity["checkpoint"] == "tiny"
    text = embedder.embed_text(["A person hits wood.", "wood"])
    assert text.shape == (2, 8)
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(2))


def test_a_folder_that_is_no_release_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a release folder"):
        AlignedEmbedder.from_pretrained(tmp_path)
