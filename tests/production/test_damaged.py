"""Damaged and odd media files: each gets a row, none stops a run or leaves a partial file (`benchmarks.damaged`)."""

import pytest
from typer.testing import CliRunner

from benchmarks.damaged import DAMAGE, ODD, check_results, write_damaged
from foleygram.cli import app
from foleygram.media.isolate import MediaError
from foleygram.media.video import probe
from foleygram.production.manifest import FAILED, Manifest


@pytest.mark.parametrize("count", [16, pytest.param(300, marks=pytest.mark.slow)])
def test_each_file_gets_a_row(tiny_release, tmp_path, count):
    kinds = write_damaged(tmp_path / "videos", count, seed=1)
    common = ("--checkpoint", str(tiny_release), "--steps", "1", "--device", "cpu", "--batch-size", "8")
    result = CliRunner().invoke(app, ["generate", str(tmp_path / "videos"), "--out", str(tmp_path / "out"), *common])
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert check_results(tmp_path / "out", tmp_path / "videos", kinds) == []
    rows = Manifest(tmp_path / "out").rows
    for name, kind in kinds.items():
        if kind in ("empty", "text", "sound alone", "far jump"):
            assert rows[name].state == FAILED and name in rows[name].reason, kind


def test_every_kind_of_damage_is_made(tmp_path):
    kinds = write_damaged(tmp_path, 4 * len(ODD), seed=0)
    made = {damage.__name__ for damage in DAMAGE} | set(ODD) - {"falling stamps", "text"}
    assert made <= set(kinds.values())


def test_a_jump_of_time_stamps_is_reported(tmp_path):
    kinds = write_damaged(tmp_path, 4 * len(ODD), seed=0)
    name = next(name for name, kind in kinds.items() if kind == "far jump")
    with pytest.raises(MediaError, match="time stamps jump by"):
        probe(next(tmp_path.glob(f"{name}.*")))
