"""Networks in Hugging Face's form, from a folder or the hub: whole, or an error that says what to do."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import safe_open
from transformers import PreTrainedModel

from foleygram.files import shipped
from foleygram.weights.state_dict import UNREADABLE, refuse_misfits, refuse_no_numbers, without_chatter

HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
"""The root of what the hub's client raises, of whichever httpx it is built on."""

NAME_A_FOLDER = (
    "there is no such folder here either: name one that is (docs/weights.md), or go where there is a network"
)


def load_network(
    network_class: type[Any],
    name: str | PathLike[str],
    *,
    subfolder: str = "",
    left_out: tuple[str, ...] = (),
    torch_dtype: torch.dtype = torch.float32,
    pickles: bool = True,
    **kwargs: Any,
) -> Any:
    """A network in eval mode from a folder or hub id, every key accounted for but those that begin as `left_out`.

    The libraries' own loaders fill a missing key with noise and drop an unexpected one with no more than a warning.
    With `pickles`, weights may lie in a `.bin` file, which is read as plain data.
    Raises FileNotFoundError for what is absent, PermissionError for what is gated, ConnectionError without a network,
    ValueError naming the file that is damaged, of another class, or whose keys or shapes do not fit its config.
    """
    name = shipped(name) if shipped(name).exists() else name  # a path would lose the ./ that tells it from a hub id
    source = f"{name}/{subfolder}" if subfolder else str(name)
    check_folder(name, subfolder)
    folder = Path(name) / subfolder
    kinds = ("*.safetensors", "*.bin") if pickles else ("*.safetensors",)
    if folder.is_dir() and not any(any(folder.glob(kind)) for kind in kinds):
        raise FileNotFoundError(f"{folder}: no weights there ({' or '.join(kinds)}); fetch or export it again")
    of_diffusers = issubclass(network_class, ModelMixin)
    library: Any = ModelMixin if of_diffusers else PreTrainedModel
    kind: dict[str, Any] = {"torch_dtype": torch_dtype, "subfolder": subfolder} | kwargs
    kind |= {"use_safetensors": None if pickles else True}
    kind |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # both shapes are named below
    if of_diffusers:
        kind["low_cpu_mem_usage"] = False  # said outright, or diffusers advises installing accelerate
    with explained(source, str(name)):
        config = _config(network_class, str(name), subfolder)
    _check_class(network_class, config, source)
    _check_depth(config, folder, source)
    with explained(source, str(name)), without_chatter(), _silent_reports():
        # The library's own loader, for a class that wraps it in this function.
        network, report = library.from_pretrained.__func__(network_class, str(name), **kind)
    refuse_misfits(
        network_class.__name__,
        source,
        missing=report["missing_keys"],
        unexpected=[key for key in report["unexpected_keys"] if not key.startswith(left_out)],
        misshapen=report["mismatched_keys"],
    )
    refuse_no_numbers(network.state_dict(), source)
    return network.eval()


def _config(network_class: type[Any], name: str, subfolder: str) -> dict[str, Any]:
    if issubclass(network_class, ModelMixin):
        config: Any = network_class.load_config(name, subfolder=subfolder)  # type: ignore[attr-defined]
    else:
        config, _ = network_class.config_class.get_config_dict(name, subfolder=subfolder)
    if not isinstance(config, dict):
        raise ValueError(f"config.json holds {type(config).__name__}, no fields")
    return config


def _check_class(network_class: type[Any], config: dict[str, Any], source: str) -> None:
    """Refuse another network's config before anything is built by it: sizes that it lacks would be the class's own."""
    if network_class.__module__.startswith("transformers."):  # a checkpoint with a head serves the network beneath
        found, expected = config.get("model_type"), network_class.config_class.model_type
    else:
        found, expected = (
            config.get("_class_name") or (config.get("architectures") or [None])[0],
            network_class.__name__,
        )
    if found != expected:
        raise ValueError(f"{source}/config.json: of {found}, not of {expected}; is this the folder you mean?")


def _check_depth(config: dict[str, Any], folder: Path, source: str) -> None:
    """Refuse more layers than a folder's weights have tensors: building a slip of the pen would fill the memory."""
    tensors = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            tensors += len(file.keys())
    for name, number in _numbers_of_layers(config):
        if tensors and number > tensors:
            raise ValueError(
                f"{source}/config.json: {name} is {number}, but its weights are {tensors} tensors; fetch it again"
            )


def _numbers_of_layers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _numbers_of_layers(value)
        elif name.endswith("layers") and isinstance(value, int):
            yield name, value


def check_folder(name: str | PathLike[str], subfolder: str = "") -> None:
    """Refuse a folder that is absent or holds a damaged safetensors file; a hub id passes.

    Raises FileNotFoundError or ValueError naming it.
    """
    folder = Path(name) / subfolder
    if not folder.is_dir():
        # A hub id is OWNER/NAME, or a name alone; one whose first half is a folder here was meant as a path.
        if not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", str(name)) or Path(Path(name).parts[0]).is_dir():
            raise FileNotFoundError(f"{folder}: no such folder; docs/weights.md says where weights come from")
        return
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except UNREADABLE as error:
            raise ValueError(f"{path}: not a whole safetensors file ({error}); fetch it again") from error


@contextmanager
def explained(source: str, hub_id: str, *, again: str = NAME_A_FOLDER) -> Iterator[None]:
    """Say in words what a library reports of `source`, which is, or lies in, the folder or hub id `hub_id`.

    `again` is the way out where there is no network.
    Raises PermissionError for what is gated, FileNotFoundError for what is absent, ConnectionError without a network,
    ValueError for all else.
    """
    try:
        yield
    except (*UNREADABLE, HTTP_ERROR, TypeError, AttributeError, ArithmeticError) as error:
        chain = [*_chain(error)]

        def is_any(*kinds: type[BaseException]) -> bool:
            return any(isinstance(one, kinds) for one in chain)

        said = " ".join(str(error).split())[:300] or type(error).__name__
        if is_any(GatedRepoError):
            raise PermissionError(
                f"{source}: gated. Accept its licence on https://huggingface.co/{hub_id}, then log in with "
                "`hf auth login` and run this again"
            ) from error
        if is_any(RepositoryNotFoundError):
            raise FileNotFoundError(
                f"{source}: no folder here, and the hub has no {hub_id}, or it is private to you: log in with "
                "`hf auth login`; docs/weights.md lists what there is"
            ) from error
        if is_any(RemoteEntryNotFoundError):
            raise FileNotFoundError(f"{source}: not among the files of the hub's {hub_id} ({said})") from error
        if not Path(hub_id).is_dir() and is_any(HTTP_ERROR, LocalEntryNotFoundError, ConnectionError, TimeoutError):
            raise ConnectionError(
                f"{source}: the hub cannot be reached, or broke off ({chain[-1]}); {again}"
            ) from error
        raise ValueError(f"{source}: cannot be loaded ({said}); fetch it again") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def _silent_reports() -> Iterator[None]:
    """No word of the libraries' on keys that they filled or dropped: `refuse_misfits` has it, or they are left out."""
    loggers = [logging.getLogger(name) for name in ("transformers", "diffusers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
