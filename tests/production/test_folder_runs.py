"""Folder runs give the same bytes when killed at any time and resumed, or divided among processes."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.production.manifest import DONE, MANIFEST, WORK, Manifest

# Another number of threads rounds otherwise.
SAME_THREADS = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def arguments(videos, out, release, *more):
    common = ("--checkpoint", release, "--steps", 3, "--device", "cpu", "--batch-size", 4)
    return ["generate", *map(str, (videos, "--out", out, *common, *more))]


def run(*given):
    result = CliRunner().invoke(app, arguments(*given))
    assert "Traceback" not in result.output
    return result


def results(out):
    """Bytes of every result by name, without the manifest, which holds times, and unfinished files."""
    files = (path for path in out.rglob("*") if path.is_file() and WORK not in path.parts and path.name != MANIFEST)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def states(out):
    return {row.name: (row.state, row.batch) for row in Manifest(out).rows.values()}


@pytest.fixture(scope="module")
def whole(tiny_release, flickers, tmp_path_factory):
    """Results of an uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(flickers, out, tiny_release).exit_code == 0
    assert not (out / WORK).exists()
    return out


def test_batches_count_windows(whole):
    # windows of 2 s with a quarter in common: 1, 2, 1 | 3, 1 | 1
    assert [batch for _, batch in states(whole).values()] == [0, 0, 0, 1, 1, 2]


KILLS = """
import json, os, random, signal, sys, time
from multiprocessing import forkserver
from pathlib import Path
from foleygram.cli import main
from foleygram.console import generate_with_progress
from foleygram.media.isolate import run_isolated
from foleygram.production.manifest import Manifest
from foleygram.production.inputs import read_length
from foleygram.production.job import JobOptions
from foleygram.spec import ClipSpec

count, out, video, *command = sys.argv[1:]
run_isolated(read_length, Path(video), JobOptions(), ClipSpec())
# The forks share the server of processes that runs now; that it is no child of theirs must not make them start another.
forkserver._forkserver.ensure_running = lambda: None

def forked():
    child = os.fork()
    if not child:
        sys.stdout = open(os.devnull, "w")
        try:
            main(command)
        finally:
            os._exit(0)
    return child

def look():
    files = [p for p in Path(out).rglob("*") if p.is_file() and not {".foleygram", "manifest.csv"} & set(p.parts)]
    done = {name for row in Manifest(Path(out)).rows.values() if row.state == "done" for name in row.written}
    names = {str(p.relative_to(out)): p for p in files}
    return {n: [n in done, p.stat().st_mtime_ns, p.read_bytes().hex()] for n, p in names.items()}

seen, moments = [], random.Random(0)
longest = 2.0
for _ in range(int(count)):
    child = forked()
    time.sleep(moments.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    time.sleep(0.3)  # until its readers and writers have ended
    seen.append(look())
os.waitpid(forked(), 0)
seen.append(look())
json.dump(seen, sys.stdout)
"""


@pytest.mark.parametrize("count", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_times_it_ends_with_the_same_results(tiny_release, flickers, whole, tmp_path, count):
    out = tmp_path / "out"
    first = next(iter(sorted(flickers.iterdir())))
    command = [sys.executable, "-c", KILLS, str(count), str(out), str(first), *arguments(flickers, out, tiny_release)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=SAME_THREADS)
    seen = json.loads(done.stdout)
    truth = results(whole)
    for before, after in zip(seen, [*seen[1:], seen[-1]], strict=True):
        for name, (recorded, _, content) in before.items():
            assert bytes.fromhex(content) == truth[name], name  # never a partial file
            assert after[name] == before[name] or not recorded, name  # generated once
    assert {name: bytes.fromhex(content) for name, (_, _, content) in seen[-1].items()} == truth
    assert states(out) == states(whole) and not (out / WORK).exists()


def test_finished_files_are_not_generated_again(tiny_release, flickers, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "clip 1.wav").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run(flickers, out, tiny_release).exit_code == 0
    changed = {path.name for path in out.iterdir() if path.stat().st_mtime_ns != before.get(path.name)}
    assert {name for name in changed if name != MANIFEST} == {n for n in results(whole) if n.startswith("clip 1.")}
    assert results(out) == results(whole)


def test_two_processes_give_the_bytes_of_one(tiny_release, flickers, whole, tmp_path):
    out = tmp_path / "out"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "foleygram", *arguments(flickers, out, tiny_release)]
    done = subprocess.run(command, capture_output=True, text=True, env=SAME_THREADS)
    assert done.returncode == 0, done.stderr
    assert results(out) == results(whole) and states(out) == states(whole)
    assert done.stdout.count("results are in") == 1  # one process prints


