"""The listening page in a real browser: heard, answered by keys, reloaded, mended, downloaded, analysed."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.listening.page import key_path, match_systems, write_test
from foleygram.listening.plan import Plan, is_mirrored
from foleygram.media.audio import write_audio

EVEN, ODD = "0" * 31 + "2", "0" * 31 + "3"
GRADES = {"good": 5, "poor": 2}


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems on three clips of a fifth of a second, sounds alone, with one attention check."""
    folder = tmp_path_factory.mktemp("test")
    for system, level in (("good", 0.3), ("poor", 0.05)):
        (folder / system).mkdir()
        for number in range(3):
            tone = level * torch.sin(torch.arange(3200) * (number + 1) / 20)[None]
            write_audio(folder / system / f"clip{number}.wav", tone, 16_000)
    write_test(folder / "page", match_systems([folder / "good", folder / "poor"]), seed=4, num_checks=1)
    return folder / "page"


def visit(browser: Any, folder: Path, listener: str, context: Any = None) -> Any:
    """Open the page from disk, as a listener of a known identity."""
    context = context or browser.new_context(accept_downloads=True)
    drawn = json.dumps([int(listener[i : i + 2], 16) for i in range(0, 32, 2)])
    page = context.new_page()
    page.set_default_timeout(120_000)  # tests may share two cores
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.add_init_script(f"crypto.getRandomValues = (into) => (into.set({drawn}), into);")
    page.goto((folder / "index.html").as_uri())
    return page


def media_shown(page: Any) -> list[str]:
    return page.eval_on_selector_all(
        "main audio, main video", "all => all.map(one => one.src.match(/([0-9a-f]{12})\\./)[1])"
    )


def count(page: Any) -> str:
    page.wait_for_function("document.getElementById('count').textContent")
    return page.inner_text("#count")


def hear(page: Any, keys: str) -> None:
    """Play everything that is shown to its end, one after the other."""
    for number, key in enumerate(keys, start=1):
        page.keyboard.press(key)
        page.wait_for_function(f"document.querySelectorAll('.player.done').length >= {number}")


def answer_comparison(page: Any, plan: Plan) -> str:
    """Prefer the better system by key, go on; returns what was preferred."""
    shown = [plan.media[name].system for name in media_shown(page)]
    hear(page, "ab")
    page.keyboard.press("ArrowLeft" if shown[0] == "good" or shown[1] == "anchor" else "ArrowRight")
    page.keyboard.press("Enter")
    return shown[0]


def answer_rating(page: Any, plan: Plan) -> None:
    [name] = media_shown(page)
    page.keyboard.press("Space")
    page.wait_for_selector(".player.done")
    page.keyboard.press(str(GRADES[plan.media[name].system]))
    page.keyboard.press("Enter")


def download(page: Any, path: Path) -> dict[str, Any]:
    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename.startswith("answers-")
    waiting.value.save_as(path)
    return json.loads(path.read_text())


def test_a_listener_goes_through_it_all_with_the_keyboard(browser: Any, page_folder: Path, tmp_path: Path) -> None:
    plan = Plan.read(key_path(page_folder))
    (tmp_path / "answers").mkdir()
    left = {}
    for listener in (EVEN, ODD):
        page = visit(browser, page_folder, listener)
        assert "compare 4 pairs of short sounds, then rate 6 short sounds" in page.inner_text("main")
        page.keyboard.press("Enter")
        seen = []
        for number in range(1, 5):
            assert count(page) == f"Comparison {number} of 4"
            seen.append(frozenset(media_shown(page)))
            left.setdefault(seen[-1], []).append(media_shown(page)[0])
            answer_comparison(page, plan)
            if number == 2:  # a reload loses nothing
                page.reload()
                assert count(page) == "Comparison 3 of 4"
        assert set(seen) == {frozenset((pair.left, pair.right)) for pair in plan.pairs.values()}
        page.keyboard.press("Enter")
        for number in range(1, 7):
            assert count(page) == f"Rating {number} of 6"
            answer_rating(page, plan)
        content = download(page, tmp_path / "answers" / f"{listener}.json")
        assert content["listener"] == listener and content["started"] < content["finished"]
        assert page.get_attribute(".bar", "aria-valuenow") == "100"
        assert page.errors == []
        page.context.close()
    assert all(one != other for one, other in left.values())  # the second listener saw the mirror image
    outcome = CliRunner().invoke(
        app, ["listening", str(page_folder), "--collect", str(tmp_path / "answers"), "--out", str(tmp_path / "f.json")]
    )
    assert outcome.exit_code == 0, outcome.output
    found = json.loads((tmp_path / "f.json").read_text())
    assert (found["num_listeners"], found["left_out"]) == (2, [])
    assert found["duels"][0]["share"] == {"value": 1, "low": 1, "high": 1, "num_answers": 6}
    assert {system: mean["value"] for system, mean in found["opinions"]["quality"].items()} == GRADES


