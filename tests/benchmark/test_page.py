"""The report's folder: metrics, rows, and a page that stands by itself, looked at in a real browser."""

import base64
import io
import json
import re
from html import unescape

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from foleygram.benchmark.clip_cards import choose_clips
from foleygram.benchmark.output import report_results
from foleygram.benchmark.report import Finding, Report
from foleygram.benchmark.run import evaluate_folders
from foleygram.cli import app


def strikes(times, rate=16_000, seconds=2.0):
    t = np.arange(round(seconds * rate)) / rate
    clicks = [np.where(t >= s, np.exp(-(t - s) / 0.02), 0) for s in times]
    return (0.4 * np.sin(2 * np.pi * 600 * t) * np.sum(clicks, axis=0)).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Seven references with times; the system is later by 20 ms more in every clip, and its last one is silent."""
    root = tmp_path_factory.mktemp("page")
    generated, reference = root / "system", root / "truth"
    generated.mkdir()
    reference.mkdir()
    for number in range(7):
        times = [0.3 + 0.05 * number, 1.0 + 0.07 * number]
        soundfile.write(reference / f"v{number}.wav", strikes(times), 16_000)
        (reference / f"v{number}_times.txt").write_text("".join(f"{t} wood hit static\n" for t in times))
        late = strikes([t + 0.02 * number for t in times]) * (number < 6)
        soundfile.write(generated / f"v{number}.wav", late, 16_000)
    return generated, reference


@pytest.fixture(scope="module")
def out(folders):
    folder = folders[0].parent / "out"
    options = ["--generated", str(folders[0]), "--reference", str(folders[1]), "--report-clips", "4"]
    outcome = CliRunner().invoke(app, ["evaluate", *options, "--out", str(folder)])
    assert outcome.exit_code == 0, outcome.output
    assert sorted(p.name for p in folder.iterdir()) == ["per_clip.csv", "report.html", "report.json"]
    return folder


def test_the_page_shows_the_json_s_values_and_fetches_nothing(out):
    content, page = json.loads((out / "report.json").read_text()), (out / "report.html").read_text()
    assert f">{content['summary']['system']['onset_f1_50']:.3f}<" in page
    low, high = content["intervals"]["system"]["envelope_correlation"]
    assert f"{low:.3f} to {high:.3f}" in page
    assert content["protocol"]["references_sha256"] in page and content["remarks"]["silent"][0] in unescape(page)
    links = re.findall(r"(?:src|href)=\"([^\"]{12})", page)
    assert links and all(link.startswith(("data:audio/f", "data:image/p")) for link in links)
    assert not re.search(r"@import|url\(|fetch\(|https?://(?!www\.w3\.org)", page)


def test_best_and_worst_clips_have_players_beside_their_references(out, folders):
    page = (out / "report.html").read_text()
    assert [re.match(r"[^<]*", part)[0] for part in page.split("<h3>")[1:]] == ["v0", "v1", "v5", "v4"]
    sounds = re.findall(r'data:audio/flac;base64,([^"]+)', page)
    assert len(sounds) == 8
    heard, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[1])), dtype="float32")
    made, _ = soundfile.read(folders[0] / "v0.wav", dtype="float32")
    assert rate == 16_000 and np.abs(heard - made).max() < 1e-4
    assert page.count('class="true"') == 2 * 8


def test_clips_are_ranked_by_onsets_then_by_correlation():
    def row(name, matched, correlation):
        counts = {"matched_50": matched, "num_detected": 2, "num_annotated": 2}
        return {"video_id": name, "start": 0.0, "envelope_correlation": correlation, **counts}

    rows = [row("a", 1, 0.9), row("b", 2, 0.1), row("c", 2, 0.7), row("d", 0, None)]
    best, worst = choose_clips(rows, 12)
    assert ([r["video_id"] for r in best], [r["video_id"] for r in worst]) == (["c", "b"], ["d", "a"])
    best, worst = choose_clips(rows, 1)
    assert ([r["video_id"] for r in best], worst) == (["c"], [])
    assert choose_clips([], 4) == ([], [])
    assert choose_clips([{**rows[0], "num_annotated": None}], 4).best


def test_an_earlier_report_is_compared_on_the_page_or_refused(folders, out, tmp_path):
    options = ["evaluate", "--generated", str(folders[0]), "--reference", str(folders[1]), "--report-clips", "0"]
    outcome = CliRunner().invoke(app, [*options, "--out", str(tmp_path), "--compare", str(out)])
    assert outcome.exit_code == 0, outcome.output
    page = (tmp_path / "report.html").read_text()
    assert "Since the earlier report" in page and "+0.000 (0.000 to 0.000)" in page
    changed = json.loads((out / "report.json").read_text())
    changed["protocol"]["onsets"]["delta"] = 0.07
    (tmp_path / "other.json").write_text(json.dumps(changed))
    outcome = CliRunner().invoke(
        app, [*options, "--out", str(tmp_path / "b"), "--compare", str(tmp_path / "other.json")]
    )
    assert outcome.exit_code == 1 and "onsets.delta (0.07 there, 0.25 here)" in outcome.output
    assert "Since the earlier report" not in (tmp_path / "b" / "report.html").read_text()


def test_names_and_notes_cannot_break_the_page(folders, tmp_path):
    from foleygram.benchmark.page import write_report_page

    finding = Finding("<b>", "a & b", ("<i>",), (("<script>",),), plot="<svg></svg>")
    write_report_page(
        tmp_path / "p.html",
        Report("<title>", {"num_clips": 1}, {}, notes=("<x>",), findings=(finding,)),
        {},
        num_clips=3,
    )
    page = (tmp_path / "p.html").read_text()
    assert page.count("<script>") == 1 and "&lt;x&gt;" in page and "<svg></svg>" in page and "<b></h2>" not in page


def test_an_unreadable_clip_leaves_the_page_whole(folders, tmp_path):
    report = evaluate_folders(*folders, show_progress=False)
    gone = [pair for pair in report.pairs["system"] if pair.video_id != "v0"]
    from foleygram.benchmark.page import write_report_page

    report.pairs["system"] = gone
    write_report_page(tmp_path / "p.html", report, {}, num_clips=2)
    assert (tmp_path / "p.html").read_text().count("<article") == 1


def test_a_phone_shows_all_of_the_header(folders, tmp_path, browser):
    from foleygram.benchmark.page import write_report_page

    report = evaluate_folders(*folders, show_progress=False)
    report.protocol.update(data="examples", num_inference_steps=25, guidance_scale=5.0)
    write_report_page(tmp_path / "p.html", report, {}, num_clips=0)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto((tmp_path / "p.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_a_click_on_a_timeline_plays_from_there(out, browser):
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((out / "report.html").as_uri())
    timeline = page.locator(".timeline").first
    box = timeline.bounding_box()
    timeline.click(position={"x": box["width"] / 2, "y": 20})
    page.wait_for_function("document.querySelector('audio').currentTime >= 1")
    now = page.evaluate("document.querySelector('.now').getAttribute('x1')")
    assert 480 < float(now) <= 1000
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == [] and errors == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_of_several_srun_processes_the_first_alone_delivers(tmp_path, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "1"}.items():
        monkeypatch.setenv(name, value)
    report_results(Report("second of two", {"seed": 0}, {}), tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()
    monkeypatch.setenv("SLURM_PROCID", "0")
    report_results(Report("first of two", {"seed": 0}, {}), tmp_path / "report.json")
    assert (tmp_path / "report.json").exists()
