"""Probes an autoencoder's latents of recorded hits for the material and the frequency of the strongest partial.

`python -m benchmarks.latent_probes --vae checkpoints/full_band/vae --sounds FOLDER` trains small networks to predict
both from latents, and from log-mel spectra of the same sounds at the same rate, and scores them on sources held out
from them and from the autoencoder. What the latents do not encode, no decoder can recover.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.audio_utils import mel_filter_bank

from foleygram.generation.autoencoder import encode_audio
from foleygram.generation.backbone import load_autoencoder
from foleygram.synthetic.recordings import RecordedSounds

NUM_LATENTS, LEAD = 40, 4000
NUM_BANDS, WINDOW, FLOOR = 80, 4096, 1e-5
LOWEST_HZ, HIGHEST_HZ, SEMITONES = 300.0, 8000.0, 58
TONAL_DB, AUDIBLE = 30.0, 1e-3
"""A frame has a partial where its highest magnitude is audible and so far above its median."""
STEPS, BATCH, WIDTH = 600, 48, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, default=Path("checkpoints/full_band/vae"))
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--takes", type=int, default=12, help="most takes of one object")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    vae = load_autoencoder(str(options.vae))
    vae.encoder.compile()
    rate, hop = vae.config.sampling_rate, vae.hop_length
    audio, labels = read(options.sounds, "train", rate, hop, options.takes)
    held_out, held_out_labels = read(options.sounds, "test", rate, hop, options.takes)
    names = sorted(set(labels))
    known = torch.tensor([name in names for name in held_out_labels])
    classes = torch.tensor([names.index(name) for name in labels])
    held_out_classes = torch.tensor([names.index(name) for name in held_out_labels if name in names])
    held_out = held_out[known]
    print(f"{len(audio)} takes to learn from, {len(held_out)} of other sources to score, {options.vae}")
    views: dict[str, Callable[[Tensor], Tensor]] = {
        "latents": lambda one: torch.cat([encode_audio(vae, row).mean for row in one.split(1)]),
        "log-mel of the true sound": lambda one: log_mel(one, rate, hop),
    }
    partials, held_out_partials = strongest_partial(audio, rate, hop), strongest_partial(held_out, rate, hop)
    with torch.no_grad():
        seen = {name: (view(audio), view(held_out)) for name, view in views.items()}
    for name, (train, test) in seen.items():
        for seed in range(options.seeds):
            material = (
                (probe(train, classes[:, None], test, seed, pooled=True)[:, 0] == held_out_classes).float().mean()
            )
            off = (probe(train, partials, test, seed) - held_out_partials).abs()[held_out_partials >= 0]
            near = [(off <= semitones).float().mean() for semitones in (1, 3)]
            print(
                f"{name:26} seed {seed}: material {material:.3f}; strongest partial within 1 semitone {near[0]:.3f}, "
                f"3 semitones {near[1]:.3f} ({len(off)} frames)",
                flush=True,
            )


def read(folder: Path, split: Literal["train", "test"], rate: int, hop: int, takes: int) -> tuple[Tensor, list[str]]:
    """Takes of a split (N, 1, samples) with a little silence before them, and their materials."""
    audio, labels = [], []
    for voice in RecordedSounds(folder, sample_rate=rate, split=split).voices:
        for take in voice.takes[:takes]:
            one = torch.zeros(1, NUM_LATENTS * hop)
            take = take[: one.shape[-1] - LEAD]
            one[0, LEAD : LEAD + len(take)] = 0.7 * torch.from_numpy(take)
            audio.append(one)
            labels.append(voice.material)
    return torch.stack(audio), labels


def log_mel(audio: Tensor, rate: int, hop: int) -> Tensor:
    """Log-mel spectra (N, bands, T), one frame a latent."""
    bank = mel_filter_bank(WINDOW // 2 + 1, NUM_BANDS, 30.0, rate / 2, rate, norm=None, mel_scale="slaney")
    return (torch.from_numpy(bank.T).float() @ magnitude(audio, hop) + FLOOR).log()


def strongest_partial(audio: Tensor, rate: int, hop: int) -> Tensor:
    """The strongest partial of each frame in semitones above `LOWEST_HZ` (N, T), or -1 where none stands out."""
    frequencies = torch.linspace(0, rate / 2, WINDOW // 2 + 1)
    rows = (frequencies >= LOWEST_HZ) & (frequencies < min(HIGHEST_HZ, rate / 2))
    band = magnitude(audio, hop)[:, rows]
    peak, place = band.max(1)
    tonal = (peak > AUDIBLE) & (20 * (peak / (band.median(1).values + 1e-7)).log10() > TONAL_DB)
    semitones = (12 * (frequencies[rows][place] / LOWEST_HZ).log2()).round().long()
    return torch.where(tonal, semitones.clamp(0, SEMITONES - 1), -1)


def magnitude(audio: Tensor, hop: int) -> Tensor:
    """Magnitudes (N, bins, T) of audio (N, 1, samples), one frame a latent, 0.5 for a full-scale sine."""
    shape = torch.hann_window(WINDOW)
    frames = [
        torch.stft(one[0], WINDOW, hop, window=shape / shape.sum(), return_complex=True).abs()[:, :NUM_LATENTS]
        for one in audio
    ]
    return torch.stack(frames)


def probe(train: Tensor, targets: Tensor, test: Tensor, seed: int, *, pooled: bool = False) -> Tensor:
    """Classes named for `test` (N, T), or (N, 1) if `pooled`, by a network trained on `train` (M, C, T).

    `targets` (M, T) or (M, 1) are classes; -1 counts as none.
    """
    mean, scale = train.mean((0, 2), keepdim=True), train.std((0, 2), keepdim=True) + 1e-6
    train, test = (train - mean) / scale, (test - mean) / scale
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv1d(train.shape[1], WIDTH, 5, padding=2), nn.GELU(), nn.Dropout(0.3),
        nn.Conv1d(WIDTH, WIDTH, 5, padding=2), nn.GELU(), nn.Dropout(0.3),
        nn.AdaptiveMaxPool1d(1) if pooled else nn.Identity(), nn.Conv1d(WIDTH, int(targets.max()) + 1, 1),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.05)
    for _ in range(STEPS):
        chosen = torch.randint(len(train), (BATCH,))
        loss = cross_entropy(network(train[chosen]), targets[chosen], ignore_index=-1)
        if loss.isfinite():  # a batch may have no partial
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return network.eval()(test).argmax(1)


if __name__ == "__main__":
    main()
