"""Peak memory of a training step with and without gradient checkpointing, and what it costs in time.

Run: python -m benchmarks.checkpointing [--batch 16]. Both stages at the miniature's sizes; each variant in a process of
its own, whose memory before training is taken off.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import warnings

from benchmarks.stages import alignment_stage, generation_stage, peak_mebibytes, train

STAGES = {"alignment": alignment_stage, "generation": generation_stage}


def measure(name: str, checkpointing: bool, batch: int, steps: int = 4) -> tuple[float, float, list[float]]:
    """MiB that training adds to the process's peak, median milliseconds of a step, and the losses."""
    stage, clips = STAGES[name](gradient_checkpointing=checkpointing)
    before = peak_mebibytes()
    metrics = train(stage, clips, steps=steps, batch_size=batch, devices=1, accelerator="auto")
    return peak_mebibytes() - before, 1000 * statistics.median(metrics.seconds[1:]), metrics.losses


def main() -> None:
    """Measure both stages both ways and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--variant", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.variant:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
        print(json.dumps(measure(args.variant[0], args.variant[1] == "True", args.batch)))
        return
    for name in STAGES:
        found = {}
        for checkpointing in (False, True):
            command = [sys.executable, "-m", "benchmarks.checkpointing", f"--batch={args.batch}"]
            command += ["--variant", name, str(checkpointing)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            memory, milliseconds, losses = found[checkpointing] = json.loads(output.splitlines()[-1])
            label = "with checkpointing" if checkpointing else "without"
            print(f"{name:<11} {label:<19} {memory:8.0f} MiB   {milliseconds:7.0f} ms a step   loss {losses[-1]:.6f}")
        ratios = [found[True][part] / found[False][part] for part in (0, 1)]
        print(f"{name:<11} memory {ratios[0]:.2f} x, time {ratios[1]:.2f} x, batch {args.batch}")


if __name__ == "__main__":
    main()
