"""Reads weight files of any origin, and loads state dicts strictly: keys and shapes must match exactly."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct as reconstruct
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

ARRAY_NAMES: list[Any] = [
    *((reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    np.ndarray, np.dtype, type(np.dtype(np.float32)), type(np.dtype(np.float64)),
]  # fmt: skip
"""Globals that a pickle of NumPy arrays names; they build arrays and run no other code."""

UNREADABLE = (OSError, ValueError, RuntimeError, LookupError, EOFError, pickle.UnpicklingError, SafetensorError)
"""Errors of the readers of weight files for a damaged or foreign file."""


def read_weights(path: str | Path) -> Any:
    """The content of a `.safetensors` file or a pickle (`.pt`, `.ckpt`, `.pth`), on the CPU; no code in it is run.

    Raises FileNotFoundError, or ValueError naming a file that is damaged, foreign, or holds more than plain data.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{path}: not a complete safetensors file ({error}); fetch it again") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path}: damaged, or it holds code beside tensors, which is never run here ({reason}); "
            "fetch it again, or have its owner save the plain state dict"
        ) from error
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(f"{path}: truncated or not a PyTorch checkpoint ({error}); fetch it again") from error


def read_state(path: str | Path, where: str = "fetch it again") -> dict[str, Any]:
    """The state dict in a weight file, as `read_weights` reads it.

    Raises FileNotFoundError or ValueError, which end with `where`: where to get the right file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such weight file; {where}")
    state = read_weights(path)
    if not isinstance(state, dict):
        raise ValueError(f"{path}: holds {type(state).__name__}, not a state dict; {where}")
    return state


def read_arrays(path: str | Path) -> dict[str, Any]:
    """The named arrays of an `.npz` file, or of a pickle that holds arrays of NumPy and nothing else that is code.

    Raises FileNotFoundError, or ValueError naming a file that is damaged or holds more than that.
    """
    path = Path(path)
    if path.suffix == ".npz" and path.is_file():
        try:
            with np.load(path, allow_pickle=False) as file:
                return dict(file)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not a complete .npz file of plain arrays ({error}); fetch it again") from error
    with torch.serialization.safe_globals(ARRAY_NAMES):
        arrays = read_weights(path)
    if not isinstance(arrays, dict):
        raise ValueError(f"{path}: holds {type(arrays).__name__}, not named arrays")
    return arrays


def sub_state(prefix: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a state dict whose keys begin with `prefix`, without it."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def num_layers(keys: Iterable[str], pattern: str) -> int:
    """Number of layers among a state dict's keys; `pattern` matches a layer's key and captures its number."""
    return 1 + max((int(match[1]) for key in keys if (match := re.match(pattern, key))), default=-1)


def load_state(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict of `model`'s own keys and shapes; `source` is the file that errors name.

    Raises ValueError naming the keys that do not fit or hold NaN or infinity; `model` is as it was then.
    """
    expected = model.state_dict()
    common = expected.keys() & state.keys()
    refuse_no_numbers(state, source)
    refuse_misfits(
        type(model).__name__,
        source,
        missing=expected.keys() - state.keys(),
        unexpected=state.keys() - expected.keys(),
        misshapen=[
            (key, state[key].shape, expected[key].shape) for key in common if state[key].shape != expected[key].shape
        ],
    )
    model.load_state_dict(dict(state))


def refuse_misfits(
    network: str,
    source: str,
    *,
    missing: Iterable[str],
    unexpected: Iterable[str],
    misshapen: Iterable[tuple[str, Sequence[int], Sequence[int]]],
) -> None:
    """Raise ValueError naming `source` and the first keys that do not fit, (key, found, expected) with both shapes."""
    faults = {
        "missing": sorted(missing),
        "unexpected": sorted(unexpected),
        "misshapen": [f"{key} {tuple(found)}, expected {tuple(shape)}" for key, found, shape in sorted(misshapen)],
    }
    if any(faults.values()):
        problems = ", ".join(f"{fault} {keys[:5]}" + f" and {len(keys) - 5} more" * (len(keys) > 5)
                         for fault, keys in faults.items() if keys)  # fmt: skip
        raise ValueError(
            f"{source}: the weights do not fit {network}: {problems}; check that file and config belong together"
        )


def refuse_no_numbers(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise ValueError naming `source` and the first of `tensors` that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{source}: {name} holds values that are not finite; fetch or export it again")


@contextmanager
def without_chatter() -> Iterator[None]:
    """Silence progress bars per network, and the deprecation warning of the weight norm in diffusers' Oobleck."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*weight_norm", category=FutureWarning)
            yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
