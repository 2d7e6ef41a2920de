"""What a run prints and how it exits: deviations, odd names, quiet runs, JSON."""

import json
import os
import shutil

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.console import Printing, print_outcome
from foleygram.production.manifest import DONE, FAILED, Manifest, Row
from foleygram.production.run import RunOutcome

SILENT = "time,level\n0,0\n9,0\n"


def run(*given):
    result = CliRunner().invoke(app, ["generate", *map(str, given)])
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def common(tiny_release):
    return "--checkpoint", tiny_release, "--steps", 1, "--device", "cpu"


def test_a_result_outside_the_tolerances_is_counted_and_strict_exits_with_1(common, flickers, tmp_path):
    (tmp_path / "hits.csv").write_text("time,velocity\n0.5,100\n3,100\n")
    given = (flickers / "clip 0.mp4", "--out", tmp_path / "out", *common, "--envelope", tmp_path / "hits.csv")
    given += ("--mix-original", "-12dB", "--guidance", 1000)
    made = run(*given)
    words = " ".join(made.output.split())
    assert made.exit_code == 0 and "clip 0.mp4: done, but 1 of 2 hits lie after the film's end at 1.00 s" in words
    assert "--mix-original: the video has no sound to mix" in words and "1 done, but" in words
    row = Manifest(tmp_path / "out").rows["clip 0"]
    assert row.state == DONE and row.onsets == 1 and "1 of 2 hits" in row.deviations[0]
    record = json.loads((tmp_path / "out" / "clip 0.json").read_text())
    assert record["measured"]["onsets_asked"] == 1 and record["measured"]["relative_l1"] > 0
    again = run(*given, "--strict")  # nothing is generated, and the result still is what it is
    assert again.exit_code == 1 and "1 done, but" in " ".join(again.output.split())


def test_json_is_all_of_standard_output_and_quiet_prints_what_needs_attention(common, flickers, tmp_path):
    shutil.copytree(flickers, tmp_path / "in")
    (tmp_path / "in" / "torn.mp4").write_bytes(b"no film")
    made = run(tmp_path / "in", "--out", tmp_path / "out", *common, "--json")
    outcome = json.loads(made.stdout)
    assert made.exit_code == 1 and sum(outcome["counts"].values()) == 7 and outcome["counts"]["failed"] == 1
    states = {file["name"]: file["state"] for file in outcome["files"]}
    assert states.pop("torn") == "failed" and set(states.values()) <= {"done", "done, but"}
    for file in outcome["files"][:-1]:
        assert all(os.path.exists(path) for path in file["written"]) and len(file["written"]) == 3  # noqa: PTH110
    quiet = run(tmp_path / "in", "--out", tmp_path / "out", *common, "--quiet")
    assert quiet.stdout == "" and "failed: " in quiet.stderr and "results are in" not in quiet.stderr


def test_a_bad_name_costs_its_own_line_only(common, flickers, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    names = ["x" * 250 + ".mp4", "[bold]shot [1].mp4", os.fsdecode(b"caf\xe9.mp4"), "plain.mp4"]
    for name in names:
        shutil.copy(flickers / "clip 0.mp4", folder / name)
    made = run(folder, "--out", out, *common)
    words = " ".join(made.output.split())
    assert made.exit_code == 1 and "[bold]shot [1].mp4" in words
    assert r"caf\xe9.mp4: its name is not UTF-8; rename it" in words and words.count("failed:") == 1
    rows = Manifest(out).rows
    assert [row.state for row in rows.values()].count(DONE) == 3
    assert all((out / file).is_file() for row in rows.values() for file in row.written)
    assert run(folder, "--out", out, *common, "--timeline").exit_code == 1
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    assert run(folder, folder, "--out", out, *common).exit_code == 1
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == before


def test_a_folder_that_grows_by_a_name_with_another_suffix_keeps_its_results(common, flickers, write_flicker, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(flickers / "clip 0.mp4", folder / "a.mp4")
    assert run(folder, "--out", out, *common).exit_code == 0
    before = (out / "a.json").read_bytes()
    write_flicker(folder / "a.mov", 1.0)
    grown = run(folder, "--out", out, *common)
    assert grown.exit_code == 0 and (out / "a.json").read_bytes() == before
    assert {name: row.video.name for name, row in Manifest(out).rows.items()} == {"a": "a.mp4", "a_mov": "a.mov"}
    assert sorted(path.name for path in out.glob("*.wav")) == ["a.wav", "a_mov.wav"]


def test_names_are_printed_without_markup():
    console = Console(record=True, width=120)
    rows = [
        Row("[red]a", "/v/[red]a.mp4", DONE, takes=((1.0, 0.1, 0.2, 0.3, np.nan, np.nan),)),
        Row("[/x]", "/v/[/x].mp4", FAILED, "[/x].mp4: torn"),
        Row("c", "/v/c.mp4", DONE, deviations=("[b]ut",)),
    ]
    print_outcome(console, RunOutcome(rows, {}), Printing())
    printed = console.export_text()
    assert printed.count("[red]a.mp4") == 3 and "failed: [/x].mp4: torn" in printed
    assert "c.mp4: done, but [b]ut" in printed and "1 done, 1 done, but, 1 failed" in printed
