"""Checkpoints in shards: a folder to which every process of a sharded training wrote its part."""

import pickle
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from foleygram.weights.state_dict import read_weights

INDEX, REST = ".metadata", "meta.pt"
"""Files of such a folder: PyTorch's index of the shards, and Lightning's file of everything that is not a tensor."""
MODULES = {"torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"}
NAMES = {
    ("pathlib", "PosixPath"),
    ("pathlib", "PurePosixPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
}


class _Index(pickle.Unpickler):
    """Reads an index of shards, which is a pickle, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = module in MODULES or (module, name) in NAMES
        if "." in name or not (allowed or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype))):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def is_sharded(path: Path) -> bool:
    """Whether `path` is a folder of shards."""
    return (path / INDEX).is_file() and (path / REST).is_file()


def check_index(folder: Path) -> None:
    """Raise ValueError for a folder of shards whose index is damaged or names code, before PyTorch unpickles it."""
    try:
        with (folder / INDEX).open("rb") as file:
            _Index(file).load()
    except Exception as error:  # a damaged pickle raises anything
        raise ValueError(
            f"{folder / INDEX}: damaged, or it holds code beside the shards' index, which is never run here ({error}); "
            "take another checkpoint"
        ) from error


def read_shards(folder: Path) -> dict[str, Any]:
    """The checkpoint that a folder of shards makes up, whole on the CPU; raises ValueError for a damaged one."""
    check_index(folder)
    rest = read_weights(folder / REST)
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole.pt"
        try:
            dcp_to_torch_save(folder, whole)
        except Exception as error:
            raise ValueError(f"{folder}: its shards are damaged ({error}); take another checkpoint") from error
        return dict(rest) | read_weights(whole)
