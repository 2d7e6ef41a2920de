"""Stage 2 at full size on a GPU: steps per second, peak memory, and the share of the GPU's bf16 peak that is reached.

Run: python -m benchmarks.training_throughput [--batch 12] [--steps 20] [--peak-tflops N] [--compile] [--checkpointing].
Batch 12 of 10 s in bf16-mixed, through the same Trainer as training. Operations are counted by PyTorch's counter over
one step, forward and backward: matrix products, convolutions and attention, a multiplication and an addition being two.
`--checkpointing` counts nothing twice. Without a GPU the operations at full size are counted all the same, and
the miniature is measured.
"""

import argparse
import logging
import statistics
import warnings
from contextlib import nullcontext
from typing import Any
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stages import generation_stage, peak_mebibytes, train

PEAKS_TFLOPS = {"H200": 989, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121}
"""Dense bf16 peaks as their maker states them, by a part of the device's name."""


def operations_of_a_step(batch: int, *, full_size: bool) -> int:
    """Operations of one training step, forward and backward, counted on tensors without memory."""
    # Where there is no memory there is no autocast to switch off.
    with torch.device("meta"), mock.patch("torch.autocast", lambda *args, **options: nullcontext()):
        stage, clips = generation_stage(full_size=full_size)
        features = {name: torch.empty(batch, *size) for name, size in clips.fields.items()}
        features |= {"seconds_start": torch.empty(batch), "seconds_total": torch.empty(batch)}
        with FlopCounterMode(display=False) as counter:
            velocity = stage.model.velocity(features["latents_mean"], torch.empty(batch), stage.conditions(features))
            (velocity - features["latents_scale"]).square().mean().backward()
    return counter.get_total_flops()


def main() -> None:
    """Count, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peak-tflops", type=float, help="the device's dense bf16 peak, where it is not known here")
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--checkpointing", action="store_true", help="compute the blocks again in the backward pass")
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    on_gpu = torch.cuda.is_available()
    name = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}: {'full size, 10 s' if on_gpu else 'no GPU here, so the miniature, 4 s'}, batch {args.batch}")
    options: dict[str, Any] = {"devices": 1, "accelerator": "auto", "precision": "bf16-mixed" if on_gpu else "32-true"}
    for full_size in (True,) if on_gpu else (True, False):
        operations = operations_of_a_step(args.batch, full_size=full_size)
        size = "full size" if full_size else "miniature"
        print(f"{size}: {operations / 1e12:.3f} TFLOP a step, {operations / args.batch / 1e12:.4f} a clip")
    stage, clips = generation_stage(full_size=on_gpu, compile=args.compile, gradient_checkpointing=args.checkpointing)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    metrics = train(stage, clips, steps=args.steps, batch_size=args.batch, **options)
    seconds = statistics.median(metrics.seconds[args.steps // 4 :])
    rate = operations / seconds / 1e12
    print(f"{1 / seconds:.2f} steps/s ({args.batch / seconds:.1f} clips/s), peak {peak_mebibytes() / 1024:.2f} GiB")
    print(f"{rate:.3f} TFLOP/s")
    known = next((peak for part, peak in PEAKS_TFLOPS.items() if on_gpu and part in name), None)
    if peak := args.peak_tflops or known:
        print(f"{rate / peak:.1%} of the bf16 peak of {peak:g} TFLOP/s")
    else:
        print("no peak is known of this device: --peak-tflops gives the share")


if __name__ == "__main__":
    main()
