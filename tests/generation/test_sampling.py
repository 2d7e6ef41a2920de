"""Solvers against an exact denoiser and against diffusers; noise and windows."""

import numpy as np
import pytest
import torch
from diffusers import CosineDPMSolverMultistepScheduler
from scipy.integrate import quad

from foleygram.generation.sampling import (
    SOLVERS,
    ClipNoise,
    SamplerSettings,
    denoiser_from_v,
    dpmpp_2m,
    exponential_sigmas,
    log_snr_sigmas,
    ping_pong,
)

MEAN, STD = 0.7, 0.4


def gaussian_denoiser(latents, sigma):
    """E[x | x + sigma n] for x ~ N(MEAN, STD^2): exact, so only the solver errs."""
    return (STD**2 * latents + sigma**2 * MEAN) / (STD**2 + sigma**2)


@pytest.mark.parametrize("solver", sorted(SOLVERS.keys() - {"ping_pong"}))  # its exact result: below
def test_gaussian_data_comes_out_with_its_mean_and_deviation(solver):
    noise = ClipNoise(range(8))
    sigmas = exponential_sigmas(100, sigma_min=0.01, sigma_max=80)
    samples = SOLVERS[solver](gaussian_denoiser, noise(torch.empty(8, 4, 2000)) * sigmas[0], sigmas, noise=noise)
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert samples.std().item() == pytest.approx(STD, rel=0.03)


def test_error_of_the_ode_falls_with_the_square_of_the_steps():
    start = torch.tensor([[[30.0]]])
    exact = MEAN + (start - MEAN) * STD / (STD**2 + 80.0**2) ** 0.5
    errors = []
    for steps in (20, 40, 80):
        sigmas = exponential_sigmas(steps, sigma_min=1e-3, sigma_max=80)
        errors.append((dpmpp_2m(gaussian_denoiser, start, sigmas) - exact).abs().item())
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3


@pytest.mark.parametrize(
    ("solver", "order", "eta"),
    [("dpmpp_2m", 2, 0.0), ("dpmpp_2m_sde", 2, 1.0), ("dpmpp_3m_sde", 3, 1.0), ("dpmpp_3m_sde", 3, 0.3)],
)
def test_steps_of_any_size_follow_the_polynomial_through_the_last_clean_latents(solver, order, eta):
    """In log-SNR: read in the middle of a step by the 2M solvers, integrated with half its curvature by the 3M one."""
    sigmas, cleans = torch.tensor([9.0, 5.0, 3.5, 1.0, 0.8]), np.array([0.3, -1.2, 0.7, 2.0])
    seen = dict(zip(sigmas.tolist(), cleans.tolist(), strict=False))
    options = {"eta": eta} if eta not in (0.0, 1.0) else {}  # 0 and 1 are the solvers' own

    def denoise(latents, sigma):
        return torch.full_like(latents, seen[sigma.item()])

    found = SOLVERS[solver](denoise, torch.full((1, 1, 1), 4.0), sigmas, noise=torch.zeros_like, **options)
    position, rate, expected = -np.log(sigmas.double().numpy()), 1 + eta, 4.0
    for n, step in enumerate(np.diff(position)):
        known = slice(max(0, n + 1 - order), n + 1)
        clean = np.polynomial.Polynomial.fit(
            position[known] - position[n], cleans[known], len(cleans[known]) - 1
        ).convert()
        if order == 2:
            pull = (1 - np.exp(-rate * step)) * clean(step / 2)
        else:
            halved = np.polynomial.Polynomial(clean.coef / [1, 1, 2][: len(clean.coef)])
            pull = quad(lambda at: rate * np.exp(-rate * (step - at)) * halved(at), 0, step)[0]  # noqa: B023
        expected = np.exp(-rate * step) * expected + pull
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_2m_sde_equals_diffusers_given_the_same_noise():
    generator = torch.Generator().manual_seed(0)
    steps, shape = 12, (1, 4, 10)
    scheduler = CosineDPMSolverMultistepScheduler(
        sigma_min=0.3, sigma_max=50, solver_order=2, sigma_schedule="exponential"
    )
    scheduler.set_timesteps(steps)
    sigmas = torch.cat([scheduler.sigmas[:-1], torch.zeros(1)])
    torch.testing.assert_close(sigmas, exponential_sigmas(steps, sigma_min=0.3, sigma_max=50), rtol=1e-4, atol=1e-5)
    draws = [torch.randn(shape, generator=generator) for _ in range(steps + 1)]

    class Replay(ClipNoise):
        def __init__(self):
            self.left = list(draws)

        def __call__(self, like):
            return self.left.pop(0)

    replay = Replay()
    scheduler.noise_sampler = lambda *_: replay(None)
    latents = start = torch.randn(shape, generator=generator) * sigmas[0]
    for index, timestep in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(latents, timestep)
        # diffusers takes v and preconditions it; this v makes its clean prediction the exact one.
        sigma = scheduler.sigmas[index]
        clean = gaussian_denoiser(latents, sigma)
        velocity = (latents / (sigma**2 + 1) - clean) * (sigma**2 + 1).sqrt() / sigma
        assert scaled.shape == shape
        latents = scheduler.step(velocity, timestep, latents).prev_sample
    ours = SOLVERS["dpmpp_2m_sde"](
        gaussian_denoiser, start, exponential_sigmas(steps, sigma_min=0.3, sigma_max=50), noise=Replay()
    )
    torch.testing.assert_close(ours, latents, rtol=2e-3, atol=2e-3)


