"""stable-audio-tools' weights give the published outputs in diffusers' classes, and go back unchanged."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from foleygram.generation.backbone import load_backbone
from foleygram.generation.controlnet import controlled_forward
from foleygram.generation.native_folders import load_native, save_native
from foleygram.generation.native_weights import PREFIXES, from_native, to_native
from tests.published import NATIVE_CONFIG, durations, golden, native_state, transformer, vae, write_native

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_native(tmp_path)


def test_the_transformer_equals_the_published_code(folder: Path) -> None:
    tensors, _ = golden("dit")
    model = load_native(folder)["transformer"]
    x, t, tokens, states = (tensors[f"in.{name}"] for name in ("x", "t", "cross_attn_cond", "global_embed"))
    with torch.no_grad():
        out = controlled_forward(model, x, t, tokens, states)
        null = controlled_forward(model, x, t, torch.zeros_like(tokens), states)
    torch.testing.assert_close(out, tensors["out.out"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(null + 7 * (out - null), tensors["out.out_cfg7"], atol=1e-4, rtol=1e-5)


def test_the_autoencoder_equals_the_published_code(folder: Path) -> None:
    tensors, _ = golden("oobleck")
    model = load_native(folder)["vae"]
    with torch.no_grad():
        encoded = model.encoder(tensors["in.x"])
        decoded = model.decode(tensors["z_from_noise"]).sample
        posterior = model.encode(tensors["in.x"]).latent_dist
    torch.testing.assert_close(encoded, tensors["enc_raw(mean,scale)"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decoded, tensors["dec(z)"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(posterior.std, tensors["stdev"], atol=1e-5, rtol=1e-5)


def test_durations_equal_their_closed_form(folder: Path) -> None:
    state = native_state()
    model = load_native(folder)["projection_model"]
    output = model(start_seconds=torch.tensor([3.0]), end_seconds=torch.tensor([47.0]))
    for name, value, got in (
        ("seconds_start", 3.0, output.seconds_start_hidden_states),
        ("seconds_total", 47.0, output.seconds_end_hidden_states),
    ):
        weights = {k[-9:]: v for k, v in state.items() if f".{name}." in k}
        phase = 2 * torch.pi * (value / 512) * weights["0.weights"]
        features = torch.cat([torch.tensor([value / 512]), phase.sin(), phase.cos()])
        expected = weights[".1.weight"] @ features + weights["ng.1.bias"]
        torch.testing.assert_close(got[0, 0], expected, atol=1e-4, rtol=1e-4)


def test_there_and_back_changes_no_tensor(folder: Path) -> None:
    state = native_state()
    again = to_native(from_native(state))
    assert again.keys() == state.keys()
    assert [key for key in state if not torch.equal(again[key], state[key])] == []
    save_native(folder / "back", **load_native(folder))  # type: ignore[arg-type]
    saved = load_file(folder / "back" / "model.safetensors")
    assert saved.keys() == state.keys() and all(torch.equal(saved[key], state[key]) for key in state)
    for name, part in load_native(folder / "back").items():
        assert dict(part.config) == dict(load_native(folder)[name].config)


@pytest.mark.parametrize(("depth", "strides"), [(1, [2]), (3, [2, 2]), (11, [2, 2, 2, 2, 2, 2])])
def test_any_depth_and_number_of_strides(depth: int, strides: list[int]) -> None:
    parts = {
        "transformer": transformer(num_layers=depth).state_dict(),
        "vae": vae(downsampling_ratios=strides, channel_multiples=[1] * len(strides)).state_dict(),
        "projection_model": durations(32).state_dict(),
    }
    again = from_native(to_native(parts))
    for name, state in parts.items():
        assert again[name].keys() == state.keys()
        assert all(torch.equal(again[name][key], value) for key, value in state.items()), name


def test_a_part_alone_is_recognised() -> None:
    assert from_native(golden("dit")[1]).keys() == {"transformer"}
    assert from_native(golden("oobleck")[1]).keys() == {"vae"}


def test_what_has_no_native_form_is_named() -> None:
    with pytest.raises(ValueError, match=r"smell: not a part .*there are transformer, vae, projection_model"):
        to_native({"smell": {}})
    with pytest.raises(ValueError, match=r"vae: no native counterpart for \['encoder.strange'\]"):
        to_native({"vae": vae().state_dict() | {"encoder.strange": torch.zeros(1)}})


def test_halves_stay_halves_and_heads_of_128_keep_their_rotary_size() -> None:
    state = {key: value.half() for key, value in transformer(attention_head_dim=128).state_dict().items()}
    native = to_native({"transformer": state}, attention_head_dim=128)
    assert native["model.model.transformer.rotary_pos_emb.inv_freq"].shape == (32,)
    assert {value.dtype for value in from_native(native)["transformer"].values()} == {torch.float16}


def test_a_training_loop_may_name_the_folder_as_its_backbone(folder: Path) -> None:
    backbone = load_backbone(str(folder))
    assert backbone.prompt_encoder is None and not any(p.requires_grad for p in backbone.vae.parameters())
    torch.save({"state_dict": native_state()}, folder / "model.ckpt")
    (folder / "model.safetensors").unlink()
    other = load_backbone(str(folder), torch_dtype=torch.bfloat16)
    assert torch.equal(other.transformer.proj_in.weight, backbone.transformer.proj_in.weight.bfloat16())


def without(key: str) -> dict[str, Tensor]:
    return {name: value for name, value in native_state().items() if name != key}


def test_what_does_not_fit_is_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    key = "model.model.transformer.layers.1.ff.ff.2.weight"
    other_base = 20_000.0 ** (-torch.arange(0, 32, 2) / 32)
    for state, message in (
        (without(key), r"missing \['transformer_blocks.1.ff.net.2.weight'\]"),
        (native_state() | {key: torch.zeros(128, 511)}, r"transformer_blocks.1.ff.net.2.weight \(128, 511\), exp"),
        (native_state() | {"model.model.transformer.memory_tokens": torch.zeros(2)}, "no counterpart .*memory_tok"),
        (native_state() | {"optimizer.state": torch.zeros(2)}, "not part of a model .*optimizer.state"),
        (native_state() | {PREFIXES["transformer"] + "transformer.rotary_pos_emb.inv_freq": other_base}, "base"),
        ({key: v for key, v in native_state().items() if "pretransform" not in key}, r"\(vae\).*missing"),
    ):
        save_file(state, weights)
        with pytest.raises(ValueError, match=f"model.safetensors.*{message}"):
            load_native(folder)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model.safetensors: not a complete safetensors file"):
        load_native(folder)
    for absent in (folder / "model_config.json", weights):
        absent.unlink()
        with pytest.raises(FileNotFoundError, match=r"needs model.safetensors or model.ckpt, and model_config.json"):
            load_native(folder)


def change(folder: Path, *path: str | int, value: object) -> None:
    config = json.loads(json.dumps(NATIVE_CONFIG))
    inner = config
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    (folder / "model_config.json").write_text(json.dumps(config))


def test_what_a_config_leaves_out_is_that_package_s_default(folder: Path) -> None:
    """Durations up to 1; and the prompt's own width is read off the weights."""
    change(folder, "model", "conditioning", "configs", 1, "config", value={})
    prompt = {"weight": torch.randn(64, 48), "bias": torch.randn(64)}
    added = {f"{PREFIXES['projection_model']}prompt.proj_out.{name}": value for name, value in prompt.items()}
    save_file(native_state() | added, folder / "model.safetensors")
    parts = load_native(folder)
    durations = parts["projection_model"]
    assert (durations.config.min_value, durations.config.max_value) == (0, 1)
    assert torch.equal(durations.text_projection.weight, prompt["weight"])
    assert not any(part.training for part in parts.values())


