"""The page from a film to its exports, at a desk's and a phone's width; proxies, folders, labels and colours.

As a script it writes the screenshots of the documentation: python -m tests.app.test_page docs
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from foleygram.envelope.editing.files import read_envelope
from foleygram.media.audio import read_audio
from foleygram.media.video import probe
from tests.app.browser import (
    EXAMPLE,
    Served,
    drag,
    make_takes,
    onsets,
    open_example,
    screenshot,
    served,
    settle,
    spot,
    until,
    visit,
    wait_for_edit,
    wait_for_jobs,
)

ENVELOPE, STRIP, REGIONS = 230.0, 60.0, 109.0
WIDTHS = pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    (folder / "one.mp4").write_bytes(EXAMPLE.read_bytes())
    (folder / "damaged.mp4").write_bytes(EXAMPLE.read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def running(browser: Any, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    options = ("--steps", "2", "--max-seconds", "30", "--max-megabytes", "2", "--films", str(library))
    with served(tmp_path_factory.mktemp("served"), *options) as one:
        yield one


def export(page: Any, label: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.locator("#exports").get_by_text(label, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


@WIDTHS
def test_from_a_dropped_film_to_its_exports(
    browser: Any, running: Served, tmp_path: Path, width: int, height: int
) -> None:
    page = visit(browser, running.address, width=width, height=height)
    assert page.is_hidden("#editor")
    (tmp_path / "notes.mp4").write_text("no video")
    page.set_input_files("#file", str(tmp_path / "notes.mp4"))
    message = page.wait_for_selector("#message:has-text('notes')").inner_text()
    assert "notes.mp4: not a readable media file" in message and str(running.temporary) not in message

    data = page.evaluate_handle("() => new DataTransfer()")
    page.evaluate(
        "([data, bytes]) => data.items.add(new File([new Uint8Array(bytes)], 'My film.mp4', {type: 'video/mp4'}))",
        [data, list(EXAMPLE.read_bytes())],
    )
    page.dispatch_event("#start", "drop", {"dataTransfer": data})
    page.wait_for_selector(".onset")
    before = onsets(page)
    assert page.is_hidden("#message")
    drag(page, spot(page, 1.3, STRIP), spot(page, 1.9, STRIP))
    page.click("#edit-menu > summary")
    page.click("#mute")
    wait_for_edit(page, "--mute 1.3")
    page.click("#edit-menu > summary")
    page.mouse.dblclick(*spot(page, 2.6, ENVELOPE))
    wait_for_edit(page, "--add-hit 2.")
    assert len(onsets(page)) == len(before)
    page.fill("#prompt", "metal, hit with a wooden stick")
    page.fill("#negative", "water")
    page.set_input_files("#reference", str(EXAMPLE.with_suffix(".wav")))
    page.wait_for_selector("#reference-name:has-text('.wav')")
    make_takes(page, 2)
    assert "best score" in page.inner_text("#takes") and "GRAM volume" in page.inner_text("#takes")

    page.locator("#timeline").focus()
    page.keyboard.press("Space")
    until(page, "Number(document.querySelector('#clock').value) > 0.4")
    page.keyboard.press("Space")
    source = probe(EXAMPLE)
    film, sound, curve = (export(page, label, tmp_path) for label in ("Film", "WAV", "Envelope"))
    made = probe(film)
    assert film.name.startswith("My film-take") and (made.video_codec, made.has_audio) == (source.video_codec, True)
    assert made.duration_sec == pytest.approx(source.duration_sec, abs=1e-3)
    heard = read_audio(sound, sample_rate=16_000)
    assert heard.shape[1] == round(source.duration_sec * 16_000) and float(heard.abs().max()) > 0.001
    followed = read_envelope(curve)
    assert not followed.slice(1.32, 0.56).values.any()
    assert np.abs(followed.onsets() - 2.6).min() < 0.03

    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    outside = [url for url in page.asked if not url.startswith((running.address, "data:", "blob:"))]
    refused = [text for text in page.failures if "422" not in text]  # the browser logs the film that was refused
    assert outside == [] and refused == []
    page.close()


def turned(path: Path) -> Path:
    """The example as MPEG-4 part 2, which Chromium does not play, displayed rotated by 90 degrees."""
    with av.open(str(EXAMPLE)) as source, av.open(str(path), "w") as target:
        stream: Any = target.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 108, "yuv420p"
        stream.set_display_rotation(90)
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    return path


def test_a_film_that_the_browser_cannot_decode_is_played_as_a_copy_upright(
    browser: Any, running: Served, tmp_path: Path
) -> None:
    page = visit(browser, running.address)
    page.set_input_files("#file", str(turned(tmp_path / "turned.mp4")))
    page.wait_for_selector("#editor", state="visible")
    until(page, "document.querySelector('#video').src.endsWith('/proxy')")
    until(page, "document.querySelector('#video').videoWidth === 108")
    assert page.evaluate("() => document.querySelector('#video').videoHeight") == 192
    assert "108 × 192" in page.inner_text("#film-name")
    page.close()


def test_two_fingers_zoom_and_a_finger_selects(browser: Any, running: Served) -> None:
    page = visit(browser, running.address, width=390, height=844, has_touch=True)
    open_example(page)
    settle(page)
    span = float(page.get_attribute("#timeline", "data-span"))
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    one, other = spot(page, 2.0, STRIP), spot(page, 3.0, STRIP)
    send("touchStart", one)
    send("touchStart", one, other)
    for step in range(1, 6):
        send("touchMove", (one[0] - 12 * step, one[1]), (other[0] + 12 * step, other[1]))
    send("touchEnd")
    until(page, f"Number(document.querySelector('#timeline').dataset.span) < {0.7 * span}")
    page.click("#fit")
    settle(page)
    start = spot(page, 1.0, STRIP)
    send("touchStart", start)
    for step in range(1, 6):
        send("touchMove", (start[0] + 20 * step, start[1]))
    send("touchEnd")
    page.click("#edit-menu > summary")
    until(page, "Number(document.querySelector('#to').value) - Number(document.querySelector('#from').value) > 0.5")
    assert float(page.input_value("#from")) == pytest.approx(1.0, abs=0.1)
    page.close()


def shown(page: Any) -> dict[str, Any]:
    """What a user sees of the film's state."""
    settle(page)
    fields = ("#prompt", "#negative", "#seed", "#count", "#w-video")
    return {
        "film": page.inner_text("#film-name"),
        "onsets": onsets(page),
        "edits": page.inner_text("#summary"),
        "regions": [field.input_value() for field in page.locator("#regions li input:not([type=file])").all()],
        "references": [page.inner_text("#reference-name"), *page.locator("#regions label").all_inner_texts()],
        "fields": [page.input_value(field) for field in fields],
        "takes": page.locator("#takes .hear").all_inner_texts(),
        "heard": page.inner_text("#takes .hear[aria-pressed=true]"),
    }


