"""FAD, KAD, cosines and FAVD by way of two folders: known answers, the floor, the cache, what is missing."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console
from typer.testing import CliRunner

import foleygram.benchmark.embeddings as embeddings
import foleygram.benchmark.scoring as scoring
from foleygram.benchmark.comparison import compare_reports, comparison_notes
from foleygram.benchmark.embeddings import floor_half, load_class
from foleygram.benchmark.output import report_results
from foleygram.benchmark.pairs import SoundPair, match_folders
from foleygram.benchmark.report import print_report
from foleygram.benchmark.run import evaluate_folders
from foleygram.cli import app
from foleygram.evaluation.frechet import frechet_distance
from foleygram.evaluation.metrics import clap_score
from foleygram.evaluation.networks.vggish import VGGish, VGGishNetwork

EMBEDDER = "foleygram.evaluation.embedders.AlignedEmbedder"
EAR = "foleygram-audio"
NUM = 12


def strikes(times, pitch, rate=16_000, seconds=2.0):
    t = np.arange(round(seconds * rate)) / rate
    clicks = [np.where(t >= s, np.exp(-(t - s) / 0.05), 0) for s in times]
    return (0.4 * np.sin(2 * np.pi * pitch * t) * np.sum(clicks, axis=0)).astype(np.float32)


@pytest.fixture
def folders(tmp_path):
    """Twelve references; the system repeats the first half and is of another pitch in the rest."""
    generated, reference = tmp_path / "system", tmp_path / "truth"
    generated.mkdir()
    reference.mkdir()
    for number in range(NUM):
        times, pitch = [0.1 + 0.03 * number, 1.2], 300 + 90 * number
        soundfile.write(reference / f"v{number:02d}.wav", strikes(times, pitch), 16_000)
        soundfile.write(generated / f"v{number:02d}.wav", strikes(times, pitch if number < 6 else 4000), 16_000)
    return generated, reference


def score(folders, release, **options):
    settings = {"metrics": ["envelope"], "embedders": [f"{EMBEDDER}={release}"], "show_progress": False} | options
    return evaluate_folders(*folders, **settings)


def numbers(summary):
    return {name: value for name, value in summary.items() if value is not None}


def test_distances_match_the_embeddings_and_the_floor_is_real_against_real(folders, tiny_release, tmp_path):
    report = score(folders, tiny_release, cache=tmp_path / "features")
    found, floor = (report.scores[name].summary for name in ("system", "reference"))
    ear = load_class(f"{EMBEDDER}={tiny_release}")
    from foleygram.evaluation.extraction import AudioClip, extract

    rows = [
        {
            path.stem: features.embeddings.numpy()
            for path, features in zip(paths, extract([*map(AudioClip, paths)], ear).features, strict=True)
        }
        for paths in (sorted(folder.glob("*.wav")) for folder in folders)
    ]
    every = [np.concatenate(list(part.values())) for part in rows]
    assert len(every[0]) == 2 * NUM
    assert found[f"fad_{EAR}"] == pytest.approx(frechet_distance(*every), rel=1e-9)
    half = floor_half(report.pairs["reference"], 0)
    halves = [np.concatenate([r for name, r in rows[1].items() if (name in half) == there]) for there in (True, False)]
    assert len(half) == NUM // 2
    assert floor[f"fad_{EAR}"] == pytest.approx(frechet_distance(*halves), rel=1e-9)
    assert found[f"fad_infinity_{EAR}"] is None
    assert found[f"num_embeddings_{EAR}"] == found[f"num_reference_embeddings_{EAR}"] == 2 * NUM
    assert floor[f"num_embeddings_{EAR}"] == floor[f"num_reference_embeddings_{EAR}"] == NUM
    console = Console(width=200, record=True)
    print_report(report, console)
    assert re.search(rf"embeddings, {EAR} +│ +{NUM} │ +{2 * NUM} ", console.export_text())
    assert any("no FAD-infinity" in note for note in report.notes)


def test_cosines_are_clip_by_clip_and_have_an_interval(folders, tiny_release):
    report = score(folders, tiny_release)
    rows = {row["video_id"]: row[f"audio_score_{EAR}"] for row in report.scores["system"].rows}
    assert rows["v00"] == pytest.approx(1, abs=1e-5) and rows["v11"] < 0.9999
    mean = report.scores["system"].summary[f"audio_score_{EAR}"]
    low, high = report.intervals["system"][f"audio_score_{EAR}"]
    assert mean == pytest.approx(np.mean(list(rows.values()))) and low < mean < high
    assert report.protocol["embedders"][EAR]["windows"]["hop_sec"] == 1.0
    assert len(report.protocol["embedders"][EAR]["sha256"]) == 64


def test_the_text_score_is_computed_once_per_clip_with_a_caption_and_counts_those_without(
    folders, tiny_release, tmp_path, monkeypatch
):
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\n" + "".join(f"v{n:02d}.wav,A person hits wood {n}.\n" for n in range(5)))
    calls = []
    monkeypatch.setattr(embeddings, "clap_score", lambda *both: (calls.append(both), clap_score(*both))[1])
    report = score(folders, tiny_release, captions=table)
    rows = report.scores["system"].rows
    known = [row[f"text_score_{EAR}"] for row in rows if f"text_score_{EAR}" in row]
    assert len(known) == 5 and len(calls) == 2 * (NUM + 5)
    assert report.scores["system"].summary[f"text_score_{EAR}"] == pytest.approx(np.mean(known), rel=1e-12)
    assert (
        f"cosine to text, {EAR}: 7 of 12 clips have no caption and are not counted (reference, system)" in report.notes
    )


def test_two_embedders_of_one_name_are_refused_before_anything_is_read(folders, tiny_release):
    with pytest.raises(ValueError, match=f"2 embedders are called {EAR}.*--metrics"):
        score(folders, tiny_release, embedders=[f"{EMBEDDER}={tiny_release}"] * 2)


def test_features_come_from_the_cache_until_a_file_changes(folders, tiny_release, tmp_path, monkeypatch):
    cache = tmp_path / "features"
    first = score(folders, tiny_release, cache=cache).scores["system"].summary
    files = sorted(cache.rglob("*.safetensors"))
    embedded = []
    real = scoring.load_class

    def counted(text):
        ear = real(text)
        ear.register_forward_pre_hook(lambda _, windows: embedded.append(len(windows[0])))
        return ear

    monkeypatch.setattr(scoring, "load_class", counted)
    assert score(folders, tiny_release, cache=cache).scores["system"].summary == first and embedded == []
    soundfile.write(folders[0] / "v00.wav", strikes([0.7], 5000), 16_000)
    again = score(folders, tiny_release, cache=cache).scores["system"].summary
    assert again[f"fad_{EAR}"] != first[f"fad_{EAR}"] and sum(embedded) == 2
    assert len(sorted(cache.rglob("*.safetensors"))) == len(files) + 1


def test_few_embeddings_have_no_frechet_distance_and_one_clip_no_floor(folders, tiny_release):
    report = score(folders, tiny_release, limit=3)
    assert report.scores["system"].summary[f"fad_{EAR}"] is None
    assert report.scores["system"].summary[f"kad_{EAR}"] is not None
    assert any("6 embeddings in 8 dimensions: undefined" in note for note in report.notes)
    assert any("no floor" in note for note in report.notes)
    report = score(folders, tiny_release, limit=1)
    floor = report.scores["reference"].summary
    assert floor[f"fad_{EAR}"] is None and floor[f"kad_{EAR}"] is None


def test_a_longer_file_is_cut_and_a_bad_one_left_out_of_every_metric(folders, tiny_release):
    whole = numbers(score(folders, tiny_release).scores["system"].summary)
    sound, rate = soundfile.read(folders[0] / "v03.wav", dtype="float32")
    soundfile.write(folders[0] / "v03.wav", np.concatenate([sound, sound[::-1]]), rate)
    assert numbers(score(folders, tiny_release).scores["system"].summary) == pytest.approx(whole)
    soundfile.write(folders[0] / "v03.wav", np.full(8000, np.nan, np.float32), rate, subtype="FLOAT")
    report = score(folders, tiny_release)
    assert report.scores["system"].summary["num_clips"] == NUM - 1
    assert [row["video_id"] for row in report.scores["system"].rows].count("v03") == 0


def test_shorter_files_are_padded_so_that_both_sets_have_as_many_rows(folders, tiny_release):
    padded = folders[0].parent / "padded"
    padded.mkdir()
    for number, path in enumerate(sorted(folders[0].iterdir())):
        sound, rate = soundfile.read(path, dtype="float32")
        kept = sound[: (number + 1) * len(sound) // NUM]
        soundfile.write(path, kept, rate)
        soundfile.write(padded / path.name, np.pad(kept, (0, len(sound) - len(kept))), rate)
    short = score(folders, tiny_release).scores["system"].summary
    assert numbers(short) == pytest.approx(numbers(score((padded, folders[1]), tiny_release).scores["padded"].summary))


def test_two_processes_give_the_report_of_one(folders, tiny_release, tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\nv02.wav,wood\n")  # one of both processes has no clip with a caption
    single = score(folders, tiny_release, captions=table).scores["system"].summary
    assert f"text_score_{EAR}" in single
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "foleygram", "evaluate",
        "--generated", str(folders[0]), "--reference", str(folders[1]), "--metrics", "envelope",
        "--embedder", f"{EMBEDDER}={tiny_release}", "--captions", str(table),
        "--out", str(tmp_path / "two.json"), "--device", "cpu",
    ]  # fmt: skip
    outcome = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert outcome.returncode == 0, outcome.stderr
    content = json.loads((tmp_path / "two.json").read_text())
    assert numbers(content["summary"]["system"]) == pytest.approx(numbers(single), rel=1e-6)
    assert len(content["clips"]["system"]) == NUM


def test_metrics_without_weights_are_left_out_with_how_to_get_them(folders, tmp_path):
    names = "envelope,laion-clap,microsoft-clap,vggish,favd-rgb-vggish"
    options = ["--generated", str(folders[0]), "--reference", str(folders[1]), "--metrics", names]
    out = tmp_path / "out"
    outcome = CliRunner().invoke(
        app, ["evaluate", *options, "--weights", str(tmp_path / "w"), "--out", str(out), "--report-clips", "0"]
    )
    assert outcome.exit_code == 0, outcome.output
    content = json.loads((out / "report.json").read_text())
    notes = "\n".join(content["left_out"].values())
    assert list(content["left_out"]) == names.split(",")[1:]
    assert "foleygram weights fetch laion-clap" in notes and "foleygram weights fetch microsoft-clap" in notes
    assert "torchvggish" in notes and "i3d_rgb.pt" in notes
    assert not any("fad" in key or "clap" in key for key in content["summary"]["system"])
    assert "foleygram weights fetch laion-clap" in (out / "report.html").read_text()


def test_an_embedder_that_is_none_is_named(folders, tiny_release):
    for text, words in (("nothing", "CLASS_PATH=FOLDER"), ("no.such.Class=x", "cannot be imported")):
        with pytest.raises(ValueError, match=words):
            load_class(text)
    with pytest.raises(FileNotFoundError, match="not a release folder"):
        load_class(f"{EMBEDDER}={folders[0]}")


def test_metrics_of_another_network_are_not_compared(folders, tiny_release):
    report, earlier = score(folders, tiny_release), score(folders, tiny_release).content()
    assert f"fad_{EAR}" in compare_reports(report, earlier, seed=0)["system"]
    earlier["protocol"]["embedders"][EAR]["sha256"] = "another"
    changes = compare_reports(report, earlier, seed=0)["system"]
    assert "envelope_l1" in changes and not any(key.endswith(EAR) for key in changes)
    assert comparison_notes(report, earlier) == [
        f"not compared: metrics of {EAR}, another network in the earlier report"
    ]


def test_changes_between_different_clips_have_a_note(folders, tmp_path, capsys):
    whole = evaluate_folders(*folders, metrics=["envelope"], show_progress=False)
    report_results(whole, tmp_path / "whole.json", earlier=whole.content())
    assert "different clips" not in capsys.readouterr().out
    (folders[0] / "v03.wav").write_bytes(b"RIFF nothing")
    report_results(evaluate_folders(*folders, metrics=["envelope"], show_progress=False), tmp_path / "less.json",
            earlier=whole.content())  # fmt: skip
    assert "different clips" in capsys.readouterr().out
    notes = json.loads((tmp_path / "less.json").read_text())["notes"]
    assert "compared, system: 11 clips now, 12 in the earlier report (v03 at 0 s is only in one of them)" in notes[-1]


class Eye:
    """Embeddings of a frame from its brightness."""

    def __init__(self):
        self.identity = {"name": "eye"}

    def __call__(self, stacks):
        return stacks.float().mean((2, 3, 4))[:, :3]


def test_favd_pairs_each_video_with_both_sounds(rendered, tmp_path, monkeypatch):
    torch.manual_seed(0)
    ear = VGGish(VGGishNetwork((2, 2, 2, 2, 2, 2), 4), {"checkpoint": "tiny"}, output="raw")
    monkeypatch.setattr(scoring, "load_profile", lambda name, weights: (Eye(), ear))
    monkeypatch.setattr("foleygram.benchmark.audiovisual.FrechetAudioVisualDistance", small(1))
    generated = tmp_path / "system"
    generated.mkdir()
    for path in sorted(rendered.glob("*.wav")):
        sound, rate = soundfile.read(path, dtype="float32")
        soundfile.write(generated / path.name, sound[::-1], rate)
    unseen = min(rendered.glob("*.mp4"))
    unseen.rename(unseen.with_suffix(".hidden"))
    report = evaluate_folders(generated, rendered, metrics=["favd-rgb-vggish"], show_progress=False)
    unseen.with_suffix(".hidden").rename(unseen)
    assert [pair.video.suffix for pair in report.pairs["system"] if pair.video] == [".mp4"] * 3
    assert any("1 of 4 clips have no video and are not counted (reference, system)" in note for note in report.notes)
    assert report.scores["system"].summary["num_embeddings_favd-rgb-vggish"] > 0
    assert not any("FAD-infinity" in note for note in report.notes)
    floor, value = (report.scores[name].summary["favd_favd-rgb-vggish"] for name in ("reference", "system"))
    assert np.isfinite(value) and value >= 0 and floor is None
    assert report.protocol["embedders"]["favd-rgb-vggish"]["video"] == {"name": "eye"}


def small(rows):
    """The distance without its demand for more rows than dimensions."""
    from foleygram.evaluation.distances import FrechetAudioVisualDistance

    return lambda name, **options: FrechetAudioVisualDistance(name, min_embeddings=rows, **options)


def test_video_comes_from_the_reference_or_the_file_beside_it(rendered, tmp_path):
    assert all(pair.video.suffix == ".mp4" for pair in match_folders(rendered, rendered).pairs)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros(100), 16_000)
    assert [pair.video for pair in match_folders(tmp_path, tmp_path).pairs] == [None, None]
    assert SoundPair(tmp_path, tmp_path, "x").video is None
