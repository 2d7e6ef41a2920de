import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, linear, max_pool2d, relu

from foleygram.evaluation.embedders import sound_windows
from foleygram.evaluation.networks.vggish import VGGish, VGGishNetwork

SIZES = [4, 6, 8, 8, 10, 10]
HIDDEN = 16


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(0)
    state = {}
    for index, before, after in zip((0, 3, 6, 8, 11, 13), [1, *SIZES], SIZES, strict=False):
        state[f"features.{index}.weight"] = torch.randn(after, before, 3, 3, generator=generator) * 0.4
        state[f"features.{index}.bias"] = torch.randn(after, generator=generator)
    for index, (after, before) in zip((0, 2, 4), [(HIDDEN, 240), (HIDDEN, HIDDEN), (128, HIDDEN)], strict=True):
        state[f"embeddings.{index}.weight"] = torch.randn(after, before, generator=generator) * 0.2
        state[f"embeddings.{index}.bias"] = torch.randn(after, generator=generator)
    return state


@pytest.fixture(scope="module")
def path(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vggish.pth"
    torch.save(state, path)
    return path


def noise(seconds=1.0):
    return 0.3 * torch.randn(round(16_000 * seconds), generator=torch.Generator().manual_seed(1))


def patch(sound):
    """The log-mel patch of 15,600 samples, in NumPy, frame by frame and filter by filter."""

    def mel(hertz):
        return 1127 * np.log(1 + np.asarray(hertz) / 700)

    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    magnitudes = np.abs([np.fft.rfft(sound[160 * i :][:400] * hann, 512) for i in range(96)])
    bins, edges = mel(np.arange(257) * 16_000 / 512), np.linspace(mel(125), mel(7500), 66)
    filters = np.zeros((257, 64))
    for band in range(64):
        left, centre, right = edges[band : band + 3]
        filters[:, band] = np.clip(np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)), 0, 1)
    return np.log(magnitudes @ filters + 0.01)


def by_hand(state, patches):
    x = patches[:, None]
    for index in (0, 3, 6, 8, 11, 13):
        x = relu(conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1))
        x = x if index in (6, 11) else max_pool2d(x, 2)
    x = torch.stack([x[:, :, row, column] for row in range(6) for column in range(4)], 1).flatten(1)
    for index in (0, 2):
        x = relu(linear(x, state[f"embeddings.{index}.weight"], state[f"embeddings.{index}.bias"]))
    return linear(x, state["embeddings.4.weight"], state["embeddings.4.bias"])


def test_rows_equal_the_layers_taken_one_by_one(path, state):
    sound = noise(3)
    raw, linear_rows = (VGGish.from_weights(path, output=output) for output in ("raw", "linear"))
    windows = sound_windows(sound, raw)
    patches = torch.from_numpy(np.stack([patch(window.double().numpy()) for window in windows])).float()
    torch.testing.assert_close(raw.log_mels(windows), patches, rtol=0, atol=1e-4)
    expected = by_hand(state, patches)
    torch.testing.assert_close(linear_rows(windows), expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(raw(windows), relu(expected), rtol=1e-4, atol=1e-3)
    assert (expected < 0).any()
    assert expected.std(0).mean() > 0.01
    assert raw.identity["name"] == "vggish-raw"
    assert linear_rows.identity["name"] == "vggish-linear"


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_quantised_embeddings_are_whitened_clipped_and_rounded(path, tmp_path, suffix):
    rng = np.random.default_rng(0)
    arrays = {"pca_eigen_vectors": rng.standard_normal((128, 128)) * 0.1, "pca_means": rng.standard_normal((128, 1))}
    file = tmp_path / f"pca{suffix}"
    np.savez(file, **arrays) if suffix == ".npz" else torch.save(arrays, file)
    embedder = VGGish.from_weights(path, output="quantised", pca_path=file)
    windows = sound_windows(noise(3), embedder)
    raw = VGGish.from_weights(path)(windows).double().numpy()
    whitened = (arrays["pca_eigen_vectors"] @ (raw.T - arrays["pca_means"])).T
    expected = np.round((np.clip(whitened, -2, 2) + 2) * 63.75)
    found = embedder(windows).numpy()
    assert np.abs(found - expected).max() <= 1  # a value at the edge of two steps may fall either way
    assert (found == expected).mean() > 0.99
    assert (found == found.round()).all()
    assert found.min() >= 0
    assert found.max() <= 255
    assert embedder.identity["name"] == "vggish-quantised"
    assert embedder.identity["pca_sha256"]


def test_windows_start_every_0_96_seconds(path):
    embedder = VGGish.from_weights(path)
    assert [len(sound_windows(noise(seconds), embedder)) for seconds in (10, 1.934, 1.935, 0.5)] == [10, 1, 2, 1]
    sound = noise(2.5)
    windows = sound_windows(sound, embedder)
    assert torch.equal(windows[1], sound[15_360 : 15_360 + 15_600])


def test_the_published_sizes_are_the_default():
    with torch.device("meta"):
        network = VGGishNetwork()
    assert sum(parameter.numel() for parameter in network.parameters()) == 72_141_184
    assert network.state_dict()["embeddings.0.weight"].shape == (4096, 12_288)


def test_what_is_absent_or_does_not_fit_is_named(path, tmp_path, state):
    with pytest.raises(FileNotFoundError, match="torchvggish"):
        VGGish.from_weights(tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match="PCA"):
        VGGish.from_weights(path, output="quantised", pca_path=tmp_path / "absent.npz")
    with pytest.raises(ValueError, match="needs the PCA"):
        VGGish.from_weights(path, output="quantised")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: not a VGGish"):
        VGGish.from_weights(tmp_path / "other.pth")
    torch.save({key: value for key, value in state.items() if key != "features.8.bias"}, tmp_path / "less.pth")
    with pytest.raises(ValueError, match=r"less\.pth.*features\.8\.bias"):
        VGGish.from_weights(tmp_path / "less.pth")
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=np.zeros((3, 3)), pca_means=np.zeros(3))
    with pytest.raises(ValueError, match=r"pca\.npz: not VGGish's PCA"):
        VGGish.from_weights(path, output="quantised", pca_path=tmp_path / "pca.npz")
