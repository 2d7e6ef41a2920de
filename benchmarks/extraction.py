"""Share of the time of feature extraction that is spent in the network, not in reading files (target: at least 90%).

Run: python -m benchmarks.extraction [--network mini|clap] [--clips 24] [--threads 1]. Writes sounds of 10 s
(44.1 kHz, stereo, 16 bit) to a temporary folder and extracts them without a cache, by `mini`, the miniature's own audio
encoder, or by a network of published size with random weights: LAION-CLAP's sound half (`clap`). Busy is the share of
the wall time between the first clip and the last in which the network and its front end compute. Reading all files in
the same number of threads is timed by itself beside it.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapModel, ClapTextConfig

from foleygram.evaluation.embedders import AlignedEmbedder, AudioEmbedder, Tail
from foleygram.evaluation.extraction import AudioClip, extract
from foleygram.evaluation.networks.laion_clap import LaionClap
from foleygram.media.audio import read_audio

TARGET, SECONDS, RATE = 0.9, 10, 44_100
MINI = Path(__file__).parents[1] / "checkpoints" / "mini"


class Timed:
    """An embedder that adds up how long it computes."""

    def __init__(self, embedder: AudioEmbedder) -> None:
        self.embedder, self.busy = embedder, 0.0
        self.sample_rate: int = embedder.sample_rate
        self.window_sec: float = embedder.window_sec
        self.hop_sec: float = embedder.hop_sec
        self.tail: Tail = embedder.tail
        self.identity: Mapping[str, Any] = embedder.identity

    def __call__(self, windows: Tensor) -> Tensor:
        """Rows as the embedder's, the time it takes added to `busy`."""
        begun = time.perf_counter()
        rows = self.embedder(windows)
        self.busy += time.perf_counter() - begun
        return rows


def load(network: str) -> AudioEmbedder:
    """The miniature's encoder, or LAION-CLAP's sound half at its published size with random weights."""
    if network == "mini":
        return AlignedEmbedder.from_pretrained(MINI)
    few = ClapTextConfig(num_hidden_layers=1, hidden_size=64, num_attention_heads=2, intermediate_size=64)
    model = ClapModel(ClapConfig(text_config=few.to_dict(), audio_config=ClapAudioConfig().to_dict()))
    return LaionClap(model, ClapFeatureExtractor(frequency_min=50, truncation="rand_trunc"), None, {"name": "random"})


def write_clips(folder: Path, count: int) -> list[AudioClip]:
    """Noise in files."""
    rng = np.random.default_rng(0)
    for index in range(count):
        soundfile.write(folder / f"{index}.wav", rng.uniform(-0.5, 0.5, (SECONDS * RATE, 2)), RATE, subtype="PCM_16")
    return [AudioClip(folder / f"{index}.wav") for index in range(count)]


def main() -> int:
    """Measure; 1 where the network is busy for less than the target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("mini", "clap"), default="mini")
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    loaded: Any = load(args.network)
    embedder = Timed(loaded.to(args.device))
    with tempfile.TemporaryDirectory() as name:
        clips = write_clips(Path(name), args.clips)
        extract(clips[:2], embedder, batch_size=args.batch_size, num_readers=args.readers)
        embedder.busy, begun = 0.0, time.perf_counter()
        found = extract(clips, embedder, batch_size=args.batch_size, num_readers=args.readers)
        wall = time.perf_counter() - begun
        begun = time.perf_counter()
        for clip in clips:
            read_audio(clip.path, sample_rate=embedder.sample_rate)
        reading = time.perf_counter() - begun
    rows = sum(len(features.embeddings) for features in found.features if features)
    share = embedder.busy / wall
    print(f"{args.network} on {args.device}: {args.clips} clips of {SECONDS} s, {rows} rows, in {wall:.2f} s")
    print(f"  in the network {embedder.busy:.2f} s, {100 * share:.1f}% (target: at least {100 * TARGET:g}%)")
    print(f"  reading and resampling alone, one file after another: {reading:.2f} s")
    return int(share < TARGET)


if __name__ == "__main__":
    sys.exit(main())
