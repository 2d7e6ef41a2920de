"""A tiny folder in the layout of GRAM's release gives what its parts give by themselves."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from foleygram.alignment.beats import BeatsModel
from foleygram.alignment.gram_matching import matching_from_gram, text_encoder_from_gram
from foleygram.alignment.pretrained import beats_config, beats_state, load_gram_checkpoint
from foleygram.weights.state_dict import load_state
from tests.published import bert, golden, gram_state, write_gram


def load(folder: Path, **kwargs: bool):
    return load_gram_checkpoint(folder, num_vision_heads=2, num_text_heads=2, **kwargs)


def test_every_encoder_equals_its_original(tmp_path: Path) -> None:
    state = gram_state()
    encoders = load(write_gram(tmp_path, state))
    assert encoders.temperature == pytest.approx(0.05)
    vision, _ = golden("eva_vit")
    with torch.no_grad():
        clips, frames = vision["in.x"].shape[:2]
        tokens = encoders.video.network(pixel_values=vision["in.x"].flatten(0, 1)).last_hidden_state
        ours = encoders.video.pool(tokens.unflatten(0, (clips, frames)))
        torch.testing.assert_close(ours, functional.normalize(vision["out.feat"], dim=-1), atol=1e-4, rtol=1e-4)
        ids = torch.tensor([[2, 9, 8, 3]])
        mask = torch.zeros(1, 1, 4, 4)
        plain = bert().bert(ids, attention_mask=mask, use_cache=False).last_hidden_state[:, 0]
        expected = functional.normalize(plain @ state["contra_head_t.linear.weight"].T, dim=-1)
        torch.testing.assert_close(encoders.text(ids, torch.ones_like(ids)), expected, atol=1e-5, rtol=1e-4)
        _, weights = golden("beats")
        sizes = {"embed_dim": 32, "encoder_layers": 2, "encoder_embed_dim": 48, "encoder_ffn_embed_dim": 96}
        sizes |= {"encoder_attention_heads": 4, "conv_pos": 16, "conv_pos_groups": 4, "num_buckets": 16}
        beats = BeatsModel(beats_config(sizes)).eval()
        load_state(beats, beats_state(weights), "golden")
        fbank = golden("beats")[0]["in.fbank64_padded"]
        pooled = beats(fbank).mean(1) @ state["contra_head_a.linear.weight"].T
        torch.testing.assert_close(encoders.audio(fbank), functional.normalize(pooled, dim=-1), atol=1e-5, rtol=1e-4)
    assert (encoders.audio.config.num_mel_bins, encoders.audio.config.num_fbank_frames) == (64, 1024)


def test_cross_attention_is_left_out_and_the_newest_step_wins(tmp_path: Path) -> None:
    write_gram(tmp_path, {"contra_temp": torch.tensor(1.0)}, step=90)
    text = load(write_gram(tmp_path, gram_state(), step=100)).text.network.state_dict()
    key = "encoder.layer.1.attention.self.query.weight"
    assert torch.equal(text[key], bert().bert.state_dict()[key])
    assert not any("crossattention" in name for name in text)


def test_matching_starts_from_the_release(tmp_path: Path) -> None:
    """Contexts, cross-attention and match head give the logits that GRAM's own layers give, written out here."""
    state = gram_state()
    folder = str(write_gram(tmp_path, state))
    text, matching = text_encoder_from_gram(folder, num_attention_heads=2), matching_from_gram(folder)
    generator = torch.Generator().manual_seed(3)
    video, audio = torch.randn(1, 8, 5, 44, generator=generator), torch.randn(1, 2, 6, 48, generator=generator)
    contexts = []
    for name, tokens in (("vision", video), ("audio", audio)):
        keys = ("0.weight", "0.bias", "1.weight", "1.bias")
        weights = {key: state[f"hidden_trans_{name}_multimodal.{key}"] for key in keys}
        hidden = tokens @ weights["0.weight"].T + weights["0.bias"]
        hidden = functional.layer_norm(hidden, (32,), weights["1.weight"], weights["1.bias"], 1e-12)
        hidden = (hidden + state[f"{name}_frame_embedding"][:, :, None]).flatten(1, 2)
        contexts.append(hidden + state[f"{name}_type_embeddings"])
    context = torch.cat(contexts, dim=1)
    ids = torch.tensor([[2, 9, 8, 3]])
    with torch.no_grad():
        read = (
            bert()
            .bert(ids, attention_mask=torch.zeros(1, 1, 4, 4), encoder_hidden_states=context, use_cache=False)
            .last_hidden_state[:, 0]
        )
        layers = {key.removeprefix("itm_head."): value for key, value in state.items() if key.startswith("itm_head.")}
        hidden = functional.gelu(read @ layers["linear1.weight"].T + layers["linear1.bias"])
        hidden = functional.layer_norm(hidden, (32,), layers["layernorm.weight"], layers["layernorm.bias"], 1e-12)
        expected = hidden @ layers["linear2.weight"].T + layers["linear2.bias"]
        ours = torch.cat([matching.video_context(video), matching.audio_context(audio)], dim=1)
        torch.testing.assert_close(ours, context, atol=1e-5, rtol=1e-4)
        found = matching.head(text.tokens(ids, torch.ones_like(ids), ours)[:, 0])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    del state["itm_head.linear2.bias"]
    with pytest.raises(ValueError, match=r"model_step_200.pt.*missing \['head.linear2.bias'\]"):
        matching_from_gram(str(write_gram(tmp_path, state)))


