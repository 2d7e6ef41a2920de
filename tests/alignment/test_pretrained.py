from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, Blip2VisionConfig, Blip2VisionModel

from foleygram.alignment.beats import BeatsConfig, BeatsLayer, BeatsModel, _scale_gradient
from foleygram.alignment.encoders import CLIP_MEAN, CLIP_STD, TextEncoder, VideoEncoder
from foleygram.alignment.pretrained import (
    audio_encoder_from_beats,
    beats_config,
    eva_state,
    load_beats,
    text_encoder_from_bert,
    video_encoder_from_eva,
)
from foleygram.media.audio import beats_fbank
from foleygram.weights.state_dict import load_state
from tests.published import BEATS_CFG, golden, write_beats


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_beats(tmp_path / "BEATs_iter3_plus_finetuned.pt")


def test_beats_equals_the_published_code(checkpoint: Path) -> None:
    tensors, _ = golden("beats")
    model = load_beats(checkpoint)
    assert not model.training
    with torch.no_grad():
        for name in ("fbank128", "fbank64_padded"):
            torch.testing.assert_close(
                model(tensors[f"in.{name}"]), tensors[f"gram.forward_{name}"], atol=1e-5, rtol=1e-5
            )


def test_beats_hides_padding_as_the_published_code(checkpoint: Path) -> None:
    tensors, _ = golden("beats")
    fbank = beats_fbank(tensors["in.wav_batch"], num_mel_bins=128, num_frames=98)
    with torch.no_grad():
        tokens = load_beats(checkpoint)(fbank, tensors["in.padding_mask"])
    seen = ~tensors["unilm.masked_mask"].bool()
    torch.testing.assert_close(tokens[seen], tensors["unilm.masked"][seen], atol=1e-4, rtol=1e-4)


def test_beats_saves_and_loads(checkpoint: Path, tmp_path: Path) -> None:
    model = load_beats(checkpoint)
    model.save_pretrained(tmp_path / "beats")
    again = BeatsModel.from_pretrained(tmp_path / "beats")
    assert again.config.num_buckets == 16
    for (name, ours), theirs in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_every_weight_of_beats_learns(checkpoint: Path) -> None:
    model = load_beats(checkpoint).train()
    model(golden("beats")[0]["in.fbank128"]).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_layer_without_positions_and_deep_norm_is_torchs_own(norm_first: bool) -> None:
    torch.manual_seed(0)
    config = BeatsConfig(
        encoder_layers=1, encoder_embed_dim=16, encoder_ffn_embed_dim=24, encoder_attention_heads=4, deep_norm=False,
        relative_position_embedding=False, layer_norm_first=norm_first, attention_dropout=0.9, dropout=0.9,
    )  # fmt: skip
    ours = BeatsLayer(config).eval()
    theirs = torch.nn.TransformerEncoderLayer(16, 4, 24, activation="gelu", batch_first=True, norm_first=norm_first)
    state = ours.state_dict()
    packed = {
        f"self_attn.in_proj_{kind}": torch.cat([state[f"self_attn.{name}_proj.{kind}"] for name in "qkv"])
        for kind in ("weight", "bias")
    }
    names = {
        "self_attn.out_proj": "self_attn.out_proj", "linear1": "fc1", "linear2": "fc2", "norm1": "self_attn_layer_norm",
        "norm2": "final_layer_norm",
    }  # fmt: skip
    single = {f"{a}.{kind}": state[f"{b}.{kind}"] for a, b in names.items() for kind in ("weight", "bias")}
    theirs.load_state_dict(packed | single)
    tokens, hidden = torch.randn(2, 7, 16), torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
    with torch.no_grad():
        expected = theirs.eval()(tokens, src_key_padding_mask=hidden)
        torch.testing.assert_close(ours(tokens, None, hidden)[~hidden], expected[~hidden])


def test_a_tower_normalised_first_ends_in_a_norm_and_may_do_without_gates() -> None:
    config = beats_config(BEATS_CFG | {"layer_norm_first": True, "gru_rel_pos": False})
    model = BeatsModel(config).eval()
    assert not any("grep" in name for name, _ in model.named_parameters())
    with torch.no_grad():
        tokens = model(golden("beats")[0]["in.fbank128"])
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(tokens.shape[:2]), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.var(-1, correction=0), torch.ones(tokens.shape[:2]), atol=1e-3, rtol=0)


def test_the_gradient_of_lower_layers_decays() -> None:
    tokens = torch.randn(3, requires_grad=True)
    scaled = _scale_gradient(tokens, 0.6)
    torch.testing.assert_close(scaled, tokens)
    assert torch.autograd.grad(scaled.sum(), tokens)[0].tolist() == pytest.approx([0.6] * 3)


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [({"encoder_attention_heads": 5}, "5 heads do not divide"), ({"activation_fn": "loud"}, "'loud'")],
)
def test_sizes_that_make_no_tower_are_named(sizes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        beats_config(BEATS_CFG | sizes)


def test_a_filterbank_smaller_than_a_patch_is_refused(checkpoint: Path) -> None:
    for shape in ((1, 15, 128), (1, 128)):
        with pytest.raises(ValueError, match="each at least 16"):
            load_beats(checkpoint)(torch.zeros(shape))


def test_deep_norm_scales_the_start() -> None:
    layer = BeatsModel(beats_config(BEATS_CFG | {"encoder_embed_dim": 256})).encoder.layers[0].self_attn
    assert layer.q_proj.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.03)
    assert layer.v_proj.weight.std().item() == pytest.approx((2 / 512) ** 0.5 * 16**-0.25, rel=0.03)


