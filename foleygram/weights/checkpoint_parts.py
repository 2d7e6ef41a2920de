"""Descriptions of the networks in a training checkpoint, so that they can be built from the file only."""

import tempfile
from pathlib import Path
from typing import Any

from torch import Tensor

from foleygram.weights.shards import read_shards
from foleygram.weights.state_dict import read_weights, sub_state

PARTS = "parts"
"""Key of a checkpoint: by name of a release's part, the prefix of its keys and the text of its config files."""
AVERAGED = "averaging_state"
"""Key of a checkpoint under which averaged weights lie, "/" for "." in their names."""
LARGEST_TEXT = 32 * 2**20


def part_description(part: Any, prefix: str) -> dict[str, Any]:
    """The prefix of a part's keys, and the texts of the files that build it: its config, or a tokenizer's own."""
    with tempfile.TemporaryDirectory() as folder:
        if hasattr(part, "save_config"):  # diffusers
            part.save_config(folder)
        else:
            getattr(part, "config", part).save_pretrained(folder)
        texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.json"))}
    return {"prefix": prefix, "files": texts}


def read_parts(path: Path) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, Tensor]]]:
    """Config files and weights of each part of the checkpoint `path`, averaged weights where it has them.

    `path` is a file or a folder of shards; no code in it is run. Raises FileNotFoundError, and ValueError where it
    describes no parts.
    """
    checkpoint = read_shards(path) if path.is_dir() else read_weights(path)
    try:
        state = dict(checkpoint["state_dict"])
        averaged = sub_state("module.", checkpoint.get(AVERAGED, {}))
        state |= {name.replace("/", "."): value for name, value in averaged.items()}
        files = {name: dict(entry["files"]) for name, entry in checkpoint[PARTS].items()}
        weights = {name: sub_state(entry["prefix"], state) for name, entry in checkpoint[PARTS].items()}
        texts = [(name, text) for part in files.values() for name, text in part.items()]
        if not files or any(Path(name).name != name or len(text) > LARGEST_TEXT for name, text in texts):
            raise ValueError("no parts, or file names that are paths")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path}: describes no parts of a release ({error!r}); give a checkpoint of stage 1, of stage 2, of the "
            "envelope predictor or of the backbone, or the folder that the run wrote as model.init_args.out"
        ) from None
    return files, weights