def test_denoiser_from_the_true_v_returns_the_clean_latents():
    clean, noise = torch.randn(2, 3, 4, 5)
    sigma = torch.tensor(2.5)

    def true_velocity(scaled, timestep):
        angle = timestep[:, None, None] * torch.pi / 2
        torch.testing.assert_close(scaled, angle.cos() * clean + angle.sin() * noise, atol=1e-5, rtol=1e-5)
        return angle.cos() * noise - angle.sin() * clean

    torch.testing.assert_close(
        denoiser_from_v(true_velocity)(clean + sigma * noise, sigma), clean, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_clips_result_does_not_depend_on_its_batch(solver):
    sigmas = exponential_sigmas(10, sigma_min=0.1, sigma_max=10)

    def run(seeds):
        noise = ClipNoise(seeds)
        return SOLVERS[solver](gaussian_denoiser, noise(torch.empty(len(seeds), 2, 7)) * sigmas[0], sigmas, noise=noise)

    assert torch.equal(run([5, 6, 7])[1], run([6])[0])


@pytest.mark.parametrize("batch", [1, 3])
def test_seeds_and_batch_must_agree(batch):
    with pytest.raises(ValueError, match=f"2 seeds for a batch of {batch}"):
        ClipNoise([1, 2])(torch.empty(batch, 1, 1))


@pytest.mark.parametrize(("steps", "sigma_min"), [(0, 0.1), (5, 0.0), (5, 1.0)])
def test_nothing_to_sample_is_refused(steps, sigma_min):
    with pytest.raises(ValueError, match=f"{steps} steps between sigmas 1 and {sigma_min}"):
        exponential_sigmas(steps, sigma_min=sigma_min, sigma_max=1)


def test_one_step_goes_from_the_first_level_to_clean():
    assert exponential_sigmas(1, sigma_min=0.1, sigma_max=10).tolist() == [10, 0]


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_ping_pong_levels_are_even_in_log_snr_and_the_last_step_ends_clean(steps):
    sigmas = log_snr_sigmas(steps)
    expected = np.linspace(-6.2, 2, steps + 1)[:-1]
    np.testing.assert_allclose(-sigmas[:-1].log(), expected, atol=1e-5)
    assert sigmas[-1] == 0 and len(sigmas) == steps + 1
    timestep = 2 / np.pi * np.arctan(np.exp(-expected))  # the v-objective's t: sin / cos of pi t / 2 is sigma
    np.testing.assert_allclose(np.tan(np.pi / 2 * timestep), sigmas[:-1], rtol=1e-4)


def test_one_ping_pong_step_is_the_models_own_clean_prediction():
    start = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0)) * 493
    no_noise = ClipNoise([])  # raises when it is asked for any
    sigmas = log_snr_sigmas(1)
    assert torch.equal(ping_pong(gaussian_denoiser, start, sigmas, noise=no_noise), gaussian_denoiser(start, sigmas[0]))


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_ping_pong_has_the_closed_form_of_a_gaussian_target(steps):
    """x_i = E[x | y_i] is linear in y_i: mean m, and variance s^4 (v_(i-1) + sigma_i^2) / (s^2 + sigma_i^2)^2."""
    sigmas, noise = log_snr_sigmas(steps), ClipNoise(range(8))
    found = ping_pong(gaussian_denoiser, noise(torch.empty(8, 4, 4000)) * sigmas[0], sigmas, noise=noise)
    mean, variance = 0.0, 0.0
    for sigma in sigmas[:-1].double().tolist():
        gain = STD**2 / (STD**2 + sigma**2)
        mean, variance = gain * mean + (1 - gain) * MEAN, gain**2 * (variance + sigma**2)
    assert found.mean().item() == pytest.approx(mean, abs=0.005)
    assert found.std().item() == pytest.approx(variance**0.5, rel=0.02)