def test_other_settings_make_new_batches_of_the_rest(tiny_release, flickers, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "out")
    (out / "clip 5.wav").unlink()
    assert run(flickers, out, tiny_release, "--seed", 4).exit_code == 0
    assert states(out)["clip 5"] == (DONE, 3)
    assert results(out)["clip 4.wav"] == results(whole)["clip 4.wav"]
    assert results(out)["clip 5.wav"] != results(whole)["clip 5.wav"]


def test_an_edited_envelope_or_reference_is_reported(tiny_release, flickers, tmp_path):
    video, out = flickers / "clip 0.mp4", tmp_path / "out"
    envelope, reference = tmp_path / "hits.csv", tmp_path / "reference.wav"
    envelope.write_text("time,velocity\n0.2,90\n")
    soundfile.write(reference, np.random.default_rng(0).normal(0, 0.1, 9_000), 16_000)
    common = (video, out, tiny_release, "--envelope", envelope, "--reference-audio", reference)
    assert run(*common).exit_code == 0
    before = results(out)
    again = run(*common)
    assert "edited since" not in again.output and results(out) == before
    for edit in (
        lambda: envelope.write_text("time,velocity\n0.6,90\n"),  # as many bytes as before
        lambda: soundfile.write(reference, np.random.default_rng(1).normal(0, 0.1, 9_000), 16_000),
    ):
        edit()
        kept = " ".join(run(*common).output.split())
        assert "from files edited since; --overwrite replaces it" in kept and results(out) == before
        assert run(*common, "--overwrite").exit_code == 0
        assert results(out)["clip 0.wav"] != before["clip 0.wav"]
        before = results(out)


def test_after_an_edited_envelope_a_killed_run_makes_new_batches(tiny_release, flickers, tmp_path):
    out, envelope = tmp_path / "out", tmp_path / "hits.csv"
    envelope.write_text("time,velocity\n0.2,90\n")
    common = (flickers, out, tiny_release, "--envelope", envelope)
    assert run(*common).exit_code == 0
    before = results(out)
    (out / "clip 1.wav").unlink()  # as a kill before its end leaves it
    envelope.write_text("time,velocity\n0.6,90\n")
    result = run(*common)
    assert result.output.count("edited since") == 5 and states(out)["clip 1"] == (DONE, 3)
    assert {name for name, content in results(out).items() if content != before[name]} == {
        f"clip 1.{kind}" for kind in ("wav", "mp4", "json")
    }


def test_files_of_an_earlier_run_are_removed_with_the_next_result_and_not_before(
    tiny_release, flickers, tmp_path, monkeypatch
):
    from foleygram.pipeline.pipeline import FoleyGRAMPipeline

    def full(self, requests, **options):
        raise RuntimeError("out of memory")

    video, out = flickers / "clip 0.mp4", tmp_path / "out"
    common = (video, out, tiny_release, "--overwrite")
    assert run(*common, "--takes", 3, "--stems", "--segment", "0:0.5:wood", "--container", "mkv").exit_code == 0
    before = results(out)
    assert {"clip 0.mkv", "stems/clip 0/1_0.00-0.50.wav"} <= before.keys() and len(before) == 7
    with monkeypatch.context() as broken:
        broken.setattr(FoleyGRAMPipeline, "generate", full)
        failed = run(*common)
    assert failed.exit_code == 1 and "the files there are from an earlier run" in " ".join(failed.output.split())
    assert results(out) == before
    (out / "takes" / "mine.txt").write_text("kept")
    assert run(*common).exit_code == 0
    assert set(results(out)) == {"clip 0.wav", "clip 0.mp4", "clip 0.json", "takes/mine.txt"}
    assert not (out / "stems").exists() and not (out / "takes" / "clip 0").exists()