MISFITS = {
    "missing": r"missing \['layer_norm.bias'\]",
    "unexpected": "strange",
    "misshapen": r"post_extract_proj.weight \(48, 31\)",
}


@pytest.mark.parametrize(("change", "message"), MISFITS.items())
def test_a_checkpoint_that_does_not_fit_is_named(checkpoint: Path, change: str, message: str) -> None:
    loaded = torch.load(checkpoint, weights_only=True)
    state = loaded["model"]
    if change == "missing":
        del state["layer_norm.bias"]
    elif change == "unexpected":
        state["strange"] = torch.zeros(1)
    else:
        state["post_extract_proj.weight"] = torch.zeros(48, 31)
    torch.save(loaded, checkpoint)
    with pytest.raises(ValueError, match=message) as error:
        load_beats(checkpoint)
    assert str(checkpoint) in str(error.value)


def test_layers_with_different_tables_are_refused(checkpoint: Path) -> None:
    loaded = torch.load(checkpoint, weights_only=True)
    loaded["model"]["encoder.layers.1.self_attn.relative_attention_bias.weight"] = torch.ones(16, 4)
    torch.save(loaded, checkpoint)
    with pytest.raises(ValueError, match=r"layers\.1\.self_attn\.relative_attention_bias"):
        load_beats(checkpoint)


def test_another_file_is_no_beats(tmp_path: Path) -> None:
    for other in ({"weights": {}}, {"cfg": {}}, [torch.zeros(1)]):
        torch.save(other, tmp_path / "other.pt")
        with pytest.raises(ValueError, match=r"other\.pt: no `cfg` or `model` in it"):
            load_beats(tmp_path / "other.pt")


def tiny_eva() -> Blip2VisionModel:
    config = Blip2VisionConfig(
        image_size=28, patch_size=14, hidden_size=44, intermediate_size=192, num_hidden_layers=3, num_attention_heads=2
    )
    return Blip2VisionModel(config).eval()


def test_eva_equals_the_published_code() -> None:
    tensors, state = golden("eva_vit")
    model = tiny_eva()
    load_state(model, eva_state(state), "golden")
    with torch.no_grad():
        features = model(pixel_values=tensors["in.x"].flatten(0, 1)).last_hidden_state
    torch.testing.assert_close(features, tensors["out.all_features"], atol=1e-5, rtol=1e-5)


def test_video_encoder_equals_the_published_pooling_and_head() -> None:
    tensors, state = golden("eva_vit")
    encoder = VideoEncoder.build(8, 28, 14, 44, 192, 3, 2).eval()
    load_state(encoder.network, eva_state(state), "golden")
    encoder.head.weight.data.copy_(tensors["in.contra_W"])
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        embedding = encoder(tensors["in.x"] * std + mean)
    torch.testing.assert_close(embedding, tensors["out.feat"], atol=1e-5, rtol=1e-5)


def test_eva_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    _, state = golden("eva_vit")
    torch.save(state | {"blocks.0.norm1.bias": torch.zeros(12)}, tmp_path / "tower.pt")
    with pytest.raises(ValueError, match=r"tower\.pt.*layer_norm1"):
        video_encoder_from_eva(str(tmp_path / "tower.pt"), embedding_dim=8, num_attention_heads=2)


def test_encoders_for_fine_tuning_carry_the_published_weights(checkpoint: Path, tmp_path: Path) -> None:
    _, vision = golden("eva_vit")
    path = tmp_path / "EVA01_CLIP_g.pt"
    torch.save({f"visual.{key}": value for key, value in vision.items()} | {"logit_scale": torch.ones(())}, path)
    video = video_encoder_from_eva(str(path), embedding_dim=16, num_attention_heads=2)
    assert torch.equal(video.network.embeddings.class_embedding, vision["cls_token"])
    audio = audio_encoder_from_beats(str(checkpoint), embedding_dim=16)
    assert audio.config.num_mel_bins == 64 and audio.head.weight.shape == (16, 48)
    assert torch.equal(audio.network.layer_norm.weight, golden("beats")[1]["layer_norm.weight"])
    bert = BertModel(BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    bert.save_pretrained(tmp_path / "bert")
    for crossed in (False, True):
        text = text_encoder_from_bert(str(tmp_path / "bert"), 16, crossed)
        assert torch.equal(text.network.embeddings.word_embeddings.weight, bert.embeddings.word_embeddings.weight)
    torch.save({"weights": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"EVA01_CLIP_g.pt: no vision tower of EVA-CLIP"):
        video_encoder_from_eva(str(path))


def test_berts_config_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    changed = {"hidden_act": "relu", "layer_norm_eps": 1e-3, "max_position_embeddings": 128, "initializer_range": 0.5}
    bert = BertModel(BertConfig(**sizes, **changed), add_pooling_layer=False).eval()  # type: ignore[arg-type]
    bert.save_pretrained(tmp_path / "bert")
    text_encoder_from_bert(str(tmp_path / "bert"), 16).save_pretrained(tmp_path / "text_encoder")
    encoder = TextEncoder.from_pretrained(tmp_path / "text_encoder")
    ids, mask = torch.arange(10)[None], torch.ones(1, 10, dtype=torch.long)
    with torch.no_grad():
        torch.testing.assert_close(encoder.tokens(ids, mask), bert(ids, mask).last_hidden_state)
