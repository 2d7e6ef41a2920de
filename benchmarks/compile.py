"""A training step of each stage with and without `torch.compile` of its blocks, and how long compiling takes.

Run: python -m benchmarks.compile [--stage NAME] [--batch 16]. Miniature's sizes; on a CPU by a C++ compiler.
"""

import argparse
import logging
import statistics
import warnings

import torch

from benchmarks.stages import alignment_stage, generation_stage, train

STAGES = {"alignment": alignment_stage, "generation": generation_stage}


def main() -> None:
    """Train both stages both ways and print first step, median of the rest, and ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES, action="append", help="this one only; may be given again")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print(f"miniature, batch {args.batch}, {torch.get_num_threads()} threads")
    for name in args.stage or STAGES:
        medians = {}
        for compiled in (False, True):
            stage, clips = STAGES[name](compile=compiled)
            measured = train(stage, clips, steps=args.steps, batch_size=args.batch, devices=1, accelerator="auto")
            medians[compiled] = statistics.median(measured.seconds[2:])
            label = "compiled" if compiled else "as it is"
            print(
                f"{name:<11} {label:<9} first step {measured.seconds[0]:6.1f} s then {1000 * medians[compiled]:7.0f} ms"
                f"   loss {measured.losses[-1]:.6f}",
                flush=True,
            )
        print(f"{name:<11} compiled, a step takes {medians[True] / medians[False]:.2f} of its time")


if __name__ == "__main__":
    main()
