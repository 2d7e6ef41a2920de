from pathlib import Path

import pytest
import torch

from foleygram.alignment.encoders import AudioEncoder, TextEncoder, VideoEncoder, load_tokenizer, train_wordpiece
from foleygram.media.audio import beats_fbank

CAPTIONS = ["A person hits wood with a wooden stick.", "A person scratches metal and plastic-bag with a wooden stick."]


def encoders() -> dict[str, tuple[torch.nn.Module, tuple[torch.Tensor, ...]]]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (2, 3, 3, 16, 16), generator=generator, dtype=torch.uint8)
    ids = torch.randint(5, 64, (2, 7), generator=generator)
    sound = torch.rand(2, 64, 32, generator=generator)
    return {
        "video": (VideoEncoder.build(8, 16, 8, 32, 48, 2, 2), (frames,)),
        "text": (TextEncoder.build(8, 64, 32, 48, 2, 2), (ids, torch.ones_like(ids))),
        "audio": (AudioEncoder.build(8, 32, 64, 16, 32, 48, 2, 2, 16, 4), (sound,)),
    }


@pytest.mark.parametrize("name", ["video", "text", "audio"])
def test_embeddings_are_unit_vectors_that_survive_saving(name: str, tmp_path: Path) -> None:
    encoder, inputs = encoders()[name]
    encoder.eval().save_pretrained(tmp_path)
    again = type(encoder).from_pretrained(tmp_path)
    with torch.no_grad():
        embedding = encoder(*inputs)
        assert torch.equal(again(*inputs), embedding)
    assert embedding.shape == (2, 8)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["video", "text", "audio"])
def test_random_weights_embed_different_inputs_differently(name: str) -> None:
    encoder, inputs = encoders()[name]
    first, second = encoder.eval()(*inputs)
    assert (first - second).norm() > 1e-3  # weights of almost zero (a default of a library's) would not
    assert encoder.head.weight.std().item() == pytest.approx(encoder.head.in_features**-0.5, rel=0.2)


def test_a_text_that_may_read_others_still_reads_all_of_itself() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder.build(8, 64, 32, 48, 1, 2, add_cross_attention=True).eval()  # by itself it would be causal
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]])
    first, second = encoder(ids, torch.ones_like(ids))
    assert (first - second).norm() > 1e-3


@pytest.mark.parametrize("name", ["video", "text", "audio"])
def test_bfloat16_gives_float32_embeddings(name: str) -> None:
    encoder, inputs = encoders()[name]
    encoder.eval()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = encoder(*inputs)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.norm(dim=-1), torch.ones(2), atol=1e-6, rtol=1e-6)
    assert encoder.bfloat16()(*inputs).dtype == torch.float32


def test_frames_mean_the_same_as_bytes_and_as_numbers() -> None:
    encoder, (frames,) = encoders()["video"]
    encoder.eval()
    torch.testing.assert_close(encoder(frames), encoder(frames.float() / 255))


def test_padding_of_a_caption_changes_nothing() -> None:
    encoder, (ids, mask) = encoders()["text"]
    longer = torch.cat([ids, torch.zeros(2, 3, dtype=torch.long)], 1)
    padded = encoder.eval()(longer, torch.cat([mask, torch.zeros_like(mask[:, :3])], 1))
    torch.testing.assert_close(padded, encoder(ids, mask))


def test_waveforms_are_embedded_through_a_float32_filterbank_even_under_autocast() -> None:
    encoder = AudioEncoder.build(8, 32, 64, 16, 32, 48, 2, 2, 16, 4).eval()
    audio = torch.sin(torch.arange(16_000) * 0.3)[None] * torch.tensor([[0.1], [0.5]])
    fbank = beats_fbank(audio, num_mel_bins=32, num_frames=64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(encoder.embed_waveform(audio), encoder.pool(encoder.network(fbank)), atol=0, rtol=0)


def test_wordpiece_keeps_words_whole_and_spells_new_ones(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(CAPTIONS, vocab_size=128)
    assert tokenizer.tokenize("A person hits metal.") == ["a", "person", "hits", "metal", "."]
    assert "[UNK]" not in tokenizer.tokenize("A robot zaps 7 quartz bells.")
    assert tokenizer(CAPTIONS[0])["input_ids"][0] == tokenizer.cls_token_id
    assert tokenizer.pad_token_id == 0
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))(CAPTIONS)["input_ids"] == tokenizer(CAPTIONS)["input_ids"]


def test_wordpiece_depends_on_the_captions_alone() -> None:
    first, second = train_wordpiece(CAPTIONS, 128), train_wordpiece(reversed(CAPTIONS), 128)
    assert first.get_vocab() == second.get_vocab()


def test_wordpiece_keeps_the_most_frequent_words_that_fit() -> None:
    captions = ["x hits hits hits", "rare x", "other hits"]
    tokenizer = train_wordpiece(captions, vocab_size=78)
    assert tokenizer.tokenize("hits rare other") == ["hits", "r", "##a", "##r", "##e", "o", "##t", "##h", "##e", "##r"]
    assert sorted(tokenizer.get_vocab().values()) == list(range(78))


def test_a_too_small_wordpiece_vocabulary_is_refused_with_the_size_needed() -> None:
    with pytest.raises(ValueError, match=r"vocab_size is 10.*need 81"):
        train_wordpiece(CAPTIONS, vocab_size=10)
