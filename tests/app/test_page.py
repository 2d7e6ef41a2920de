"""The page in a real browser, from a dropped video to downloaded takes, with the real command and the miniature.

As a script it writes the screenshot of the documentation: python tests/app/test_page.py docs/app.png
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from foleygram.envelope.editing.files import read_envelope
from foleygram.media.audio import read_audio
from foleygram.media.video import probe

ROOT = Path(__file__).parents[2]
VIDEO = ROOT / "data" / "examples" / "2000-01-12-00-00-33_denoised.mp4"
REFERENCE = ROOT / "data" / "examples" / "2000-01-12-00-00-33_denoised.wav"
WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        if isinstance(host, str) and host not in ("127.0.0.1", "localhost", "::1", "") and not host.startswith("/"):
            print("connects to:", event, address, file=sys.stderr)
sys.addaudithook(watch)
from foleygram.cli import main
main(["app", *sys.argv[1:]])
"""
"""Runs the command and reports every connection to another machine."""


class Served(NamedTuple):
    """The running command, its address and its temporary folder."""

    process: subprocess.Popen[str]
    address: str
    temporary: Path


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Served]:
    """`foleygram app` with the shipped miniature, on a free port."""
    temporary = Path(tempfile.mkdtemp(prefix="app-", dir="/tmp"))  # short: names of sockets have at most 107 characters
    command = [sys.executable, "-c", WATCHED, "--port", "0", "--device", "cpu", *options]
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env=os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listens on http://127.0.0.1:" in line, (folder / "stderr").read_text()
        yield Served(process, line.split()[3].rstrip(";"), temporary)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(temporary)


