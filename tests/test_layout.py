"""The map in docs/architecture.md holds: imports point one way, heavy packages stay where they belong."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "foleygram").rglob("*.py"))
RANKS = {
    "spec": 0, "state_dicts": 0, "processes": 0, "hub": 0.5, "media": 1, "sources": 2, "training": 2, "datasets": 2,
    "alignment": 3, "envelope": 3, "generation": 4, "evaluation": 5, "placement": 5.5, "checkpoints": 6, "inputs": 6,
    "encoding": 6.5, "features": 7, "weights": 7, "pipeline": 7, "caching": 8,
    "production": 9, "console": 10, "app": 10, "study": 11, "commands": 12, "cli": 13, "__main__": 14,
}  # fmt: skip
TRAINING_FILES = {
    "autoencoder_training.py",
    "pretraining.py",
    "datamodule.py",
    "caching.py",
    "train.py",
    "module.py",
    "processes.py",
}
TRAINING_FILES |= {path.name for path in (ROOT / "foleygram" / "training").glob("*.py")} - {"steps.py"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def layer(module: str) -> str:
    return module.split(".")[1]


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [f for f in FILES if f.name != "__init__.py"], ids=names)
def test_imports_point_down(path: Path) -> None:
    own = path.relative_to(ROOT).with_suffix("").parts[1]
    others = {layer(module) for module in imports(path) if module.startswith("foleygram.")} - {own}
    assert {other for other in others if RANKS[other] >= RANKS[own]} == set()


def test_lightning_stays_in_training_files() -> None:
    found = {path.name for path in FILES if any(module.split(".")[0] == "lightning" for module in imports(path))}
    assert found <= TRAINING_FILES


def test_nothing_imports_torchvision_or_torchaudio() -> None:
    found = {module.split(".")[0] for path in FILES for module in imports(path)}
    assert not found & {"torchvision", "torchaudio", "cv2"}


def test_every_file_is_on_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert [names(path) for path in FILES if path.name != "__init__.py" and path.name not in text] == []


def test_constraints_pin_every_direct_dependency_within_its_range() -> None:
    import tomllib

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): version for name, version in (re.split("==", x) for x in lines if "==" in x)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(text)
        assert pins[canonicalize_name(wanted.name)] in wanted.specifier, text
    assert not any("+" in version for version in pins.values())
