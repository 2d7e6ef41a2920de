"""Any system's files beside references: matched, read and scored as the protocol says."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import foleygram.benchmark.run as run
from foleygram.benchmark.output import read_report
from foleygram.benchmark.pairs import Remarks, match_folders, read_pair
from foleygram.cli import app
from foleygram.files import write_json

JUDGE = Path(__file__).parents[2] / "checkpoints/mini/judge"


def strikes(rate, times=(0.4, 1.1), seconds=2.0, pitch=600):
    t = np.arange(round(seconds * rate)) / rate
    clicks = [np.where(t >= s, np.exp(-(t - s) / 0.02), 0) for s in times]
    return (0.4 * np.sin(2 * np.pi * pitch * t) * np.sum(clicks, axis=0)).astype(np.float32)


@pytest.fixture
def folders(tmp_path):
    """Six references in Greatest Hits' layout with times, and equal sounds of a system named by id alone."""
    generated, reference = tmp_path / "system", tmp_path / "truth"
    generated.mkdir()
    reference.mkdir()
    for number in range(6):
        times = [0.3 + 0.05 * number, 1.0 + 0.07 * number]
        soundfile.write(reference / f"v{number}_denoised.wav", strikes(16_000, times), 16_000)
        (reference / f"v{number}_times.txt").write_text("".join(f"{t} wood hit static\n" for t in times))
        soundfile.write(generated / f"v{number}.wav", strikes(16_000, times), 16_000)
    return generated, reference


def metrics(generated, reference, **options):
    report = run.evaluate_folders(generated, reference, show_progress=False, **options)
    return report, report.scores[generated.name].summary


def test_a_system_that_repeats_the_references_is_perfect(folders):
    report, summary = metrics(*folders)
    assert summary["num_clips"] == 6
    assert summary["onset_f1_50"] == 1 and summary["envelope_l1"] == 0
    assert summary["envelope_correlation"] == pytest.approx(1)
    assert "material_accuracy" not in summary
    assert report.intervals[folders[0].name]["onset_f1_50"] == (1, 1)
    assert report.notes == () and not any(vars(report.remarks).values())


@pytest.mark.parametrize(("milliseconds", "narrow", "wide"), [(-30, 1, 1), (20, 1, 1), (70, 0, 1), (150, 0, 0)])
def test_a_shift_moves_the_lag_by_itself_and_costs_the_onsets_past_their_tolerance(folders, milliseconds, narrow, wide):
    generated, reference = folders
    for path in generated.iterdir():
        sound, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, np.roll(sound, round(rate * milliseconds / 1000)), rate)
    _, summary = metrics(generated, reference)
    assert summary["median_absolute_lag_ms"] == pytest.approx(abs(milliseconds), abs=1)
    assert (summary["onset_f1_50"], summary["onset_f1_100"]) == (narrow, wide)
    assert summary["condfoleygen_accuracy"] == wide
    assert summary["onset_count_ratio"] == 1


@pytest.mark.parametrize("form", ["stereo", "44.1 kHz", "longer", "flac"])
def test_form_does_not_matter(folders, form):
    generated, reference = folders
    path = generated / "v3.wav"
    sound, rate = soundfile.read(path, dtype="float32")
    if form == "stereo":
        soundfile.write(path, np.stack([2 * sound, 0 * sound], 1), rate)
    elif form == "44.1 kHz":
        soundfile.write(path, strikes(44_100, [0.45, 1.21]), 44_100)
    elif form == "longer":
        soundfile.write(path, np.concatenate([sound, sound]), rate)
    else:
        soundfile.write(path.with_suffix(".flac"), sound, rate)
        path.unlink()
    report, summary = metrics(generated, reference)
    assert summary["onset_f1_50"] == 1
    assert summary["envelope_l1"] < 1e-4
    assert len(report.remarks.refitted) == (form == "longer")


