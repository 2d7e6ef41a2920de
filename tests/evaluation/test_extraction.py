import multiprocessing

import numpy as np
import pytest
import soundfile
import torch

from foleygram.evaluation.extraction import AudioClip, extract
from foleygram.evaluation.feature_cache import FeatureCache

RATE = 1000


class Counting:
    """Rows that say what was in a window: its mean, its energy, its first and its last value."""

    sample_rate, window_sec, hop_sec, tail = RATE, 2.0, 1.0, "pad"

    def __init__(self, name="counting"):
        self.identity = {"name": name}
        self.batches = []

    def __call__(self, windows):
        self.batches.append(len(windows))
        return torch.stack([windows.mean(1), windows.square().mean(1), windows[:, 0], windows[:, -1]], 1)


@pytest.fixture
def clips(tmp_path):
    rng = np.random.default_rng(0)
    for index, seconds in enumerate([3.0, 0.5, 5.2, 2.0, 4.0]):
        soundfile.write(tmp_path / f"{index}.wav", rng.uniform(-0.5, 0.5, round(seconds * RATE)), RATE, subtype="FLOAT")
    return [AudioClip(tmp_path / f"{index}.wav") for index in range(5)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 7, 100])
def test_rows_depend_on_the_clip_alone(clips, batch_size):
    expected = [extract([clip], Counting()).features[0] for clip in clips]
    embedder = Counting()
    found = extract(clips[::-1], embedder, batch_size=batch_size)
    assert not found.failures
    for one, other in zip(expected, found.features[::-1], strict=True):
        assert torch.equal(one.embeddings, other.embeddings)
        assert one[1:] == other[1:]
    assert [len(f.embeddings) for f in expected] == [3, 1, 6, 2, 4]
    assert [f.num_covered for f in expected] == [2, 1, 4, 1, 3]
    assert set(embedder.batches[:-1]) <= {batch_size}
    assert sum(embedder.batches) == 16


def test_a_stretch_of_a_file_has_its_times(clips):
    whole, part = extract([clips[2], AudioClip(clips[2].path, 1.0, 3.0)], Counting()).features
    assert len(part.embeddings) == 3
    assert torch.equal(part.covered, whole.embeddings[1:3])


def test_a_segment_past_the_end_is_padded_to_one_length(clips):
    found = extract([AudioClip(clips[1].path, 0.0, 3.0)], Counting()).features[0]
    assert len(found.embeddings) == 3 and found.num_covered == 2
    assert found.embeddings[0, 0] == extract(clips[1:2], Counting()).features[0].embeddings[0, 0]
    assert not found.embeddings[1:].any()


def test_what_is_cached_is_not_computed_again_and_a_replaced_file_is(clips, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    first = extract(clips[:3], Counting(), cache=cache)
    again = Counting()
    second = extract(clips, again, cache=cache)
    assert sum(again.batches) == 2 + 4
    assert all(
        torch.equal(a.embeddings, b.embeddings) for a, b in zip(first.features, second.features[:3], strict=True)
    )
    soundfile.write(clips[0].path, np.full(3 * RATE, 0.25), RATE, subtype="FLOAT")
    replaced = Counting()
    assert extract(clips, replaced, cache=cache).features[0].embeddings[0, 0] == 0.25
    assert sum(replaced.batches) == 3
    assert extract(clips[:1], Counting("another"), cache=cache).features[0] is not None
    other_windows = Counting()
    other_windows.window_sec = 1.0
    extract(clips[:1], other_windows, cache=cache)
    assert sum(other_windows.batches) == 3


def test_the_peak_is_the_largest_magnitude(clips):
    soundfile.write(clips[0].path, np.array([0.25, -0.75, 0.5]), RATE, subtype="FLOAT")
    assert extract(clips[:1], Counting()).features[0].peak == 0.75


def test_stretches_of_one_file_are_cached_apart(clips, tmp_path):
    path, cache = clips[2].path, FeatureCache(tmp_path / "cache")
    stretches = [AudioClip(path), AudioClip(path, 1.0), AudioClip(path, 1.0, 2.0), AudioClip(path, 1.0, 3.0)]
    for _ in range(2):
        for stretch in stretches:
            expected, found = extract([stretch], Counting()), extract([stretch], Counting(), cache=cache)
            assert torch.equal(found.features[0].embeddings, expected.features[0].embeddings)


def test_a_file_too_large_for_the_memory_is_named(clips, monkeypatch):
    def declared(path, **options):
        raise MemoryError("9 TB")

    monkeypatch.setattr("foleygram.evaluation.extraction.read_audio", declared)
    assert "0.wav: it declares more sound than fits into memory" in extract(clips[:1], Counting()).failures[0]


def test_a_damaged_cache_file_is_written_again(clips, tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    before = extract(clips[:1], Counting(), cache=cache).features[0]
    (file,) = cache.folder.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    assert torch.equal(extract(clips[:1], Counting(), cache=cache).features[0].embeddings, before.embeddings)
    assert extract(clips[:1], nothing_to_do := Counting(), cache=cache).features[0] is not None
    assert not nothing_to_do.batches


def _extract_into(folder, clips):
    extract(clips, Counting(), cache=FeatureCache(folder))


def test_processes_share_a_cache(clips, tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_extract_into, args=(tmp_path / "cache", clips)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    embedder = Counting()
    found = extract(clips, embedder, cache=FeatureCache(tmp_path / "cache"))
    assert not embedder.batches
    assert all(
        torch.equal(a.embeddings, b.embeddings)
        for a, b in zip(found.features, extract(clips, Counting()).features, strict=True)
    )
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".safetensors"]


def test_channels_and_rates_become_the_protocols(tmp_path):
    time = np.arange(4 * 8000) / 8000
    tone = 0.3 * np.sin(2 * np.pi * 100 * time)
    soundfile.write(tmp_path / "mono.wav", tone, 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "stereo.wav", np.stack([1.5 * tone, 0.5 * tone], 1), 8000, subtype="FLOAT")
    time = np.arange(4 * RATE) / RATE
    soundfile.write(tmp_path / "low.wav", 0.3 * np.sin(2 * np.pi * 100 * time), RATE, subtype="FLOAT")
    clips = [AudioClip(tmp_path / f"{name}.wav") for name in ("mono", "stereo", "low")]
    mono, stereo, low = (features.embeddings for features in extract(clips, Counting()).features)
    torch.testing.assert_close(mono, stereo, rtol=0, atol=1e-6)
    torch.testing.assert_close(mono[:, :2], low[:, :2], rtol=0, atol=2e-3)


def test_a_bad_file_is_named_and_the_others_are_processed(clips, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF and then nothing")
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan] * RATE), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * RATE), RATE)
    bad = [AudioClip(tmp_path / name) for name in ("broken.wav", "nan.wav", "empty.wav", "absent.wav")]
    progress = []
    found = extract(
        [clips[0], *bad, AudioClip(tmp_path / "silent.wav"), clips[1]], Counting(), progress=progress.append
    )
    assert sorted(found.failures) == [1, 2, 3, 4]
    assert all(clip.path.name in found.failures[index] for index, clip in enumerate(bad, 1))
    assert [features is None for features in found.features] == [False, True, True, True, True, False, False]
    assert found.features[5].peak == 0
    assert progress == list(range(1, 8))


def test_an_embedding_that_is_not_finite_is_a_failure_and_not_cached(clips, tmp_path):
    class Broken(Counting):
        def __call__(self, windows):
            return super().__call__(windows) / 0

    found = extract(clips[:1], Broken(), cache=FeatureCache(tmp_path / "cache"))
    assert "0.wav" in found.failures[0]
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