def test_a_reload_and_another_tab_come_back_to_the_same_state(browser: Any, running: Served) -> None:
    page = visit(browser, running.address)
    open_example(page)
    page.mouse.dblclick(*spot(page, 2.6, ENVELOPE))
    wait_for_edit(page, "--add-hit")
    drag(page, spot(page, 1.0, REGIONS), spot(page, 2.0, REGIONS))
    page.get_by_label("Prompt of region 1").fill("wood")
    page.get_by_label("Prompt of region 1").blur()
    page.set_input_files("#regions input[type=file]", str(EXAMPLE.with_suffix(".wav")))
    page.wait_for_selector("#regions label:has-text('.wav')")
    page.set_input_files("#reference", str(EXAMPLE.with_suffix(".wav")))
    page.wait_for_selector("#reference-name:has-text('.wav')")
    page.fill("#seed", "7")
    make_takes(page, 2)
    page.locator("#takes .hear[aria-pressed=false]").click()
    page.fill("#prompt", "metal")  # still being typed when the page goes
    before = shown(page)
    assert before["regions"][2] == "wood" and before["fields"][0] == "metal"

    def reloaded() -> None:
        page.wait_for_selector("body[data-ready]")
        page.wait_for_selector(".onset")

    page.reload()
    reloaded()
    assert shown(page) == before
    page.keyboard.press("Control+z")  # undo begins anew
    assert shown(page) == before

    page.click("#example")
    page.wait_for_selector("#takes:not(:has(li))", state="attached")
    page.fill("#prompt", "stone")
    settle(page)
    assert page.locator("#reference-name").inner_text() == "" and page.locator("#films option").count() == 2
    page.locator("#films").select_option(index=0)
    page.wait_for_selector("#takes li")
    assert shown(page) == before
    other = browser.new_page(viewport={"width": 1400, "height": 900})
    other.set_default_timeout(120_000)
    other.goto(running.address)
    other.wait_for_selector("body[data-ready]")
    assert shown(other) == before  # the film that was used last
    other.on("dialog", lambda dialog: dialog.accept())
    other.click("#close")
    other.wait_for_selector("#takes:not(:has(li))", state="attached")
    settle(other)
    assert other.input_value("#prompt") == "stone"
    other.click("#close")
    other.wait_for_selector("#start", state="visible")
    page.reload()
    page.wait_for_selector("#message:has-text('no longer open')")
    assert page.is_visible("#start") and page.is_hidden("#editor")
    assert page.failures == []
    for one in (page, other):
        one.close()