@pytest.mark.parametrize(
    ("data", "transform"),
    [({"train": [{"vision_transforms": "crop_flip"}]}, "crop"), ({"val": [{"vision_transforms": "none"}]}, "squash"),
     (None, "squash"), ({"train": {"x": [{"vision_transforms": "crop_flip", "name": "msrvtt"}]}}, "crop")],
)  # fmt: skip
def test_the_image_transform_is_the_one_of_its_training(tmp_path: Path, data: object, transform: str) -> None:
    write_gram(tmp_path)
    (tmp_path / "log" / "hps.json").write_text(json.dumps({"model_cfg": {}, "data_cfg": data}))
    assert load(tmp_path).frame_transform == transform


def test_filterbank_settings_are_read_and_optimiser_files_are_skipped(tmp_path: Path) -> None:
    write_gram(tmp_path)
    torch.save({"state": {}}, tmp_path / "ckpt" / "optimizer_step_9000.pt")
    filterbank = '"audio_melbins": 96, "audio_target_length": 512'
    for settings, sizes in (
        (f'{{"run_cfg": {{}}, "model_cfg": {{{filterbank}}}}}', (96, 512)),
        (f"{{{filterbank}}}", (96, 512)),
        ("{}", (64, 1024)),
    ):
        (tmp_path / "log" / "hps.json").write_text(settings)
        config = load(tmp_path).audio.config
        assert (config.num_mel_bins, config.num_fbank_frames) == sizes


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = gram_state()
    head = "contra_head_a.linear.weight"
    without = {key: value for key, value in state.items() if "blocks.1.mlp.fc2.bias" not in key}
    for changed, message in (
        (without, r"missing \['network.encoder.layers.1.mlp.fc2.bias'\]"),
        (state | {head: torch.zeros(4, 5)}, r"head.weight \(4, 5\), expected"),
        (state | {"decoder.weight": torch.zeros(1)}, r"unexpected \['decoder.weight'\]"),
        ({"a": torch.zeros(1)}, "missing .*contra_temp"),
        ({key: value for key, value in state.items() if key != head}, rf"missing \['{head}'\]"),
        ([torch.zeros(1)], "not a plain state dict"),
    ):
        with pytest.raises(ValueError, match=f"model_step_200.pt.*{message}"):
            load(write_gram(tmp_path, changed))
    with pytest.raises(FileNotFoundError, match=r"log/hps.json: missing"):
        load(tmp_path / "elsewhere")
    path = tmp_path / "ckpt" / "model_step_200.pt"
    write_gram(tmp_path, gram_state())
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"model_step_200.pt: truncated"):
        load(tmp_path)
