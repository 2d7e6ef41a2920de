"""The number of threads follows a container's CPU quota, and a user's own choice wins."""

import os

import pytest
from typer.testing import CliRunner

from foleygram import cli


@pytest.mark.parametrize(
    ("content", "expected"),
    [("150000 100000", "2"), ("20000 100000", "1"), ("800000 100000", None), ("max 100000", None), ("", None)],
)
def test_a_quota_below_the_cores_limits_threads(tmp_path, monkeypatch, content, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    (tmp_path / "cpu.max").write_text(content)
    cli.limit_threads(tmp_path / "cpu.max")
    assert os.environ.get("OMP_NUM_THREADS") == expected


def test_without_such_a_file_or_with_a_choice_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (tmp_path / "cpu.max").write_text("100000 100000")
    cli.limit_threads(tmp_path / "cpu.max")
    cli.limit_threads(tmp_path / "absent")
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_every_command_looks_for_a_quota(monkeypatch):
    looked = []
    monkeypatch.setattr(cli, "limit_threads", lambda: looked.append(True))
    assert CliRunner().invoke(cli.app, ["weights", "check", "nowhere"]).exit_code == 1
    assert looked == [True]
