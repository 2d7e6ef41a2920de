import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from foleygram.evaluation.condfoleygen import OnsetAgreement
from foleygram.evaluation.envelopes import clip_envelope
from foleygram.evaluation.metrics import (
    CondFoleyGenOnsets,
    EnvelopeCorrelation,
    EnvelopeL1,
    EnvelopeLag,
    Leak,
    MaterialAccuracy,
    OnsetF1,
)
from foleygram.evaluation.scores import ScoredClip, score_clip, scores_of

CURVES = {"correlation": EnvelopeCorrelation, "l1": EnvelopeL1, "lag": EnvelopeLag, "leak": Leak}


def clips():
    generator = torch.Generator().manual_seed(0)
    made = []
    for index in range(5):
        reference = torch.zeros(32_000)
        reference[4000 + 500 * index : 6000 + 500 * index] = 0.3
        generated = reference.roll(80 * index) + 0.01 * torch.randn(32_000, generator=generator)
        made.append((clip_envelope(generated, 16_000), clip_envelope(reference, 16_000)))
    made[4] = (torch.zeros_like(made[4][0]), made[4][1])
    return made


ONSETS = [
    ([0.1, 0.5], [0.1, 0.52, 0.9], ["hit", "scratch", "hit"]),
    ([], [0.3], ["hit"]),
    ([1.0, 1.2], [1.01], ["scratch"]),
    ([0.4], [], []),
    ([2.0], [2.0], ["hit"]),
]
AGREEMENTS = [
    OnsetAgreement(True, 1.0, 0.9),
    OnsetAgreement(False, 0.25, 0.4),
    OnsetAgreement(False, None, None),
    OnsetAgreement(True, 0.5, 1.0),
    OnsetAgreement(True, 0.0, 0.5),
]
HEARD = [("wood", "wood"), (None, "metal"), ("wood", "metal"), ("rock", "rock"), ("tile", "tile")]


def feed(indices):
    metrics = {name: cls() for name, cls in CURVES.items()} | {"onset": OnsetF1(0.05), "material": MaterialAccuracy()}
    metrics["condfoleygen"] = CondFoleyGenOnsets()
    made = clips()
    for index in indices:
        for name in CURVES:
            metrics[name].update(*made[index])
        metrics["onset"].update(*ONSETS[index])
        metrics["condfoleygen"].update(AGREEMENTS[index])
        metrics["material"].update([HEARD[index][0]], [HEARD[index][1]])
    return metrics


def results(metrics):
    several = ("onset", "condfoleygen")
    values = {name: float(metric.compute()) for name, metric in metrics.items() if name not in several}
    return values | {name: tuple(metrics[name].compute()) for name in several}


def worker(rank, address, shares, out):
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.save(results(feed(shares[rank])), f"{out}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("shares", [([0, 2], [1, 3, 4]), ([4], [0, 1, 2, 3])])
def test_two_processes_give_one_process_value(tmp_path, shares):
    # In the second case the first process holds the silent clip alone: it has no lag to contribute.
    mp.start_processes(worker, (f"file://{tmp_path}/meet", shares, str(tmp_path)), nprocs=2, start_method="fork")
    expected = results(feed(range(5)))
    onsets, agreements = expected.pop("onset"), expected.pop("condfoleygen")
    assert agreements == pytest.approx((3 / 5, 1.75 / 4, 2.8 / 4))
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.pop("onset") == onsets
        assert found.pop("condfoleygen") == pytest.approx(agreements, rel=1e-6)
        assert found == pytest.approx(expected, rel=1e-6)


def test_onset_scores_are_micro_averages():
    scores = feed(range(5))["onset"].compute()
    matched, detected, annotated = 4, 6, 6
    assert scores.precision == scores.recall == pytest.approx(matched / detected)
    assert scores.f1 == pytest.approx(2 * matched / (detected + annotated))
    assert scores.count_ratio == 1
    assert scores.hit_recall == pytest.approx(2 / 4)
    assert scores.scratch_recall == 1


def test_recall_of_an_action_that_never_occurs_is_none():
    metric = OnsetF1(0.05)
    metric.update([0.1], [0.1], ["hit"])
    assert metric.compute().scratch_recall is None


def test_unlabelled_events_are_neither_hits_nor_scrapes():
    metric = OnsetF1(0.05)
    metric.update([0.1], [0.1, 0.5, 0.9], ["hit", "", ""])
    scores = metric.compute()
    assert scores.recall == pytest.approx(1 / 3) and scores.hit_recall == 1 and scores.scratch_recall is None


def test_no_answer_of_the_judge_is_a_wrong_one():
    assert float(feed(range(5))["material"].compute()) == pytest.approx(3 / 5)


def test_without_clips_there_is_no_value():
    assert math.isnan(float(Leak().compute()))
    assert math.isnan(float(MaterialAccuracy().compute()))


def test_the_median_of_an_even_number_is_between_the_middle_two():
    metric = EnvelopeLag()
    metric.values = [torch.tensor([-40.0, 10.0]), torch.tensor([20.0, 90.0])]
    assert float(metric.compute()) == 30


def test_a_clip_is_scored_by_the_selected_groups_or_refused():
    class Judge:
        def classify(self, audio, rate):
            return ["wood"]

    sound = torch.zeros(32_000)
    sound[8000:8200] = 0.5
    clip = ScoredClip(sound, sound, 16_000, [0.5], ["scratch"], "wood", "b", 1.0)
    with pytest.raises(ValueError, match="needs a judge"):
        score_clip(clip)
    assert "classified_as" not in score_clip(clip, ("envelope",), Judge())
    silent = replace(clip, event_times=[], event_actions=[], material=None, start=0.0)  # annotated: nothing happens
    rows, summary = scores_of([score_clip(each, ("onsets", "material"), Judge()) for each in (silent, clip)])
    assert [row["classified_as"] for row in rows] == [None, "wood"] and summary["material_accuracy"] == 1
    assert [(row["num_annotated"], row["num_scratches"], row["num_hits"]) for row in rows] == [(0, 0, 0), (1, 1, 0)]
    assert (rows[1]["matched_50"], rows[1]["matched_scratches_50"], rows[1]["matched_hits_50"]) == (1, 1, 0)
    for generated, complaint in ((torch.full((32_000,), torch.nan), "not finite"), (sound[None], "must be mono")):
        with pytest.raises(ValueError, match=f"b at 1 s: .*{complaint}"):
            score_clip(replace(clip, generated=generated, reference=sound.reshape(generated.shape)), ("envelope",))
