"""Every action of the editor by mouse, touch and keyboard, in headless Chromium with the real server and miniature.

docs/editor.md lists the actions with the names of these tests.
"""

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from foleygram.envelope.editing.files import write_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.media.audio import read_audio
from foleygram.media.video import probe
from tests.app.browser import (
    EXAMPLE,
    Served,
    drag,
    make_takes,
    onsets,
    open_example,
    served,
    settle,
    spot,
    start_over,
    until,
    visit,
    wait_for_edit,
    wait_for_jobs,
)

ENVELOPE, STRIP, REGIONS, RULER = 230.0, 60.0, 109.0, 10.0
"""Heights of rows of the timeline, in pixels."""
FRAME = 1 / 25


@pytest.fixture(scope="module")
def running(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served"), "--steps", "2", "--max-seconds", "30") as one:
        yield one


@pytest.fixture(scope="module")
def opened(browser: Any, running: Served) -> Iterator[Any]:
    page = visit(browser, running.address)
    open_example(page)
    yield page
    assert page.failures == []
    page.close()


@pytest.fixture
def page(opened: Any) -> Any:
    start_over(opened)
    return opened


def visible(page: Any) -> tuple[float, float]:
    """Start and length of the visible span, in seconds."""
    settle(page)
    return tuple(float(page.locator("#timeline").get_attribute(f"data-{name}")) for name in ("start", "span"))


def focus(page: Any, index: int) -> None:
    page.locator(".onset").nth(index).focus()


# ---- onsets ----


def test_an_onset_is_dragged_in_time_and_level(page: Any) -> None:
    before = onsets(page)
    x, y = spot(page, before[1], ENVELOPE)
    to = spot(page, before[1] + 0.3, ENVELOPE)
    drag(page, (x, y), to)
    wait_for_edit(page, "--move-hit")
    moved = onsets(page)
    assert moved[1] == pytest.approx(before[1] + 0.3, abs=0.01)
    assert [*moved[:1], *moved[2:]] == [*before[:1], *before[2:]]
    level = page.locator(".onset").nth(1).get_attribute("aria-valuetext")
    x, y = spot(page, moved[1], ENVELOPE)
    drag(page, (x, y), (x, y - 48))
    page.wait_for_function("old => document.querySelectorAll('.onset')[1].ariaValueText !== old", arg=level)
    louder = page.locator(".onset").nth(1).get_attribute("aria-valuetext")
    assert int(louder.split()[2]) - int(level.split()[2]) == pytest.approx(6, abs=1)


@pytest.mark.parametrize(
    ("key", "by"),
    [("ArrowRight", FRAME), ("ArrowLeft", -FRAME), ("Shift+ArrowRight", 0.01), ("Shift+ArrowLeft", -0.01)],
)
def test_an_onset_is_nudged_by_keys(page: Any, key: str, by: float) -> None:
    before = onsets(page)
    focus(page, 2)
    page.keyboard.press(key)
    wait_for_edit(page, "--move-hit")
    assert onsets(page)[2] == pytest.approx(before[2] + by, abs=0.0011)
    assert page.evaluate("document.activeElement.ariaLabel") == "Onset 3 of 6"  # still focused
    page.keyboard.press(key)
    until(page, "document.querySelector('#summary').innerText.split('--move-hit').length === 3")
    assert onsets(page)[2] == pytest.approx(before[2] + 2 * by, abs=0.0011)


def test_an_onset_s_level_is_changed_by_keys(page: Any) -> None:
    onsets(page)
    focus(page, 0)
    level = int(page.locator(".onset").first.get_attribute("aria-valuetext").split()[2])
    for key, change in (("ArrowDown", -1), ("ArrowUp", 0)):
        page.keyboard.press(key)
        until(page, f"document.querySelector('.onset').ariaValueText.endsWith(' {level + change} dB')")


def test_an_onset_is_added_by_double_click_and_removed_by_delete(page: Any) -> None:
    before = onsets(page)
    page.mouse.dblclick(*spot(page, 2.6, ENVELOPE))
    wait_for_edit(page, "--add-hit")
    added = onsets(page)
    assert len(added) == len(before) + 1 and min(abs(time - 2.6) for time in added) < 0.02
    focus(page, int(np.argmin(np.abs(np.array(added) - 2.6))))
    page.keyboard.press("Delete")
    wait_for_edit(page, "--remove-hit")
    assert onsets(page) == before


def test_a_drag_after_a_double_click_selects_the_whole_span(page: Any) -> None:
    page.mouse.dblclick(*spot(page, 2.6, ENVELOPE))
    wait_for_edit(page, "--add-hit")
    drag(page, spot(page, 2.9, REGIONS), spot(page, 3.5, REGIONS))
    start, end = (float(field.input_value()) for field in page.locator("#regions li input[type=number]").all())
    assert (start, end) == pytest.approx((2.9, 3.5), abs=0.02)


def test_onsets_are_walked_by_page_keys_and_added_at_the_playhead(page: Any) -> None:
    before = onsets(page)
    focus(page, 0)
    page.keyboard.press("PageDown")
    assert page.evaluate("document.activeElement.ariaLabel") == "Onset 2 of 6"
    page.keyboard.press("PageUp")
    assert page.evaluate("document.activeElement.ariaLabel") == "Onset 1 of 6"
    page.mouse.click(*spot(page, 2.6, STRIP))
    page.keyboard.press("a")
    wait_for_edit(page, "--add-hit")
    assert len(onsets(page)) == len(before) + 1
    page.click("#add-hit")
    until(page, "document.querySelector('#summary').innerText.split('--add-hit').length === 3")


# ---- the curve ----


def test_the_envelope_is_drawn_freehand(page: Any) -> None:
    page.locator("#timeline").focus()
    page.keyboard.press("d")
    assert page.get_attribute("#tool-draw", "aria-checked") == "true"
    path = [spot(page, 2.5 + 0.05 * step, 260 - 12 * step) for step in range(8)]
    drag(page, spot(page, 2.45, 263), *path, spot(page, 2.95, 263))
    wait_for_edit(page, "--draw")
    assert any(2.4 < time < 2.95 for time in onsets(page))


def test_the_envelope_is_drawn_by_points(page: Any) -> None:
    page.click("#tool-points")
    for time, height in ((1.0, 263), (1.04, 180), (1.3, 263)):
        page.mouse.click(*spot(page, time, height))
    page.keyboard.press("Enter")
    wait_for_edit(page, "--draw")
    assert any(0.97 < time < 1.1 for time in onsets(page))
    for time, height in ((2.4, 263), (2.5, 200)):
        page.mouse.click(*spot(page, time, height))
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    settle(page)
    assert page.inner_text("#summary").count("--draw") == 1


def test_tools_are_chosen_by_keys(page: Any) -> None:
    page.locator("#timeline").focus()
    for key, tool in (("d", "draw"), ("p", "points"), ("v", "select")):
        page.keyboard.press(key)
        until(page, f"document.querySelector('#tool-{tool}').ariaChecked === 'true'")
        assert page.locator("[role=radio][aria-checked=true]").count() == 1


@pytest.mark.parametrize(
    ("button", "listed"),
    [("gain", "--gain 1.3"), ("shift", "--shift 1.3"), ("mute", "--mute 1.3"), ("quantise", "--quantise 25")],
)
def test_a_selected_time_span_is_edited(page: Any, button: str, listed: str) -> None:
    before = onsets(page)
    drag(page, spot(page, 1.3, STRIP), spot(page, 1.9, STRIP))
    page.click("#edit-menu > summary")
    assert float(page.input_value("#from")) == pytest.approx(1.3, abs=0.01)
    assert float(page.input_value("#to")) == pytest.approx(1.9, abs=0.01)
    page.click(f"#{button}")
    wait_for_edit(page, listed)
    page.click("#edit-menu > summary")
    after = onsets(page)
    if button == "mute":
        assert after == [time for time in before if not 1.3 <= time < 1.9]
    if button == "shift":
        assert after[1] == pytest.approx(before[1] + 0.1, abs=0.002)
    if button == "quantise":
        assert all(abs(time / FRAME - round(time / FRAME)) < 0.02 for time in after)


@pytest.mark.parametrize("key", ["Delete", "Backspace"])
def test_delete_mutes_the_selection_and_an_edit_without_one_says_what_to_do(page: Any, key: str) -> None:
    page.click("#edit-menu > summary")
    page.fill("#from", "1")
    page.fill("#to", "1")
    page.click("#mute")
    page.wait_for_selector("#message:has-text('Select a time span first')")
    page.click("#edit-menu > summary")
    drag(page, spot(page, 3.0, STRIP), spot(page, 3.4, STRIP))
    page.locator("#timeline").focus()
    page.keyboard.press(key)
    wait_for_edit(page, "--mute 3.0")
    assert page.is_hidden("#message")


def test_edits_are_undone_and_redone(page: Any) -> None:
    before = onsets(page)
    page.mouse.dblclick(*spot(page, 2.6, ENVELOPE))
    wait_for_edit(page, "--add-hit")
    after = onsets(page)
    page.keyboard.press("Control+z")
    assert onsets(page) == before and page.is_disabled("#undo")
    page.keyboard.press("Control+Shift+z")
    assert onsets(page) == after
    page.click("#undo")
    assert onsets(page) == before
    page.click("#redo")
    assert onsets(page) == after and page.is_disabled("#redo")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    assert onsets(page) == after


def test_an_envelope_is_loaded_measured_and_predicted(page: Any, tmp_path: Path) -> None:
    before = onsets(page)
    write_envelope(tmp_path / "two.csv", draw_hits([Hit(1.0, 0.1), Hit(3.0, 0.1)], seconds=4.5))
    page.click("#envelope-menu > summary")
    page.set_input_files("#load", str(tmp_path / "two.csv"))
    until(page, "document.querySelectorAll('.onset').length === 2")
    assert onsets(page) == pytest.approx([1.0, 3.0], abs=0.002)
    page.click("#from-audio")
    until(page, "document.querySelectorAll('.onset').length > 2")
    page.click("#from-predicted")
    until(page, f"document.querySelectorAll('.onset').length === {len(before)}")
    page.click("#envelope-menu > summary")
    assert onsets(page) == before


# ---- the view ----


def test_zoom_and_scroll_by_wheel_and_keys(page: Any) -> None:
    start, span = visible(page)
    page.mouse.move(*spot(page, 2.0, STRIP))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    until(page, "Number(document.querySelector('#timeline').dataset.span) < 2")
    zoomed = visible(page)
    assert zoomed[1] == pytest.approx(span / np.e, rel=0.02)
    x = (2.0 - zoomed[0]) / zoomed[1]
    assert x == pytest.approx(2.0 / span, abs=0.01)  # the time under the mouse stays
    page.mouse.wheel(0, 100)
    until(page, f"Number(document.querySelector('#timeline').dataset.start) > {zoomed[0]} + 0.01")
    page.locator("#scroll").fill("0.5")
    until(page, "document.querySelector('#timeline').dataset.start === '0.5000'")
    page.locator("#timeline").focus()
    page.keyboard.press("0")
    until(page, "document.querySelector('#timeline').dataset.start === '0.0000'")
    assert visible(page) == (start, span)
    page.keyboard.press("+")
    until(page, f"Number(document.querySelector('#timeline').dataset.span) < {span} - 0.1")
    page.keyboard.press("-")
    until(page, f"Math.abs(Number(document.querySelector('#timeline').dataset.span) - {span}) < 0.01")
    page.click("#zoom-in")
    until(page, f"Number(document.querySelector('#timeline').dataset.span) < {span} - 0.1")
    page.click("#zoom-out")
    until(page, f"Math.abs(Number(document.querySelector('#timeline').dataset.span) - {span}) < 0.01")
    until(page, "document.querySelector('#timeline').dataset.start === '0.0000'")


TALLEST = """() => {
  const shadow = document.querySelector("#waves > div").shadowRoot, { left } = document.querySelector("#canvas").getBoundingClientRect();
  let tallest = { height: 0 };
  for (const canvas of shadow.querySelectorAll(".canvases > div:nth-child(2) canvas")) {
    const { width, height } = canvas, box = canvas.getBoundingClientRect();
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    for (let x = 0; x < width; x += 1) {
      let drawn = 0;
      for (let y = 0; y < height; y += 1) drawn += data[4 * (y * width + x) + 3] > 127;
      if (drawn > tallest.height) tallest = { height: drawn, x: box.left + (x + 0.5) * box.width / width - left };
    }
  }
  return tallest;
}"""  # noqa: E501
"""The tallest column of the original sound's waveform: its height, and its pixel on the timeline."""


def test_the_waveforms_follow_zoom_and_scroll(page: Any) -> None:
    loudest = int(read_audio(EXAMPLE, sample_rate=16_000).abs().amax(0).argmax()) / 16_000
    width = page.locator("#canvas").bounding_box()["width"]

    def shown() -> float:
        """The time at which the waveform is tallest."""
        start, span = visible(page)
        tallest = page.evaluate(TALLEST)
        assert tallest["height"] > 30
        return start + tallest["x"] * span / width

    assert shown() == pytest.approx(loudest, abs=0.005 + visible(page)[1] / width)
    page.mouse.move(*spot(page, loudest, STRIP))
    for longest in (2, 0.3):
        page.keyboard.down("Control")
        page.mouse.wheel(0, -600)
        page.keyboard.up("Control")
        until(page, f"Number(document.querySelector('#timeline').dataset.span) < {longest}")
        assert shown() == pytest.approx(loudest, abs=0.006)
    page.locator("#scroll").fill(f"{loudest - 0.02:.3f}")
    until(page, f"Math.abs(Number(document.querySelector('#timeline').dataset.start) - {loudest - 0.02}) < 0.001")
    assert shown() == pytest.approx(loudest, abs=0.006)


# ---- playback ----


def test_space_and_j_k_l_play_in_sync(page: Any) -> None:
    page.locator("#timeline").focus()
    page.keyboard.press("Space")
    clock, seen = "Number(document.querySelector('#clock').value)", "document.querySelector('#video').currentTime"
    until(page, f"{clock} > 0.6 && Math.abs({seen} - {clock}) < 0.1")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.keyboard.press("Space")
    settle(page)
    stopped = page.evaluate("Number(document.querySelector('#clock').value)")
    page.wait_for_timeout(300)
    assert page.evaluate("Number(document.querySelector('#clock').value)") == stopped
    page.keyboard.press("l")
    page.keyboard.press("l")
    until(page, "document.querySelector('#video').playbackRate === 2")
    until(page, f"Number(document.querySelector('#clock').value) > {stopped} + 0.3")
    page.keyboard.press("k")
    ahead = page.evaluate("Number(document.querySelector('#clock').value)")
    page.keyboard.press("j")
    until(page, f"Number(document.querySelector('#clock').value) < {ahead} - 0.2")
    page.keyboard.press("k")
    page.click("#play")
    page.wait_for_selector("#play[aria-label=Pause]")
    page.click("#play")
    page.click("#back")
    settle(page)
    assert page.evaluate("Number(document.querySelector('#clock').value)") == 0


def test_the_playhead_is_moved_by_click_scrub_and_keys(page: Any) -> None:
    def now() -> float:
        settle(page)
        return page.evaluate("Number(document.querySelector('#clock').value)")

    page.mouse.click(*spot(page, 1.0, STRIP))
    assert now() == pytest.approx(1.0, abs=0.01)
    drag(page, spot(page, 1.0, RULER), spot(page, 3.0, RULER))
    assert now() == pytest.approx(3.0, abs=0.01)
    page.locator("#timeline").focus()
    page.keyboard.press("ArrowRight")
    assert now() == pytest.approx(3.0 + FRAME, abs=0.01)
    page.keyboard.press("ArrowLeft")
    assert now() == pytest.approx(3.0, abs=0.01)
    page.keyboard.press("End")
    assert now() == pytest.approx(probe(EXAMPLE).duration_sec, abs=0.002)
    page.keyboard.press("Home")
    assert now() == 0
    until(page, "document.querySelector('#video').currentTime < 0.05")


def test_a_selection_is_looped(page: Any) -> None:
    drag(page, spot(page, 1.0, STRIP), spot(page, 1.4, STRIP))
    page.locator("#timeline").focus()
    page.keyboard.press("o")
    assert page.get_attribute("#loop", "aria-pressed") == "true"
    page.keyboard.press("Space")
    until(page, "Number(document.querySelector('#clock').value) >= 1.0")
    seen = []
    for _ in range(12):
        page.wait_for_timeout(100)
        seen.append(page.evaluate("Number(document.querySelector('#clock').value)"))
    page.keyboard.press("Space")
    page.keyboard.press("o")
    assert min(seen) >= 0.95 and max(seen) <= 1.5 and any(later < earlier for earlier, later in pairwise(seen))
    assert page.get_attribute("#loop", "aria-pressed") == "false"


def test_faders_and_meter(page: Any) -> None:
    page.locator("#original-fader").fill("0")
    assert "original 0 dB" in page.inner_text("#fader-values")
    page.locator("#timeline").focus()
    page.keyboard.press("Space")
    until(page, "Number(document.querySelector('#meter').ariaValueNow) > -50")
    page.keyboard.press("Space")
    page.locator("#original-fader").fill("-40")
    page.locator("#take-fader").fill("-12")
    assert "take -12 dB, original off" in page.inner_text("#fader-values")
    page.locator("#take-fader").fill("0")
    until(page, "Number(document.querySelector('#meter').ariaValueNow) === -60")


# ---- regions and takes ----


def test_a_region_is_dragged_moved_described_and_removed(page: Any) -> None:
    drag(page, spot(page, 1.0, REGIONS), spot(page, 2.0, REGIONS))
    item = page.locator("#regions li")
    assert item.count() == 1 and page.locator(".region").count() == 1

    def span() -> list[float]:
        settle(page)
        return [float(field.input_value()) for field in item.locator("input[type=number]").all()]

    assert span() == pytest.approx([1.0, 2.0], abs=0.02)
    drag(page, spot(page, 1.5, REGIONS), spot(page, 1.8, REGIONS))
    assert span() == pytest.approx([1.3, 2.3], abs=0.03)
    end = spot(page, span()[1], REGIONS)
    drag(page, (end[0] - 4, end[1]), spot(page, 2.8, REGIONS))
    assert span() == pytest.approx([1.3, 2.8], abs=0.05)
    page.get_by_label("Prompt of region 1").fill("wood")
    page.keyboard.press("Enter")
    page.get_by_label("Prompt of region 1").blur()
    page.wait_for_selector(".region:has-text('wood')")
    page.get_by_label("Start of region 1, seconds").fill("1.5")
    page.keyboard.press("Tab")
    assert span()[0] == pytest.approx(1.5)
    assert page.evaluate("document.activeElement.ariaLabel") == "End of region 1, seconds"
    page.set_input_files("#regions input[type=file]", str(EXAMPLE.with_suffix(".wav")))
    page.wait_for_selector("#regions label:has-text('2000-01-12-00-00-33_denoised.wav')")
    page.get_by_label("Remove the reference of region 1").click()
    page.wait_for_selector("#regions label:text-is('Reference')")
    drag(page, spot(page, 3.0, STRIP), spot(page, 3.5, STRIP))
    page.locator("#timeline").focus()
    page.keyboard.press("r")
    settle(page)
    assert page.locator(".region").count() == 2
    page.get_by_label("Loop: region 2").click()
    assert page.get_attribute("#loop", "aria-pressed") == "true"
    page.click("#loop")
    page.get_by_label("Remove: region 2").click()
    settle(page)
    assert page.locator(".region").count() == 1


def test_a_region_is_selected_and_removed_by_keys(page: Any) -> None:
    drag(page, spot(page, 1.0, REGIONS), spot(page, 2.0, REGIONS))
    page.locator(".region").focus()
    page.keyboard.press("Enter")
    settle(page)
    chosen = [float(page.input_value(field)) for field in ("#from", "#to")]
    assert chosen == pytest.approx([1.0, 2.0], abs=0.02)
    assert page.evaluate("document.activeElement.className") == "region"
    page.keyboard.press("Delete")
    settle(page)
    assert page.locator(".region").count() == 0 and "--mute" not in page.inner_text("#summary")


def take_samples(page: Any, number: int) -> np.ndarray:
    link = page.eval_on_selector("#exports a", "a => a.pathname").replace("/export", "/sound")
    path = "/".join([*link.split("/")[:-2], str(number), "sound"])
    body = page.request.get(page.evaluate("() => location.origin") + path).body()
    return soundfile.read(io.BytesIO(body), dtype="int16", always_2d=True)[0]


def test_takes_are_compared_and_one_region_is_rendered_again(page: Any) -> None:
    page.fill("#prompt", "metal")
    make_takes(page, 2)

    def heard() -> str:
        settle(page)
        return page.inner_text("#takes .hear[aria-pressed=true]")

    numbers = [int(item.get_attribute("data-take")) for item in page.locator("#takes li").all()]
    first = heard()
    page.locator("#timeline").focus()
    page.keyboard.press("b")
    assert heard() != first
    page.keyboard.press("b")
    assert heard() == first
    page.keyboard.press(str(numbers[0]))
    assert heard() == f"Take {numbers[0]}"
    page.locator("#takes .hear[aria-pressed=false]").last.focus()
    page.keyboard.press("Enter")
    assert heard() != f"Take {numbers[0]}" and page.evaluate("document.activeElement.ariaPressed") == "true"
    page.locator(f'#takes [data-take="{numbers[0]}"] .hear').click()

    drag(page, spot(page, 1.3, STRIP), spot(page, 1.9, STRIP))
    page.locator("#timeline").focus()
    page.keyboard.press("Shift+R")
    page.wait_for_selector(f"#takes li:has-text('take {numbers[0]} with 1.3')")
    wait_for_jobs(page)
    made = max(int(item.get_attribute("data-take")) for item in page.locator("#takes li").all())
    before, after = take_samples(page, numbers[0]), take_samples(page, made)
    changed = np.flatnonzero((before != after).any(1)) / 16_000
    assert 1.29 < changed.min() < changed.max() < 1.91 and len(changed) > 4000

    page.get_by_label(f"Remove take {made}", exact=True).click()
    until(page, f"!document.querySelector('#takes [data-take=\"{made}\"]')")
    page.locator(f'#takes [data-take="{numbers[1]}"] .hear').click()
    page.click("#envelope-menu > summary")
    page.click("#take-envelope")
    page.click("#envelope-menu > summary")
    assert page.is_enabled("#undo")


def test_a_job_is_cancelled_on_the_page(page: Any) -> None:
    before = page.locator("#takes li").count()
    page.fill("#steps", "150")
    page.fill("#count", "6")
    page.click("#make")
    page.wait_for_selector("#jobs progress")
    page.locator("#jobs button").click()
    wait_for_jobs(page)
    page.fill("#steps", "2")
    assert page.locator("#takes li").count() < before + 6


def test_the_table_of_keys_opens_by_a_key(page: Any) -> None:
    page.locator("#timeline").focus()
    page.keyboard.press("?")
    assert page.is_visible("#help") and page.locator("#help-table tr").count() > 15
    page.keyboard.press("Escape")
    assert page.is_hidden("#help")
