"""Microsoft CLAP against outputs of `msclap` 1.3.4 on random weights (tests/data/msclap_tiny.safetensors).

Made with `python -m benchmarks.msclap_parity --size tiny`; what its front end, its index of positions and its unused
classifier hold is known, and added here.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.msclap_parity.__main__ import TEXTS, differences, sounds
from benchmarks.parity.__main__ import Difference, report
from foleygram.evaluation.embedders import sound_windows
from foleygram.evaluation.extraction import window_protocol
from foleygram.evaluation.networks.microsoft_clap import MicrosoftClap
from tests import published


def golden():
    return load_file(Path(__file__).parents[2] / "data" / "msclap_tiny.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    published.write_gpt2_tokenizer(folder)
    published.write_microsoft_clap(folder / "CLAP_weights_2023.pth")
    return folder


@pytest.fixture(scope="module")
def clap(folder):
    return MicrosoftClap.from_weights(folder / "CLAP_weights_2023.pth", tokenizer=folder)


def test_rows_equal_the_packages(clap):
    expected = golden()
    rows, texts = clap(sounds()), clap.embed_text(TEXTS)
    assert rows.shape == texts.shape == (4, 12)
    torch.testing.assert_close(rows, expected["out.audio"], rtol=0, atol=1e-4)
    torch.testing.assert_close(texts, expected["out.text"], rtol=0, atol=1e-5)
    assert torch.pdist(rows).min() > 0.1
    assert torch.pdist(texts).min() > 0.1


def test_an_embedding_does_not_depend_on_its_batch(clap):
    torch.testing.assert_close(clap(sounds()), torch.cat([clap(one[None]) for one in sounds()]), rtol=0, atol=1e-5)
    apart = torch.cat([clap.embed_text([text]) for text in TEXTS])
    torch.testing.assert_close(clap.embed_text(TEXTS), apart, rtol=0, atol=1e-5)


def test_a_long_text_is_cut_and_keeps_its_end(clap):
    long = "scratches metal " * 20
    torch.testing.assert_close(clap.embed_text([long]), clap.embed_text([long[:76]]), rtol=0, atol=1e-5)
    torch.testing.assert_close(clap.embed_text([long[:75]]), clap.embed_text([f"{long[:75]}  "]), rtol=0, atol=1e-5)
    assert (clap.embed_text([long]) - clap.embed_text([long[:40]])).abs().max() > 0.01


def test_windows_follow_the_protocol(clap):
    facts = window_protocol(clap)
    assert [facts[name] for name in ("sample_rate", "window_sec", "hop_sec", "tail")] == [44_100, 7.0, 1.0, "pad"]
    assert sound_windows(torch.zeros(441_000), clap).shape == (10, 308_700)
    assert clap.identity["name"] == "microsoft-clap"
    assert clap.identity["checkpoint"] == "CLAP_weights_2023.pth"
    assert len(clap.identity["sha256"]) == 64


def test_without_a_tokenizer_there_is_sound_alone(folder, clap):
    deaf_to_words = MicrosoftClap.from_weights(folder / "CLAP_weights_2023.pth")
    assert torch.equal(deaf_to_words(sounds()[:1]), clap(sounds()[:1]))
    with pytest.raises(ValueError, match="without a tokenizer"):
        deaf_to_words.embed_text(["a hit"])


def test_nothing_is_trained_and_no_gradient_flows(clap):
    assert not any(parameter.requires_grad for parameter in clap.parameters())
    assert not any(module.training for module in clap.modules())


def changed(state, key, value):
    state = dict(state)
    if value is None:
        del state[key]
    else:
        state[key] = value
    return {"model": state}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (f"{published.HTSAT}norm.weight", None, "lacks norm.weight"),
        (f"{published.HTSAT}norm.bias", None, r"missing \['norm.bias'\]"),
        (f"{published.HTSAT}layers.1.blocks.0.attn.qkv.bias", torch.zeros(9), "misshapen"),
        ("audio_encoder.projection.linear2.weight", torch.zeros(3, 3), r"linear2.weight \(3, 3\), expected \(12, 12\)"),
        ("caption_encoder.base.h.0.mlp.c_fc.weight", None, "c_fc.weight"),
        (f"{published.HTSAT}layers.0.blocks.0.extra", torch.zeros(1), r"unexpected \['layers.0.blocks.0.extra'\]"),
    ],
)
def test_weights_that_do_not_fit_are_named(folder, tmp_path, key, value, message):
    torch.save(changed(published.microsoft_clap_state(), key, value), tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"odd\.pth.*{message}"):
        MicrosoftClap.from_weights(tmp_path / "odd.pth", tokenizer=folder)


def test_absent_damaged_and_foreign_networks_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="weights fetch microsoft-clap"):
        MicrosoftClap.from_weights(tmp_path / "absent.pth")
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: not Microsoft CLAP 2023"):
        MicrosoftClap.from_weights(tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes((folder / "CLAP_weights_2023.pth").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut\.pth"):
        MicrosoftClap.from_weights(tmp_path / "cut.pth")
    (tmp_path / "empty").mkdir()
    for place in ("nowhere", "empty"):
        with pytest.raises((FileNotFoundError, ValueError), match=f"{place}.*weights fetch gpt2-tokenizer"):
            MicrosoftClap.from_weights(folder / "CLAP_weights_2023.pth", tokenizer=tmp_path / place)


def test_a_tokenizer_of_another_vocabulary_is_refused(folder, tmp_path):
    vocabulary = json.loads((folder / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary | {"one more": 257}))
    (tmp_path / "merges.txt").write_bytes((folder / "merges.txt").read_bytes())
    with pytest.raises(ValueError, match=r"258 tokens, but .* has 257"):
        MicrosoftClap.from_weights(folder / "CLAP_weights_2023.pth", tokenizer=tmp_path)


def test_parity_fails_where_embeddings_differ(capsys):
    ours = {"audio": torch.ones(2, 3), "text": torch.ones(2, 3)}
    assert report(differences(ours, {**ours}), None) == 0
    for other in (ours["text"] * 1.001, ours["text"] * torch.nan):
        rows = differences(ours, {**ours, "text": other})
        assert [row.name for row in rows if not row.passes] == ["text"]
        assert report(rows, None) == 1
    assert isinstance(rows[0], Difference)
    assert capsys.readouterr().out.count("DIFFERS") == 2
