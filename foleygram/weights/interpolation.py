"""Interpolates two trained networks of one architecture (WiSE-FT, arXiv 2109.01903)."""

import shutil
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from foleygram.files import atomic_path
from foleygram.weights.state_dict import read_state


def interpolate_weights(start: Path, trained: Path, out: Path, share: float) -> None:
    """Write a part whose weights lie at `share` in [0, 1] of the way from those of `start` to those of `trained`.

    Each folder holds one `.safetensors` file; `out`, which must not exist, gets the other files of `start`.
    A network between the two often performs both the first task and the fine-tuned one. Raises FileNotFoundError,
    FileExistsError, or ValueError for a share outside [0, 1] or networks that differ in more than values.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share}: it must lie in [0, 1]")
    if out.exists():
        raise FileExistsError(f"{out}: exists already; choose another folder")
    files = [_weight_file(folder) for folder in (start, trained)]
    first, second = (read_state(file) for file in files)
    shapes, others = ({name: value.shape for name, value in state.items()} for state in (first, second))
    if different := sorted(name for name in shapes | others if shapes.get(name) != others.get(name)):
        raise ValueError(f"{trained}: not the architecture of {start}: {different[0]} differs")
    state = {name: _between(value, second[name], share) for name, value in first.items()}
    with atomic_path(out) as folder:
        shutil.copytree(start, folder)
        save_file(state, folder / files[0].name, metadata={"format": "pt"})


def _between(start: Tensor, trained: Tensor, share: float) -> Tensor:
    """Counters and other whole numbers are those of `trained`."""
    if not start.is_floating_point():
        return trained
    return start.float().lerp(trained.float(), share)


def _weight_file(folder: Path) -> Path:
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder}: {len(found)} .safetensors files; name the folder of one part, such as FOLDER/vae"
        )
    return found[0]