def visit(browser: Any, address: str) -> Any:
    """The page, with its errors and requests recorded."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page.set_default_timeout(120_000)  # tests may share two cores
    page.failures, page.asked = [], []
    page.on("pageerror", lambda error: page.failures.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address)
    return page


def drop(page: Any, path: Path) -> None:
    page.set_input_files("#video input[type=file]", str(path))


def drag(page: Any, start: float, end: float, seconds: float) -> None:
    """Select a time span, in seconds, with the mouse."""
    page.locator("svg.timeline").scroll_into_view_if_needed()
    box = page.locator("svg.timeline").bounding_box()
    height = box["y"] + 0.5 * box["height"]
    page.mouse.move(box["x"] + start / seconds * box["width"], height)
    page.mouse.down()
    page.mouse.move(box["x"] + end / seconds * box["width"], height, steps=4)
    page.mouse.up()


def field(page: Any, name: str) -> float:
    return float(page.input_value(f"#{name} input"))


def edit(page: Any, button: str, listed: str) -> None:
    """Press a button and wait until its edit is listed."""
    page.click(f"#{button}")
    page.wait_for_function(f"document.querySelector('#summary').innerText.includes('{listed}')")


def choose(page: Any, start: float, end: float, seconds: float) -> tuple[float, float]:
    """Drag, and wait for the fields; returns their values."""
    drag(page, start, end, seconds)
    page.wait_for_function(f"Math.abs(document.querySelector('#from input').value - {start}) < 0.02")
    page.wait_for_function(f"Math.abs(document.querySelector('#to input').value - {end}) < 0.02")
    return field(page, "from"), field(page, "to")


def make_takes(page: Any, count: int) -> None:
    page.fill("#takes input[type=number]", str(count))
    page.click("#make")
    page.wait_for_selector("#status [role=progressbar]")
    page.wait_for_selector("text=best score")
    page.wait_for_function(f"document.querySelectorAll('#cards .take video').length == {count}")
    ready = "all => all.every(video => video.readyState >= 2)"
    page.wait_for_function(f"({ready})([...document.querySelectorAll('#cards .take video')])")


def download(page: Any, label: str, folder: Path) -> Path:
    """Download a file of the first take."""
    with page.expect_download() as waiting:
        page.locator("#cards .take").first.get_by_role("button", name=label, exact=True).click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def screenshot(page: Any, path: Path, *, width: int = 1000) -> None:
    """Write a screenshot of the page as a PNG with 256 colours."""
    shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    small = shown.resize((width, round(shown.height * width / shown.width)), Image.Resampling.LANCZOS)
    small.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def loop(page: Any, *, count: int = 2) -> tuple[tuple[float, float], float]:
    """Drop a video, mute a hit, add another, make takes; returns the muted span and the time of the new hit."""
    drop(page, VIDEO)
    page.wait_for_selector("svg.timeline")
    seconds = probe(VIDEO).duration_sec
    region = choose(page, 1.3, 1.9, seconds)
    edit(page, "mute", f"--mute {region[0]:.3f}:{region[1]:.3f}")
    page.fill("#from input", "2.6")
    page.wait_for_function("document.querySelector('rect.region').x.baseVal.value > 500")
    edit(page, "add-hit", "--add-hit 2.600")
    page.fill("#prompt textarea", "metal, hit with a wooden stick")
    page.fill("#negative textarea", "water")
    page.set_input_files("#reference input[type=file]", str(REFERENCE))
    page.wait_for_selector("#reference audio", state="attached")
    make_takes(page, count)
    return region, 2.6


def test_from_a_dropped_video_to_downloaded_takes(browser: Any, tmp_path: Path) -> None:
    with served(tmp_path, "--steps", "4", "--max-seconds", "30", "--max-megabytes", "2") as running:
        page = visit(browser, running.address)
        page.wait_for_selector("#video")
        assert page.locator("svg.timeline").count() == 0 and not page.is_visible("#make")

        (tmp_path / "notes.mp4").write_text("no video")
        drop(page, tmp_path / "notes.mp4")
        message = page.wait_for_selector(".toast-body:has-text('notes')").inner_text()
        assert "notes.mp4: not a readable media file" in message and str(running.temporary) not in message
        page.wait_for_selector("text=Drop Video Here")

        region, moment = loop(page)
        source = probe(VIDEO)
        assert "6 onsets" in page.inner_text("#summary") and page.locator("svg.timeline line.onset").count() == 6
        heads = page.locator("#cards .take:visible").all_inner_texts()
        assert len(heads) == 2 and all("GRAM volume" in head and "E-L1" in head for head in heads)

        film, sound, curve = (download(page, label, tmp_path) for label in ("Video", "WAV", "Envelope"))
        made = probe(film)
        assert (made.video_codec, made.width, made.has_audio) == (source.video_codec, source.width, True)
        assert made.duration_sec == pytest.approx(source.duration_sec, abs=1e-3)
        heard = read_audio(sound, sample_rate=16_000)
        assert heard.shape[1] == round(source.duration_sec * 16_000) and float(heard.abs().max()) > 0.01
        followed = read_envelope(curve)
        assert not followed.slice(region[0] + 0.01, region[1] - region[0] - 0.02).values.any()
        assert np.abs(followed.onsets() - moment).min() < 0.01

        page.keyboard.press("Escape")
        page.click("#undo")
        page.wait_for_function("!document.querySelector('#summary').innerText.includes('add-hit')")
        screenshot(page, tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size < 300_000

        page.click("#video button[aria-label=Clear]")  # another video starts without takes
        page.wait_for_selector("#make", state="hidden")
        drop(page, VIDEO)
        page.wait_for_selector("#make")
        assert page.locator("#cards .take:visible").count() == 0
        assert page.failures == []
        outside = [url for url in page.asked if not url.startswith((running.address, "data:", "blob:"))]
        assert outside == [] and any("/file=" in url for url in page.asked)
        page.close()

        assert [path.name.startswith("foleygram-app-") for path in running.temporary.glob("*app*")] == [True]
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 128 + signal.SIGTERM
        assert list(running.temporary.glob("*app*")) == []
    assert (tmp_path / "stderr").read_text() == ""


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, served(Path(folder)) as running:
        page = visit(playwright.chromium.launch(executable_path="/usr/bin/chromium"), running.address)
        page.set_default_timeout(300_000)
        loop(page, count=3)
        screenshot(page, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
