"""`foleygram weights`: what it checks, fetches, converts and exports, and what it says where it cannot."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, file_download
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from foleygram.alignment.pretrained import load_gram_checkpoint, text_encoder_from_bert
from foleygram.cli import app
from foleygram.files import file_hash
from foleygram.generation.backbone import load_backbone
from foleygram.generation.sampling import SamplerSettings
from foleygram.pipeline import convert as weights
from foleygram.pipeline import export
from foleygram.pipeline.export import export_release
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.release import licences_of, load_release, read_index
from foleygram.spec import ClipSpec
from foleygram.weights import download as sources
from tests import published
from tests.hub import COMMIT, Hub, ask_at, running_hub

BERT = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 100, "vocab.txt": b"[PAD]", "other.h5": b"x"}


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    with running_hub(monkeypatch) as running:
        running.files = dict(BERT)
        yield running


def run(*arguments: object):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_check_names_every_part_and_its_size(tiny_release):
    result = run("check", tiny_release)
    assert result.exit_code == 0, result.output
    for fact in ("EnvelopeControlNet", "trained", "frozen", "Apache-2.0", "all hashes match"):
        assert fact in result.output
    rows = weights.check_release(tiny_release)
    assert {row.name for row in rows if row.trained_in_stage_2} == {"projectors", "controlnet"}
    assert next(row.parameters for row in rows if row.name == "projectors") == 3 * (8 * 8 + 8)


def test_check_refuses_what_is_no_release(tmp_path):
    result = run("check", tmp_path)
    assert result.exit_code == 1 and "model_index.json" in result.output and "Traceback" not in result.output


def test_what_is_fetched_is_verified_and_kept(hub, tmp_path):
    result = run("fetch", "bert-base", "--out", tmp_path)
    assert result.exit_code == 0 and "model.safetensors (0.0 MB)" in result.output, result.output
    folder = tmp_path / "bert-base"
    kept = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "source.json"}
    assert kept == {name: content for name, content in BERT.items() if name != "other.h5"}
    assert sources.origin_of(folder) == {
        "name": "bert-base", "hub_id": "google-bert/bert-base-uncased", "revision": COMMIT, "licence": "Apache-2.0",
    }  # fmt: skip
    hub.ranges.clear()
    (folder / "vocab.txt").write_text("changed")
    assert run("fetch", "bert-base", "--out", tmp_path).exit_code == 0
    assert len(hub.ranges) == 1 and (folder / "vocab.txt").read_bytes() == BERT["vocab.txt"]


def test_a_broken_download_resumes_where_it_stopped(hub, tmp_path):
    hub.files = {"model.safetensors": BERT["model.safetensors"]}
    half = len(BERT["model.safetensors"]) // 2
    folder = tmp_path / "bert-base"
    folder.mkdir()
    # As a process that was killed leaves it.
    (folder / ".model.safetensors.part").write_bytes(BERT["model.safetensors"][:half])
    assert run("fetch", "bert-base", "--out", tmp_path).exit_code == 0
    assert hub.ranges == [f"bytes={half}-"]
    assert (folder / "model.safetensors").read_bytes() == BERT["model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "source.json"]


def test_an_interrupted_download_resumes(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    hub.files, hub.breaks = {"model.safetensors": BERT["model.safetensors"]}, 1000
    result = run("fetch", "bert-base", "--out", tmp_path)
    assert result.exit_code == 1 and "run it again to resume" in result.output and "Traceback" not in result.output
    part = tmp_path / "bert-base" / ".model.safetensors.part"
    kept = part.stat().st_size
    assert 0 < kept < len(BERT["model.safetensors"])
    assert not (tmp_path / "bert-base" / "model.safetensors").exists()
    hub.breaks = 0
    assert run("fetch", "bert-base", "--out", tmp_path).exit_code == 0
    assert hub.ranges[-1] == f"bytes={kept}-"


def test_a_download_with_another_hash_is_removed(hub, tmp_path):
    hub.claimed["model.safetensors"] = 64 * "0"
    result = run("fetch", "bert-base", "--out", tmp_path)
    assert result.exit_code == 1 and "model.safetensors" in result.output and "fetch it again" in result.output
    assert [path.name for path in (tmp_path / "bert-base").iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("name", "refusal", "expected"),
    [
        ("stable-audio-open", "gated", ("Stability AI Community License", "Accept its licence on", "hf auth login")),
        ("bert-base", "absent", ("google-bert/bert-base-uncased", "hf auth login")),
        ("bert-base", "empty", ("has none of config.json",)),
        ("beats", None, ("unilm",)),
        ("mystery", None, ("bert-base",)),
    ],
)
def test_weights_that_cannot_be_fetched_give_the_reason(hub, tmp_path, name, refusal, expected):
    hub.files = {} if refusal == "empty" else {"transformer/config.json": b"{}"}
    hub.refusal = refusal if refusal != "empty" else None
    result = run("fetch", name, "--out", tmp_path)
    printed = " ".join(result.output.split())
    assert result.exit_code == 1 and all(text in printed for text in expected) and "Traceback" not in printed, printed
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size] == []


def test_without_a_network_the_error_is_a_connection_error(monkeypatch, tmp_path):
    ask_at(monkeypatch, "http://127.0.0.1:9")
    result = run("fetch", "bert-base", "--out", tmp_path)
    assert result.exit_code == 1 and "cannot be reached" in result.output and "run it again" in result.output


@pytest.mark.parametrize(
    ("refusal", "error", "expected"),
    [
        ("gated", PermissionError, "owner/name/transformer: gated. Accept its licence on https://"),
        ("absent", FileNotFoundError, "owner/name/transformer: no folder here, and the hub has no owner/name"),
        (None, FileNotFoundError, "owner/name/transformer: not among the files of the hub's owner/name"),
    ],
)
def test_a_hub_id_without_weights_gives_the_reason(hub, tmp_path, monkeypatch, refusal, error, expected):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    hub.refusal = refusal
    with pytest.raises(error, match=re.escape(expected)):
        load_backbone("owner/name")


def test_a_hub_id_without_a_network_is_a_connection_error(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    ask_at(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"owner/name: the hub cannot be reached.*no such folder exists here"):
        text_encoder_from_bert("owner/name")
    for absent in ("./weights/none", str(tmp_path / "none"), "a/b/c"):
        with pytest.raises(FileNotFoundError, match="no such folder"):
            text_encoder_from_bert(absent)


def test_every_source_is_in_the_docs_with_its_licence():
    rows = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8").splitlines()
    for name, source in sources.SOURCES.items():
        row = next(row for row in rows if row.startswith(f"| `{name}` |"))
        assert source.licence in row and (source.hub_id or "by hand") in row, row
        assert re.search(r"\d M|vocabulary|sum", row), row


def test_a_backbone_goes_to_the_native_form_and_back(tmp_path):
    backbone = published.write_diffusers(tmp_path / "diffusers")
    native, again = tmp_path / "native", tmp_path / "again"
    result = run("convert", backbone, native)
    assert result.exit_code == 0 and "diffusers -> stable-audio-tools" in result.output, result.output
    assert sorted(path.name for path in native.iterdir()) == ["model.safetensors", "model_config.json"]
    assert run("convert", native, again).exit_code == 0
    name = "transformer/diffusion_pytorch_model.safetensors"
    before, after = load_file(backbone / name), load_file(again / name)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert "already there" in run("convert", native, again).output


def test_a_failed_conversion_leaves_no_files(tmp_path):
    result = run("convert", tmp_path, tmp_path / "out")
    assert result.exit_code == 1 and "holds neither" in result.output
    (tmp_path / "model_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"none")
    result = run("convert", tmp_path, tmp_path / "out")
    assert result.exit_code == 1 and "not the config of a conditioned latent diffusion model" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "model_config.json"]


def test_an_exported_release_lists_its_training_videos(tiny_release, tmp_path):
    listed = tmp_path / "train.txt"
    listed.write_text("b\na\n")
    shutil.copytree(tiny_release, tmp_path / "run")
    first = run("export", tmp_path / "run", tmp_path / "one", "--base", tiny_release, "--trained-on", listed)
    assert first.exit_code == 0, first.output
    assert read_index(tmp_path / "one")["trained_on"] == {"data": "train.txt", "video_ids": ["a", "b"]}
    listed.write_text("c")
    run("export", tmp_path / "run", tmp_path / "two", "--base", tmp_path / "one", "--trained-on", listed)
    assert read_index(tmp_path / "two")["trained_on"]["video_ids"] == ["a", "b", "c"]
    listed.write_text("")
    empty = run("export", tmp_path / "run", tmp_path / "three", "--base", tiny_release, "--trained-on", listed)
    assert empty.exit_code == 1 and "names no video" in empty.output


def test_an_exported_release_names_its_backbones_licence(tiny_release, tmp_path):
    run_folder, backbone = tmp_path / "run", tmp_path / "stable-audio-open"
    shutil.copytree(tiny_release, run_folder)
    backbone.mkdir()
    for name in ("transformer", "vae", "projection_model"):
        shutil.move(run_folder / name, backbone / name)
    (backbone / "source.json").write_text('{"licence": "Stability AI Community License"}')
    spec = tmp_path / "clip.yaml"
    spec.write_text(json.dumps(read_index(tiny_release)["spec"]))
    out = tmp_path / "out"
    missing = run("export", run_folder, out, "--spec", spec)
    assert missing.exit_code == 1 and "no vae, transformer, projection_model" in " ".join(missing.output.split())
    result = run(
        "export", run_folder, out, "--spec", spec, "--backbone", backbone, "--licence", "video_encoder=MIT (EVA-CLIP)"
    )
    assert result.exit_code == 0, result.output
    assert licences_of(out)["transformer"] == "Stability AI Community License"
    shown = " ".join(run("check", out).output.split())
    assert "MIT" in shown and "Stability AI" in shown and "Apache-2.0" in shown
    assert re.search(r"[\d,]+ parameters, [\d.]+% of them trained in stage 2", shown)
    FoleyGRAMPipeline.from_pretrained(out).save_pretrained(tmp_path / "again")
    assert licences_of(tmp_path / "again") == licences_of(out)
    for wrong in ("video_encoder", "engine=MIT"):
        assert run("export", run_folder, out, "--spec", spec, "--licence", wrong).exit_code == 1


def test_a_backbone_of_the_hub_brings_its_licence(tiny_release, tmp_path, monkeypatch):
    hub_id = "stabilityai/stable-audio-open-1.0"
    monkeypatch.setattr(export, "load_backbone", lambda name: load_backbone(str(tiny_release)))
    run_folder = Path(shutil.copytree(tiny_release, tmp_path / "run"))
    shutil.rmtree(run_folder / "vae")
    for name, licence in ((hub_id, "Stability AI Community License"), ("someone/else", "unknown: from someone/else")):
        out = tmp_path / name
        export_release(run_folder, out, ClipSpec(**read_index(tiny_release)["spec"]), SamplerSettings(), backbone=name)
        assert licences_of(out) == dict.fromkeys(read_index(tiny_release)["parts"], "Apache-2.0") | {"vae": licence}


def test_nothing_of_an_earlier_release_stays_in_an_exported_one(tiny_release, tmp_path):
    out, source = tmp_path / "out", Path(shutil.copytree(tiny_release, tmp_path / "source"))
    shutil.copytree(tiny_release, out)
    (out / "vae" / "diffusion_pytorch_model-00001-of-00002.safetensors").write_bytes(b"half of an older one")
    (out / "judge").mkdir()  # no part of a pipeline: left alone
    assert run("export", source, out, "--base", tiny_release).exit_code == 0
    assert run("check", out).exit_code == 0 and (out / "judge").is_dir()
    assert read_index(out)["sha256"] == read_index(tiny_release)["sha256"]
    index = (out / "model_index.json").read_bytes()
    (out / "prompt_encoder").mkdir()
    refused = run("export", source, out, "--base", tiny_release)
    assert refused.exit_code == 1 and "holds prompt_encoder" in refused.output
    (out / "prompt_encoder").rmdir()
    for same in (source, tiny_release):
        refused = run("export", source, same, "--base", tiny_release)
        assert refused.exit_code == 1 and "name another folder" in refused.output
    shutil.rmtree(source / "vae")
    spec = tmp_path / "clip.yaml"
    spec.write_text(json.dumps(read_index(tiny_release)["spec"]))
    assert "no vae" in run("export", source, out, "--spec", spec).output
    assert (out / "model_index.json").read_bytes() == index and run("check", out).exit_code == 0


def test_grams_release_becomes_a_release_folder_of_encoders(tmp_path, monkeypatch):
    heads = {"num_vision_heads": 2, "num_text_heads": 2}
    monkeypatch.setattr(weights, "load_gram_checkpoint", lambda folder: load_gram_checkpoint(folder, **heads))
    gram, bert = published.write_gram(tmp_path / "gram"), published.write_bert(tmp_path / "bert")
    out = tmp_path / "out"
    refused = run("convert", gram, out)
    assert refused.exit_code == 1 and "--tokenizer" in refused.output and not out.exists()
    result = run("convert", gram, out, "--tokenizer", bert)
    assert result.exit_code == 0 and "GRAM -> aligned encoders" in result.output, result.output
    assert "temperature 0.05" in result.output and read_index(out)["temperature"] == pytest.approx(0.05)
    assert read_index(out)["spec"]["frame_transform"] == "crop"
    checked = run("check", out)
    assert checked.exit_code == 0 and "all hashes match" in " ".join(checked.output.split()), checked.output
    parts = {"video_encoder", "text_encoder", "audio_encoder", "tokenizer"}
    assert licences_of(out) == dict.fromkeys(parts, "see its repository")
    assert {row.name for row in weights.check_release(out)} == parts
    with pytest.raises(FileNotFoundError, match="; generating needs projectors"):
        FoleyGRAMPipeline.from_pretrained(out)


def _index_with(change):
    """Edit a release's index by `change`."""

    def damage(folder):
        index = json.loads((folder / "model_index.json").read_text())
        change(index)
        (folder / "model_index.json").write_text(json.dumps(index))

    return damage


