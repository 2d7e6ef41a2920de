"""Reconstruction by an autoencoder of recorded hits and scrapes from held-out sources.

`python -m benchmarks.autoencoder --vae checkpoints/full_band/vae --sounds FOLDER` prints, over takes of a split: log
distance per band, 99% roll-off by material beside the recordings', spectral crest (how far partials stand out), level,
envelope correlation, onset lag, the cosine in the space of a release's audio encoder, which did not train the
autoencoder, and with `--judge FOLDER` the share of takes for which the judge names the same material before and after.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foleygram.benchmark.scoring import load_judge
from foleygram.envelope.envelope import Envelope
from foleygram.envelope.rms import rms_envelope
from foleygram.generation.autoencoder import encode_audio
from foleygram.generation.backbone import load_autoencoder
from foleygram.media.audio import resample
from foleygram.pipeline.release import load_part
from foleygram.synthetic.recordings import RecordedSounds

BANDS_HZ = ((0, 500), (500, 2000), (2000, 8000), (8000, 22_050))
CREST_HZ = (500, 8000)
LOUD_DB = 20.0
"""The crest is taken of frames at most this far below a take's loudest."""
FLOOR = 1e-4
LEAD_SEC, SECONDS = 0.25, 2.0
MAX_LAG_SEC = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, default=Path("checkpoints/full_band/vae"))
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--encoder", type=Path, default=Path("checkpoints/mini"), help="release with an audio_encoder")
    parser.add_argument("--judge", type=Path, help="folder of a material judge (`foleygram judge`)")
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    vae = load_autoencoder(str(options.vae))
    encoder = load_part(options.encoder, "audio_encoder")
    judge = load_judge(options.judge) if options.judge else None
    rate = vae.config.sampling_rate
    voices = RecordedSounds(options.sounds, sample_rate=rate, split=options.split).voices
    takes = [(voice.material, voice.takes[i]) for i in range(100) for voice in voices if i < len(voice.takes)]
    metrics, rolloffs = defaultdict[str, list[float]](list), defaultdict[str, list[tuple[float, float]]](list)
    for material, take in takes[: options.limit]:  # the first take of every voice, then the second ...
        audio = torch.zeros(1, 1, -(-round(SECONDS * rate) // vae.hop_length) * vae.hop_length)
        start = round(LEAD_SEC * rate)
        take = take[: audio.shape[-1] - start]
        audio[0, 0, start : start + len(take)] = 0.7 * torch.from_numpy(take)
        with torch.no_grad():
            decoded = vae.decode(encode_audio(vae, audio).mean).sample
        for name, value in compare(decoded[0, 0], audio[0, 0], rate).items():
            metrics[name].append(value)
        both = torch.cat([resample(one[0], rate, 16_000) for one in (decoded, audio)])
        with torch.no_grad():
            rows = encoder.embed_waveform(both)
        metrics["cosine"].append(float(rows[0] @ rows[1]))
        if judge is not None:
            heard = [judge.classify(one[0], rate)[0] for one in (decoded, audio)]
            metrics["same material by the judge"].append(float(heard[0] == heard[1]))
        rolloffs[material].append((rolloff(decoded[0, 0], rate), rolloff(audio[0, 0], rate)))
    print(f"{min(len(takes), options.limit)} takes of {len(voices)} voices, {options.split} split, {options.vae}")
    for name, values in metrics.items():
        print(
            f"{name:32} median {np.median(values):8.3f}   mean {np.mean(values):8.3f}   "
            f"10% {np.quantile(values, 0.1):8.3f}   90% {np.quantile(values, 0.9):8.3f}"
        )
    for material, pairs in sorted(rolloffs.items()):
        obtained, true = np.median(pairs, axis=0)
        print(
            f"99% roll-off, {material:14} {obtained:7.0f} Hz of {true:7.0f} Hz "
            f"({obtained / true:.2f}, {len(pairs)} takes)"
        )


def compare(decoded: Tensor, audio: Tensor, rate: int) -> dict[str, float]:
    """Distances of two sounds (samples,): log magnitude per band in dB, level, envelope correlation, lag in ms."""
    spectra = [
        torch.stft(one, 2048, 512, window=torch.hann_window(2048), return_complex=True).abs() / 512
        for one in (decoded, audio)
    ]
    frequencies = torch.linspace(0, rate / 2, 1025)
    found = {}
    for low, high in BANDS_HZ:
        rows = (frequencies >= low) & (frequencies < high)
        ours, theirs = (20 * (spectrum[rows] + FLOOR).log10() for spectrum in spectra)
        found[f"log distance {low} to {high} Hz, dB"] = float((ours - theirs).abs().mean())
    crests = [crest(spectrum, frequencies) for spectrum in spectra]
    found["crest of the recording, dB"], found["crest decoded, dB"] = crests[1], crests[0]
    found["level, dB"] = float(10 * torch.log10(decoded.square().sum() / audio.square().sum()))
    ours, theirs = (rms_envelope(one[None], 1411, 88)[0] for one in (decoded, audio))
    found["envelope correlation"] = float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1])
    reach = round(MAX_LAG_SEC * rate / 88)
    shifts = range(-reach, reach + 1)
    best = max(shifts, key=lambda shift: float((torch.roll(ours, -shift) * theirs).sum()))
    found["lag, ms"] = 1000 * best * 88 / rate
    onsets = [Envelope.from_audio(one.numpy(), rate).onsets() for one in (decoded, audio)]
    found["onsets, found / true"] = len(onsets[0]) / max(1, len(onsets[1]))
    return found


def crest(spectrum: Tensor, frequencies: Tensor) -> float:
    """Mean distance in dB of a loud frame's highest magnitude from its median one, of a spectrum (bins, frames)."""
    rows = (frequencies >= CREST_HZ[0]) & (frequencies < CREST_HZ[1])
    decibels = 20 * (spectrum[rows] + 1e-7).log10()
    peaks = decibels.amax(0)
    return float((peaks - decibels.median(0).values)[peaks > peaks.max() - LOUD_DB].mean())


def rolloff(audio: Tensor, rate: int) -> float:
    """Frequency in Hz below which 99% of a sound's energy (samples,) lies."""
    energy = torch.fft.rfft(audio).abs().square().cumsum(0)
    return float(torch.searchsorted(energy, 0.99 * energy[-1])) * rate / len(audio)


if __name__ == "__main__":
    main()