def test_a_short_file_is_padded_so_what_it_lacks_counts_against_it(folders):
    generated, reference = folders
    sound, rate = soundfile.read(generated / "v0.wav")
    soundfile.write(generated / "v0.wav", sound[: rate // 2], rate)
    report, summary = metrics(generated, reference)
    assert "v0.wav: 0.50 s, padded with silence to its reference's 2.00 s" in report.remarks.refitted[0]
    assert summary["onset_count_ratio"] == pytest.approx(11 / 12)


def test_mismatches_unreadable_files_and_silence_are_named(folders):
    generated, reference = folders
    (generated / "v0.wav").write_bytes(b"RIFF nothing")
    soundfile.write(generated / "v1.wav", np.full(32_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    soundfile.write(generated / "v2.wav", np.zeros(32_000), 16_000)
    (generated / "v4.wav").rename(generated / "other.wav")
    report, summary = metrics(generated, reference)
    assert summary["num_clips"] == 3
    assert [line.split("left out")[0].rsplit(";", 1)[1].strip() for line in report.remarks.left_out] == [
        "v0 is",
        "v1 is",
    ]
    assert "not finite" in report.remarks.left_out[1]
    assert "v2.wav: silent" in report.remarks.silent[0]
    assert "without a reference of that name, not scored: 1" in report.notes[0]
    assert "references without a generated file: 1;" in report.notes[1]
    assert report.remarks.without_reference == [str(generated / "other.wav")]
    assert report.remarks.without_generated == [str(reference / "v4_denoised.wav")]
    assert report.intervals[generated.name] == {}


def test_every_file_without_a_partner_is_in_the_report(folders):
    generated, reference = folders
    for number in range(8):
        soundfile.write(generated / f"other{number}.wav", strikes(16_000), 16_000)
    report, _ = metrics(generated, reference, limit=1, metrics=["envelope"])
    assert "not scored: 8" in report.notes[0]
    assert report.content()["remarks"]["without_reference"] == [str(generated / f"other{n}.wav") for n in range(8)]


def lying(path, count):
    """Rewrite a sound as a FLAC file whose header declares `count` samples."""
    sound, rate = soundfile.read(path)
    soundfile.write(path.with_suffix(".flac"), sound, rate)
    path.unlink()
    content = bytearray(path.with_suffix(".flac").read_bytes())
    facts = int.from_bytes(content[18:26], "big") >> 36 << 36
    content[18:26] = (facts | count).to_bytes(8, "big")
    path.with_suffix(".flac").write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("a reference of 25 ms", r"truth/v0_denoised\.wav: 25 ms, but scoring needs 50"),
        ("a reference of 45 ms", r"truth/v0_denoised\.wav: 45 ms, but scoring needs 50"),
        ("numbers beyond all scale", r"system/v0\.wav: samples up to 3.9e\+24"),
        ("256 GiB by its header", r"system/v0\.flac: it declares more sound than fits"),
    ],
)
def test_an_unusable_file_is_named_and_the_others_are_scored(folders, tmp_path, kind, words):
    generated, reference = folders
    if kind.startswith("a reference"):
        sound, rate = soundfile.read(reference / "v0_denoised.wav")
        soundfile.write(reference / "v0_denoised.wav", sound[4800:][: rate * int(kind[-5:-3]) // 1000], rate)
    elif kind.startswith("numbers"):
        soundfile.write(generated / "v0.wav", 1e25 * strikes(16_000), 16_000, subtype="FLOAT")
    else:
        lying(generated / "v0.wav", 2**36 - 1)
    report, summary = metrics(generated, reference, judge=JUDGE)
    assert summary["num_clips"] == 5 and summary["envelope_l1"] == 0
    assert re.search(f"{words}.*v0 is left out of every metric", report.remarks.left_out[0])
    write_json(tmp_path / "report.json", report.content())


def test_no_onset_scores_without_annotated_times(folders):
    generated, reference = folders
    for path in reference.glob("*_times.txt"):
        path.unlink()
    _, summary = metrics(generated, reference)
    assert "onset_f1_50" not in summary and summary["envelope_l1"] == 0


def test_one_clip_has_scores_and_no_interval(folders):
    report, summary = metrics(*folders, limit=1)
    assert summary["num_clips"] == 1 and report.intervals[folders[0].name] == {}
    assert "an interval needs 5 videos, here are 1" in report.notes[0]


def test_file_order_and_names_of_folders_change_nothing(folders, tmp_path):
    generated, reference = folders
    _, summary = metrics(generated, reference)
    moved = tmp_path / "again"
    moved.mkdir()
    for path in sorted(generated.iterdir(), reverse=True):
        (moved / path.name).write_bytes(path.read_bytes())
    assert metrics(moved, reference)[1] == summary


def test_folders_without_common_files_or_any_are_refused(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty: no sound and no video"):
        match_folders(tmp_path / "empty", folders[1])
    soundfile.write(tmp_path / "empty" / "x.wav", np.zeros(100), 16_000)
    with pytest.raises(ValueError, match="no stem in common"):
        match_folders(tmp_path / "empty", folders[1])


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (("v.wav", "v.flac"), "v.flac and v.wav both are v"),
        (("v.wav", "v_denoised.wav"), "v.wav and v_denoised.wav both are v"),
        (("v_mic.wav", "v_denoised.wav"), None),
        (("v.wav", "v.mp4"), None),
    ],
)
def test_two_sounds_of_a_name_are_refused(tmp_path, names, refused):
    for name in names:
        (tmp_path / name).touch()
    if refused is None:
        (pair,) = match_folders(tmp_path, tmp_path).pairs
        assert pair.generated.name == names[-1 if "_mic" in names[0] else 0]
        return
    with pytest.raises(ValueError, match=f"{tmp_path}: {refused}; keep one of them"):
        match_folders(tmp_path, tmp_path)


def test_captions_are_matched_by_name(folders, tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\nv0_denoised.mp4,wood\n")
    assert [pair.caption for pair in match_folders(*folders, table).pairs][:2] == ["wood", None]
    table.write_text("file,caption\nnobody.wav,wood\n")
    with pytest.raises(ValueError, match="first nobody"):
        match_folders(*folders, table)
    table.write_bytes("file,caption\nv0.wav,Kies knirscht über Holz\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"captions\.csv: not a CSV in UTF-8"):
        match_folders(*folders, table)
    with pytest.raises(FileNotFoundError, match="no such file"):
        match_folders(*folders, tmp_path / "none.csv")


def test_a_video_is_taken_for_its_sound(rendered):
    matched = match_folders(rendered, rendered)
    assert len(matched.pairs) == 4 and {pair.generated.suffix for pair in matched.pairs} == {".wav"}
    from_video = [next(rendered.glob(f"{pair.video_id}*.mp4")) for pair in matched.pairs]
    remarks = Remarks()
    pairs = [replace(pair, generated=video) for pair, video in zip(matched.pairs, from_video, strict=True)]
    clips = [read_pair(pair, remarks) for pair in pairs]
    assert all(torch.corrcoef(torch.stack([clip.generated, clip.reference]))[0, 1] > 0.99 for clip in clips)
    assert remarks == Remarks()


def test_the_command_names_the_option_that_is_missing(folders, tmp_path):
    invoke = CliRunner().invoke
    assert invoke(app, ["evaluate"]).exit_code == 2
    outcome = invoke(app, ["evaluate", "--generated", str(folders[0])])
    assert outcome.exit_code == 2 and "--reference is missing" in outcome.output
    config = tmp_path / "evaluation.yaml"
    config.write_text(f"generated: {folders[0]}\nreference: {folders[1]}\nmetrics: [onsets, envelope]\nseed: 3\n")
    out = tmp_path / "r.json"
    outcome = invoke(app, ["evaluate", "--config", str(config), "--metrics", "envelope", "--out", str(out)])
    assert outcome.exit_code == 0, outcome.output
    assert '"seed": 3' in out.read_text() and "onset_f1_50" not in out.read_text()
    printed = invoke(app, ["evaluate", "--config", str(config), "--metrics", "envelope", "--json"])
    assert json.loads(printed.stdout)["summary"] and printed.exit_code == 0
    assert invoke(app, ["evaluate", "--config", str(config), "--metrics", "envelope", "--quiet"]).stdout == ""
    config.write_text("stepz: 3\n")
    outcome = invoke(app, ["evaluate", "--config", str(config)])
    assert outcome.exit_code == 2 and "unknown key stepz" in outcome.output
    config.write_text(f"generated: {folders[0]}\nreference: {folders[1]}\nseed: many\n")
    assert invoke(app, ["evaluate", "--config", str(config)]).exit_code == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("protocol", []), ("protocol", {"embedders": [1]}), ("summary", [1]), ("summary", {"g": 3}), ("clips", {}),
        ("clips", {"g": "text"}), ("clips", {"g": [{"video_id": "v"}]}),
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_compared_with_is_named(tmp_path, field, value):
    report = {"protocol": {}, "summary": {"g": {}}, "clips": {"g": [{"video_id": "v", "start": 0.0}]}}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert read_report(tmp_path) == report
    path.write_text(json.dumps(report | {field: value}))
    with pytest.raises(ValueError, match=r"report\.json: not a report of `foleygram evaluate`"):
        read_report(tmp_path)