def test_ping_pong_with_a_trajectory_map_is_exact_at_any_number_of_steps():
    """A distilled model predicts the end of the ODE's trajectory, not the mean: then every call gives the target."""

    def trajectory_end(latents, sigma):
        return MEAN + (latents - MEAN) * STD / (STD**2 + sigma**2) ** 0.5

    for steps in (1, 2, 4):
        sigmas, noise = log_snr_sigmas(steps), ClipNoise(range(8))
        found = ping_pong(trajectory_end, noise(torch.empty(8, 4, 4000)) * sigmas[0], sigmas, noise=noise)
        assert found.mean().item() == pytest.approx(MEAN, abs=0.005)
        assert found.std().item() == pytest.approx(STD, rel=0.02)


def test_settings_choose_the_grid_of_their_solver():
    plain, few = SamplerSettings(4), SamplerSettings(4, solver="ping_pong")
    assert torch.equal(plain.sigmas(), exponential_sigmas(4, sigma_min=0.05, sigma_max=80.0))
    assert torch.equal(few.sigmas(), log_snr_sigmas(4, sigma_min=0.05, sigma_max=80.0))
    assert plain.override(num_inference_steps=None, solver="ping_pong") == few


def test_settings_sample_from_noise_at_their_first_level():
    settings = SamplerSettings(100, solver="dpmpp_2m", sigma_min=0.01, sigma_max=80.0)
    samples = settings.sample(gaussian_denoiser, ClipNoise(range(8)), torch.empty(8, 4, 2000))
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert samples.std().item() == pytest.approx(STD, rel=0.03)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_inference_steps": 0}, "0 sampling steps: give a whole number from 1 to 1000"),
        ({"num_inference_steps": 2.5}, "2.5 sampling steps: give a whole number"),
        ({"num_inference_steps": True}, "True sampling steps: give a whole number"),
        ({"guidance_scale": float("nan")}, "guidance scale nan"),
        ({"guidance_scale": -3.0}, "guidance scale -3: give a number from 0 to 1000"),
        ({"num_inference_steps": 10**9}, "1000000000 sampling steps: give a whole number from 1 to 1000"),
        ({"solver": "heun"}, "unknown solver 'heun'; there are dpmpp_2m"),
        ({"sigma_min": 90.0}, "noise levels from 80.0 down to 90.0"),
        ({"sigma_max": float("inf")}, "noise levels from inf"),
    ],
)
def test_settings_that_cannot_be_sampled_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SamplerSettings(**values)
