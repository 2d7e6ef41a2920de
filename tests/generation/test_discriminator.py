"""The autoencoder's adversary: whose weights each loss reaches, and what its terms say of equal sounds."""

import torch

from foleygram.generation.discriminator import SpectralDiscriminator
from foleygram.generation.spectral import MultiResolutionSpectra


def sounds() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, 4096, generator=generator).requires_grad_(), torch.randn(2, 1, 4096, generator=generator)


def test_each_loss_reaches_its_own_side_only() -> None:
    discriminator, (audio_hat, audio) = SpectralDiscriminator((512, 256), width=4), sounds()
    losses = discriminator.losses(audio_hat, audio)
    (losses.generator + losses.features).backward(retain_graph=True)
    assert audio_hat.grad is not None and audio_hat.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in discriminator.parameters())
    audio_hat.grad = None
    losses.discriminator.backward()
    assert audio_hat.grad is None
    assert all(weight.grad is not None for weight in discriminator.parameters())


def test_equal_sounds_have_no_feature_distance_and_hinge_losses_of_their_logits() -> None:
    discriminator, (_, audio) = SpectralDiscriminator((512,), width=4), sounds()
    losses = discriminator.losses(audio, audio)
    logits = discriminator(audio)[0][-1]
    torch.testing.assert_close(losses.features, torch.zeros(()))
    torch.testing.assert_close(losses.generator, -logits.mean())
    torch.testing.assert_close(losses.discriminator, (1 - logits).relu().mean() + (1 + logits).relu().mean())


def test_two_noises_of_one_level_are_nearer_in_level_than_one_3_db_quieter() -> None:
    spectra, (noise, other) = MultiResolutionSpectra(sample_rate=44_100), sounds()
    torch.testing.assert_close(spectra.level(noise, noise), torch.zeros(()))
    same, quieter = spectra.level(noise, other), spectra.level(0.708 * noise, other)
    # Power 3 dB lower is 0.69 in natural logarithm; the two noises differ by chance.
    assert same < 0.5 and quieter > same + 0.3
    torch.testing.assert_close(spectra.level(0.5 * noise, noise), torch.tensor(2 * 0.6931), rtol=0.01, atol=0.0)
    faint = 1e-3 * noise  # as the bands above 8 kHz of most hits
    torch.testing.assert_close(spectra.level(0.5 * faint, faint), torch.tensor(2 * 0.6931), rtol=0.1, atol=0.0)
