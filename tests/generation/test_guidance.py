"""Guidance around a network's v, plain and projected, against its definitions."""

import pytest
import torch

from foleygram.generation.model import Conditions
from foleygram.generation.sampling import guided, projected_guidance


def linear_velocity(latents, timestep, conditions):
    """v that differs by clip, time and condition, of no other meaning."""
    return (
        0.3 * latents
        + timestep[:, None, None]
        + conditions.cross_tokens.sum((1, 2))[:, None, None] * latents.roll(1, -1)
    )


def conditions_of(count):
    generator = torch.Generator().manual_seed(5)
    return Conditions(*(torch.randn(count, 2, 3, generator=generator) for _ in range(3)))


def guidance_inputs(count=3):
    generator = torch.Generator().manual_seed(6)
    return torch.randn(count, 4, 5, generator=generator), torch.tensor([0.2, 0.5, 0.9])[:count]


@pytest.mark.parametrize("rows_at_once", [1, 2, 8])
def test_guidance_goes_from_the_null_output_through_the_conditional_one(rows_at_once):
    conditions, (latents, timestep) = conditions_of(3), guidance_inputs()
    null = conditions.null()
    with_, without = (linear_velocity(latents, timestep, given) for given in (conditions, null))
    for scale in (0.0, 1.0, 2.5):
        velocity = guided(linear_velocity, conditions, null, scale, rows_at_once=rows_at_once)
        torch.testing.assert_close(velocity(latents, timestep), without + scale * (with_ - without))


def test_without_guidance_the_null_branch_is_not_run():
    conditions, (latents, timestep) = conditions_of(3), guidance_inputs()
    rows = []
    counted = lambda x, t, given: rows.append(len(x)) or linear_velocity(x, t, given)  # noqa: E731
    for scale in (1.0, 2.0):
        guided(counted, conditions, conditions.null(), scale, rows_at_once=2)(latents, timestep)
    assert rows == [2, 1, 4, 2]


@pytest.mark.parametrize("apg_scale", [0.0, 0.3, 1.0])
def test_projected_guidance_equals_its_definition_in_clean_latents(apg_scale):
    """APG (arXiv 2410.02416, eq. 8 to 10): D = D_c + (w - 1) (orthogonal + eta parallel), then back to v."""
    conditions, (latents, timestep) = conditions_of(3), guidance_inputs()
    angles = (torch.pi / 2 * timestep.double())[:, None, None]
    alpha, sigma = angles.cos(), angles.sin()
    clean_c, clean_u = (
        alpha * latents - sigma * linear_velocity(latents, timestep, given) for given in (conditions, conditions.null())
    )
    expected = []
    for c, u in zip(clean_c.flatten(1), clean_u.flatten(1), strict=True):
        unit = c / c.norm()
        parallel = (c - u).dot(unit) * unit
        expected.append(c + (2.5 - 1) * ((c - u - parallel) + (1 - apg_scale) * parallel))
    expected = (alpha * latents - torch.stack(expected).view_as(latents)) / sigma
    velocity = guided(linear_velocity, conditions, conditions.null(), 2.5, rows_at_once=2, apg_scale=apg_scale)
    torch.testing.assert_close(velocity(latents, timestep), expected.float(), atol=1e-5, rtol=1e-5)


def test_the_projection_takes_away_what_lies_along_the_clean_latents():
    clean, update = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(7))
    left = projected_guidance(update, clean, 1.0)
    torch.testing.assert_close((left * clean).sum((1, 2)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(projected_guidance(left, clean, 1.0), left)
    torch.testing.assert_close(projected_guidance(2 * clean, clean, 0.25), 1.5 * clean)
    torch.testing.assert_close(projected_guidance(update, 3e6 * clean, 0.5), 0.5 * (update + left))
    assert torch.equal(projected_guidance(update, torch.zeros_like(clean), 1.0), update)
    assert projected_guidance(update.half(), clean.half(), 1.0).dtype == torch.float16
