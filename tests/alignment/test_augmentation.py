import math

import pytest
import torch

from foleygram.alignment.augmentation import augment_audio, augment_frames, crop_and_flip, draw_frames, jitter_colour


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames() -> torch.Tensor:
    return torch.randint(256, (4, 3, 3, 16, 16), generator=generator(), dtype=torch.uint8)


def test_the_draw_is_the_generator_s() -> None:
    first, second, other = (augment_frames(frames(), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert first.shape == frames().shape and first.min() >= 0 and first.max() <= 1


def test_frames_of_one_clip_are_changed_alike() -> None:
    still = frames()[:, :1].expand(-1, 3, -1, -1, -1)
    changed = augment_frames(still, generator())
    torch.testing.assert_close(changed[:, 0], changed[:, 2])


def test_no_strength_changes_nothing() -> None:
    pixels = frames().float() / 255
    torch.testing.assert_close(jitter_colour(pixels, generator(), strength=0.0, tint=0.0), pixels)
    whole = crop_and_flip(pixels, generator(3), smallest=1.0)
    for clip, original in zip(whole, pixels, strict=True):
        kept, mirrored = ((clip - other).abs().max() for other in (original, original.flip(-1)))
        assert min(kept, mirrored) < 1e-4


def test_brightness_contrast_and_saturation_are_independent_and_in_range() -> None:
    """Of a picture half dark and half light: its mean, its step, and its colour beside a grey one's."""
    steps = torch.cat([torch.full((3, 8, 4), 0.3), torch.full((3, 8, 4), 0.5)], -1)
    coloured = steps + torch.tensor([0.02, 0.0, -0.02])[:, None, None]
    grey, tinted = (
        jitter_colour(picture.expand(400, 1, 3, 8, 8), generator(2), tint=0.0)[:, 0] for picture in (steps, coloured)
    )
    brightness = grey.mean((1, 2, 3)) / 0.4
    contrast = (grey[..., 4:] - grey[..., :4]).mean((1, 2, 3)) / 0.2 / brightness
    saturation = (tinted[:, 0] - tinted[:, 2]).mean((1, 2)) / 0.04 / brightness / contrast
    drawn = torch.stack([brightness, contrast, saturation])
    assert (drawn > 0.699).all() and (drawn < 1.301).all()
    torch.testing.assert_close(drawn.std(1), torch.full((3,), 0.6 / 12**0.5), rtol=0.1, atol=0)
    assert (torch.corrcoef(drawn) - torch.eye(3)).abs().max() < 0.15
    tints = jitter_colour(torch.full((400, 1, 3, 2, 2), 0.5), generator(3), strength=0.0).mean((1, 3, 4))
    assert 0.9 * 0.5 - 1e-3 < tints.min() < tints.max() < 1.1 * 0.5 + 1e-3
    assert (tints.std(1) > 1e-3).float().mean() > 0.95


def test_a_crop_lies_anywhere() -> None:
    ramp = torch.linspace(0, 1, 32).expand(300, 1, 3, 32, 32)
    for axis in (ramp, ramp.mT):
        middles = crop_and_flip(axis, generator(4), smallest=0.5).mean((1, 2, 3, 4))
        # Uniform within what a side of 0.5 to 1, itself uniform, leaves: variance E[(1 - side)^2] / 12.
        assert middles.mean().item() == pytest.approx(0.5, abs=0.02)
        assert middles.std().item() == pytest.approx((1 / 12 / 12) ** 0.5, rel=0.15)


def test_about_half_of_the_clips_are_mirrored() -> None:
    ramp = torch.linspace(0, 1, 8).expand(200, 1, 3, 8, 8)
    rising = crop_and_flip(ramp, generator(), smallest=1.0)[:, 0, 0, 0].diff().mean(-1) > 0
    assert 70 < rising.sum() < 130


def test_drawn_frames_keep_their_order() -> None:
    numbered = torch.arange(8).expand(5, 8)
    drawn = draw_frames(numbered, 4, generator())
    assert drawn.shape == (5, 4) and (drawn.diff(dim=1) > 0).all()
    assert len({tuple(row.tolist()) for row in drawn}) > 1
    assert torch.equal(draw_frames(numbered, 9, generator()), numbered)


def test_sound_is_turned_in_time_and_at_most_six_decibels_away() -> None:
    sound = torch.randn(6, 500, generator=generator())
    changed = augment_audio(sound, generator(1))
    ratio = changed.norm(dim=1) / sound.norm(dim=1)
    assert (20 * ratio.log10()).abs().max() <= 6.0 + 1e-4
    expected = (sound * ratio[:, None]).sort(1).values
    torch.testing.assert_close(changed.sort(1).values, expected)
    spectrum = torch.fft.rfft(changed).abs() / torch.fft.rfft(sound).abs()
    assert math.isclose(spectrum.std(1).max().item(), 0.0, abs_tol=1e-2)


def test_sounds_are_made_louder_and_turned_by_any_amount() -> None:
    sound = torch.zeros(400, 500)
    sound[:, 0] = 1.0
    changed = augment_audio(sound, generator(5))
    decibels, places = 20 * changed.amax(1).log10(), changed.argmax(1).float()
    assert decibels.std().item() == pytest.approx(12 / 12**0.5, rel=0.1)
    assert places.std().item() == pytest.approx(500 / 12**0.5, rel=0.1)
