"""How long `generate.py --help` takes, as a ratio to `import torch`, in alternating runs (target: at most 2)."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "import torch": [sys.executable, "-c", "import torch"],
    "generate.py --help": [sys.executable, str(ROOT / "generate.py"), "--help"],
}


def main(repeats: int = 7) -> None:
    """Print the median of each command and their ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<22} {median:6.2f} s")
    print(f"ratio {medians['generate.py --help'] / medians['import torch']:.2f} (target: at most 2)")


if __name__ == "__main__":
    main()
