"""Data-anchor matching: BERT reads context without becoming causal, negatives are other clips, near ones likelier."""

import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertModel

from foleygram.alignment.encoders import TextEncoder
from foleygram.alignment.matching import DataAnchorMatching, draw_negatives
from foleygram.alignment.volume import gram_volume

CAPTIONS = ["wood", "metal", "wood", "water"]


def unit(*size: int, seed: int = 0) -> torch.Tensor:
    return functional.normalize(torch.randn(*size, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture
def text_encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder.build(8, 50, 32, 48, 2, 2, add_cross_attention=True).eval()


def test_a_text_alone_is_read_as_by_plain_bert(text_encoder: TextEncoder) -> None:
    plain = BertModel(
        BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48),
        add_pooling_layer=False,
    ).eval()
    state = text_encoder.network.state_dict()
    plain.load_state_dict({key: value for key, value in state.items() if "crossattention" not in key})
    ids = torch.randint(5, 50, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    with torch.no_grad():
        ours, theirs = text_encoder.tokens(ids, mask), plain(ids, attention_mask=mask).last_hidden_state
        torch.testing.assert_close(ours[0], theirs[0])
        torch.testing.assert_close(ours[1, :4], theirs[1, :4])
        changed = text_encoder.tokens(ids.clone().index_fill_(1, torch.tensor([3]), 5), mask)
        read = text_encoder.tokens(ids, mask, unit(2, 3, 32))
    assert not torch.allclose(changed[:, 0], ours[:, 0]), "[CLS] must see what follows it"
    assert not torch.allclose(read, ours)


def test_negatives_are_other_texts_and_near_ones_are_likelier() -> None:
    video, text, audio = unit(4, 6, seed=1), unit(4, 6, seed=2), unit(4, 6, seed=3)
    # Clip 3's pair lies almost in one plane with text 0, so its volume with that text is the smallest.
    video[3], audio[3] = functional.normalize(text[0] + 0.01 * audio[0], dim=-1), text[0]
    generator, temperature = torch.Generator().manual_seed(0), torch.tensor(0.1)
    drawn = [draw_negatives((video, text, audio), CAPTIONS, temperature, generator) for _ in range(200)]
    texts, pairs = (torch.stack(column) for column in zip(*drawn, strict=True))  # type: ignore[arg-type]
    for column in (texts, pairs):
        assert not any(CAPTIONS[int(j)] == CAPTIONS[i] for row in column for i, j in enumerate(row))
    assert (pairs[:, 0] == 3).float().mean() > 0.8
    warm = [draw_negatives((video, text, audio), CAPTIONS, torch.tensor(10.0), generator) for _ in range(200)]
    assert {int(pairs[1]) for _, pairs in warm} == {0, 2, 3}  # type: ignore[misc]


def test_the_nearest_text_and_the_nearest_pair_are_two_questions() -> None:
    embeddings = (unit(5, 6, seed=1), unit(5, 6, seed=2), unit(5, 6, seed=3))
    video, text, audio = embeddings
    volumes = torch.tensor([[gram_volume(torch.stack([t, video[j], audio[j]])) for j in range(5)] for t in text])
    volumes.fill_diagonal_(torch.inf)
    cold = draw_negatives(embeddings, list("abcde"), torch.tensor(1e-4), torch.Generator().manual_seed(0))
    assert cold is not None
    assert cold[0].tolist() == volumes.argmin(0).tolist() != volumes.argmin(1).tolist() == cold[1].tolist()


def test_the_loss_is_that_of_own_foreign_pairs_and_foreign_texts(text_encoder: TextEncoder) -> None:
    matching = DataAnchorMatching(24, 16, 32, num_frames=2, weight=0.5)
    for name, weight in text_encoder.named_parameters():
        if weight.ndim > 1 and "crossattention" in name:
            torch.nn.init.normal_(weight, std=0.5)  # fresh ones hardly tell one pair from another
    ids, mask = torch.tensor([[2, 9, 3], [2, 7, 3]]), torch.ones(2, 3, dtype=torch.long)
    video, audio = unit(2, 2, 5, 24), unit(2, 6, 16, seed=1)
    found = matching(
        text_encoder, ids, mask, (video, audio), tuple(unit(2, 8, seed=n) for n in range(3)), ["wood", "metal"],
        temperature=torch.tensor(0.07), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    head, costs = matching.head, []
    for text, pair in ((0, 0), (1, 1), (0, 1), (1, 0), (1, 0), (0, 1)):  # with two clips the other is known
        frames = [
            matching.video_context.norm(matching.video_context.linear(video[pair, n]))
            + matching.video_context.frame_embedding[0, n]
            for n in range(2)
        ]
        seen = torch.cat(frames) + matching.video_context.type_embedding[0]
        sound = matching.audio_context.norm(matching.audio_context.linear(audio[pair]))
        heard = sound + matching.audio_context.frame_embedding[0, 0] + matching.audio_context.type_embedding[0]
        read = text_encoder.tokens(ids[text][None], mask[:1], torch.cat([seen, heard])[None])[0, 0]
        logits = head.linear2(head.layernorm(functional.gelu(head.linear1(read))))
        costs.append(-logits.log_softmax(-1)[int(text == pair)])
    assert torch.stack(costs[2:4]).std() > 1e-3
    torch.testing.assert_close(found, 0.5 * torch.stack(costs).mean(), atol=1e-6, rtol=1e-6)


def matching_loss(matching: DataAnchorMatching, encoder: TextEncoder, captions: list[str]) -> torch.Tensor:
    ids = torch.tensor([[2, 5 + len(name), 3] for name in captions])
    embeddings = (unit(4, 8, seed=1), unit(4, 8, seed=2), unit(4, 8, seed=3))
    return matching(
        encoder, ids, torch.ones_like(ids), (unit(4, 2, 5, 24), unit(4, 6, 16)), embeddings, captions,
        temperature=torch.tensor(0.07), generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def test_everything_that_matches_learns(text_encoder: TextEncoder) -> None:
    matching = DataAnchorMatching(24, 16, 32, num_frames=3)
    loss = matching_loss(matching, text_encoder, CAPTIONS)
    assert loss.item() == pytest.approx(0.1 * torch.tensor(2.0).log().item(), rel=0.7)
    loss.backward()
    learning = [*matching.named_parameters(), *text_encoder.network.encoder.named_parameters()]
    assert [name for name, p in learning if p.grad is None] == []


def test_without_a_negative_the_loss_is_zero_and_keeps_the_graph(text_encoder: TextEncoder) -> None:
    matching = DataAnchorMatching(24, 16, 32)
    loss = matching_loss(matching, text_encoder, ["wood"] * 4)
    loss.backward()
    learning = [*matching.parameters(), *text_encoder.network.encoder.parameters()]
    assert loss.item() == 0 and all(p.grad is not None and not p.grad.any() for p in learning)


def test_a_text_encoder_without_cross_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="add_cross_attention: true"):
        matching_loss(DataAnchorMatching(24, 16, 32), TextEncoder.build(8, 50, 32, 48, 1, 2), CAPTIONS)
