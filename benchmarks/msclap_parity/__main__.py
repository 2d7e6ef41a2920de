"""The package `msclap` and this project's Microsoft CLAP on the same random weights: sound, and text.

Needs an environment of its own, because that package's pins and ours exclude each other:
    python -m venv .msclap
    .msclap/bin/pip install -c constraints.txt torch numpy safetensors librosa pyyaml
    .msclap/bin/pip install "transformers<5" && .msclap/bin/pip install --no-deps msclap==1.3.4 torchlibrosa==0.1.0
Run: python -m benchmarks.msclap_parity [--python .msclap/bin/python] [--size tiny]. Prints the largest differences and
exits with 1 where one is past its tolerance.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.parity.__main__ import Difference, report, run_reference
from foleygram.evaluation.networks.microsoft_clap import MicrosoftClap

REFERENCE = Path(__file__).with_name("reference.py")
TEXTS = ["A person hits wood with a wooden stick.", "wow! a scratch", "naïve café", ""]
TOLERANCE = 5e-5
"""Of the largest value. Both sides take the Fourier transform in float32, the package by a convolution."""


def sounds() -> Tensor:
    """Windows (4, samples): decaying clicks, a rising tone, noise, and digital silence."""
    time = (
        torch.arange(round(MicrosoftClap.window_sec * MicrosoftClap.sample_rate)).double() / MicrosoftClap.sample_rate
    )
    clicks = sum((-40 * (time - t)).exp().where(time >= t, 0.0) for t in (0.5, 1.9, 2.2, 5.7))
    tone = 0.3 * (2 * torch.pi * (100 + 500 * time) * time).sin()
    noise = 0.1 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return torch.stack([0.5 * clicks * (2 * torch.pi * 900 * time).sin(), tone, noise, 0 * time]).float()


def compare(folder: Path, size: str, python: str) -> list[Difference]:
    """One row for sound and one for text, of random weights that the package makes in `folder`."""
    save_file({"audio": sounds()}, folder / "in.safetensors")
    run_reference([python, str(REFERENCE)], folder, json.dumps(TEXTS), "--size", size)
    theirs = load_file(folder / "out.safetensors")
    clap = MicrosoftClap.from_weights(folder / "CLAP_weights_2023.pth", tokenizer=folder / "gpt2")
    return differences({"audio": clap(sounds()), "text": clap.embed_text(TEXTS)}, theirs)


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> list[Difference]:
    """How far our rows are from the package's."""
    rows = []
    for name, found in ours.items():
        expected = theirs[name]
        difference = (found.double() - expected.double()).abs().max().item()
        largest = expected.abs().max().item()
        rows.append(Difference(name, difference, largest, TOLERANCE * largest))
    return rows


def main() -> int:
    """Run both sides in a temporary folder and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=".msclap/bin/python", help="interpreter that has msclap")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    args = parser.parse_args()
    if shutil.which(args.python) is None:
        print(f"{args.python}: no such interpreter; --help says how to make one", file=sys.stderr)
        return 1
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        return report(compare(Path(folder), args.size, args.python), None, title="msclap and ours")


if __name__ == "__main__":
    sys.exit(main())
