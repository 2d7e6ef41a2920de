"""Overrides from tables and YAML files, and how wrong ones are refused."""

import re
from pathlib import Path

import pytest

from foleygram.pipeline.request import ModalityWeights
from foleygram.production.job import (
    JobOptions,
    SegmentOptions,
    parse_segment,
    parse_weights,
    read_job_options,
    read_overrides,
)

SHEET = """file,prompt,negative_prompt,envelope,seed,reference,weights,from,to
a.mp4,"A person hits wood, softly.",speech,hits.csv,7,bell.wav,"video=0.5,audio=2",,
a.mp4,metal,,,,,,0,1.5
a.mp4,,,,,gong.wav,,1.5,2
b.mp4,,,audio,,,,,
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sheet.csv").write_text(SHEET)
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / "videos" / name).touch()
    return tmp_path


def test_a_table_overrides_the_options_of_each_file(folder):
    videos = [folder / "videos" / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    common = JobOptions("usual", seed=3)
    found = read_job_options(videos, common, folder / "sheet.csv")
    assert found[videos[0]] == JobOptions(
        "A person hits wood, softly.", "speech", str(folder / "hits.csv"), 7, folder / "bell.wav",
        ModalityWeights(video=0.5, audio=2),
        (SegmentOptions(0, 1.5, "metal"), SegmentOptions(1.5, 2, None, folder / "gong.wav")),
    )  # fmt: skip
    assert found[videos[1]] == JobOptions("usual", envelope="audio", seed=3)
    assert found[videos[2]] == common


def test_a_yaml_file_overrides_its_video_and_the_table_wins(folder):
    video = folder / "videos" / "a.mp4"
    video.with_name("a.foley.yaml").write_text(
        "prompt: beside\nseed: 9\nweights: {text: 0}\nsegments:\n- {from: 0.5, to: 1, prompt: tap}\n"
    )
    assert read_job_options([video], JobOptions("usual", "noise"))[video] == JobOptions(
        "beside", "noise", seed=9, weights=ModalityWeights(text=0), segments=(SegmentOptions(0.5, 1, "tap"),)
    )
    both = read_job_options([video], JobOptions(), folder / "sheet.csv")[video]
    assert (both.prompt, both.seed, len(both.segments)) == ("A person hits wood, softly.", 7, 2)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("file,colour\na.mp4,red\n", "columns are colour, file; file is required, known: file, prompt"),
        ("prompt\nwood\n", "columns are prompt"),
        ("file,prompt\nz.mp4,wood\n", r"line 2: no video z\.mp4 in the folder"),
        ("file,prompt\na.mp4,wood\na.mp4,metal\n", r"line 3: a second row for a\.mp4"),
        ("file,seed\na.mp4,-1\n", "line 2: seed '-1'"),
        ("file,weights\na.mp4,smell=1\n", "line 2: weights 'smell=1'"),
        ("file,prompt,from,to\na.mp4,wood,x,1\n", "line 2: 'x' is not a time"),
        ("file,prompt,from,to\na.mp4,wood,1,\n", "line 2: segment"),
        ("file,seed,from,to\na.mp4,3,1,2\n", "line 2: a segment has no seed"),
        ("file,prompt\na.mp4,wood,metal\n", "line 2: more cells than columns"),
    ],
)
def test_a_wrong_table_is_refused_with_its_line(tmp_path, table, named):
    (tmp_path / "sheet.csv").write_text(table)
    with pytest.raises(ValueError, match=named):
        read_overrides(tmp_path / "sheet.csv", {"a.mp4"})


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("file,prompt\na.mp4,Schläge\n".encode("latin-1"), "codec can't decode"),
        (b"file,prompt\na.mp4," + b"x" * 200_000 + b"\n", "field larger than field limit"),
    ],
)
def test_a_table_that_is_not_utf_8_is_refused_by_name(tmp_path, content, named):
    (tmp_path / "sheet.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"sheet\.csv: not a CSV in UTF-8 .*{named}"):
        read_overrides(tmp_path / "sheet.csv", {"a.mp4"})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- a list", "contains no fields"),
        ("prompt: [", "invalid YAML"),
        ("sound: loud\n1: 2", "unknown field 1, sound"),
        ("segments: [{from: 1}]", "segment {'from': 1}"),
        ("segments: 5", "segments 5: write a list"),
        ("segments: {from: 0, to: 1}", "write a list"),
        ("prompt: yes", "prompt True: must be a string; quote it"),
        ("segments: [{from: 0, to: 1, prompt: yes}]", "prompt True: must be a string; quote it"),
        ("segments: [{from: 0, to: 1, prompt: no}]", "prompt False: must be a string; quote it"),
    ],
)
def test_a_wrong_yaml_file_is_refused_by_name(tmp_path, text, named):
    (tmp_path / "a.foley.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.foley\.yaml: .*{re.escape(named)}"):
        read_job_options([tmp_path / "a.mp4"], JobOptions())


def test_options_of_the_command_line_are_parsed():
    assert parse_segment("1.5:3:He says: stop.") == SegmentOptions(1.5, 3, "He says: stop.")
    assert parse_weights("text=0") == ModalityWeights(text=0)
    for wrong in ("1:2", "1:2: ", "a:2:wood"):
        with pytest.raises(ValueError, match=r"write FROM:TO:PROMPT|is not a time"):
            parse_segment(wrong)
    for wrong in ("text", "text=-1", "text=inf", "text=1,text", "sound=1"):
        with pytest.raises(ValueError, match="write video=1"):
            parse_weights(wrong)
    with pytest.raises(FileNotFoundError, match=r"absent\.csv: no such file"):
        read_job_options([Path("a.mp4")], JobOptions(), Path("absent.csv"))
