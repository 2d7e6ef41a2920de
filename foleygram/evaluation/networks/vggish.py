"""VGGish (Hershey et al. 2017): the sound half of FAVD, and the oldest embedding for FAD."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from foleygram.evaluation.embedders import Tail
from foleygram.files import file_hash
from foleygram.weights.state_dict import load_state, read_arrays, read_state

Output = Literal["raw", "linear", "quantised"]
"""`raw`: the published network's 128 values, as FAVD takes them; `linear`: the same without its last ReLU, as fadtk
takes them; `quantised`: after PCA and rounding to 8 bits, as in AudioSet."""
WINDOW, HOP, FFT_SIZE, NUM_FRAMES, NUM_MELS = 400, 160, 512, 96, 64
LOG_OFFSET = 0.01
LIMIT = 2.0
"""Whitened values beyond it are clipped before they are rounded."""
WHERE = "get it from the release v0.1 of harritaylor/torchvggish on GitHub"


class Whitening(NamedTuple):
    """AudioSet's principal components: `matrix` (128, 128) and `means` (128,)."""

    matrix: Tensor
    means: Tensor


class VGGishNetwork(nn.Module):
    """The network on log-mel patches (N, 1, 96, 64), its modules named as in the public PyTorch weights."""

    def __init__(self, channels: tuple[int, ...] = (64, 128, 256, 256, 512, 512), hidden: int = 4096) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip((1, *channels[:-1]), channels, strict=True)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if index in (0, 1, 3, 5) else []
        self.features = nn.Sequential(*layers)
        flat = channels[-1] * (NUM_FRAMES // 16) * (NUM_MELS // 16)
        sizes = ((flat, hidden), (hidden, hidden), (hidden, 128))
        self.embeddings = nn.Sequential(*(layer for size in sizes for layer in (nn.Linear(*size), nn.ReLU())))

    def forward(self, patches: Tensor, *, activated: bool = True) -> Tensor:
        """Embeddings (N, 128), before the last ReLU when not `activated`."""
        features = rearrange(self.features(patches), "n c frames mels -> n (frames mels c)")  # TensorFlow's order
        return self.embeddings(features) if activated else self.embeddings[:-1](features)


class VGGish(nn.Module):
    """VGGish over stretches of 0.96 s at 16 kHz, one after another: rows (N, 128).

    A stretch is 96 frames, of which the last reaches 15 ms into the next stretch; what is left at the end is dropped.
    """

    sample_rate = 16_000
    window_sec = ((NUM_FRAMES - 1) * HOP + WINDOW) / 16_000
    hop_sec = NUM_FRAMES * HOP / 16_000
    tail: Tail = "drop"
    filters: Tensor
    window: Tensor

    def __init__(
        self, network: VGGishNetwork, identity: Mapping[str, Any], *, output: Output, whitening: Whitening | None = None
    ) -> None:
        """Raises ValueError for an unknown `output`, or `quantised` without `whitening`."""
        super().__init__()
        if output not in get_args(Output) or (output == "quantised") != (whitening is not None):
            raise ValueError(f"output {output!r}: one of {get_args(Output)}; only quantised needs the PCA")
        self.network = network.eval().requires_grad_(False)
        self.output, self.whitening = output, whitening
        self.identity = {**identity, "name": f"vggish-{output}"}
        filters = mel_filter_bank(
            FFT_SIZE // 2 + 1, NUM_MELS, 125.0, 7500.0, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True
        )
        self.register_buffer("filters", torch.from_numpy(np.asarray(filters, np.float32)), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    @classmethod
    def from_weights(cls, path: str | Path, *, output: Output = "raw", pca_path: str | Path | None = None) -> "VGGish":
        """From the public PyTorch weights and, for `quantised`, the PCA beside them (`.pth`, or AudioSet's `.npz`).

        Raises FileNotFoundError with where to get them, ValueError for files that do not fit.
        """
        if pca_path is not None and not Path(pca_path).is_file():
            raise FileNotFoundError(f"{pca_path}: no PCA of VGGish there; {WHERE}")
        network = _network(read_state(path, WHERE), str(path))
        whitening = None if pca_path is None else _whitening(read_arrays(pca_path), str(pca_path))
        identity: dict[str, Any] = {"checkpoint": Path(path).name, "sha256": file_hash(Path(path))}
        if pca_path is not None:
            identity["pca_sha256"] = file_hash(Path(pca_path))
        return cls(network, identity, output=output, whitening=whitening)

    @torch.inference_mode()
    def forward(self, windows: Tensor) -> Tensor:
        """Embeddings (N, 128) of windows (N, 15,600)."""
        patches = self.log_mels(windows.to(self.window.device))[:, None]
        embeddings = self.network(patches, activated=self.output != "linear").float().cpu()
        return embeddings if self.whitening is None else quantised(embeddings, self.whitening)

    def log_mels(self, windows: Tensor) -> Tensor:
        """log(mel magnitudes + 0.01), (N, 96, 64): Hann frames of 25 ms every 10 ms, not centred."""
        frames = windows.unfold(1, WINDOW, HOP) * self.window
        return (torch.fft.rfft(frames, FFT_SIZE).abs() @ self.filters + LOG_OFFSET).log()


def quantised(rows: Tensor, whitening: Whitening) -> Tensor:
    """Embeddings (N, 128) after PCA, clipped to [-2, 2] and rounded to 0 .. 255."""
    projected = (rows - whitening.means) @ whitening.matrix.T
    return ((projected.clamp(-LIMIT, LIMIT) + LIMIT) * (255 / (2 * LIMIT))).round()


def _network(state: Mapping[str, Any], source: str) -> VGGishNetwork:
    """The network of a state dict, as wide as its weights."""
    convolutions = [f"features.{index}.weight" for index in (0, 3, 6, 8, 11, 13)]
    needed = [*convolutions, "embeddings.0.weight"]
    if any(not isinstance(state.get(key), Tensor) for key in needed):
        raise ValueError(f"{source}: not a VGGish, whose weights have {needed[0]} and {needed[-1]}; {WHERE}")
    network = VGGishNetwork(tuple(len(state[key]) for key in convolutions), len(state["embeddings.0.weight"]))
    load_state(network, state, source)
    return network


def _whitening(arrays: Mapping[str, Any], source: str) -> Whitening:
    try:
        matrix, means = (
            torch.as_tensor(np.asarray(arrays[name], np.float32)) for name in ("pca_eigen_vectors", "pca_means")
        )
        return Whitening(matrix.reshape(128, 128), means.reshape(128))
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"{source}: not VGGish's PCA ({error}); {WHERE}") from error
