"""What an installation relies on: pins within their ranges, shipped files found from any folder, `foleygram doctor`."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.commands.doctor import EXTRAS, config_items
from foleygram.commands.train import _shipped_configs
from foleygram.files import shipped
from foleygram.pipeline.release import read_index
from foleygram.spec import read_spec

ROOT = Path(__file__).parents[1]


def test_constraints_pin_every_direct_dependency_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if "==" in line)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    for text in [*project["dependencies"], *extras]:
        wanted = Requirement(text)
        assert pins[canonicalize_name(wanted.name)] in wanted.specifier, text
    assert not any("+" in version for version in pins.values())


def test_shipped_names_work_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_index(Path("checkpoints/mini"))["_class_name"] == "FoleyGRAMPipeline"
    assert read_spec(Path("configs/mini/clip.yaml")).seconds == 4
    assert shipped("checkpoints/other") == Path("checkpoints/other")
    assert shipped("weights/mini") == Path("weights/mini")
    (tmp_path / "checkpoints" / "mini").mkdir(parents=True)
    assert shipped("checkpoints/mini") == Path("checkpoints/mini")  # one's own comes first
    with pytest.raises(FileNotFoundError):
        read_index(Path("checkpoints/mini"))


def test_train_takes_a_shipped_config_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written = str(ROOT / "configs" / "mini" / "envelope.yaml")
    asked = ["fit", "--config", "configs/mini/envelope.yaml", "--config=configs/mini/envelope.yaml", "-c", "x.yaml"]
    assert _shipped_configs(asked) == ["fit", "--config", written, f"--config={written}", "-c", "x.yaml"]


def run_doctor(*arguments):
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)])


def paths_of(content, key=""):
    """Every text with a slash in a YAML file's content, with its key."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from paths_of(value, name)
    elif isinstance(content, list):
        for value in content:
            yield from paths_of(value, key)
    elif isinstance(content, str) and "/" in content:
        yield key, content


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_doctor_lists_every_path_that_a_shipped_config_reads(path):
    written = {"out", "default_root_dir", "cache"}  # a cache of captions is also a `folder`, one of features is made
    items = config_items(path)
    read = {name for key, name in paths_of(yaml.safe_load(path.read_text())) if key not in written}
    assert read <= {item.name for item in items}
    assert all(item.remedy for item in items if item.missing)


def test_doctor_says_what_to_give_and_prints_json(tmp_path):
    ran = run_doctor(tmp_path / "absent")
    assert ran.exit_code == 1 and "absent: no such file or folder; give a YAML file" in ran.output
    found = json.loads(run_doctor("--json").stdout)
    assert found["missing"] == 0 and "device" in dict(found["machine"])
    assert {"vae", "transformer"} <= {file["name"] for file in found["files"] if file["size"] > 0}


def test_doctor_finds_nothing_missing_in_the_shipped_release():
    ran = run_doctor()
    assert ran.exit_code == 0
    assert "h264" in ran.output
    assert "nothing is missing" in ran.output


def test_doctor_names_the_part_that_a_release_lacks(tiny_release, tmp_path):
    shutil.copytree(tiny_release, tmp_path / "release")
    shutil.rmtree(tmp_path / "release" / "vae")
    ran = run_doctor(tmp_path / "release")
    assert ran.exit_code == 1
    assert re.search(r"vae +missing +Apache-2.0 +foleygram weights export\n", ran.output)
    assert "1 missing" in ran.output


def test_doctor_lists_how_to_get_the_weights_of_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = run_doctor("configs/greatest_hits/alignment.yaml")
    assert ran.exit_code == 1
    assert re.search(r"weights/bert-base +missing +Apache-2.0 +foleygram weights fetch bert-base\n", ran.output)
    assert re.search(r"weights/BEATs_iter3_plus_AS2M.pt +missing +MIT +by hand: ", ran.output)
    assert re.search(r"clip.yaml +\d.\d kB", ran.output)


@pytest.mark.parametrize("content", ["a: [", "\xff"])
def test_doctor_names_a_file_that_is_not_yaml(tmp_path, content):
    (tmp_path / "odd.yaml").write_bytes(content.encode("latin-1"))
    ran = run_doctor(tmp_path / "odd.yaml")
    assert ran.exit_code == 1
    assert "odd.yaml: not a YAML file" in ran.output


def test_the_dockerfile_copies_files_that_exist_and_docker_sees():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    ]
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied and all((ROOT / name).exists() for name in copied)
    assert set(copied) <= shown
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, wheel = built["project"], built["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {project["readme"], *project["license-files"], *wheel["packages"], *wheel["force-include"]}
    assert needed <= set(copied)


def test_doctor_lists_a_hub_id_of_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text("model: {pretrained_model_name_or_path: google-bert/bert-base-uncased}")
    ran = run_doctor("own.yaml")
    assert ran.exit_code == 0
    assert re.search(r"google-bert/bert-base-uncased +on the hub +Apache-2.0", ran.output)


def test_doctor_names_every_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"]) - {"dev", "docs"}
    assert extras == EXTRAS.keys()
    required = {Requirement(text).name for name in extras for text in project["optional-dependencies"][name]}
    assert {package for package, _ in EXTRAS.values()} <= required
