from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from foleygram.envelope.envelope import onset_times
from foleygram.envelope.objective import attack_weights, envelope_loss, level_classes
from foleygram.envelope.predictor import EnvelopePredictor, decode_levels, delayed, grid_lead
from foleygram.envelope.rms import inverse_mu_law, mu_law, rms_envelope
from foleygram.envelope.shots import distinct_shots
from foleygram.spec import ClipSpec

SIZE, FRAMES = 16, 48
SECONDS = FRAMES / 30


def tiny_predictor(**changes: object) -> EnvelopePredictor:
    torch.manual_seed(0)
    sizes: dict = {
        "motion_size": SIZE, "map_widths": (6, 12, 12), "num_blocks": 1, "num_keypoints": 4, "value_width": 2,
        "hidden_size": 48, "lstm_size": 24, "head_width": 32, "dropout": 0.0,
    }  # fmt: skip
    return EnvelopePredictor.build(**(sizes | changes))


def ages_at(frame_rate: float, count: int = FRAMES, phase: float = 0.0) -> Tensor:
    """Ages on the 30 Hz grid of a video whose frames are stamped (n + phase) / frame_rate."""
    times = (torch.arange(count) + 0.5) / 30
    return (times - (torch.floor(times * frame_rate - phase) + phase) / frame_rate).clamp(min=0)


def bouncing_dots(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, list[np.ndarray]]:
    """Dots that fall on a floor and spring up again, at 15 to 30 frames per second; the sound clicks at every impact.

    Returns motion uint8 (B, N, 3, M, M), ages (B, N), audio (B, samples) at 16 kHz and the times of impact in seconds.
    """
    videos, ages, sounds, impacts = [], [], [], []
    for _ in range(count):
        times = np.cumsum(rng.uniform(0.35, 0.6, 6)) - rng.uniform(0, 0.3)
        ages.append(ages_at(rng.choice([15.0, 20.0, 24.0, 30.0]), phase=rng.uniform(0, 1)))
        stamps = (np.arange(FRAMES) + 0.5) / 30 - ages[-1].numpy()
        videos.append(_picture(stamps, times, rng))
        sounds.append(_clicks(times[(times > 0) & (times < SECONDS)], rng))
        impacts.append(times[(times > 0) & (times < SECONDS)])
    return torch.stack(videos), torch.stack(ages), torch.stack(sounds), impacts


def _picture(stamps: np.ndarray, times: np.ndarray, rng: np.random.Generator) -> Tensor:
    edges = np.concatenate([[times[0] - 0.5], times])
    place = np.clip(np.searchsorted(edges, stamps) - 1, 0, len(edges) - 2)
    share = (stamps - edges[place]) / (edges[place + 1] - edges[place])
    height = np.where(stamps < edges[-1], 4 * share * (1 - share), 0)  # ballistic between impacts
    grid = np.arange(SIZE)
    down, across = grid[None, :, None] - (13 - 10 * height)[:, None, None], grid - rng.uniform(4, 11)
    dots = np.exp(-(down**2 + across**2) / 3)
    picture = torch.from_numpy(40 + 190 * dots + rng.normal(0, 3, dots.shape)).clamp(0, 255).byte()
    return picture[:, None].expand(-1, 3, -1, -1)


def _clicks(times: np.ndarray, rng: np.random.Generator) -> Tensor:
    clock = np.arange(round(SECONDS * 16_000)) / 16_000
    noise = rng.standard_normal(len(clock)) * 0.2
    level = np.zeros_like(clock)
    for time in times:
        level += np.exp(-(clock - time).clip(0) / 0.03) * ((clock >= time) & (clock < time + 0.25))
    return torch.from_numpy(noise * level).float()


def test_number_of_values_is_the_clip_s() -> None:
    spec = ClipSpec(seconds=4.0, sample_rate=16_000)
    predictor = tiny_predictor()
    assert predictor.num_values(spec.num_motion_frames) == spec.num_envelope_values == 501
    assert predictor.num_values(45) == ClipSpec(seconds=1.5).num_envelope_values == 188
    assert predictor.num_values(300) == ClipSpec().num_envelope_values


@pytest.mark.parametrize("count", [1, 2, 31, 120])
def test_any_number_of_frames_works(count: int) -> None:
    predictor = tiny_predictor().eval()
    motion = torch.randint(0, 255, (2, count, 3, SIZE, SIZE), dtype=torch.uint8)
    logits = predictor(motion, ages_at(20.0, count).expand(2, -1))
    assert logits.shape == (2, predictor.num_values(count), 64)
    assert torch.isfinite(logits).all()


