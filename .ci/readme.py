"""Runs README.md's commands as a reader would type them, in a copy of the tracked files with two videos of their own.

Blocks marked `bash` and `python` run line by line, without the `make` targets and the installation, which CI runs by
itself. The benchmark's table takes half an hour, so CI runs its commands on fewer videos.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FEWER = {"--videos 60": "--videos 12", "--limit 40": "--limit 6 --steps 5"}
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def copy_project(folder: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():  # a file may be removed and not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    first, second = sorted((ROOT / "data" / "examples").glob("*.mp4"))[:2]
    shutil.copy(first, folder / "my_video.mp4")
    (folder / "my_folder").mkdir()
    for number, video in enumerate((first, second)):
        shutil.copy(video, folder / "my_folder" / f"clip {number}.mp4")


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Every command of the README with the program that runs it."""
    found = []
    for language, block in BLOCK.findall(text):
        if language == "python":
            found.append((block, ["python", "-c", block]))
            continue
        for line in filter(None, block.replace("\\\n", " ").splitlines()):
            if not line.startswith(("make ", "pip install ")):
                for written, run in FEWER.items():
                    line = line.replace(written, run)
                found.append((line, ["bash", "-euo", "pipefail", "-c", line]))
    return found


def main() -> None:
    todo = commands((ROOT / "README.md").read_text())
    if not todo:
        sys.exit("README.md has no command")
    # An activated environment, and the copy's own modules.
    environment = os.environ | {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        copy_project(Path(folder))
        for shown, command in todo:
            print(f"-- {shown}", flush=True)
            if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
                sys.exit(f"README.md: this command fails: {shown}")


if __name__ == "__main__":
    main()
