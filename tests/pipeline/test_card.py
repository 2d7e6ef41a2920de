"""Model cards of releases, recorded scores, and uploads to a hub on this machine."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import constants
from typer.testing import CliRunner

from foleygram import FoleyGRAMPipeline
from foleygram.cli import app
from foleygram.files import file_hash
from foleygram.pipeline.card import SHOWN, read_scores
from foleygram.pipeline.release import read_index
from tests.hub import ask_at, running_hub


def run(*arguments):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


@pytest.fixture
def release(tiny_release, tmp_path):
    return Path(shutil.copytree(tiny_release, tmp_path / "release"))


def report_of(folder, path, **changes):
    protocol = {
        "checkpoint": folder.name, "checkpoint_sha256": file_hash(folder / "model_index.json"), "num_clips": 6,
        "data": "heldout", "num_inference_steps": 25,
    }  # fmt: skip
    summary = {"predicted": dict.fromkeys(SHOWN, 0.125), "true": {"onset_f1_50": 0.5, "leak_db": None}}
    content = {"protocol": protocol | changes, "summary": summary, "clips": {"predicted": [], "true": []}}
    path.write_text(json.dumps(content))
    return path


def test_an_exported_release_has_a_card_with_its_parts_and_licences(release, tmp_path):
    listed = tmp_path / "ids.txt"
    listed.write_text("a\nb\nc\n")
    ran = run(
        "export", release, tmp_path / "out", "--base", release, "--trained-on", listed, "--licence", "vae=My | own"
    )
    assert ran.exit_code == 0, ran.output
    text = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["license"] == "other" and front["library_name"] == "foleygram"
    rows = {cells[1].strip(): cells for line in text.splitlines() if (cells := line.split("|"))[2:]}
    parts = read_index(release)["parts"]
    assert parts.keys() <= rows.keys() and rows["vae"][4].strip() == "My / own"
    pipeline = FoleyGRAMPipeline.from_pretrained(tmp_path / "out")
    for name, network in pipeline.parts.networks().items():
        assert rows[name][3].strip() == f"{sum(tensor.numel() for tensor in network.state_dict().values()):,}", name
    assert "ids.txt: 3 videos" in text
    assert "Not recorded: `foleygram evaluate" in text


def test_the_shipped_miniature_s_card_is_current_and_has_its_scores(tmp_path):
    shipped = Path(__file__).parents[2] / "checkpoints" / "mini"
    copy = Path(shutil.copytree(shipped, tmp_path / "mini"))
    assert run("card", copy).exit_code == 0
    text = (shipped / "README.md").read_text()
    assert (copy / "README.md").read_text() == text and "Not recorded" not in text
    scores = read_scores(shipped)
    assert scores["sha256"] == read_index(shipped)["sha256"] and f"{scores['num_clips']} clips of" in text


def test_a_release_of_one_licence_names_it(release):
    assert run("card", release).exit_code == 0
    assert yaml.safe_load((release / "README.md").read_text().split("---")[1])["license"] == "apache-2.0"
    assert "Not recorded (`foleygram weights export" in (release / "README.md").read_text()


def test_scores_are_shown_for_the_weights_that_they_were_measured_on(release, tmp_path):
    ran = run("card", release, "--scores", report_of(release, tmp_path / "report.json"))
    assert ran.exit_code == 0, ran.output
    text = (release / "README.md").read_text()
    assert "6 clips of heldout, 25 sampling steps." in text
    assert "| onset F1 at 50 ms | 0.125 | 0.500 |" in text and "| level in silent spans, dB | 0.125 | - |" in text
    FoleyGRAMPipeline.from_pretrained(release).save_pretrained(tmp_path / "again")
    assert "| onset F1 at 50 ms | 0.125 | 0.500 |" in (tmp_path / "again" / "README.md").read_text()
    half = tmp_path / "half"
    shutil.copy(release / "scores.json", tmp_path)
    assert run("export", release, half, "--base", release, "--half").exit_code == 0
    shutil.copy(tmp_path / "scores.json", half)
    assert run("card", half).exit_code == 0
    assert "Not recorded: `foleygram evaluate" in (half / "README.md").read_text()


def test_scores_of_other_weights_are_refused(release, tmp_path):
    ran = run("card", release, "--scores", report_of(release, tmp_path / "report.json", checkpoint_sha256="0" * 64))
    assert ran.exit_code == 1 and "not the weights in" in ran.output and not (release / "scores.json").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"sha256": {}}', '{"sha256": [], "summary": {}}'])
def test_damaged_scores_are_named(release, content):
    (release / "scores.json").write_text(content)
    ran = run("card", release)
    assert ran.exit_code == 1 and "scores.json: damaged" in ran.output


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the hub's client, of its own upload
def test_a_pipeline_is_pushed_and_loaded_again(release, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    run("card", release, "--scores", report_of(release, tmp_path / "report.json"))
    pipeline = FoleyGRAMPipeline.from_pretrained(release)
    with running_hub(monkeypatch) as hub:
        address = pipeline.push_to_hub("owner/name")
        assert "/commit/" in address and "private" in {
            hub.created.get("visibility"),
            "private" if hub.created.get("private") else "",
        }
        assert (
            "# name" in hub.files["README.md"].decode() and "| onset F1 at 50 ms |" in hub.files["README.md"].decode()
        )
        again = FoleyGRAMPipeline.from_pretrained("hub:owner/name")
    assert again.scores == pipeline.scores and again.scores["num_clips"] == 6
    for name, network in again.parts.networks().items():
        expected = pipeline.parts.networks()[name].state_dict()
        assert all((value == expected[key]).all() for key, value in network.state_dict().items()), name


def test_a_failed_push_gives_the_reason(release, monkeypatch):
    pipeline = FoleyGRAMPipeline.from_pretrained(release)
    with pytest.raises(ValueError, match="write OWNER/NAME"):
        pipeline.push_to_hub("name")
    with running_hub(monkeypatch) as hub:
        hub.refusal = "gated"
        with pytest.raises(PermissionError, match="hf auth login"):
            pipeline.push_to_hub("owner/name")
    ask_at(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match="nothing was published"):
        pipeline.push_to_hub("owner/name")
