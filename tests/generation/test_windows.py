"""Windows cover clips of any length without a seam; regions and neighbours stay apart."""

import pytest
import torch

from foleygram.generation.sampling import (
    SOLVERS,
    ClipNoise,
    end_to_end,
    exponential_sigmas,
    plan_windows,
    window_starts,
    windowed,
)

SIGMA = torch.tensor(1.5)


def halved(latents, sigma):
    """A denoiser that looks at each latent alone."""
    return latents / (1 + sigma)


@pytest.mark.parametrize(("length", "starts"), [(10, [0]), (11, [0, 1]), (26, [0, 8, 16]), (27, [0, 8, 16, 17])])
def test_windows_cover_the_clip_and_end_flush(length, starts):
    assert window_starts(length, window=10, hop=8) == starts
    assert [w.start for w in plan_windows(length, window=10, hop=8)] == starts


def test_a_window_fades_over_its_overlap_at_both_ends():
    (window,) = plan_windows(10, window=10, hop=7)
    assert (3 * window.weight).tolist() == pytest.approx([1, 2, 3, 3, 3, 3, 3, 3, 2, 1])
    with pytest.raises(ValueError, match="9 latents are shorter than one window of 10"):
        window_starts(9, window=10, hop=7)


@pytest.mark.parametrize("edges", [(), (20,), (3, 20, 21, 46)])
def test_windows_of_a_local_denoiser_equal_the_whole(edges):
    latents = torch.randn(1, 3, 47)
    whole = windowed(halved, plan_windows(47, window=10, hop=7, edges=edges))(latents, SIGMA)
    torch.testing.assert_close(whole, halved(latents, SIGMA))


def test_a_region_uses_only_its_own_conditions():
    windows = plan_windows(47, window=10, hop=7, edges=(20, 33))

    def clean(latents, sigma):
        return torch.stack(
            [torch.full_like(piece, window.region) for piece, window in zip(latents, windows, strict=True)]
        )

    regions = windowed(clean, windows)(torch.zeros(1, 1, 47), SIGMA)[0, 0]
    assert (regions[:19] == 0).all() and (regions[21:32] == 1).all() and (regions[34:] == 2).all()
    torch.testing.assert_close(regions[[19, 20, 32, 33]], torch.tensor([0.25, 0.75, 1.25, 1.75]))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_clip_s_result_does_not_depend_on_its_neighbours(solver):
    lengths, seeds, sigmas = [10, 23, 47], [5, 6, 7], exponential_sigmas(6, sigma_min=0.1, sigma_max=10)

    def sampled(lengths, seeds):
        plans = [plan_windows(length, window=10, hop=7) for length in lengths]
        noise, like = ClipNoise(seeds, lengths), torch.empty(1, 2, sum(lengths))
        denoise = windowed(halved, end_to_end(plans, lengths))
        return SOLVERS[solver](denoise, noise(like) * sigmas[0], sigmas, noise=noise)

    together = sampled(lengths, seeds).split(lengths, dim=-1)
    for clip, length, seed in zip(together, lengths, seeds, strict=True):
        torch.testing.assert_close(clip, sampled([length], [seed]))


def test_one_clips_noise_is_the_batchs():
    like = torch.empty(1, 2, 7)
    assert torch.equal(ClipNoise([5], [7])(like), ClipNoise([5])(like))


def test_lengths_must_add_up():
    with pytest.raises(ValueError, match="batch of 9"):
        ClipNoise([1, 2], [4, 4])(torch.empty(1, 1, 9))


@pytest.mark.parametrize("hop", [0, 10])
def test_windows_must_overlap(hop):
    with pytest.raises(ValueError, match="overlap"):
        window_starts(30, window=10, hop=hop)
