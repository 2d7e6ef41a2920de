"""Data-anchor matching: does a text belong to a pair of video and audio (GRAM, section 4)?"""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from foleygram.alignment.encoders import TextEncoder
from foleygram.alignment.volume import volume_matrix


class MatchHead(nn.Module):
    """Two logits (B, 2), no match and match, of a text's [CLS] (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, width)
        self.layernorm = nn.LayerNorm(width, eps=1e-12)
        self.linear2 = nn.Linear(width, 2)

    def forward(self, cls_token: Tensor) -> Tensor:
        """Logits of the first token that read the context."""
        return self.linear2(self.layernorm(functional.gelu(self.linear1(cls_token))))


class ContextProjector(nn.Module):
    """Tokens (B, frames, n, source width) as the text encoder's context (B, frames x n, width), named by origin."""

    def __init__(self, source_width: int, width: int, num_frames: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(source_width, width), nn.LayerNorm(width, eps=1e-12)
        self.frame_embedding = nn.Parameter(0.02 * torch.randn(1, num_frames, width))
        self.type_embedding = nn.Parameter(0.02 * torch.randn(1, 1, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Another number of frames than trained on takes the nearest frame's embedding."""
        place = functional.interpolate(self.frame_embedding.mT, tokens.shape[1], mode="nearest").mT
        placed = self.norm(self.linear(tokens)) + place[:, :, None]
        return rearrange(placed, "b frames n d -> b (frames n) d") + self.type_embedding


class DataAnchorMatching(nn.Module):
    """The DAM loss: a binary head on a text that cross-attends to video and audio, hard negatives drawn by volume.

    Every text meets its own pair, another clip's pair, and every pair meets another clip's text; the others are drawn
    by softmax(-volume / temperature) within the process's batch, never with an equal caption. Its text encoder needs
    `add_cross_attention`. `weight` is the loss's share beside the contrastive one (GRAM: 0.1).
    """

    def __init__(
        self,
        video_width: int = 1408,
        audio_width: int = 768,
        text_width: int = 768,
        num_frames: int = 8,
        weight: float = 0.1,
    ) -> None:
        super().__init__()
        self.video_context = ContextProjector(video_width, text_width, num_frames)
        self.audio_context = ContextProjector(audio_width, text_width, 1)
        self.head = MatchHead(text_width)
        self.weight = weight

    def forward(
        self,
        text_encoder: TextEncoder,
        input_ids: Tensor,
        attention_mask: Tensor,
        tokens: tuple[Tensor, Tensor],
        embeddings: tuple[Tensor, Tensor, Tensor],
        captions: Sequence[str],
        *,
        temperature: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Weighted cross entropy (scalar) of a batch: ids and mask (B, N), video and audio tokens, unit embeddings.

        0 where a batch has no negative. Raises ValueError when the text encoder has no cross-attention.
        """
        if not text_encoder.config.network.get("add_cross_attention"):
            raise ValueError("data-anchor matching needs a text encoder built with add_cross_attention: true")
        own = torch.arange(len(captions), device=input_ids.device)
        negatives = draw_negatives(embeddings, captions, temperature, generator)
        # Without a negative the same is read at weight 0: under DDP every parameter needs a gradient in every step.
        weight, (other_text, other_pair) = (0.0, (own, own)) if negatives is None else (self.weight, negatives)
        texts, pairs = torch.cat([own, own, other_text]), torch.cat([own, other_pair, own])
        video, audio = tokens
        context = torch.cat([self.video_context(video), self.audio_context(audio[:, None])], dim=1)
        read = text_encoder.tokens(input_ids[texts], attention_mask[texts], context[pairs])
        labels = torch.cat([torch.ones_like(own), torch.zeros_like(own), torch.zeros_like(own)])
        return weight * functional.cross_entropy(self.head(read[:, 0]).float(), labels)


def draw_negatives(
    embeddings: tuple[Tensor, Tensor, Tensor], captions: Sequence[str], temperature: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor] | None:
    """For each clip (B) another's text and another's pair, near ones likelier; None where a clip has no other.

    `embeddings` are video, text and audio, unit vectors (B, d).
    """
    video, text, audio = (part.detach().float() for part in embeddings)
    # Each rank draws within its own batch: equal captions are compared here alone, never across processes.
    same = torch.tensor([[a == b for b in captions] for a in captions], device=text.device)
    if same.all():
        return None
    with torch.autocast(text.device.type, enabled=False):
        volumes = volume_matrix(text, video, audio)
    logits = (-volumes / temperature.detach()).masked_fill(same, -torch.inf).cpu()
    other_pair = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    other_text = torch.multinomial(logits.softmax(0).T.contiguous(), 1, generator=generator)[:, 0]
    return other_text.to(text.device), other_pair.to(text.device)
