"""The envelope predictor's loss: cross-entropy on soft mu-law classes, with higher weight on attacks."""

import torch
from torch import Tensor
from torch.nn import functional as F

from foleygram.envelope.rms import mu_law

ATTACK_SEC = 0.04
"""A rise raises the weight this far to both sides, so that a displaced attack costs as much as a missed one."""


def level_classes(envelope: Tensor, num_classes: int, label_sigma: float) -> Tensor:
    """Gaussian-smoothed class probabilities (..., values, classes) of an RMS envelope (..., values).

    The Gaussian of `label_sigma` classes lies at the exact level, not at the nearest class. Class 0 is silence and
    is not smoothed: smoothing would teach a hum.
    """
    level = mu_law(envelope)[..., None] * (num_classes - 1)
    classes = torch.arange(num_classes, device=envelope.device)
    smoothed = (-0.5 * ((classes - level) / label_sigma) ** 2).softmax(-1)
    return torch.where(level < 0.5, (classes == 0).to(smoothed), smoothed)


def attack_weights(envelope: Tensor, onset_weight: float, *, rate: float) -> Tensor:
    """Weight (B, values) of every value of an envelope (B, values): 1, and up to `onset_weight` more around a rise."""
    level = mu_law(envelope)
    reach = max(1, round(0.016 * rate))
    padded = F.pad(level, (reach, reach), mode="replicate")
    rise = (padded[:, 2 * reach :] - padded[:, : -2 * reach]).clamp(min=0)
    width = round(ATTACK_SEC * rate)
    near = F.max_pool1d(rise[:, None], 2 * width + 1, stride=1, padding=width)[:, 0]
    return 1 + onset_weight * near.clamp(max=0.5) / 0.5


def envelope_loss(
    logits: Tensor,
    envelope: Tensor,
    *,
    rate: float,
    label_sigma: float = 1.0,
    onset_weight: float = 4.0,
    expected_weight: float = 1.0,
) -> Tensor:
    """Loss of logits (B, values, classes) against RMS envelopes (B, values): scalar.

    Weighted cross entropy with soft classes, less their own entropy, so that a perfect prediction costs 0; and
    `expected_weight` times the L1 distance of the expected mu-law level.
    """
    num_classes = logits.shape[-1]
    target = level_classes(envelope, num_classes, label_sigma)
    log_probabilities = logits.float().log_softmax(-1)
    divergence = (torch.xlogy(target, target) - target * log_probabilities).sum(-1)
    weights = attack_weights(envelope, onset_weight, rate=rate)
    levels = torch.linspace(0, 1, num_classes, device=logits.device)
    distance = (log_probabilities.exp() @ levels - mu_law(envelope)).abs()
    return (weights * (divergence + expected_weight * distance)).sum() / weights.sum()
