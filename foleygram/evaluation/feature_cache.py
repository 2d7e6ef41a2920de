"""Cache of embeddings, keyed by file content: a changed file is embedded again."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from foleygram.files import atomic_path

FORMAT = 2
"""Increased when the same key would give other embeddings."""


class Features(NamedTuple):
    """Embeddings of one clip."""

    embeddings: Tensor
    """float32 (N, d), one per window."""
    num_covered: int
    """Number of windows inside the sound; they come first."""
    peak: float
    """Largest magnitude of the sound at the embedder's rate; 0 for digital silence."""

    @property
    def covered(self) -> Tensor:
        """Embeddings (num_covered, d) of the windows that lie wholly inside the sound, for the CLAP-score."""
        return self.embeddings[: self.num_covered]


class FeatureCache:
    """A folder with one safetensors file per key; several processes may read and write it at once."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: Mapping[str, Any]) -> Path:
        """File of a key, which need not exist."""
        digest = hashlib.sha256(_canonical(key).encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def read(self, key: Mapping[str, Any]) -> Features | None:
        """The features of a key; None without a file, or where it is damaged and has to be written again."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata()
                if facts["key"] != _canonical(key):
                    return None
                return Features(file.get_tensor("rows"), int(facts["num_covered"]), float(facts["peak"]))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None

    def write(self, key: Mapping[str, Any], features: Features) -> None:
        """Write features atomically; raises OSError when the folder cannot be written."""
        path = self.path(key)
        path.parent.mkdir(exist_ok=True)
        facts = {"key": _canonical(key), "num_covered": str(features.num_covered), "peak": repr(features.peak)}
        with atomic_path(path) as temporary:
            save_file({"rows": features.embeddings.contiguous()}, temporary, metadata=facts)


def _canonical(key: Mapping[str, Any]) -> str:
    return json.dumps({"format": FORMAT, **key}, sort_keys=True)
