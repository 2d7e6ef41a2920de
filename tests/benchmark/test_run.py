import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.console import Console

import foleygram.benchmark.run as run
import foleygram.benchmark.scoring as scoring
from foleygram.benchmark.embeddings import load_class
from foleygram.benchmark.output import report_results
from foleygram.benchmark.report import Report, print_report
from foleygram.benchmark.scoring import choose_metrics, score_pairs
from foleygram.benchmark.settings import AGAINST_OTHER, choose_conditions
from foleygram.benchmark.sounds import ClipSounds, clip_pairs, generate_sounds, pick_clips, pick_partners
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.distributed import Process
from foleygram.evaluation.material import MaterialJudge, MaterialJudgeConfig
from foleygram.evaluation.scores import CLIP_METRICS, ScoredClip, score_clip, scores_of
from foleygram.spec import ClipSpec

SPEC = ClipSpec(
    seconds=2.0, sample_rate=16_000, audio_channels=1, latent_hop=512, num_frames=2, image_size=16, motion_size=16
)
MATERIALS = ("metal", "wood", "metal", "wood")
ROOT = Path(__file__).parents[2]


class Judge(MaterialJudge):
    """Hears by pitch, so that a test knows what is right."""

    def classify(self, audio, sample_rate):
        peaks = torch.fft.rfft(audio).abs().argmax(-1) * sample_rate / audio.shape[-1]
        return ["metal" if pitch > 1000 else "wood" for pitch in peaks.tolist()]


def strikes(times, material, seconds=2.0, rate=16_000):
    audio = np.zeros(round(seconds * rate), np.float32)
    t = np.arange(round(0.1 * rate)) / rate
    for time in times:
        start = round(time * rate)
        tone = 0.4 * np.sin(2 * np.pi * (2000 if material == "metal" else 300) * t) * np.exp(-t / 0.02)
        audio[start : start + len(t)] += tone[: len(audio) - start]
    return audio


def scored(shift=0.0, material="wood"):
    times = [0.3, 0.9, 1.4]
    return ScoredClip(
        generated=torch.from_numpy(strikes([t + shift for t in times], "wood")),
        reference=torch.from_numpy(strikes(times, "wood")),
        sample_rate=16_000,
        event_times=times,
        event_actions=["hit", "scratch", "hit"],
        material=material,
        video_id="a",
        start=0.0,
    )


def score_clips(clips, judge):
    return scores_of([score_clip(clip, judge=judge) for clip in clips])


@pytest.fixture
def judge():
    return Judge(MaterialJudgeConfig(materials=["metal", "wood"], num_mel_bins=16, widths=(4,)))


@pytest.fixture
def root(tmp_path):
    """Four videos with sound and event times, frames never read."""
    folder = tmp_path / "data"
    folder.mkdir()
    for index, material in enumerate(MATERIALS):
        name, times = f"2000-01-01-00-00-0{index}", [0.3 + 0.05 * index, 1.0 + 0.13 * index]
        soundfile.write(folder / f"{name}_denoised.wav", strikes(times, material), 16_000)
        (folder / f"{name}_denoised.mp4").touch()
        (folder / f"{name}_times.txt").write_text("".join(f"{t} {material} hit static\n" for t in times))
    (folder / "test.txt").write_text("\n".join(f"2000-01-01-00-00-0{i}" for i in range(len(MATERIALS))))
    return folder


@pytest.fixture
def videos_unread(monkeypatch):
    def read(self, index):
        item = sounds(self, index)
        item["frames"] = torch.full((2, 3, 16, 16), index, dtype=torch.uint8)
        item["motion"], item["motion_ages"] = torch.zeros(60, 3, 16, 16, dtype=torch.uint8), torch.zeros(60)
        return item

    sounds = GreatestHits.__getitem__

    def sounds_only(self, index):
        self.fields = ("audio", "envelope_audio")
        return read(self, index)

    monkeypatch.setattr(GreatestHits, "__getitem__", sounds_only)


