"""Stage 1's validation of a large split: seconds of processor time and peak memory, by the number of clips.

Unit embeddings of 512 values, 500 captions, 17 materials, GRAM's loss. Target: 15,000 clips within 2 GiB.
"""

import argparse
import resource
import time

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foleygram.alignment.losses import GramLoss
from foleygram.alignment.retrieval import Embeddings, loss_over_blocks, retrieval_report


def embeddings(num_clips: int, dim: int = 512) -> Embeddings:
    """Random clips whose modalities have cosines of about 0.6."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(num_clips, dim, generator=generator)

    def near() -> Tensor:
        return normalize(common + 0.8 * torch.randn(num_clips, dim, generator=generator), dim=-1)

    return Embeddings(near(), near(), near())


def peak_gib() -> float:
    """This process's largest memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print the seconds, the peak memory and some of the values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=15_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = embeddings(options.clips)
    captions, materials = ([str(n % kinds) for n in range(options.clips)] for kinds in (500, 17))
    idle, begun = peak_gib(), time.process_time()
    values = {"val_loss": loss_over_blocks(GramLoss(), found, captions)} | retrieval_report(found, captions, materials)
    print(f"{options.clips} clips: {time.process_time() - begun:.1f} s, {peak_gib():.2f} GiB (before: {idle:.2f})")
    print(", ".join(f"{name} {value:.4f}" for name, value in values.items() if "r5" not in name and "r10" not in name))


if __name__ == "__main__":
    main()
