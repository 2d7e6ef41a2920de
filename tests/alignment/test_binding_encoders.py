"""ImageBind and LanguageBind as conditioning encoders: published names, random weights, other implementations."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer
from typer.testing import CliRunner

from foleygram.alignment.encoders import CLIP_MEAN, CLIP_STD
from foleygram.alignment.imagebind import load_imagebind
from foleygram.alignment.languagebind import load_languagebind
from foleygram.cli import app
from foleygram.features.encoder import FeatureEncoder
from foleygram.media.audio import kaldi_fbank
from foleygram.pipeline.release import load_part, load_parts
from foleygram.spec import ClipSpec

HEADS = (2, 2, 2)
TOWERS = {"vision": (24, 3), "text": (16, 2), "audio": (20, 2), "depth": (12, 1)}
WORDS = {"<|startoftext|>": 48, "<|endoftext|>": 49, "h</w>": 0, "h": 1, "i</w>": 2, "i": 3, "hi</w>": 4}


def write_imagebind(path: Path) -> dict[str, Tensor]:
    """A file with ImageBind's names: 28-pixel frames in 14-pixel patches, all else smaller, depth and scales."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return 0.3 * torch.randn(*shape, generator=generator)

    state = {
        "modality_preprocessors.vision.rgbt_stem.proj.1.weight": draw(24, 3, 2, 14, 14),
        "modality_preprocessors.audio.rgbt_stem.proj.weight": draw(20, 1, 16, 16),
        "modality_preprocessors.audio.rgbt_stem.norm_layer.weight": 1 + draw(20),
        "modality_preprocessors.audio.rgbt_stem.norm_layer.bias": draw(20),
        "modality_preprocessors.text.token_embedding.weight": draw(50, 16),
        "modality_preprocessors.text.pos_embed": draw(1, 7, 16),
        "modality_preprocessors.text.mask": torch.full((7, 7), -torch.inf).triu(1),
        "modality_trunks.vision.pre_transformer_layer.0.weight": 1 + draw(24),
        "modality_trunks.vision.pre_transformer_layer.0.bias": draw(24),
        "modality_postprocessors.text.1.log_logit_scale": torch.tensor(2.7),
    }
    for name, positions in (("vision", 1 + 4), ("audio", 1 + 12 * 19), ("depth", 5)):
        state[f"modality_preprocessors.{name}.cls_token"] = draw(1, 1, TOWERS[name][0])
        state[f"modality_preprocessors.{name}.pos_embedding_helper.pos_embed"] = draw(1, positions, TOWERS[name][0])
    for name, (width, layers) in TOWERS.items():
        for index in range(layers):
            block = f"modality_trunks.{name}.blocks.{index}"
            state |= {
                f"{block}.attn.in_proj_weight": draw(3 * width, width), f"{block}.attn.in_proj_bias": draw(3 * width),
                f"{block}.attn.out_proj.weight": draw(width, width), f"{block}.attn.out_proj.bias": draw(width),
                f"{block}.mlp.fc1.weight": draw(4 * width, width), f"{block}.mlp.fc1.bias": draw(4 * width),
                f"{block}.mlp.fc2.weight": draw(width, 4 * width), f"{block}.mlp.fc2.bias": draw(width),
                **{f"{block}.norm_{i}.{kind}": draw(width) for i in (1, 2) for kind in ("weight", "bias")},
            }  # fmt: skip
            if name in ("audio", "depth"):
                state |= {f"{block}.attn.bias_k": draw(1, 1, width), f"{block}.attn.bias_v": draw(1, 1, width)}
        norm, head = ("proj.0", "proj.1") if name == "text" else ("0", "2")
        state |= {f"modality_heads.{name}.{norm}.{kind}": draw(width) for kind in ("weight", "bias")}
        state[f"modality_heads.{name}.{head}.weight"] = draw(10, width)
    torch.save(state, path)
    return state


