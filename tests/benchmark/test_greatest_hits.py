import json
import shutil

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from foleygram.cli import app


@pytest.fixture
def folder(rendered, tmp_path):
    """Two short videos with a table of their onsets, as `annotated_clips` reads them."""
    ids = (rendered / "test.txt").read_text().split()[:2]
    clips = tmp_path / "clips"
    clips.mkdir()
    table = ["file,seconds,label"]
    for number, video_id in enumerate(ids):
        shutil.copy(rendered / f"{video_id}_denoised.mp4", clips / f"clip{number}.mp4")
        events = (rendered / f"{video_id}_times.txt").read_text().splitlines()
        table += [f"clip{number}.mp4,{line.split()[0]},{' '.join(line.split()[1:3])}" for line in events]
    (clips / "onsets.csv").write_text("\n".join(table) + "\n")
    return clips


def benchmark(*arguments):
    return CliRunner().invoke(app, ["benchmark", "greatest-hits", *map(str, arguments)])


def test_systems_and_reencodings_are_scored_on_the_clips_that_all_have(folder, tiny_release, tmp_path):
    silent = tmp_path / "peers" / "silence"
    silent.mkdir(parents=True)
    soundfile.write(silent / "clip1.wav", np.zeros(22_050), 22_050)
    soundfile.write(silent / "another.wav", np.zeros(22_050), 22_050)
    out = tmp_path / "out"
    options = ["--checkpoint", tiny_release, "--steps", 1, "--peers", tmp_path / "peers", "--out", out]
    result = benchmark(folder, *options)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert list(report["summary"]) == ["reference", "predicted envelope", "true envelope", "silence"]
    assert {len(rows) for rows in report["clips"].values()} == {1} and report["clips"]["silence"][0][
        "video_id"
    ] == "clip1"
    assert report["summary"]["silence"]["onset_f1_50"] == 0 < report["summary"]["reference"]["onset_f1_50"]
    (finding,) = report["findings"]
    names = ["original", "23.976 fps", "60 fps", "variable rate", "portrait HEVC", "crf 40"]
    assert [row[0] for row in finding["rows"]] == list(finding["metrics"]) == names
    assert finding["metrics"]["original"]["onset_f1_50"] == report["summary"]["predicted envelope"]["onset_f1_50"]
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")}
    assert benchmark(folder, *options).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.wav")} == written  # kept, not made again


def test_a_system_without_any_of_the_clips_is_named(folder, tiny_release, tmp_path):
    (tmp_path / "peers" / "unrelated").mkdir(parents=True)
    soundfile.write(tmp_path / "peers" / "unrelated" / "x.wav", np.zeros(100), 22_050)
    result = benchmark(folder, "--checkpoint", tiny_release, "--peers", tmp_path / "peers", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "holds none of the 2 clips" in " ".join(result.output.split())
