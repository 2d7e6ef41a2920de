"""Variants of a shipped training: its YAML with a few values changed, trained in a process of its own, resumably."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from foleygram.files import atomic_path

DONE = "done"


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested `config` with the values that dotted paths name replaced; list items go by number.

    Raises KeyError naming a path whose parent is not there, so that a renamed option is no silent addition.
    """
    whole = yaml.safe_load(yaml.safe_dump(dict(config)))
    for path, value in changes.items():
        place, *keys = whole, *path.split(".")
        for key in keys[:-1]:
            place = _child(place, key, path)
        last = int(keys[-1]) if isinstance(place, list) else keys[-1]
        place[last] = value
    return whole


def _child(place: Any, key: str, path: str) -> Any:
    try:
        return place[int(key) if isinstance(place, list) else key]
    except (KeyError, IndexError, TypeError, ValueError):
        raise KeyError(f"{path}: the config has no {key!r} there") from None


def train_variant(folder: Path, config: Path, changes: Mapping[str, Any]) -> None:
    """Train `config` with `changes` in `folder`; a killed run resumes, a finished one is kept.

    Raises ValueError when `folder` holds another variant, RuntimeError with the log's last line when training fails.
    """
    places = {
        "trainer.default_root_dir": str(folder),
        "trainer.logger": {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": str(folder), "name": "log"},
        },
        "trainer.callbacks": [
            {
                "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                "init_args": {"dirpath": str(folder), "save_last": True, "save_top_k": 0, "every_n_train_steps": 50},
            }
        ],
    }
    variant = yaml.safe_dump(changed(yaml.safe_load(config.read_text()), {**changes, **places}))
    written = folder / "config.yaml"
    if written.is_file() and written.read_text() != variant:
        raise ValueError(f"{folder}: holds another variant; remove it or choose another folder")
    if (folder / DONE).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(written) as temporary:
        temporary.write_text(variant)
    command = [sys.executable, "-m", "foleygram", "train", "fit", "--config", str(written)]
    if (folder / "last.ckpt").is_file():
        command += ["--ckpt_path", str(folder / "last.ckpt")]
    log = folder / "train.log"
    with log.open("a") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise RuntimeError(f"{folder.name}: training ended with code {code} ({last}); see {log}")
    (folder / DONE).touch()