def trunk(state: dict[str, Tensor], name: str, tokens: Tensor, *, causal: bool = False) -> Tensor:
    """ImageBind's blocks written out: softmax attention by heads, a learnt last key and value in the sound's."""
    width, layers = TOWERS[name]
    for index in range(layers):
        p = {
            k.removeprefix(f"modality_trunks.{name}.blocks.{index}."): v
            for k, v in state.items()
            if f"modality_trunks.{name}.blocks.{index}." in k
        }
        x = F.layer_norm(tokens, (width,), p["norm_1.weight"], p["norm_1.bias"], 1e-6)
        q, k, v = F.linear(x, p["attn.in_proj_weight"], p["attn.in_proj_bias"]).chunk(3, -1)
        if "attn.bias_k" in p:
            k, v = (torch.cat([a, p[n].expand(len(a), 1, -1)], 1) for a, n in ((k, "attn.bias_k"), (v, "attn.bias_v")))
        q, k, v = (a.unflatten(-1, (2, width // 2)).transpose(1, 2) for a in (q, k, v))
        scores = q @ k.mT / (width // 2) ** 0.5
        if causal:
            scores = scores + torch.full(scores.shape[-2:], -torch.inf).triu(1)
        seen = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        tokens = tokens + F.linear(seen, p["attn.out_proj.weight"], p["attn.out_proj.bias"])
        x = F.layer_norm(tokens, (width,), p["norm_2.weight"], p["norm_2.bias"], 1e-6)
        x = F.gelu(F.linear(x, p["mlp.fc1.weight"], p["mlp.fc1.bias"]))
        tokens = tokens + F.linear(x, p["mlp.fc2.weight"], p["mlp.fc2.bias"])
    return tokens


def head(state: dict[str, Tensor], name: str, chosen: Tensor) -> Tensor:
    norm, linear = ("proj.0", "proj.1") if name == "text" else ("0", "2")
    at = f"modality_heads.{name}"
    x = F.layer_norm(chosen, chosen.shape[-1:], state[f"{at}.{norm}.weight"], state[f"{at}.{norm}.bias"], 1e-6)
    return F.normalize(F.linear(x, state[f"{at}.{linear}.weight"]), dim=-1)


def with_class(state: dict[str, Tensor], name: str, patches: Tensor) -> Tensor:
    at = f"modality_preprocessors.{name}"
    tokens = torch.cat([state[f"{at}.cls_token"].expand(len(patches), -1, -1), patches], 1)
    return tokens + state[f"{at}.pos_embedding_helper.pos_embed"]


@torch.no_grad()
def test_imagebinds_towers_equal_their_definition(tmp_path: Path) -> None:
    state = write_imagebind(tmp_path / "ib.pth")
    video, text, audio = load_imagebind(tmp_path / "ib.pth", num_heads=HEADS)

    frames = torch.rand(2, 3, 3, 28, 28)  # an odd number: the last frame is a pair with itself
    pixels = (frames - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]
    pairs = torch.stack([pixels[:, [0, 1]], pixels[:, [2, 2]]], 1).flatten(0, 1).transpose(1, 2)
    kernel = state["modality_preprocessors.vision.rgbt_stem.proj.1.weight"]
    tokens = with_class(state, "vision", F.conv3d(pairs, kernel, stride=(2, 14, 14)).flatten(2).mT)
    norm = [state[f"modality_trunks.vision.pre_transformer_layer.0.{kind}"] for kind in ("weight", "bias")]
    tokens = trunk(state, "vision", F.layer_norm(tokens, (24,), *norm, 1e-6))
    expected = F.normalize(head(state, "vision", tokens[:, 0]).unflatten(0, (2, 2)).mean(1), dim=-1)
    torch.testing.assert_close(video(frames), expected, atol=1e-5, rtol=0)
    assert (video((frames * 255).round().byte()) * expected).sum(-1).min() > 0.999

    ids = torch.tensor([[48, 4, 49, 49], [48, 1, 2, 49]])  # padded by the end token
    at = "modality_preprocessors.text"
    tokens = trunk(
        state, "text", state[f"{at}.token_embedding.weight"][ids] + state[f"{at}.pos_embed"][:, :4], causal=True
    )
    expected = head(state, "text", torch.stack([tokens[0, 2], tokens[1, 3]]))
    torch.testing.assert_close(text(ids), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(text(ids[:1, :3]), text(ids)[:1], atol=1e-5, rtol=0)

    sound = torch.randn(2, 64_000)
    found = []
    for start in (0, 16_000, 32_000):  # three clips of 2 s
        clip = sound[:, start : start + 32_000]
        fbank = kaldi_fbank(clip - clip.mean(-1, keepdim=True), 16_000, 128, window="hanning")
        fbank = (F.pad(fbank, (0, 0, 0, 204 - fbank.shape[1])).mT + 4.268) / 9.138
        patches = F.conv2d(fbank[:, None], state["modality_preprocessors.audio.rgbt_stem.proj.weight"], stride=10)
        stem = [state[f"modality_preprocessors.audio.rgbt_stem.norm_layer.{kind}"] for kind in ("weight", "bias")]
        tokens = with_class(state, "audio", F.layer_norm(patches.flatten(2).mT, (20,), *stem))
        found.append(head(state, "audio", trunk(state, "audio", tokens)[:, 0]))
    expected = F.normalize(torch.stack(found).mean(0), dim=-1)
    torch.testing.assert_close(audio.embed_waveform(sound), expected, atol=1e-5, rtol=0)
    assert audio.embed_waveform(sound[:, :20_000]).shape == (2, 10)


def test_imagebinds_file_is_read_whole_or_named(tmp_path: Path) -> None:
    path = tmp_path / "ib.pth"
    state = write_imagebind(path)
    video, text, audio = load_imagebind(path, num_heads=HEADS)
    sizes = [(tower.config.width, tower.config.num_layers) for tower in (video, text, audio)]
    assert sizes == [(24, 3), (16, 2), (20, 2)] and video.config.image_size == 28
    with pytest.raises(ValueError, match="frames of 32 x 32 pixels: ImageBind takes 28 x 28"):
        video(torch.rand(1, 2, 3, 32, 32))
    for missing, message in (("modality_trunks.text.blocks.1.norm_1.bias", r"missing \['blocks.1.norm_1.bias'\]"),
                             ("modality_heads.vision.2.weight", "not the weights of ImageBind")):  # fmt: skip
        torch.save({key: value for key, value in state.items() if key != missing}, path)
        with pytest.raises(ValueError, match=message):
            load_imagebind(path, num_heads=HEADS)
    torch.save(state | {"modality_trunks.vision.cheese": torch.ones(1)}, path)
    with pytest.raises(ValueError, match=r"unexpected \['modality_trunks.vision.cheese'\]"):
        load_imagebind(path)
    with pytest.raises(FileNotFoundError, match="ImageBind's page"):
        load_imagebind(tmp_path / "absent.pth")


def clip(size: tuple[int, int] = (28, 28)) -> CLIPModel:
    torch.manual_seed(0)
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = vision | {"vocab_size": 50, "max_position_embeddings": 7, "eos_token_id": 2, "hidden_act": "gelu"}
    vision |= {"image_size": size[0], "patch_size": 14, "hidden_act": "gelu"}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=10)).eval()


def write_languagebind(folder: Path, kind: str, model: CLIPModel, num_frames: int = 1) -> dict[str, Tensor]:
    """A folder as LanguageBind publishes it: CLIP's tensors, with attention over time for several frames."""
    vision = model.config.vision_config.to_dict() | {"add_time_attn": num_frames > 1, "num_frames": num_frames}
    if kind == "Audio":
        vision |= {"num_mel_bins": 28, "target_length": 28, "audio_mean": -4.2677393, "audio_std": 4.5689974}
    config = {"model_type": f"LanguageBind{kind}", "projection_dim": 10, "vision_config": vision,
              "text_config": model.config.text_config.to_dict()}  # fmt: skip
    state = dict(model.state_dict()) | {"vision_model.embeddings.position_ids": torch.arange(5)[None]}
    if num_frames > 1:
        for index in range(2):
            layer = f"vision_model.encoder.layers.{index}"
            state[f"{layer}.temporal_embedding"] = torch.zeros(1, num_frames, 16)
            for kind_ in ("weight", "bias"):
                state[f"{layer}.temporal_layer_norm1.{kind_}"] = torch.rand(16)
                for name in ("q", "k", "v", "out"):
                    own = state[f"{layer}.self_attn.{name}_proj.{kind_}"]
                    state[f"{layer}.temporal_attn.{name}_proj.{kind_}"] = torch.randn_like(own)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(state, folder / "pytorch_model.bin")
    return state


def vision_features(model: CLIPModel, pixels: Tensor) -> Tensor:
    return model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)


@torch.no_grad()
def test_languagebinds_towers_equal_clips_where_time_adds_nothing(tmp_path: Path) -> None:
    model = clip()
    state = write_languagebind(tmp_path / "v", "Video", model, num_frames=4)
    write_languagebind(tmp_path / "a", "Audio", model)
    for key in state:
        if "temporal_attn.out_proj" in key:
            state[key] = torch.zeros_like(state[key])
    torch.save(state, tmp_path / "v" / "pytorch_model.bin")
    video, text, audio = load_languagebind(tmp_path / "v", tmp_path / "a")

    frames = torch.rand(2, 7, 3, 28, 28)
    pixels = (frames - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]
    chosen = pixels[:, [0, 2, 4, 6]].flatten(0, 1)
    expected = F.normalize(vision_features(model, chosen).unflatten(0, (2, 4)).mean(1), dim=-1)
    torch.testing.assert_close(video(frames), expected, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="3 frames of 28 x 28"):
        video(frames[:, :3])

    ids = torch.tensor([[48, 4, 49, 49], [48, 1, 2, 49]])
    pooled = model.text_model(input_ids=ids).pooler_output
    torch.testing.assert_close(text(ids), F.normalize(model.text_projection(pooled), dim=-1), atol=1e-5, rtol=0)

    for samples, starts in ((16_000, (0, 24, 48)), (4480, (0, 0, 0)), (2000, (0, 0, 0))):
        sound = torch.randn(2, samples)
        fitted = F.pad(sound.repeat(1, max(1, 4480 // samples)), (0, max(0, 4480 - samples * max(1, 4480 // samples))))
        fbank = kaldi_fbank(fitted - fitted.mean(-1, keepdim=True), 16_000, 28, window="hanning").mT
        fbank = F.pad(fbank, (0, max(0, 28 - fbank.shape[-1])))
        picture = torch.stack([fbank[..., start : start + 28] for start in starts], 1)
        expected = F.normalize(vision_features(model, (picture + 4.2677393) / 4.5689974), dim=-1)
        torch.testing.assert_close(audio.embed_waveform(sound), expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_languagebinds_attention_over_time_mixes_each_patch_over_the_frames(tmp_path: Path) -> None:
    state = write_languagebind(tmp_path / "v", "Video", clip(), num_frames=4)
    write_languagebind(tmp_path / "a", "Audio", clip())
    layer = load_languagebind(tmp_path / "v", tmp_path / "a").video.vision_model["encoder"]["layers"][0]
    tokens = torch.randn(4, 5, 16)  # one clip of four frames
    at = "vision_model.encoder.layers.0.temporal_"
    attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    parts = [[state[f"{at}attn.{name}_proj.{kind}"] for name in "qkv"] for kind in ("weight", "bias")]
    attention.load_state_dict({
        "in_proj_weight": torch.cat(parts[0]), "in_proj_bias": torch.cat(parts[1]),
        "out_proj.weight": state[f"{at}attn.out_proj.weight"], "out_proj.bias": state[f"{at}attn.out_proj.bias"],
    })  # fmt: skip
    over_time = tokens.transpose(0, 1)
    normed = F.layer_norm(over_time, (16,), *(state[f"{at}layer_norm1.{kind}"] for kind in ("weight", "bias")))
    mixed = (over_time + attention(normed, normed, normed)[0]).transpose(0, 1)
    layer_alone = clip().vision_model.encoder.layers[0]
    torch.testing.assert_close(layer(tokens), layer_alone(mixed, attention_mask=None), atol=1e-4, rtol=1e-4)


def test_languagebinds_adapters_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    state = write_languagebind(tmp_path / "v", "Video", clip())
    write_languagebind(tmp_path / "a", "Audio", clip())
    torch.save(state | {"vision_model.encoder.layers.0.lora_A.weight": torch.ones(1)}, tmp_path / "v/pytorch_model.bin")
    with pytest.raises(ValueError, match="low-rank adapters; take the fully tuned tower"):
        load_languagebind(tmp_path / "v", tmp_path / "a")
    (tmp_path / "v/pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match="fetch the whole folder"):
        load_languagebind(tmp_path / "v", tmp_path / "a")
    torch.save(state, tmp_path / "v/pytorch_model.bin")
    (tmp_path / "a/config.json").write_text('{"model_type": "clip", "vision_config": {"hidden_size": 16}}')
    with pytest.raises(ValueError, match="config of clip, not of LanguageBindVideo or LanguageBindAudio"):
        load_languagebind(tmp_path / "v", tmp_path / "a")


@pytest.mark.parametrize("source", ["ImageBind", "LanguageBind"])
def test_converted_towers_are_a_releases_encoders(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CLIPTokenizer(vocab=WORDS, merges=[("h", "i</w>")]).save_pretrained(tmp_path / "words")
    if source == "ImageBind":
        write_imagebind(tmp_path / "source.pth")
        monkeypatch.setattr(
            "foleygram.pipeline.convert.load_imagebind", lambda path: load_imagebind(path, num_heads=HEADS)
        )
        given = tmp_path / "source.pth"
        refused = CliRunner().invoke(app, ["weights", "convert", str(given), str(tmp_path / "out")])
        assert refused.exit_code == 1 and "name CLIP's with --tokenizer" in refused.output
    else:
        given = tmp_path / "source"
        for kind in ("Video", "Audio"):
            write_languagebind(given / f"LanguageBind_{kind}_FT", kind, clip())
    command = ["weights", "convert", str(given), str(tmp_path / "out"), "--tokenizer", str(tmp_path / "words")]
    outcome = CliRunner().invoke(app, command)
    assert outcome.exit_code == 0, outcome.output
    assert set(load_parts(tmp_path / "out")) == {"video_encoder", "text_encoder", "tokenizer", "audio_encoder"}
    spec = ClipSpec(image_size=28, num_frames=8)
    encode = FeatureEncoder(tmp_path / "out", spec, ["embeddings"])
    batch = {
        "frames": torch.rand(2, 8, 3, 28, 28), "envelope_audio": torch.randn(2, 32_000), "caption": ["hi", "hi"],
        "start": torch.zeros(2), "seconds_start": torch.zeros(2), "seconds_total": torch.ones(2),
    }  # fmt: skip
    found = encode(batch)
    for name in ("video_embedding", "text_embedding", "audio_embedding"):
        torch.testing.assert_close(found[name].norm(dim=-1), torch.ones(2))
        assert found[name].shape == (2, 10)
    config = tmp_path / "out" / "video_encoder" / "config.json"
    content = json.loads(config.read_text())
    config.write_text(json.dumps(content | {"class_path": "os.system"}))
    with pytest.raises(ValueError, match=r"class_path is 'os\.system'; an encoder's must begin"):
        load_part(tmp_path / "out", "video_encoder")
