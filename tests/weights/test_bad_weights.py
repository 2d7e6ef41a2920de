"""Every loader against every kind of bad file: named, explained, nothing of it run, nothing partly loaded."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from foleygram.alignment.pretrained import (
    audio_encoder_from_beats,
    load_beats,
    load_gram_checkpoint,
    text_encoder_from_bert,
    video_encoder_from_eva,
)
from foleygram.generation.backbone import load_backbone
from foleygram.generation.native_folders import load_native
from foleygram.pipeline.release import load_part, load_release
from tests import published


class Form(NamedTuple):
    """A form of published weights: how a tiny one is written, its weight file, its loader, one of its keys."""

    write: Callable[[Path], Path]
    file: str
    load: Callable[[Path], Any]
    key: str
    named: str
    """How errors name the key, where a loader renames it."""
    below: str | None = None
    """Where a pickle keeps the state dict."""


FORMS = {
    "beats": Form(
        lambda folder: published.write_beats(folder / "beats.pt").parent, "beats.pt",
        lambda folder: load_beats(folder / "beats.pt"), "post_extract_proj.weight", "post_extract_proj.weight", "model",
    ),
    "eva": Form(
        lambda folder: published.write_eva(folder / "eva.pt").parent, "eva.pt",
        lambda folder: video_encoder_from_eva(str(folder / "eva.pt"), 16, 2), "visual.blocks.1.mlp.fc2.weight",
        "encoder.layers.1.mlp.fc2.weight",
    ),
    "bert": Form(
        published.write_bert, "model.safetensors", lambda folder: text_encoder_from_bert(str(folder), 8),
        "bert.encoder.layer.0.output.dense.weight", "encoder.layer.0.output.dense.weight",
    ),
    "gram": Form(
        published.write_gram, "ckpt/model_step_200.pt",
        lambda folder: load_gram_checkpoint(folder, num_vision_heads=2, num_text_heads=2),
        "multimodal_encoder.bert.encoder.layer.1.output.dense.weight", "network.encoder.layer.1.output.dense.weight",
    ),
    "native": Form(
        published.write_native, "model.safetensors", load_native, "model.model.transformer.layers.1.ff.ff.2.weight",
        "transformer_blocks.1.ff.net.2.weight",
    ),
    "native_ckpt": Form(
        lambda folder: published.write_native(folder, as_ckpt=True), "model.ckpt", load_native,
        "pretransform.model.decoder.layers.0.weight_v", "decoder.conv1.weight_v", "state_dict",
    ),
    "diffusers": Form(
        published.write_diffusers, "vae/diffusion_pytorch_model.safetensors",
        lambda folder: load_backbone(str(folder)), "decoder.conv1.weight_v", "decoder.conv1.weight_v",
    ),
    "diffusers_t5": Form(
        published.write_diffusers, "text_encoder/model.safetensors", lambda folder: load_backbone(str(folder)),
        "encoder.block.0.layer.0.SelfAttention.k.weight", "encoder.block.0.layer.0.SelfAttention.k.weight",
    ),
}  # fmt: skip


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code ran",))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_release: Path) -> Callable[[str], Path]:
    """Folders with good weights, one for each form, written once."""
    written: dict[str, Path] = {}

    def folder(form: str) -> Path:
        if form not in written:
            written[form] = FORMS[form].write(tmp_path_factory.mktemp(form))
        return written[form]

    return folder


@pytest.fixture
def copy(whole: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda form: Path(shutil.copytree(whole(form), tmp_path / form))


def rewrite(form: Form, path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the state dict in a weight file."""
    if path.suffix == ".safetensors":
        state = load_file(path)
        change(state)
        save_file(state, path, metadata={"format": "pt"})
        return
    loaded = torch.load(path, weights_only=True)
    change(loaded[form.below] if form.below else loaded)
    torch.save(loaded, path)


@pytest.mark.parametrize("name", FORMS)
def test_a_good_one_loads(name: str, whole: Callable[[str], Path]) -> None:
    assert FORMS[name].load(whole(name)) is not None


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda content: content[: len(content) // 2],
    "a byte short": lambda content: content[:-1],
    "empty": lambda content: b"",
    "a web page": lambda content: b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
    "a pointer to the file": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FORMS)
def test_a_damaged_or_foreign_file_is_named(name: str, damage: str, copy: Callable[[str], Path]) -> None:
    form, folder = FORMS[name], copy(name)
    path = folder / form.file
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: .*fetch it again"):
        form.load(folder)


@pytest.mark.parametrize("name", FORMS)
def test_an_absent_file_is_named(name: str, copy: Callable[[str], Path]) -> None:
    form, folder = FORMS[name], copy(name)
    (folder / form.file).unlink()
    place = str((folder / form.file).parent)
    with pytest.raises(FileNotFoundError, match=re.escape(place)):
        form.load(folder)