def test_wrong_shapes_are_named() -> None:
    predictor = tiny_predictor()
    with pytest.raises(ValueError, match=r"\(1, 4, 3, 8, 8\).*16"):
        predictor(torch.zeros(1, 4, 3, 8, 8), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="ages"):
        predictor(torch.zeros(1, 4, 3, SIZE, SIZE), torch.zeros(1, 5))


def test_saves_and_loads(tmp_path: Path) -> None:
    predictor = tiny_predictor().eval()
    predictor.save_pretrained(tmp_path)
    assert {"config.json", "model.safetensors"} <= {path.name for path in tmp_path.iterdir()}
    loaded = EnvelopePredictor.from_pretrained(tmp_path)
    motion, ages, *_ = bouncing_dots(2, np.random.default_rng(0))
    assert torch.equal(loaded.predict(motion, ages), predictor.predict(motion, ages))


def test_each_frame_is_encoded_once_with_its_neighbours_in_the_video() -> None:
    ages = torch.stack([ages_at(15.0, 8), ages_at(30.0, 8)])
    motion = torch.arange(16, dtype=torch.uint8).reshape(2, 8, 1, 1, 1).expand(-1, -1, 3, SIZE, SIZE)
    shots = distinct_shots(motion, ages, 30.0)
    assert (shots.frames[:, 0, 0, 0] * 255).round().long().tolist() == [0, 2, 4, 6, *range(8, 16)]
    assert shots.shown.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3], list(range(4, 12))]
    assert shots.previous.tolist() == [0, 0, 1, 2, 4, 4, 5, 6, 7, 8, 9, 10]
    assert shots.following.tolist() == [1, 2, 3, 3, 5, 6, 7, 8, 9, 10, 11, 11]
    torch.testing.assert_close(shots.stamps[0], torch.tensor([0.0, 0, 2, 2, 4, 4, 6, 6]))


