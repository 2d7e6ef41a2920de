"""Load networks in Hugging Face's format from a folder or the hub, strictly, with errors that state the remedy."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import safe_open
from transformers import PreTrainedModel

from foleygram.files import shipped
from foleygram.weights.location import HTTP_ERROR, cache_only_if_offline, hub_id
from foleygram.weights.state_dict import UNREADABLE, refuse_misfits, refuse_no_numbers, without_chatter

NAME_A_FOLDER = "no such folder exists here; name an existing one (docs/weights.md), or try again with a network"


def load_network(
    network_class: type[Any] | tuple[type[Any], ...],
    name: str | PathLike[str],
    *,
    subfolder: str = "",
    left_out: tuple[str, ...] = (),
    torch_dtype: torch.dtype = torch.float32,
    pickles: bool = True,
    **kwargs: Any,
) -> Any:
    """A network in eval mode from a folder or hub id, every key accounted for except those with a prefix in `left_out`.

    Of several classes of one library, the one that the config names is built. The libraries' own loaders fill a missing
    key with noise and drop an unexpected one with no more than a warning.
    With `pickles`, weights may lie in a `.bin` file, which is read as plain data.
    Raises FileNotFoundError for what is absent, PermissionError for what is gated, ConnectionError without a network,
    ValueError naming the file that is damaged, of another class, or whose keys or shapes do not fit its config.
    """
    identifier = hub_id(name)
    name = identifier or str(shipped(name))
    source = f"{name}/{subfolder}" if subfolder else name
    folder = Path(name) / subfolder
    if identifier is None:
        check_folder(folder)
    kinds = ("*.safetensors", "*.bin") if pickles else ("*.safetensors",)
    if folder.is_dir() and not any(any(folder.glob(kind)) for kind in kinds):
        raise FileNotFoundError(f"{folder}: no weights there ({' or '.join(kinds)}); fetch or export it again")
    reach = cache_only_if_offline() if identifier else {}
    classes = network_class if isinstance(network_class, tuple) else (network_class,)
    of_diffusers = issubclass(classes[0], ModelMixin)
    library: Any = ModelMixin if of_diffusers else PreTrainedModel
    kind: dict[str, Any] = {"torch_dtype": torch_dtype, "subfolder": subfolder} | reach | kwargs
    kind |= {"use_safetensors": None if pickles else True}
    kind |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # both shapes are named below
    if of_diffusers:
        kind["low_cpu_mem_usage"] = False  # by default diffusers advises installing accelerate
    with explained(source, name):
        config = _config(classes[0], name, subfolder, **reach)
    network_class = next((one for one in classes if one.__name__ == config.get("_class_name")), classes[0])
    _check_class(network_class, config, source)
    _check_depth(config, folder, source)
    with explained(source, name), without_chatter(), _silent_reports():
        # The library's own loader, for a class that wraps it in this function.
        network, report = library.from_pretrained.__func__(network_class, name, **kind)
    refuse_misfits(
        network_class.__name__,
        source,
        missing=report["missing_keys"],
        unexpected=[key for key in report["unexpected_keys"] if not key.startswith(left_out)],
        misshapen=report["mismatched_keys"],
    )
    refuse_no_numbers(network.state_dict(), source)
    if of_diffusers and identifier is None:
        network.register_to_config(_name_or_path="")  # diffusers would save this machine's path in config.json
    return network.eval()


def _config(network_class: type[Any], name: str, subfolder: str, **reach: Any) -> dict[str, Any]:
    if issubclass(network_class, ModelMixin):
        config: Any = network_class.load_config(name, subfolder=subfolder, **reach)  # type: ignore[attr-defined]
    else:
        config, _ = network_class.config_class.get_config_dict(name, subfolder=subfolder, **reach)
    if not isinstance(config, dict):
        raise ValueError(f"config.json holds {type(config).__name__}, not an object")
    return config


def _check_class(network_class: type[Any], config: dict[str, Any], source: str) -> None:
    """Refuse another network's config before building from it: sizes it lacks would take the class's defaults."""
    if network_class.__module__.startswith("transformers."):  # a checkpoint with a head also holds the network
        actual, expected = config.get("model_type"), network_class.config_class.model_type
    else:
        actual, expected = (
            config.get("_class_name") or (config.get("architectures") or [None])[0],
            network_class.__name__,
        )
    if actual != expected:
        raise ValueError(f"{source}/config.json: config of {actual}, not of {expected}; name the folder of {expected}")


def _check_depth(config: dict[str, Any], folder: Path, source: str) -> None:
    """Refuse more layers than a folder's weights have tensors: a typo in the config could fill the memory."""
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


def check_folder(folder: Path) -> None:
    """Raise FileNotFoundError for an absent folder, ValueError for one with a damaged safetensors file."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; docs/weights.md says where weights come from")
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except UNREADABLE as error:
            raise ValueError(f"{path}: not a complete safetensors file ({error}); fetch it again") from error


@contextmanager
def explained(source: str, name: str, *, again: str = NAME_A_FOLDER) -> Iterator[None]:
    """Re-raise a library's error about `source`, a part of the folder or hub id `name`, with the remedy.

    `again` is the remedy without a network.
    Raises PermissionError for a gated repository, FileNotFoundError for an absent one, ConnectionError without a
    network, ValueError for everything else.
    """
    try:
        yield
    except (*UNREADABLE, HTTP_ERROR, TypeError, AttributeError, ArithmeticError) as error:
        chain = [*_chain(error)]

        def is_any(*kinds: type[BaseException]) -> bool:
            return any(isinstance(one, kinds) for one in chain)

        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if is_any(GatedRepoError):
            raise PermissionError(
                f"{source}: gated. Accept its licence on https://huggingface.co/{name}, then log in with "
                "`hf auth login` and run this again"
            ) from error
        if is_any(RepositoryNotFoundError):
            raise FileNotFoundError(
                f"{source}: no folder here, and the hub has no {name}, or it is private to you: log in with "
                "`hf auth login`; docs/weights.md lists what there is"
            ) from error
        if is_any(RemoteEntryNotFoundError):
            raise FileNotFoundError(f"{source}: not among the files of the hub's {name} ({reason})") from error
        if not Path(name).is_dir() and is_any(HTTP_ERROR, LocalEntryNotFoundError, ConnectionError, TimeoutError):
            cause = "and its cache here lacks it" if is_any(LocalEntryNotFoundError) else f"({chain[-1]})"
            raise ConnectionError(f"{source}: the hub cannot be reached {cause}; {again}") from error
        raise ValueError(f"{source}: cannot be loaded ({reason}); fetch it again") from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def _silent_reports() -> Iterator[None]:
    """Silence the libraries' warnings about missing and unexpected keys: `refuse_misfits` reports them."""
    loggers = [logging.getLogger(name) for name in ("transformers", "diffusers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
