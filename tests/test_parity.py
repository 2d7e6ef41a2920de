"""`make parity`'s own half: what it compares, when it fails. The package itself is not installed where tests run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderOobleck, StableAudioDiTModel
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from benchmarks.parity import __main__ as parity
from foleygram.generation.native_folders import CLASSES, _diffusers_configs

SIZE = {
    "channels": 16, "c_mults": [1, 2], "strides": [2, 4], "latent_dim": 8, "embed_dim": 128, "depth": 1,
    "num_heads": 2, "cond_dim": 64, "sample_rate": 16_000, "num_latents": 12, "steps": 2, "t5_width": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]:
    """Small parts with random weights, the settings, and the inputs of another side."""
    folder = tmp_path_factory.mktemp("parity")
    t5 = parity.shutil.copytree(parity.SHIPPED / "prompt_tokenizer", folder / "t5")
    T5EncoderModel(T5Config(vocab_size=256, d_model=32, num_layers=1, num_heads=2, d_kv=8, d_ff=32)).save_pretrained(t5)
    (folder / "model_config.json").write_text(json.dumps(parity.native_config(SIZE, str(t5))))
    torch.manual_seed(0)
    configs = _diffusers_configs(folder / "model_config.json")
    configs["projection_model"]["text_encoder_dim"] = 32
    parts = {name: CLASSES[name](**config).eval() for name, config in configs.items()}
    given = {
        "in.audio": torch.randn(2, 2, 96),
        "in.latents": torch.randn(2, 8, 12),
        "in.timestep": torch.tensor([0.1, 0.9]),
        "in.noises": torch.randn(2, 1, 8, 12),
        "in.first_noise": torch.randn(1, 8, 12),
    }
    return parts, parity.common_settings(SIZE, t5), given


@pytest.fixture(scope="module")
def both_sides(made) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Our outputs in float32 and float64, and a file of another side that agrees."""
    ours = parity.our_outputs(*made)
    return ours, parity.exact_outputs(*made), {f"out.{name}": value.clone() for name, value in ours.items()}


def test_equal_sides_pass_and_every_output_counts(both_sides, capsys) -> None:
    ours, exact, theirs = both_sides
    assert parity.report(parity.differences(ours, exact, theirs), []) == 0
    assert "DIFFERS" not in capsys.readouterr().out
    for name in parity.OUTPUTS:
        for changed in (theirs[f"out.{name}"] * (1 + 1e-4), theirs[f"out.{name}"] * torch.nan):
            rows = parity.differences(ours, exact, theirs | {f"out.{name}": changed})
            assert [row.name for row in rows if not row.passes] == [name]
            assert parity.report(rows, []) == 1
    assert capsys.readouterr().out.count("DIFFERS") == 2 * len(parity.OUTPUTS)


def test_what_is_tolerated_is_what_rounding_explains(both_sides) -> None:
    ours, exact, _ = both_sides
    assert {exact[name].dtype for name in ("prompt", "encoded", "decoded")} == {torch.float64}  # v is float32 at once
    for name in parity.OUTPUTS:
        assert ours[name].dtype == torch.float32
        rounding, allowed = (ours[name] - exact[name]).abs().max(), parity.tolerated(ours[name], exact[name])
        assert 0 < rounding < allowed / 4 < 1e-4 * exact[name].abs().max()
    assert parity.tolerated(torch.tensor([3.0, 1.0]), torch.tensor([3.5, 1.0]).double()) == 2.0 + 3.5 * 8 * 2.0**-24


def test_the_timed_runs_are_those_that_are_compared(made, both_sides, monkeypatch) -> None:
    parts, options, given = made
    decode, decoded = parts["vae"].decode, []
    monkeypatch.setattr(parts["vae"], "decode", lambda latents: decoded.append(decode(latents).sample))
    theirs = both_sides[2] | {"seconds.one": torch.tensor(2.0), "seconds.another": torch.tensor(1.5)}
    assert parity.our_seconds(parts, options, given | theirs) > 0
    assert len(decoded) == len(options["solvers"])
    for solver, audio in zip(options["solvers"], decoded, strict=True):
        torch.testing.assert_close(audio, both_sides[0][f"sampled_{solver}"], atol=1e-4, rtol=1e-3)
    assert parity.their_seconds(theirs) == 1.5 and theirs.keys() == both_sides[2].keys()


def test_what_the_way_back_changed_fails(both_sides, capsys) -> None:
    ours, exact, theirs = both_sides
    lost = parity.changed({"a": torch.zeros(2), "b": torch.ones(1)}, {"a": torch.tensor([0.0, 1e-9])})
    assert lost == ["a", "b"] and parity.changed(theirs, theirs) == []
    assert parity.report(parity.differences(ours, exact, theirs), lost) == 1
    assert "changed: a, b" in capsys.readouterr().out


def test_the_full_size_is_stable_audio_opens(tmp_path: Path) -> None:
    path = tmp_path / "model_config.json"
    path.write_text(json.dumps(parity.native_config(parity.SIZES["full"], "t5-base")))
    with torch.device("meta"):
        defaults = {"transformer": StableAudioDiTModel().config, "vae": AutoencoderOobleck().config}
    for part, config in _diffusers_configs(path).items():
        if part in defaults:
            assert {k: v for k, v in config.items() if defaults[part][k] != v}.keys() <= {"sample_size"}


def test_without_its_environment_the_error_names_it(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["parity", "--python", "nowhere/bin/python"])
    assert parity.main() == 1 and "make parity" in capsys.readouterr().err


def test_a_failing_other_side_is_quoted() -> None:
    with pytest.raises(RuntimeError, match="no such weights"):
        parity.run_reference([parity.sys.executable, "-c", "raise SystemExit('no such weights')"])
