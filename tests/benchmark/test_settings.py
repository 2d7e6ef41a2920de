import pytest
import torch

from foleygram.benchmark.settings import (
    CONTROLS,
    choose_conditions,
    condition_batch,
    condition_envelopes,
    parse_condition,
)
from foleygram.spec import ClipSpec

SPEC = ClipSpec(seconds=1.0, sample_rate=16_000, audio_channels=1, latent_hop=512)


def item(level):
    return {
        "audio": torch.ones(1, 16_000),
        "envelope_audio": torch.full((16_000,), level),
        "frames": torch.zeros(2, 3, 4, 4),
        "motion": torch.zeros(30, 3, 4, 4),
        "motion_ages": torch.zeros(30),
        "caption": "wood",
        "materials": "wood",
        "event_times": [0.5],
        "event_actions": ["hit"],
    }


@pytest.mark.parametrize(
    ("name", "modalities", "envelope", "oracle"),
    [
        ("avt", ("video", "text", "audio"), "predicted", True),
        ("tva", ("video", "text", "audio"), "predicted", True),
        ("vt", ("video", "text"), "predicted", False),
        ("t+true", ("text",), "true", True),
        ("v+onsets", ("video",), "onsets", True),
        ("predicted", ("video",), "predicted", False),
        ("true", ("video",), "true", True),
    ],
)
def test_a_condition_s_name_sets_its_inputs(name, modalities, envelope, oracle):
    condition = parse_condition(name)
    assert (condition.modalities, condition.envelope, condition.oracle) == (modalities, envelope, oracle)


@pytest.mark.parametrize("name", ["", "x", "vv", "vt+flat", "+true", "silent"])
def test_an_unknown_name_is_refused_with_its_spelling(name):
    with pytest.raises(ValueError, match="letters of a, v, t"):
        parse_condition(name)


def test_a_condition_is_run_once_whatever_its_names():
    assert [c.name for c in choose_conditions(["vt", "tv", "v", "predicted"], controls=False)] == ["vt", "v"]


def test_oracles_have_the_scored_reference_among_their_inputs():
    assert [name for c in CONTROLS for name in c.oracle_names] == [
        "flat envelope", "other video", "other envelope (other's truth)"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given"), [("v", {"frames"}), ("t", {"caption"}), ("at", {"caption", "envelope_audio"})]
)
def test_the_model_gets_the_modalities_of_the_letters_and_the_motion_frames(name, given):
    batch = condition_batch(parse_condition(name), [item(0.5)], [item(0.1)])
    assert set(batch) == given | {"motion", "motion_ages"}


def test_envelopes_are_the_clips_own_its_mean_or_the_others():
    flat, other = CONTROLS[1], CONTROLS[3]
    own, others = [item(0.5)], [item(0.1)]
    assert condition_envelopes(parse_condition("v"), own, others, SPEC) == "predicted"
    assert condition_envelopes(parse_condition("v+true"), own, others, SPEC)[0, 60] == pytest.approx(0.5)
    assert condition_envelopes(other, own, others, SPEC)[0, 60] == pytest.approx(0.1)
    assert condition_envelopes(flat, own, others, SPEC).unique().shape == (1,)


def test_an_onset_track_holds_times_and_no_levels():
    quiet, loud = item(0.0), item(0.0)
    for clip, level in ((quiet, 0.05), (loud, 0.5)):
        clip["envelope_audio"] = torch.zeros(16_000).index_fill(0, torch.arange(8_060, 9_060), level)
    tracks = condition_envelopes(parse_condition("v+onsets"), [quiet, loud], [], SPEC)
    assert torch.equal(tracks[0], tracks[1])
    assert tracks[0].count_nonzero() == 1
    assert tracks[0].argmax() / SPEC.envelope_rate == pytest.approx(0.5, abs=0.01)
