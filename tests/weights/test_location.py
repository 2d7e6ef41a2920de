"""Folders and hub ids are distinguished, and without a network nothing is repeated."""

import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from foleygram.generation.backbone import load_backbone
from foleygram.pipeline.release import find_release
from foleygram.weights.location import LOCAL_FOLDERS, hub_id
from tests.hub import ask_at


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_an_owner_and_a_name_are_a_hub_id():
    assert hub_id("owner/name-1.0") == "owner/name-1.0"
    assert hub_id("hub:owner/name-1.0") == "owner/name-1.0"
    assert hub_id("hub:gpt2") == "gpt2"
    assert hub_id(Path("hub:owner/name")) == "owner/name"  # as the command line passes it


def test_an_existing_folder_is_never_a_hub_id(tmp_path):
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert hub_id("owner/name") is None
    assert hub_id("checkpoints/mini") is None  # shipped with the package
    with pytest.raises(ValueError, match="hides the hub's"):
        hub_id("hub:owner/name")


@pytest.mark.parametrize(
    "name",
    [
        *(f"{folder}/none" for folder in sorted(LOCAL_FOLDERS)),
        *("none", "./owner/name", "../owner/name", "/owner/name", "~/name", "a/b/c", "owner/", "", "owner/na me"),
        *("C:\\owner/name", Path("owner/name")),
    ],
)
def test_other_names_are_missing_folders(name):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*hub:OWNER/NAME"):
        hub_id(name)


def test_a_name_below_an_existing_folder_is_a_missing_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        hub_id("mine/release")


@pytest.mark.parametrize("name", ["hub:", "hub:a/b/c", "hub:../name", "hub:owner/..", "hub:https://x/y"])
def test_a_malformed_hub_id_is_refused(name):
    with pytest.raises(ValueError, match="write hub:OWNER/NAME"):
        hub_id(name)


@pytest.mark.parametrize("load", [load_backbone, find_release])
def test_a_missing_folder_never_reaches_the_hub(load, monkeypatch):
    monkeypatch.setattr("foleygram.weights.location.get_session", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(FileNotFoundError, match="runs/mine: no such folder"):
        load("runs/mine")


@pytest.mark.parametrize("load", [load_backbone, find_release])
def test_without_a_network_no_request_is_repeated(load, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    ask_at(monkeypatch, "http://127.0.0.1:9")
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(ConnectionError, match=r"hub cannot be reached.*name an existing one"):
        load("owner/name")
    assert not waits
