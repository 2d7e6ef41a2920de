"""Volume matrix, forward and backward, against stacking 3 x 3 determinants: time and peak memory, both ratios.

Run: python benchmarks/volume.py [--batch 1024] [--dim 512]. Each variant runs in a process of its own.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foleygram.alignment.volume import volume_matrix


def stacked_determinants(anchor: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Volumes (A, B) as the published code computes them: (A, B, 3, 3) Gram matrices, then torch.linalg.det."""
    shape = (len(anchor), len(first))
    aa = (anchor * anchor).sum(-1)[:, None].expand(shape)
    bb, cc, bc = ((x * y).sum(-1).expand(shape) for x, y in ((first, first), (second, second), (first, second)))
    ab, ac = anchor @ first.T, anchor @ second.T
    gram = torch.stack([torch.stack(row, dim=-1) for row in ([aa, ab, ac], [ab, bb, bc], [ac, bc, cc])], dim=-2)
    return torch.linalg.det(gram).abs().sqrt()


VARIANTS: dict[str, Callable[..., Tensor]] = {"stacked": stacked_determinants, "ours": volume_matrix}


def peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(variant: str, batch: int, dim: int, repeats: int) -> tuple[float, float]:
    """Best seconds of one forward and backward, and the megabytes they add to the process's peak."""
    torch.manual_seed(0)
    inputs = [normalize(torch.randn(batch, dim), dim=-1).requires_grad_() for _ in range(3)]
    (normalize(torch.randn(64, dim), dim=-1).requires_grad_() @ torch.randn(dim, 64)).sum().backward()  # warm up
    small = [tensor.detach()[:8].requires_grad_() for tensor in inputs]
    VARIANTS[variant](*small).sum().backward()
    before = peak_bytes()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        VARIANTS[variant](*inputs).mean().backward()
        seconds.append(time.perf_counter() - start)
    return min(seconds), (peak_bytes() - before) / 2**20


def main() -> None:
    """Measure both variants and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--variant", choices=VARIANTS, help="measure this one only, in this process")
    args = parser.parse_args()
    if args.variant:
        print(*measure(args.variant, args.batch, args.dim, args.repeats))
        return
    results = {}
    for variant in VARIANTS:
        options = [f"--{name}={getattr(args, name)}" for name in ("batch", "dim", "repeats")]
        command = [sys.executable, __file__, f"--variant={variant}", *options]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, megabytes = map(float, output.split())
        results[variant] = (seconds, megabytes)
        print(f"{variant:8s} {seconds * 1e3:8.1f} ms  {megabytes:8.1f} MiB above the start")
    (slow, large), (fast, small) = results["stacked"], results["ours"]
    print(f"ours is {slow / fast:.1f}x faster and takes {small / large:.2f} of the memory")


if __name__ == "__main__":
    main()