@pytest.mark.parametrize("name", FORMS)
def test_keys_that_do_not_fit_are_named_with_both_shapes(name: str, copy: Callable[[str], Path]) -> None:
    form, folder = FORMS[name], copy(name)
    path = folder / form.file
    place = str(path.parent if "diffusers" in name or name == "bert" else path)
    key = re.escape(form.named)
    found: list[tuple[int, ...]] = []

    def misshape(state: dict[str, Any]) -> None:
        found.append(tuple(state[form.key].shape))
        state[form.key] = torch.zeros(*found[0][:-1], found[0][-1] + 1)

    for change, message in (
        (misshape, rf"misshapen \['{key} {{}}, expected {{}}'"),
        (lambda state: state.pop(form.key), rf"missing \['{key}'\]"),
        (lambda state: state.update({f"{form.key.rpartition('.')[0]}.strange": torch.zeros(1)}), "strange"),
    ):
        shutil.copyfile(path, folder / "good")
        rewrite(form, path, change)
        shape = found[0]
        message = message.format(re.escape(str((*shape[:-1], shape[-1] + 1))), re.escape(str(shape)))
        with pytest.raises(ValueError, match=f"{re.escape(place)}.*{message}") as error:
            form.load(folder)
        assert re.search("belong together|can be converted|GRAM", str(error.value)), "no way out"
        shutil.copyfile(folder / "good", path)


@pytest.mark.parametrize("name", FORMS)
def test_code_in_a_pickle_never_runs(
    name: str, copy: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    form, folder = FORMS[name], copy(name)
    path = folder / form.file
    if path.suffix == ".safetensors":  # the libraries fall back on a pickle where there is no safetensors file
        path.unlink()
        path = path.with_name("model.ckpt" if name == "native" else "pytorch_model.bin")
        if name == "diffusers":
            path = path.with_name("diffusion_pytorch_model.bin")
    torch.save({"cfg": published.BEATS_CFG, "model": {}, "state_dict": {}, "code": Code()}, path)
    with pytest.raises(ValueError, match=re.escape(str(path if path.suffix in (".pt", ".ckpt") else path.parent))):
        form.load(folder)
    assert "code ran" not in capsys.readouterr().out


BROKEN_CONFIGS = {
    "bert": ("config.json", {"hidden_size": 32}, "embeddings"),
    "gram": ("log/hps.json", {"model_cfg": {"audio_melbins": "many"}}, "hps.json.*many"),
    "native": ("model_config.json", {"sample_size": "none"}, "model_config.json"),
    "diffusers": ("vae/config.json", {"decoder_channels": 24}, "decoder"),
    "diffusers_t5": ("text_encoder/config.json", {"d_kv": 24}, "SelfAttention"),
}


@pytest.mark.parametrize("name", BROKEN_CONFIGS)
def test_a_config_that_does_not_fit_or_is_none(name: str, copy: Callable[[str], Path]) -> None:
    file, changes, message = BROKEN_CONFIGS[name]
    form, folder = FORMS[name], copy(name)
    path = folder / file
    if changes:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        with pytest.raises(ValueError, match=f"{re.escape(str(folder))}.*{message}"):
            form.load(folder)
    path.write_text("{")
    with pytest.raises(ValueError, match=re.escape(str(path.parent))):
        form.load(folder)
    path.unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=re.escape(str(path.parent))):
        form.load(folder)


def test_a_beats_whose_sizes_contradict_its_weights(copy: Callable[[str], Path]) -> None:
    path = copy("beats") / "beats.pt"
    checkpoint = torch.load(path, weights_only=True)
    for change, message in (
        ({"encoder_embed_dim": 64}, r"misshapen \['encoder.layer_norm.bias \(48,\), expected \(64,\)'"),
        ({"encoder_attention_heads": 5}, "5 heads do not divide"),
        ({"conv_pos_groups": 5}, r"direction \(48, 12, 16\), expected \(48, 9, 16\)"),
        ({"encoder_layers": "two"}, "str"),
    ):
        torch.save(checkpoint | {"cfg": published.BEATS_CFG | change}, path)
        with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*({message})"):
            audio_encoder_from_beats(str(path))


@pytest.mark.parametrize("part", ["vae", "controlnet", "projectors", "video_encoder", "envelope_predictor"])
def test_a_part_of_a_release(part: str, tiny_release: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_release, tmp_path / "release"))
    path = next((folder / part).glob("*.safetensors"))
    state = load_file(path)
    key = sorted(key for key in state if state[key].ndim > 1)[0]
    shape = tuple(state[key].shape)
    save_file({k: v for k, v in state.items() if k != key}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"{re.escape(str(folder / part))}: .*missing \['{re.escape(key)}'\]"):
        load_part(folder, part)
    save_file(state | {key: torch.zeros(3)}, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"{re.escape(key)} \(3,\), expected {re.escape(str(shape))}"):
        load_part(folder, part)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: its content does not match the index"):
        load_release(folder)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: not a complete safetensors file"):
        load_part(folder, part)
    path.unlink()
    torch.save({"code": Code()}, path.with_suffix(".bin"))
    with pytest.raises(FileNotFoundError, match=re.escape(str(folder / part))):
        load_part(folder, part)
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(path))}: missing"):
        load_release(folder)


def test_anothers_config_is_refused_before_anything_is_built(tiny_release: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_release, tmp_path / "release"))
    for part, other in (("video_encoder", "text_encoder"), ("vae", "transformer"), ("controlnet", "transformer")):
        shutil.copyfile(folder / other / "config.json", folder / part / "config.json")
        with pytest.raises(ValueError, match=rf"{part}.config.json: config of \w+, not of \w+"):
            load_part(folder, part)
