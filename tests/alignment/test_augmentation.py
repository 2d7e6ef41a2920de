import math

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
