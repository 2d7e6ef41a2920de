"""Resolves a name of weights to a local folder or an id on the model hub."""

import re
from os import PathLike
from typing import Any

from huggingface_hub import constants, get_session
from huggingface_hub.errors import HfHubHTTPError

from foleygram.files import shipped

HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
"""The base class of what the hub's client raises, whichever HTTP library it is built on."""
PREFIX = "hub:"
LOCAL_FOLDERS = frozenset({
    "benchmarks", "cache", "checkpoints", "configs", "data", "docs", "foleygram", "integrations", "models", "out",
    "releases", "runs", "tests", "tmp", "weights",
})  # fmt: skip
"""First parts of names that this project and its documentation use for folders: never owners on the hub."""
HUB_TIMEOUT_SEC = 10.0


def hub_id(name: str | PathLike[str]) -> str | None:
    """The hub id that `name` means; None for a file or folder that exists, in the working directory or shipped.

    `hub:OWNER/NAME` means the hub. Without the prefix an id is a string of the form OWNER/NAME that exists nowhere as a
    path, whose OWNER is neither a folder here nor one of `LOCAL_FOLDERS`.
    Raises FileNotFoundError for any other name that does not exist, ValueError for a malformed or ambiguous `hub:`.
    """
    text = str(name)
    if text.startswith(PREFIX):
        identifier = text.removeprefix(PREFIX)
        if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", identifier):
            raise ValueError(f"{text}: not a hub id; write hub:OWNER/NAME")
        if shipped(identifier).exists():  # the libraries would read it instead of the hub
            raise ValueError(f"{text}: a folder {identifier} exists here and hides the hub's; run this elsewhere")
        return identifier
    if text and shipped(text).exists():
        return None
    owner = text.partition("/")[0]
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text)
        or owner in LOCAL_FOLDERS
        or shipped(owner).is_dir()
    ):
        raise FileNotFoundError(
            f"{text}: no such folder; docs/weights.md says where weights come from (a model on the hub: hub:OWNER/NAME)"
        )
    return text


def cache_only_if_offline() -> dict[str, Any]:
    """Arguments for the hub's client: its cache alone where the hub does not answer within `HUB_TIMEOUT_SEC`.

    Without them the client repeats every request five times with growing pauses.
    """
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_SEC)
    except (HTTP_ERROR, OSError):  # OSError: HF_HUB_OFFLINE is set
        return {"local_files_only": True}
    return {}