def _config_with(name, **fields):
    def damage(folder):
        path = folder / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return damage


def _no_number(folder):
    path = folder / "projectors" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["projectors.text.bias"][0] = torch.nan
    save_file(tensors, path, metadata={"format": "pt"})
    _index_with(lambda index: index["sha256"].update({"projectors/" + path.name: file_hash(path)}))(folder)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda folder: (folder / "model_index.json").write_text("[" * 100_000), "damaged (not readable as JSON"),
        (_index_with(lambda index: index.update(parts=["vae"])), "model_index.json: damaged ('list' object has no"),
        (_index_with(lambda index: index["parts"]["vae"].pop("licence")), "damaged ('licence' is missing)"),
        (_index_with(lambda index: index["parts"]["vae"].update({"class": "os.system"})), "vae of os.system"),
        (_index_with(lambda index: index["spec"].update(seconds=float("inf"))), "ClipSpec.seconds is inf"),
        (_index_with(lambda index: index["spec"].update(sample_rate=44100.5)), "44100.5: it must be a whole number"),
        (_index_with(lambda index: index["sampler"].update(sigma_min="x")), "model_index.json: damaged ('<' not"),
        (_index_with(lambda index: index["sampler"].update(sigma_min=90.0)), "noise levels from 80.0 down to 90.0"),
        (_index_with(lambda index: index["sampler"].update(solver="heun")), "unknown solver 'heun'"),
        (_index_with(lambda index: index["sampler"].update(num_inference_steps=2.5)), "2.5 sampling steps"),
        (_index_with(lambda index: index["sampler"].update(eta=1)), "unexpected keyword argument 'eta'"),
        (_index_with(lambda index: index.update(trained_on={"data": "x"})), "damaged ('video_ids' is missing)"),
        (_index_with(lambda index: index.update(trained_on=["x"])), "model_index.json: damaged (list indices"),
        (_index_with(lambda index: index.update(trained_on={"data": "x", "video_ids": [3]})), "must hold strings"),
        (
            _index_with(lambda index: index.update(trained_on={"data": "", "video_ids": [], "recordings": ["x"]})),
            "recordings a list of [attribution, licence, source]",
        ),
        (_config_with("controlnet", num_layers=10**9), "controlnet/config.json: num_layers is 1000000000, but its"),
        (lambda folder: (folder / "vae" / "config.json").write_text("[]"), "vae: cannot be loaded (config.json holds"),
        (_no_number, "projectors: projectors.text.bias holds values that are not finite"),
    ],
)  # fmt: skip
def test_check_names_what_is_wrong_with_a_release(tiny_release, tmp_path, damage, expected):
    folder = Path(shutil.copytree(tiny_release, tmp_path / "release"))
    damage(folder)
    result = run("check", folder)
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert str(folder) in result.stderr and expected in " ".join(result.stderr.split()), result.stderr


