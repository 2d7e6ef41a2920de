"""Two gloo processes against one at equal global batch: equal losses, and what the second process brings.

Run: python -m benchmarks.distributed [--steps 6] [--batch 16]. On the CPU, one thread for each process.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import warnings

import torch

from benchmarks.stages import Measured, alignment_stage, train


def measure(processes: int, steps: int, batch: int) -> Measured | None:
    """Losses and seconds of stage 1 over `processes`, from the first of them; None in the others."""
    torch.set_num_threads(1)
    stage, clips = alignment_stage()
    several = {"devices": processes, "strategy": "ddp"} if processes > 1 else {"devices": 1}
    metrics = train(
        stage, clips, steps=steps, batch_size=batch // processes, accelerator="cpu", gradient_clip_val=1.0, **several
    )
    return metrics if stage.global_rank == 0 else None


def main() -> None:
    """Measure one and two processes, each run by itself, and print both with their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16, help="clips of a step over all processes")
    parser.add_argument("--processes", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.processes:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
        if metrics := measure(args.processes, args.steps, args.batch):
            print(json.dumps(metrics))
        return
    print(f"stage 1, miniature, {args.batch} clips a step over all processes, one thread each")
    results: dict[int, Measured] = {}
    for processes in (1, 2):
        command = [sys.executable, "-m", "benchmarks.distributed", f"--processes={processes}"]
        command += [f"--steps={args.steps}", f"--batch={args.batch}"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        results[processes] = Measured(*json.loads(output.splitlines()[-1]))
        seconds = statistics.median(results[processes].seconds[1:])
        losses = " ".join(f"{loss:.6f}" for loss in results[processes].losses)
        print(f"{processes} process{'es' * (processes > 1):<2}  {1000 * seconds:8.0f} ms a step   losses {losses}")
    one, two = results[1], results[2]
    apart = max(abs(a - b) for a, b in zip(one.losses, two.losses, strict=True))
    ratio = statistics.median(one.seconds[1:]) / statistics.median(two.seconds[1:])
    print(f"losses differ by at most {apart:.1e}; two processes are {ratio:.2f} x as fast (limit: 2)")


if __name__ == "__main__":
    main()