class Pipeline:
    """Strikes where the envelope rises; sounds as the frames' video does. It uses nothing else."""

    spec = SPEC

    def __init__(self):
        self.calls = []

    @classmethod
    def from_pretrained(cls, folder, torch_dtype=torch.float32):
        return cls()

    def to(self, device):
        return self

    @property
    def parts(self):
        return self

    def embed(self, batch):
        kinds = torch.tensor([index % 2 for index in batch["frames"][:, 0, 0, 0, 0].tolist()])
        rows = torch.nn.functional.one_hot(kinds, 4).float()
        return {"video": rows, "text": rows, "audio": rows}

    def generate_clips(self, batch, *, envelopes, seeds, controlnet_conditioning_scale=1.0, **options):
        self.calls.append({"batch": batch, "seeds": seeds, "options": options})
        sounds = []
        for row, index in enumerate(batch["frames"][:, 0, 0, 0, 0].tolist()):
            if isinstance(envelopes, str) or controlnet_conditioning_scale == 0:
                times = [0.5]
            else:
                curve = envelopes[row]
                rising = (curve[1:] > 0.05) & (curve[:-1] <= 0.05)
                times = (rising.nonzero().flatten() / 125 + 0.008).tolist()
            sounds.append(torch.from_numpy(strikes(times, MATERIALS[index]))[None])
        return torch.stack(sounds)


def test_a_set_scores_perfectly_against_itself(judge):
    rows, summary = score_clips([scored(), scored()], judge)
    assert len(rows) == summary["num_clips"] == 2
    assert summary["onset_f1_50"] == summary["onset_f1_100"] == summary["onset_count_ratio"] == 1
    assert summary["onset_hit_recall_50"] == summary["onset_scratch_recall_50"] == 1
    assert summary["envelope_l1"] == 0
    assert summary["envelope_correlation"] == pytest.approx(1)
    assert summary["median_absolute_lag_ms"] == pytest.approx(0, abs=1e-6)
    assert summary["leak_db"] <= -50
    assert summary["material_accuracy"] == 1


def test_a_late_set_loses_its_onsets_at_the_narrow_tolerance_only(judge):
    rows, summary = score_clips([scored(shift=0.07)], judge)
    assert (summary["onset_f1_50"], summary["onset_f1_100"]) == (0, 1)
    assert rows[0]["lag_ms"] == pytest.approx(70, abs=2)
    assert summary["median_absolute_lag_ms"] == pytest.approx(rows[0]["lag_ms"])


def test_clips_of_several_materials_are_not_judged(judge):
    rows, summary = score_clips([scored(material=None)], judge)
    assert rows[0]["classified_as"] is None
    assert summary["material_accuracy"] is None
    assert summary["num_material"] == 0


def test_sounds_of_unequal_length_are_refused_by_name(judge):
    clip = scored()
    with pytest.raises(ValueError, match="a at 0 s"):
        score_clips([ScoredClip(**vars(clip) | {"generated": clip.generated[:-1]})], judge)


def run_all(pipeline, judge, root, folder, **options):
    dataset = GreatestHits(root, "test", spec=SPEC, fields=("audio", "envelope_audio"))
    sampling = {"num_inference_steps": 3, "guidance_scale": 1.5}
    settings = {"options": sampling, "seed": 100, "batch_size": 3} | options
    conditions = choose_conditions(["predicted", "true"], controls=True)
    indices = list(range(len(dataset)))
    partners = pick_partners(dataset, indices, 100)
    sounds = ClipSounds(folder, {"seed": 100})
    generate_sounds(pipeline, dataset, sounds, conditions=conditions, indices=indices, partners=partners, **settings)
    pairs = clip_pairs(dataset, sounds, conditions, indices, partners)
    rows, _, _ = score_pairs(pairs, judge, CLIP_METRICS, Process())
    return {name: scores_of(found) for name, found in rows.items()}