def test_answers_need_listening_and_can_be_changed(browser: Any, page_folder: Path) -> None:
    page = visit(browser, page_folder, EVEN)
    page.click("#next")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert count(page) == "Comparison 1 of 4" and page.is_disabled("#next")
    assert page.is_disabled(".choices button >> nth=0")
    hear(page, "a")
    assert page.is_disabled(".choices button >> nth=0")
    page.click(".player >> nth=1")
    page.wait_for_function("document.querySelectorAll('.player.done').length == 2")
    page.click(".choices button >> nth=1")
    page.keyboard.press("Enter")  # the mouse leaves the keys to the page
    assert count(page) == "Comparison 2 of 4"
    page.keyboard.press("Backspace")
    assert count(page) == "Comparison 1 of 4"
    assert page.get_attribute(".choices button >> nth=1", "aria-pressed") == "true"
    page.keyboard.press("ArrowRight")
    assert page.get_attribute(".choices button >> nth=2", "aria-pressed") == "true"
    kept = page.evaluate("JSON.parse(localStorage.getItem(STORE))")
    assert [answer["choice"] for answer in kept["answers"].values()] == ["right"]
    assert page.errors == []
    page.context.close()


def test_the_order_is_the_listeners_own_and_no_clip_comes_twice_running(browser: Any, page_folder: Path) -> None:
    page = visit(browser, page_folder, EVEN)
    orders = page.evaluate(
        "Array.from({length: 40}, (_, i) => plan((i * 12345677).toString(16).padStart(8, '0') + '0'.repeat(24))"
        ".filter(step => step.trial).map(step => [step.trial.id, step.trial.clip]))"
    )
    assert len({json.dumps(order) for order in orders}) > 30
    plan = Plan.read(key_path(page_folder))
    for order in orders:
        assert sorted(name for name, _ in order) == sorted([*plan.pairs, *plan.ratings])
        ratings = [clip for name, clip in order if name in plan.ratings]
        assert sum(one == other for one, other in pairwise(ratings)) <= 1
    for listener in (EVEN, ODD):
        shown = page.evaluate(
            f"plan('{listener}').filter(s => s.trial && s.trial.left).map(s => [s.trial.id, s.trial.left])"
        )
        for name, left in shown:
            pair = plan.pairs[name]
            assert left == (pair.right if is_mirrored(listener) else pair.left)
    page.context.close()


def test_clips_that_the_browser_cannot_play_are_skipped_with_a_message(
    browser: Any, page_folder: Path, tmp_path: Path
) -> None:
    plan = Plan.read(key_path(page_folder))
    broken = tmp_path / "page"
    (broken / "media").mkdir(parents=True)
    (broken / "index.html").write_bytes((page_folder / "index.html").read_bytes())
    for path in (page_folder / "media").iterdir():
        (broken / "media" / path.name).write_bytes(b"no sound")
    page = visit(browser, broken, EVEN)
    page.click("#next")
    for _ in range(4):
        page.click("text=Skip it")
    page.click("#next")
    for _ in range(6):
        page.click("text=Skip it")
    content = download(page, tmp_path / "answers.json")
    assert {answer.get("choice", answer.get("ratings")) for answer in content["answers"]} == {"unplayable", None}
    assert len(content["answers"]) == len(plan.pairs) + len(plan.ratings)
    page.context.close()


@pytest.mark.parametrize("kept", ["no JSON", "null", '{"page": "other"}', '{"page": "PAGE", "listener": "x"}'])
def test_damaged_storage_starts_afresh(browser: Any, page_folder: Path, kept: str) -> None:
    page = visit(browser, page_folder, EVEN)
    page.evaluate("text => localStorage.setItem(STORE, text.replace('PAGE', test.page))", kept)
    page.reload()
    page.keyboard.press("Enter")
    assert count(page) == "Comparison 1 of 4" and page.errors == []
    page.context.close()


def test_video_is_shown_with_each_sound(browser: Any, tmp_path: Path) -> None:
    for system, level in (("good", 0.3), ("poor", 0.05)):
        (tmp_path / system).mkdir()
        silent_film(tmp_path / system / "clip.mp4")
        tone = level * torch.sin(torch.arange(6400) / 20)[None]
        write_audio(tmp_path / system / "clip.wav", tone, 16_000)
    folder = tmp_path / "page"
    plan = write_test(folder, match_systems([tmp_path / "good", tmp_path / "poor"]), seed=0)
    page = visit(browser, folder, EVEN)
    page.keyboard.press("Enter")
    assert len(media_shown(page)) == 2
    answer_comparison(page, plan)
    page.keyboard.press("Enter")
    for number in range(1, 3):
        assert count(page) == f"Rating {number} of 2"
        page.wait_for_function("document.querySelector('main video').videoWidth == 64")
        page.keyboard.press("Space")
        page.wait_for_selector(".player.done")
        page.keyboard.press("4")
        assert page.is_disabled("#next")  # with a video, its timing is asked as well
        page.keyboard.press("5")
        page.keyboard.press("Enter")
    content = download(page, tmp_path / "answers.json")
    ratings = [answer["ratings"] for answer in content["answers"] if "ratings" in answer]
    assert ratings == [{"timing": 4, "quality": 5}] * 2 and page.errors == []
    page.context.close()


def silent_film(path: Path) -> None:
    """Ten frames of 64 x 64 pixels in 0.4 seconds, as browsers show them."""
    with av.open(str(path), "w") as target:
        stream: Any = target.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8))
            frame.pts = number
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))


def test_it_makes_no_network_requests(browser: Any, page_folder: Path) -> None:
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = visit(browser, page_folder, EVEN, context)
    page.keyboard.press("Enter")
    hear(page, "ab")
    assert asked and all(url.startswith(page_folder.as_uri() + "/") for url in asked)
    context.close()