def test_rates_that_the_networks_did_not_learn_are_refused(tiny_release, tmp_path):
    folder = Path(shutil.copytree(tiny_release, tmp_path / "release"))
    _index_with(lambda index: index["spec"].update(sample_rate=8000, audio_channels=2))(folder)
    with pytest.raises(ValueError, match=r"sample_rate 8000, not 16000; audio_channels 2, not 1\); export it"):
        load_release(folder)
    (tmp_path / "clip.yaml").write_text("seconds: 2.0")
    result = run("export", tiny_release, tmp_path / "out", "--spec", tmp_path / "clip.yaml")
    assert result.exit_code == 1 and "sample_rate 44100, not 16000" in result.stderr
    assert not (tmp_path / "out" / "model_index.json").exists()


@pytest.mark.parametrize("content", [b"a: [1", b"\xff\xfe", b"seconds: -1", b"seconds: ten", b"- 1"])
def test_rates_that_cannot_be_read_are_named(tiny_release, tmp_path, content):
    (tmp_path / "clip.yaml").write_bytes(content)
    result = run("export", tiny_release, tmp_path / "out", "--spec", tmp_path / "clip.yaml")
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit)
    assert result.stderr.startswith(f"foleygram: {tmp_path / 'clip.yaml'}: ") and not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["hash", "unlisted", "index"])
def test_check_ends_with_1_for_a_damaged_release(tiny_release, tmp_path, damage):
    folder = Path(shutil.copytree(tiny_release, tmp_path / "release"))
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    if damage == "hash":
        path.write_bytes(path.read_bytes()[:-4] + b"zzzz")
    elif damage == "unlisted":
        shutil.copyfile(path, path.with_name("another.safetensors"))
    else:
        path = folder / "model_index.json"
        path.write_text(path.read_text().replace('"vae": {', '"engine": {'))
    result = run("check", folder)
    assert result.exit_code == 1 and str(path.parent) in result.stderr and "Traceback" not in result.output
