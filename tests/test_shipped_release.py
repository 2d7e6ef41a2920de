"""The shipped release meets a minimum of quality: clips it was not trained on, few sampling steps, generous bounds."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.evaluation.material import MaterialJudge

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The folder of `foleygram evaluate` on the six example videos: video and caption in, 8 steps."""
    out = tmp_path_factory.mktemp("quality")
    arguments = ["evaluate", "--checkpoint", ROOT / "checkpoints" / "mini", "--data", ROOT / "data" / "examples"]
    arguments += ["--conditions", "vt", "--no-controls", "--metrics", "onsets,envelope,material", "--steps", 8]
    ran = CliRunner().invoke(app, [str(argument) for argument in [*arguments, "--report-clips", 0, "--out", out]])
    assert ran.exit_code == 0, ran.output
    return out


def test_sound_is_in_sync_and_silent_between_hits(report):
    scores = json.loads((report / "report.json").read_text())["summary"]["vt"]
    assert scores["onset_f1_50"] > 0.8
    assert scores["envelope_correlation"] > 0.75
    assert scores["median_absolute_lag_ms"] < 20
    assert scores["leak_db"] < -35


def rolloff(path):
    """Frequency in Hz below which 99% of a sound's energy is."""
    sound, rate = soundfile.read(path, always_2d=True)
    energy = (np.abs(np.fft.rfft(sound.mean(1))) ** 2).cumsum()
    return np.searchsorted(energy, 0.99 * energy[-1]) * rate / len(sound)


def test_sound_has_the_bandwidth_of_the_reference(report):
    for reference in sorted((report / "sounds" / "reference").glob("*.wav")):
        assert rolloff(report / "sounds" / "vt" / reference.name) > 0.5 * rolloff(reference), reference.name


def test_the_judge_recognises_the_material(report):
    """Chance is about one clip in ten: two of the judge's 17 materials are right for each."""
    judge = MaterialJudge.from_pretrained(ROOT / "checkpoints" / "mini" / "judge").eval()
    right = 0
    for path in sorted((report / "sounds" / "vt").glob("*.wav")):
        events = ROOT / "data" / "examples" / f"{path.stem.rpartition('_')[0]}_times.txt"
        sound, rate = soundfile.read(path, always_2d=True, dtype="float32")
        heard = judge.classify(torch.from_numpy(sound.mean(1))[None], rate)[0]
        right += heard in {line.split()[1] for line in events.read_text().splitlines()}
    assert right >= 2