def test_a_changed_video_is_reported(tiny_release, flickers, whole, tmp_path):
    videos, out = shutil.copytree(flickers, tmp_path / "videos"), shutil.copytree(whole, tmp_path / "out")
    changed = bytearray((videos / "clip 0.mp4").read_bytes())
    changed[changed.index(b"mdat") + 500] ^= 1  # as many bytes as before
    (videos / "clip 0.mp4").write_bytes(changed)
    result = run(videos, out, tiny_release)
    assert "made from another clip 0.mp4" in result.output and results(out) == results(whole)


def test_a_clip_that_fails_in_the_model_does_not_affect_the_others(
    tiny_release, flickers, whole, tmp_path, monkeypatch
):
    from foleygram.pipeline.conditions import EncodedRequest
    from foleygram.pipeline.pipeline import FoleyGRAMPipeline

    generate = FoleyGRAMPipeline.generate

    def fragile(self, requests, **options):
        if any(isinstance(r, EncodedRequest) and r.request.video.seconds == 2.5 for r in requests):
            raise RuntimeError("out of memory")
        return generate(self, requests, **options)

    monkeypatch.setattr(FoleyGRAMPipeline, "generate", fragile)
    result = run(flickers, tmp_path, tiny_release)
    assert result.exit_code == 1 and "clip 1.mp4: out of memory" in result.output
    assert results(tmp_path) == {k: v for k, v in results(whole).items() if not k.startswith("clip 1.")}
    monkeypatch.setattr(FoleyGRAMPipeline, "generate", generate)
    assert run(flickers, tmp_path, tiny_release).exit_code == 0
    assert results(tmp_path) == results(whole)


def test_a_second_run_in_the_same_folder_is_refused(tiny_release, flickers, tmp_path):
    from filelock import FileLock

    (tmp_path / WORK).mkdir()
    with FileLock(tmp_path / WORK / "lock"):
        result = run(flickers, tmp_path, tiny_release)
    assert result.exit_code == 1 and "another run writes there" in result.output


def test_takes_are_listed_with_both_scores_and_prompts_change_the_sound(tiny_release, flickers, whole, tmp_path):
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("file,prompt,from,to\nclip 0.mp4,A person hits wood.,,\nclip 3.mp4,wood,3,5\n")
    out = tmp_path / "out"
    result = run(flickers, out, tiny_release, "--sheet", sheet, "--takes", 2, "--segment", "0:0.5:wood")
    assert result.exit_code == 0, result.output
    rows = Manifest(out).rows
    assert all(sorted(take[0] for take in row.takes) == [1, 2] for row in rows.values())
    listed = result.output.count("clip 2.mp4") - result.output.count("clip 2.mp4: done, but")
    assert listed == 3 and "no independent judge" in " ".join(result.output.split())
    first = {name: row.takes[0][0] for name, row in rows.items()}
    assert set(first.values()) <= {1, 2}
    assert results(out)["clip 3.wav"] != results(whole)["clip 3.wav"]
    wrong = run(flickers, tmp_path / "wrong", tiny_release, "--segment", "4:9:wood")
    assert wrong.exit_code == 1 and wrong.output.count("it must lie within") == 6


def test_a_reference_sound_of_another_rate_changes_the_sound(tiny_release, flickers, whole, tmp_path):
    reference = tmp_path / "reference.wav"
    soundfile.write(reference, np.random.default_rng(0).normal(0, 0.1, (9_000, 2)), 22_050)
    video = flickers / "clip 0.mp4"
    common = (video, tmp_path / "out", tiny_release, "--reference-audio")
    assert run(*common, reference).exit_code == 0
    plain = run(video, tmp_path / "plain", tiny_release)
    muted = run(video, tmp_path / "muted", tiny_release, "--reference-audio", reference, "--weights", "audio=0")
    assert plain.exit_code == muted.exit_code == 0
    heard = [(tmp_path / name / "clip 0.wav").read_bytes() for name in ("out", "plain", "muted")]
    assert heard[0] != heard[1] == heard[2]
    absent = run(video, tmp_path / "absent", tiny_release, "--reference-audio", tmp_path / "no.wav")
    assert absent.exit_code == 1 and "no.wav: no such file" in absent.output