def test_each_condition_has_the_inputs_of_its_name(judge, root, videos_unread, tmp_path):
    found = {name: scores.summary for name, scores in run_all(Pipeline(), judge, root, tmp_path / "s").items()}
    assert found["reference"]["onset_f1_50"] == found["true"]["onset_f1_50"] == 1
    assert found["true"]["material_accuracy"] == 1
    assert found["predicted"]["onset_count_ratio"] == found["control scale 0"]["onset_count_ratio"] == 0.5
    assert found["flat envelope"]["onset_count_ratio"] == 0
    swapped = found["other video"], found["other video" + AGAINST_OTHER]
    assert [scores["material_accuracy"] for scores in swapped] == [0, 1]
    assert swapped[0]["onset_f1_50"] == 1
    borrowed = found["other envelope"], found["other envelope" + AGAINST_OTHER]
    assert borrowed[1]["onset_f1_50"] == 1 > borrowed[0]["onset_f1_50"]
    assert borrowed[0]["material_accuracy"] == 1


def test_the_model_gets_no_sound_or_caption_and_one_seed_per_clip(judge, root, videos_unread, tmp_path):
    pipeline = Pipeline()
    run_all(pipeline, judge, root, tmp_path / "s")
    for call in pipeline.calls:
        assert set(call["batch"]) == {"frames", "motion", "motion_ages"}
        assert call["options"] == {"present": ("video",), "num_inference_steps": 3, "guidance_scale": 1.5}
    assert {tuple(call["seeds"]) for call in pipeline.calls} == {(100, 101, 102), (103,)}


def test_scores_do_not_depend_on_the_batch_size(judge, root, videos_unread, tmp_path):
    together, alone = (run_all(Pipeline(), judge, root, tmp_path / str(n), batch_size=n) for n in (4, 1))
    assert {n: s.summary for n, s in together.items()} == {n: s.summary for n, s in alone.items()}


def test_a_killed_run_resumes_where_it_stopped(judge, root, videos_unread, tmp_path):
    whole = run_all(Pipeline(), judge, root, tmp_path / "s")
    lost = sorted((tmp_path / "s" / "other_video").glob("*.wav"))[1:3]
    for path in lost:
        path.unlink()
    pipeline = Pipeline()
    again = run_all(pipeline, judge, root, tmp_path / "s")
    assert [call["seeds"] for call in pipeline.calls] == [[101, 102]]
    assert {n: s.summary for n, s in again.items()} == {n: s.summary for n, s in whole.items()}
    with pytest.raises(ValueError, match="another seed"):
        ClipSounds(tmp_path / "s", {"seed": 1})


def test_partners_are_of_another_material(root):
    dataset = GreatestHits(root, "test", spec=SPEC)
    partners = pick_partners(dataset, range(4), seed=0)
    assert all(dataset.clips[i].materials != dataset.clips[j].materials for i, j in partners.items())
    dataset.clips = dataset.clips[:1]
    with pytest.raises(ValueError, match="leave the controls out"):
        pick_partners(dataset, [0], seed=0)


def test_a_limit_spreads_over_the_whole_split():
    assert pick_clips(9, 3) == [0, 4, 8]
    assert pick_clips(3, 9) == pick_clips(3, None) == [0, 1, 2]
    assert len(set(pick_clips(100, 99))) == 99
    with pytest.raises(ValueError, match="limit of 0"):
        pick_clips(5, 0)


def test_the_table_names_its_columns_and_dashes_what_is_missing(judge):
    console = Console(width=200, record=True)
    scores = {"reference": score_clips([scored(material=None)], judge), "true": score_clips([scored()], judge)}
    print_report(Report("t", {}, scores, oracle=("true",)), console)
    text = console.export_text()
    assert "true †" in text and "† uses the reference sound" in text
    lines = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in text.splitlines() if "│" in line}
    assert lines["onset F1, 50 ms"] == "1.000"
    assert {lines[f"onset {name}, {tolerance} ms"] for name in ("precision", "recall") for tolerance in (50, 100)} == {
        "1.000"
    }
    narrow = Console(width=80, record=True)
    print_report(Report("t", {}, dict.fromkeys("abcdefgh", scores["true"])), narrow)
    assert "…" not in narrow.export_text()
    assert lines["material accuracy"] == "-"