def test_a_reload_during_a_job_shows_it_to_its_end(browser: Any, running: Served) -> None:
    page = visit(browser, running.address)
    open_example(page)
    page.fill("#steps", "40")
    page.fill("#count", "2")
    page.click("#make")
    page.wait_for_selector("#jobs progress")
    page.reload()
    page.wait_for_selector("#jobs progress")
    until(page, "document.querySelectorAll('#takes li').length === 2")
    until(page, "!document.querySelector('#jobs progress')")
    page.wait_for_selector("#takes .hear[aria-pressed=true]")
    page.close()


def test_a_folder_is_made_in_one_run(browser: Any, running: Served, library: Path) -> None:
    page = visit(browser, running.address)
    assert page.locator("#folder-films li").count() == 2
    page.click("#folder-run")
    page.wait_for_selector("#message:has-text('Not made: damaged.mp4')")
    item = page.locator("#folder-films li", has_text="one.mp4").last
    assert "done" in item.locator(".state").inner_text() and (library / "foley" / "one.mp4").is_file()
    with page.expect_download() as waiting:
        item.locator("a", has_text="one.mp4").click()
    assert Path(waiting.value.path()).read_bytes() == (library / "foley" / "one.mp4").read_bytes()
    page.get_by_label("Edit one.mp4").click()
    page.wait_for_selector(".onset")
    drag(page, spot(page, 1.3, STRIP), spot(page, 1.9, STRIP))
    page.locator("#timeline").focus()
    page.keyboard.press("Delete")
    wait_for_edit(page, "--mute 1.3")
    page.locator("#folder-films input").last.check()
    page.locator("#folder-films input").first.uncheck()
    before = (library / "foley" / "one.wav").read_bytes()
    page.click("#folder-run")
    page.wait_for_selector("#jobs progress")
    wait_for_jobs(page)
    assert page.is_hidden("#message") and (library / "foley" / "one.wav").read_bytes() != before
    made = read_envelope(library / "foley" / "settings" / "one" / "envelope.csv")
    assert not made.slice(1.32, 0.56).values.any() and made.values.any()
    page.close()


NAMELESS = """() => [...document.querySelectorAll(
    "button, input, select, textarea, summary, a, [role=slider], [role=meter]")]
  .filter(one => {
    const labels = [...(one.labels ?? [])].map(label => label.textContent.trim());
    return !(one.ariaLabel || one.textContent.trim() || labels.some(Boolean));
  })
  .map(one => one.outerHTML)"""


FAINT = """() => {
  const light = colour => colour.map(value => value / 255)
    .map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, index) => sum + [0.2126, 0.7152, 0.0722][index] * v, 0);
  const parts = text => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const over = (front, back) => back.map((value, index) => front[index] * front[3] + value * (1 - front[3]));
  const ground = one => over(parts(getComputedStyle(one).backgroundColor),
    one.parentElement ? ground(one.parentElement) : [255, 255, 255]);
  const contrast = (one, pseudo) => {
    const pair = [ground(one), over(parts(getComputedStyle(one, pseudo).color), ground(one))].map(light);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  };
  const texts = [...document.querySelectorAll("body *")].filter(
    one => one.checkVisibility() && !one.closest(":disabled") && (one.matches("input, textarea, select")
      || [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim())));
  return texts.filter(one => contrast(one) < 4.5 || (one.placeholder && contrast(one, "::placeholder") < 4.5))
    .map(one => one.outerHTML);
}"""
"""Visible texts whose contrast to the colour behind them is below 4.5 (WCAG 2.2 AA)."""


