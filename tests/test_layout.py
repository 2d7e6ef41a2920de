"""The map in docs/architecture.md holds: imports point one way, heavy packages stay where they belong."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "foleygram"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
TRAINING_FILES = {
    "autoencoder_training.py",
    "pretraining.py",
    "datamodule.py",
    "caching.py",
    "train.py",
    "module.py",
    "processes.py",
}
TRAINING_FILES |= {path.name for path in (PACKAGE / "training").glob("*.py")} - {"steps.py"}


def files_on_the_map() -> list[str]:
    """The files of the table in docs/architecture.md, in its order; a line's first name says the folder of them all."""
    found = []
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        names = re.findall(r"`([^`]+\.py)`", line.split("|")[2]) if line.startswith("| ") else []
        found += [(Path(names[0]).parent / Path(name).name).as_posix() for name in names]
    return found


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def inside(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_the_map_shows_every_file_once() -> None:
    assert sorted(files_on_the_map()) == sorted(map(inside, FILES))


@pytest.mark.parametrize("path", FILES, ids=inside)
def test_imports_point_down(path: Path) -> None:
    order = files_on_the_map()
    known = {f"foleygram.{name.removesuffix('.py').replace('/', '.')}": name for name in order}
    above = order[: order.index(inside(path))]
    below = {known[module] for module in imports(path) if module in known and known[module] not in above}
    assert not below, f"the map in docs/architecture.md has these below {inside(path)}"


def test_lightning_stays_in_training_files() -> None:
    found = {path.name for path in FILES if any(module.split(".")[0] == "lightning" for module in imports(path))}
    assert found <= TRAINING_FILES


def test_nothing_imports_torchvision_or_torchaudio() -> None:
    found = {module.split(".")[0] for path in FILES for module in imports(path)}
    assert not found & {"torchvision", "torchaudio", "cv2"}


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