def test_a_clip_s_envelope_does_not_depend_on_its_batch() -> None:
    predictor = tiny_predictor().eval()
    motion, ages, *_ = bouncing_dots(3, np.random.default_rng(1))
    torch.testing.assert_close(predictor(motion, ages)[1:2], predictor(motion[1:2], ages[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [0, 1, 17, 63])
def test_a_certain_class_is_decoded_to_its_level(level: int) -> None:
    logits = torch.full((3, 64), -50.0)
    logits[:, level] = 50.0
    decoded = decode_levels(logits)
    torch.testing.assert_close(decoded, inverse_mu_law(torch.full((3,), level / 63)))
    assert level or not decoded.any()


def test_the_median_is_exact_between_classes_and_jumps_over_doubt() -> None:
    level = torch.tensor([20.0, 20.3, 20.5, 20.8])
    targets = level_classes(inverse_mu_law(level / 63), 64, 1.0)
    torch.testing.assert_close(63 * mu_law(decode_levels(targets.log())), level, atol=0.02, rtol=0)
    doubt = torch.full((2, 64), 1e-9)
    doubt[0, 0], doubt[0, 40], doubt[1, 0], doubt[1, 40] = 0.51, 0.49, 0.49, 0.51
    silent, loud = (63 * mu_law(decode_levels(doubt.log()))).tolist()
    assert silent == 0.0
    assert loud > 39.5


def test_targets_of_silence_are_certain_and_others_centred() -> None:
    targets = level_classes(torch.tensor([0.0, 1e-4, 0.05]), 64, 1.0)
    assert targets[:2, 0].tolist() == [1.0, 1.0]
    torch.testing.assert_close(targets.sum(-1), torch.ones(3))
    assert level_classes(inverse_mu_law(torch.tensor([0.6 / 63])), 64, 1.0).max() < 0.5  # not silence: smoothed
    mean = (targets[2] * torch.arange(64)).sum()
    torch.testing.assert_close(mean, 63 * mu_law(torch.tensor(0.05)), rtol=1e-3, atol=0)


def test_loss_of_the_perfect_prediction_is_zero_and_any_other_more() -> None:
    envelope = torch.rand(2, 50, generator=torch.Generator().manual_seed(0)) * 0.5
    perfect = level_classes(envelope, 64, 1.0).clamp(min=1e-30).log()
    tried = (perfect, perfect.roll(1, -1), perfect.roll(5, 1))
    loss = [envelope_loss(logits, envelope, rate=125.0).item() for logits in tried]
    assert loss[0] == pytest.approx(0, abs=1e-3)
    assert min(loss[1:]) > 0.05


def test_attacks_weigh_more() -> None:
    envelope = torch.zeros(1, 100)
    envelope[0, 50:] = 0.2
    weights = attack_weights(envelope, 4.0, rate=125.0)[0]
    assert weights[50] == 5.0
    assert (weights > 1).nonzero().flatten().tolist() == list(range(43, 57))  # 40 ms around what rises
    assert (attack_weights(torch.full((1, 100), 0.2), 4.0, rate=125.0) == 1).all()
    soft = torch.zeros(1, 100)
    soft[0, 50:] = inverse_mu_law(torch.tensor(0.125))
    assert attack_weights(soft, 4.0, rate=125.0).max().item() == pytest.approx(2.0)  # a quarter of a rise by half


def test_loss_is_the_weighted_divergence_and_the_distance_of_the_mean_level() -> None:
    generator = torch.Generator().manual_seed(0)
    envelope = torch.rand(2, 30, generator=generator) * (torch.arange(30) > 12)
    logits = torch.randn(2, 30, 8, generator=generator)
    weights = attack_weights(envelope, 3.0, rate=125.0)
    chances, target = logits.softmax(-1), level_classes(envelope, 8, 0.7)
    divergence = torch.nn.functional.kl_div(chances.log(), target, reduction="none").sum(-1)
    distance = ((chances * torch.arange(8)).sum(-1) / 7 - mu_law(envelope)).abs()
    expected = (weights * (divergence + 2 * distance)).sum() / weights.sum()
    found = envelope_loss(logits, envelope, rate=125.0, label_sigma=0.7, onset_weight=3.0, expected_weight=2.0)
    torch.testing.assert_close(found, expected)


def test_long_videos_give_the_same_as_short_ones_where_one_window_holds_them() -> None:
    predictor = tiny_predictor().eval()
    motion, ages, *_ = bouncing_dots(1, np.random.default_rng(2))
    found = predictor.predict_long(motion, ages, window_sec=2.0, overlap_sec=0.5)
    assert torch.equal(found, predictor.predict(motion, ages))


def test_windows_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = tiny_predictor()
    sizes = []

    def known(motion: Tensor, ages: Tensor) -> Tensor:
        """An envelope that can be read off the ages: they hold each frame's place in the video."""
        sizes.append(motion.shape[1])
        return (ages[:, :1] + torch.arange(predictor.num_values(motion.shape[1])) / 125).float()

    monkeypatch.setattr(predictor, "predict", known)
    count = 1000
    motion, ages = torch.zeros(1, count, 3, 1, 1), torch.arange(count)[None] / 30
    found = predictor.predict_long(motion, ages, window_sec=5.1, overlap_sec=1.3)
    torch.testing.assert_close(found[0], torch.arange(predictor.num_values(count)) / 125, rtol=1e-4, atol=1e-3)
    assert set(sizes) == {153}
    with pytest.raises(ValueError, match="overlap"):
        predictor.predict_long(torch.zeros(1, 9, 3, 1, 1), torch.zeros(1, 9), window_sec=1.0, overlap_sec=1.0)


def test_windows_fade_over_the_middle_half_of_a_quarter_of_their_length(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = tiny_predictor(window_sec=2.0)
    monkeypatch.setattr(
        predictor, "predict", lambda motion, ages: ages[:, :1].expand(-1, predictor.num_values(motion.shape[1]))
    )
    ages = (torch.arange(105)[None] >= 45).float()  # windows of 60 frames from 0 and from 45 on, which say 0 and 1
    found = predictor.predict_long(torch.zeros(1, 105, 3, 1, 1), ages)[0]
    place = torch.arange(len(found)) / 125 * 30
    torch.testing.assert_close(found, ((place - 48.75) / 7.5).clamp(0, 1), atol=1e-5, rtol=0)


def test_predictions_are_made_without_dropout() -> None:
    predictor = tiny_predictor(dropout=0.9).train()
    motion, ages, *_ = bouncing_dots(1, np.random.default_rng(4))
    first = predictor.predict(motion, ages)
    assert torch.equal(predictor.train().predict(motion, ages), first) and not predictor.training


def test_a_frame_is_new_a_quarter_of_a_step_after_the_last() -> None:
    stamps = torch.tensor([[0.5, 0.7, 1.0, 2.0]])
    ages = (torch.arange(4) + 0.5 - stamps) / 30
    motion = torch.arange(4, dtype=torch.uint8).reshape(1, 4, 1, 1, 1).expand(-1, -1, 3, SIZE, SIZE)
    assert distinct_shots(motion, ages, 30.0).shown.tolist() == [[0, 0, 1, 2]]


def test_repeated_frames_predict_what_the_slower_camera_s_file_predicts() -> None:
    predictor = tiny_predictor().eval()
    motion = torch.randint(0, 256, (1, 8, 3, SIZE, SIZE), dtype=torch.uint8).repeat_interleave(2, dim=1)
    slow = ages_at(15.0, 16)[None]
    noise = (torch.rand(motion.shape) < 0.05).byte()  # of the codec: 0.05 of 255 on average
    repeated = predictor(motion ^ noise, torch.zeros(1, 16))
    torch.testing.assert_close(repeated, predictor(motion, slow - 0.5 / 30), rtol=0.02, atol=0.02)


def test_learns_when_a_dot_bounces_to_less_than_a_frame() -> None:
    rng = np.random.default_rng(3)
    motion, ages, audio, _ = bouncing_dots(192, rng)
    envelope = rms_envelope(audio)
    predictor = tiny_predictor()
    optimizer = torch.optim.AdamW(predictor.parameters(), lr=6e-3)
    losses = []
    for _ in range(100):
        chosen = torch.from_numpy(rng.permutation(len(motion))[:10])
        loss = envelope_loss(predictor(motion[chosen], ages[chosen]), envelope[chosen], rate=125.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.3 * losses[0]
    unseen, their_ages, _, impacts = bouncing_dots(16, rng)
    errors, found = [], 0
    for curve, true in zip(predictor.predict(unseen, their_ages).numpy(), impacts, strict=True):
        onsets = onset_times(curve, 125.0)
        found += len(onsets)
        errors += [np.abs(onsets - time).min(initial=1.0) for time in true if 0.1 < time < SECONDS - 0.1]
    assert np.median(errors) < 0.5 / 30
    assert np.mean(np.array(errors) < 1 / 30) > 0.8
    assert found <= 1.2 * sum(map(len, impacts))


@pytest.mark.parametrize(
    ("frame_rate", "steps"),
    [(10, 0), (12, 1 / 4), (15, 0), (16, 1 / 16), (20, 1 / 4), (24, 1 / 8), (30, 0), (12.5, 0)],
)
def test_the_lead_is_what_new_frames_lack_of_half_a_step(frame_rate: float, steps: float) -> None:
    """At 12 frames per second they are by turns as old as half a step and as nothing: a quarter step on average."""
    assert grid_lead(ages_at(frame_rate, 1801)[None], 30.0).item() == pytest.approx(steps / 30, abs=2e-4)


@pytest.mark.parametrize("phase", [0.0, 0.25, 0.45, 0.6, 0.95])
def test_the_lead_follows_the_phase_of_frames_at_the_grids_own_rate(phase: float) -> None:
    ages = ages_at(30, phase=phase)
    assert ages[5].item() == pytest.approx((0.5 - phase) % 1 / 30, abs=1e-5)
    assert grid_lead(ages[None], 30.0).item() == pytest.approx((0.5 - (0.5 - phase) % 1) / 30, abs=6e-5)


def test_still_pictures_and_rounded_time_stamps_have_no_lead() -> None:
    still = torch.arange(90) / 30 + 0.01
    rounded = ages_at(30, 90) + torch.tensor([0.0, 0.0005, -0.0005]).repeat(30)
    assert grid_lead(torch.stack([still, rounded]), 30.0).tolist() == [0.0, 0.0]


def test_delayed_rows_move_by_their_steps_and_hold_their_ends() -> None:
    ramp = torch.arange(6.0).expand(4, -1)
    moved = delayed(ramp, torch.tensor([0.0, 2.0, 0.25, -1.5]))
    expected = [
        [0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3], [0, 0.75, 1.75, 2.75, 3.75, 4.75], [1.5, 2.5, 3.5, 4.5, 5, 5],
    ]  # fmt: skip
    torch.testing.assert_close(moved, torch.tensor(expected, dtype=torch.float32))


def test_predictions_are_later_by_the_lead() -> None:
    predictor = tiny_predictor().eval()
    ages = torch.stack([ages_at(20), ages_at(30)])
    motion = torch.randint(256, (2, FRAMES, 3, SIZE, SIZE), dtype=torch.uint8)
    with torch.inference_mode():
        plain = decode_levels(predictor(motion, ages))
    predicted = predictor.predict(motion, ages)
    lead = grid_lead(ages, 30.0)
    assert lead.tolist() == pytest.approx([1 / 120, 0.0], abs=5e-4)
    torch.testing.assert_close(predicted, delayed(plain, 125 * lead))
    assert torch.equal(predicted[1], plain[1]) and not torch.equal(predicted[0], plain[0])
