"""Mutants of the core modules that their tests notice, by mutmut in a copy of the project: share and survivors.

Run: `make mutants`, which puts mutmut below .mutants; one module: `make mutants MODULES=foleygram/alignment/volume.py`;
20 drawn mutants of each module: `make mutants MODULES='--sample 20'`.
A mutant is one small change (an operator, a number, an argument). Each module is judged by the tests named here alone.
Aim: 90% noticed. A module takes minutes to an hour. Some survivors change nothing: `sum(+1)` of a matrix is `sum(-1)`.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".mutants" / "work"
CORE = {
    "foleygram/alignment/volume.py": "tests/alignment/test_volume.py",
    "foleygram/alignment/losses.py": "tests/alignment/test_losses.py",
    "foleygram/alignment/retrieval.py": "tests/alignment/test_retrieval.py",
    "foleygram/envelope/rms.py": "tests/envelope/test_rms.py",
    "foleygram/envelope/editing/tables.py": "tests/envelope/editing",
    "foleygram/envelope/editing/marker_files.py": "tests/envelope/editing/test_marker_files.py",
    "foleygram/generation/model.py": "tests/generation/test_model.py",
    "foleygram/generation/controlnet.py": "tests/generation/test_controlnet.py",
    "foleygram/generation/sampling.py": (
        "tests/generation/test_sampling.py tests/generation/test_guidance.py tests/generation/test_windows.py"
    ),
    "foleygram/media/isolate.py": "tests/media/test_isolate.py",
    "foleygram/media/mux.py": "tests/media/test_mux.py tests/media/test_carried.py",
    "foleygram/production/plan.py": "tests/production/test_inputs.py tests/production/test_folder_runs.py",
    "foleygram/datasets/cache.py": "tests/datasets/test_cache.py",
    "foleygram/datasets/shards.py": "tests/datasets/test_shards.py",
    "foleygram/training/checkpoints.py": "tests/training",
    "foleygram/evaluation/networks/i3d.py": "tests/evaluation/networks/test_i3d.py",
    "foleygram/evaluation/networks/pwc.py": "tests/evaluation/networks/test_pwc.py",
    "foleygram/evaluation/networks/microsoft_clap.py": "tests/evaluation/networks/test_microsoft_clap.py",
}
"""Modules, and the tests that judge them."""
SETTINGS = """
[tool.mutmut]
source_paths = ["foleygram"]
only_mutate = ["{module}"]
pytest_add_cli_args_test_selection = {tests}
also_copy = {also}
"""


def copy_project(module: str) -> None:
    """A fresh copy of the tracked files, with mutmut's settings for one module."""
    shutil.rmtree(WORK, ignore_errors=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (WORK / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, WORK / name)
    also = ["benchmarks", "checkpoints", "configs", "data", "docs", "tests", "train.py"]
    text = SETTINGS.format(module=module, tests=CORE[module].split(), also=also)
    with (WORK / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(text)


def mutate(module: str, sample: int | None = None, seed: int = 0) -> tuple[int, list[str]]:
    """How many mutants of a module were judged, `sample` drawn ones or all, and those that no test noticed."""
    copy_project(module)
    chosen: list[str] = []
    if sample:
        mutmut("run", "--max-children", "1", "none of them")  # lists the mutants and which test reaches which
        listed = mutmut("results", "--all", "true")
        names = sorted(outcomes(listed))
        if not names:
            raise RuntimeError(f"{module}: mutmut lists no mutant:\n{listed[-2000:]}")
        chosen = random.Random(seed).sample(names, min(sample, len(names)))
    ran = mutmut("run", "--max-children", "1", *chosen)
    listed = mutmut("results", "--all", "true")
    judged = {name: outcome for name, outcome in outcomes(listed).items() if outcome != "not checked"}
    if not judged:
        raise RuntimeError(f"{module}: mutmut judged no mutant:\n{(ran + listed)[-2000:]}")
    return len(judged), [name for name, outcome in judged.items() if outcome in ("survived", "no tests")]


def mutmut(*arguments: str) -> str:
    """Everything that mutmut prints in the copy of the project."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / ".mutants" / "packages"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    ran = subprocess.run(command, cwd=WORK, env=environment, capture_output=True, text=True)
    return ran.stdout + ran.stderr


def outcomes(listed: str) -> dict[str, str]:
    """Outcome by mutant of what `mutmut results` prints."""
    return dict(re.findall(r"^\s*(\S+): (.+)$", listed, re.MULTILINE))


def main() -> None:
    """Print a row for each module, and its survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="paths such as foleygram/alignment/volume.py")
    parser.add_argument("--sample", type=int, help="judge as many mutants of each module, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    modules = options.modules or list(CORE)
    if unknown := set(modules) - CORE.keys():
        parser.error(f"no tests are named for {', '.join(sorted(unknown))}; there are {', '.join(CORE)}")
    for module in modules:
        total, survivors = mutate(module, options.sample, options.seed)
        print(f"{module}: {total - len(survivors)} of {total} noticed ({1 - len(survivors) / total:.0%})", flush=True)
        print("".join(f"  {name}\n" for name in survivors), end="", flush=True)


if __name__ == "__main__":
    main()