@WIDTHS
def test_every_control_has_a_name_and_every_text_contrast(
    browser: Any, running: Served, width: int, height: int
) -> None:
    page = visit(browser, running.address, width=width, height=height)
    open_example(page)
    drag(page, spot(page, 1.0, REGIONS), spot(page, 2.0, REGIONS))
    page.wait_for_selector("#regions li")
    assert page.evaluate(NAMELESS) == []
    for menu in ("#edit-menu", "#envelope-menu"):
        page.click(f"{menu} > summary")
        page.keyboard.press("Escape")
        assert page.locator("details[open]").count() == 0
        page.click(f"{menu} > summary")
    assert page.locator("details[open]").count() == 1
    page.click("#help-open")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(FAINT) == []
    page.keyboard.press("Escape")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    assert page.get_attribute("html", "lang") == "en"
    page.close()


PAIRS = [("text", "ground"), ("text", "panel"), ("quiet", "ground"), ("quiet", "panel"), ("on-accent", "accent"),
         ("alert", "panel"), ("ground", "text")]  # fmt: skip
SHAPES = [("onset", "ground"), ("curve-line", "ground"), ("region-line", "ground"), ("playhead", "ground"),
          ("focus", "panel"), ("edge", "panel"), ("edge", "ground"), ("wave", "ground"), ("own", "ground"),
          ("before", "ground")]  # fmt: skip


def luminance(colour: str) -> float:
    digits = colour.strip().lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("by", ["system", "button"])
def test_colours_have_contrast_in_light_and_dark(browser: Any, running: Served, scheme: str, by: str) -> None:
    """WCAG 2.2 AA: 4.5 for text, 3 for shapes."""
    other = {"light": "dark", "dark": "light"}[scheme]
    page = visit(browser, running.address, color_scheme=scheme if by == "system" else other)
    if by == "button":
        page.click("#theme")
    names = {name for pair in PAIRS + SHAPES for name in pair}
    colours = {
        name: page.evaluate(f"() => getComputedStyle(document.documentElement).getPropertyValue('--{name}')")
        for name in names
    }
    assert (luminance(colours["ground"]) < 0.2) == (scheme == "dark")
    for pairs, least in ((PAIRS, 4.5), (SHAPES, 3.0)):
        for pair in pairs:
            low, high = sorted(luminance(colours[name]) for name in pair)
            assert (high + 0.05) / (low + 0.05) >= least, pair
    page.close()


def test_the_list_of_endpoints_is_rendered(browser: Any, running: Served) -> None:
    page = browser.new_page()
    page.goto(f"{running.address}/docs")
    page.wait_for_selector("details:has-text('POST /api/films/upload')")
    assert page.locator("details.endpoint").count() > 20
    page.close()


def main() -> None:
    """Write the documentation's screenshots into a folder."""
    from playwright.sync_api import sync_playwright

    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, served(Path(folder)) as running:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, width, height in (("editor", 1400, 900), ("editor-phone", 390, 844)):
            page = visit(browser, running.address, width=width, height=height, color_scheme="light")
            page.set_default_timeout(900_000)
            open_example(page)
            page.mouse.dblclick(*spot(page, 2.6, ENVELOPE))
            wait_for_edit(page, "--add-hit")
            drag(page, spot(page, 2.9, REGIONS), spot(page, 3.5, REGIONS))
            page.get_by_label("Prompt of region 1").fill("wood")
            page.get_by_label("Prompt of region 1").blur()
            page.fill("#prompt", "metal, hit with a wooden stick")
            make_takes(page, 2)
            page.mouse.click(*spot(page, 2.2, STRIP))
            page.wait_for_timeout(1500)
            screenshot(page, out / f"{name}.webp", width=min(width, 1100))


if __name__ == "__main__":
    main()