def test_other_kinds_of_model_are_refused(folder: Path) -> None:
    dit = {key: value for key, value in NATIVE_CONFIG["model"]["diffusion"]["config"].items() if "project" not in key}
    decoder = ("model", "pretransform", "config", "decoder", "config")
    for path, value, message in (
        (("model", "diffusion", "diffusion_objective"), "rectified_flow", "diffusion_objective rectified_flow"),
        (("model", "diffusion", "config", "global_cond_type"), "adaLN", "global_cond_type adaLN"),
        (("model", "diffusion", "config", "num_heads"), 4, "heads of 32 < 64"),
        (("model", "pretransform", "config", "encoder", "config", "latent_dim"), 12, "16 wide for 12 latents"),
        ((*decoder, "final_tanh"), True, "a final tanh"),
        ((*decoder, "use_snake"), False, "other than Snake"),
        (("model", "diffusion", "config"), dit, r"attn2.to_k.weight \(64, 64\), expected \(128"),  # true by default
        (("model", "conditioning"), {}, "not the config of a conditioned latent diffusion model"),
        (("model", "diffusion", "config", "depth"), 3, r"missing \['transformer_blocks.2"),
    ):
        change(folder, *path, value=value)
        with pytest.raises(ValueError, match=message):
            load_native(folder)


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code ran",))


def test_code_in_a_pickle_never_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"state_dict": native_state(), "extra": Code()}, folder / "model.ckpt")
    with pytest.raises(ValueError, match=r"model.ckpt: damaged, or it holds code"):
        load_native(folder)
    (folder / "model.ckpt").write_bytes((folder / "model.ckpt").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"model.ckpt: truncated"):
        load_native(folder)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ({"num_attention_heads": 4, "num_key_value_attention_heads": 2}, "2 key-value heads of 64 .* of 64"),
        ({"cross_attention_dim": 128}, "1 key-value heads of 64 .* of 128"),
    ],
)
def test_heads_that_the_package_would_not_build_are_refused(
    tmp_path: Path, sizes: dict[str, int], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        save_native(tmp_path, transformer=transformer(**sizes), vae=vae(), projection_model=durations())
    assert not list(tmp_path.iterdir())


def test_the_shipped_backbone_goes_back(tmp_path: Path) -> None:
    """Its conditions have 128 values for 3 heads of 64, which that package builds of 192: widened by zeros."""
    ours = load_backbone(str(ROOT / "checkpoints" / "mini"))
    save_native(tmp_path, transformer=ours.transformer, vae=ours.vae, projection_model=ours.projection_model)
    theirs = load_native(tmp_path)
    assert theirs["transformer"].config.cross_attention_dim == 192
    diffusion = json.loads((tmp_path / "model_config.json").read_text())["model"]["diffusion"]
    assert (diffusion["config"]["cond_token_dim"], diffusion["config"]["project_cond_tokens"]) == (128, True)
    assert diffusion["cross_attention_cond_ids"] == ["prompt", "seconds_start", "seconds_total"]
    assert diffusion["global_cond_ids"] == ["seconds_start", "seconds_total"]
    generator = torch.Generator().manual_seed(0)
    x, tokens, states = (torch.randn(2, *size, generator=generator) for size in ((16, 125), (4, 128), (256,)))
    t = torch.tensor([0.2, 0.9])
    with torch.no_grad():
        expected = controlled_forward(ours.transformer, x, t, tokens, states)
        got = controlled_forward(theirs["transformer"], x, t, tokens, states)
        assert expected.std() > 0.1
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(theirs["vae"].decode(x).sample, ours.vae.decode(x).sample)