def run_evaluate(root, tmp_path, judge, monkeypatch, **options):
    checkpoint = tmp_path / "release"
    judge.save_pretrained(checkpoint / "judge")
    index = {
        "spec": asdict(SPEC),
        "parts": {},
        "sha256": {"a": "b"},
        "trained_on": {"data": "GH", "split": "train", "video_ids": options.pop("seen", [])},
    }
    (checkpoint / "model_index.json").write_text(json.dumps(index))
    monkeypatch.setattr(run, "FoleyGRAMPipeline", Pipeline)
    monkeypatch.setattr(scoring, "MaterialJudge", Judge)
    conditions = choose_conditions(["predicted", "true"], controls=True)
    settings = {"conditions": conditions, "num_inference_steps": 2, "limit": 3, "batch_size": 2} | options
    settings = {"metrics": [*CLIP_METRICS, "alignment"], "weights": tmp_path / "none"} | settings
    return run.evaluate(checkpoint, root, **settings, show_progress=False)


def test_evaluate_prints_and_writes_everything(judge, root, videos_unread, monkeypatch, tmp_path, capsys):
    report = run_evaluate(root, tmp_path, judge, monkeypatch)
    report_results(report, tmp_path / "deep" / "scores.json")
    content = json.loads((tmp_path / "deep" / "scores.json").read_text())
    assert content["summary"] == {name: value.summary for name, value in report.scores.items()}
    assert content["protocol"]["num_clips"] == 3
    assert content["protocol"]["onsets"]["delta"] > 0
    assert {"soxr", "av", "scipy"} <= content["protocol"]["versions"].keys()
    assert len(content["protocol"]["checkpoint_sha256"]) == len(content["protocol"]["references_sha256"]) == 64
    assert content["alignment"]["material_video_to_audio"] == 1
    assert content["oracle"] == ["true", "flat envelope", "other video", "other envelope (other's truth)"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["scores.json"]
    printed = capsys.readouterr().out
    assert "material accuracy" in printed
    assert "auc" in printed


def test_scoring_videos_that_were_trained_on_warns(judge, root, videos_unread, monkeypatch, tmp_path):
    unseen = run_evaluate(root, tmp_path, judge, monkeypatch, metrics=["onsets"])
    assert not any("trained on" in note for note in unseen.notes)
    report = run_evaluate(root, tmp_path, judge, monkeypatch, metrics=["onsets"], seen=["2000-01-01-00-00-00"])
    assert "trained on 1 of the 3 videos" in report.notes[0]
    assert "envelope_l1" not in report.scores["true"].summary and not report.alignment


def test_a_missing_judge_gives_the_command_to_train_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="train one"):
        scoring.load_judge(tmp_path / "judge")


def test_an_unknown_metric_lists_what_there_is():
    with pytest.raises(ValueError, match="unknown metrics fad; choose among onsets, envelope"):
        choose_metrics(["onsets", "fad"])
    with pytest.raises(ValueError, match="material needs a judge"):
        choose_metrics(["material"], judge=False)
    assert "material" not in choose_metrics(None, judge=False)
    assert choose_metrics(["onsets", " envelope", "onsets "]) == ("onsets", "envelope")


def test_the_way_out_for_the_own_encoder_without_a_checkpoint_is_one():
    with pytest.raises(ValueError, match=r"--embedder foleygram.*=checkpoints/mini") as raised:
        choose_metrics(["foleygram-audio"])
    text = str(raised.value).split("--embedder ")[1]
    ear = load_class(text.replace("checkpoints/mini", str(ROOT / "checkpoints/mini")))
    assert ear.identity["name"] == "foleygram-audio"
