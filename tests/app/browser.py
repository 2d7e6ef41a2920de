"""The real server in a process of its own, and its page in headless Chromium."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

from PIL import Image

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "data" / "examples" / "2000-01-12-00-00-33_denoised.mp4"
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
main(sys.argv[1:])
"""
"""Runs the command and reports every connection to another machine."""


class Served(NamedTuple):
    """The running command, its address, its temporary folder, and what it wrote to standard error."""

    process: subprocess.Popen[str]
    address: str
    temporary: Path
    errors: Path


@contextmanager
def served(folder: Path, *options: str, command: str = "serve") -> Iterator[Served]:
    """The command with the shipped miniature, on a free port, started in `folder`: the project is elsewhere."""
    temporary = Path(tempfile.mkdtemp(prefix="app-", dir="/tmp"))  # short: names of sockets have at most 107 characters
    arguments = [sys.executable, "-c", WATCHED, command, "--port", "0", "--device", "cpu", *options]
    errors = folder / "stderr"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            arguments, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True,
            env=os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "listens on http://127.0.0.1:" in line, errors.read_text()
        address = line.split()[3].rstrip(";")
        urlopen(f"{address}/openapi.json", timeout=60).close()  # the socket listens before the server's loop runs
        yield Served(process, address, temporary, errors)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(temporary)


def visit(browser: Any, address: str, *, width: int = 1400, height: int = 900, **options: Any) -> Any:
    """The page without an open film, with its errors and requests recorded."""
    page = browser.new_page(viewport={"width": width, "height": height}, accept_downloads=True, **options)
    page.set_default_timeout(120_000)  # tests may share two cores
    page.failures, page.asked = [], []
    page.on("pageerror", lambda error: page.failures.append(str(error)))
    page.on("console", lambda line: page.failures.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: page.asked.append(request.url))
    for film in page.request.get(f"{address}/api/films").json():
        page.request.delete(f"{address}/api/films/{film['id']}")
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    return page


def open_example(page: Any) -> None:
    page.click("#start-example:visible, #example:visible")
    page.wait_for_selector(".onset")
    settle(page)


def start_over(page: Any) -> None:
    """Undo everything, show the whole film, stop playing."""
    settle(page)
    page.locator("#timeline").focus()
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    while page.is_enabled("#undo"):
        page.click("#undo")
    page.click("#tool-select")
    page.click("#fit")
    page.locator("#timeline").focus()
    page.keyboard.press("Home")
    settle(page)


def until(page: Any, expression: str) -> None:
    """Wait until a JavaScript expression is true; as a function, because the page's policy forbids to evaluate text."""
    page.wait_for_function(f"() => {expression}")


def settle(page: Any) -> None:
    """Wait until the page has its answers from the server, and then until it has drawn twice."""
    until(page, "!document.body.dataset.waiting")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def onsets(page: Any) -> list[float]:
    settle(page)
    return [float(value) for value in page.eval_on_selector_all(".onset", "all => all.map(o => o.ariaValueNow)")]


def wait_for_edit(page: Any, listed: str) -> None:
    page.wait_for_function("text => document.querySelector('#summary').innerText.includes(text)", arg=listed)
    settle(page)


def spot(page: Any, time: float, y: float) -> tuple[float, float]:
    """Position on the page of a time, in seconds, at a height of the timeline, in pixels."""
    page.locator("#timeline").scroll_into_view_if_needed()
    box = page.locator("#timeline").bounding_box()
    start, span = (float(page.locator("#timeline").get_attribute(f"data-{name}")) for name in ("start", "span"))
    return box["x"] + 1 + (time - start) / span * (box["width"] - 2), box["y"] + 1 + y


def drag(page: Any, start: tuple[float, float], *path: tuple[float, float]) -> None:
    """Press at a position, move along the path, let go."""
    page.mouse.move(*start)
    page.mouse.down()
    for position in path:
        page.mouse.move(*position, steps=4)
    page.mouse.up()
    settle(page)


def make_takes(page: Any, count: int) -> None:
    before = page.locator("#takes li").count()
    page.fill("#count", str(count))
    page.click("#make")
    until(page, f"document.querySelectorAll('#takes li').length === {before + count}")
    wait_for_jobs(page)


def wait_for_jobs(page: Any) -> None:
    """Wait until no job runs and the results are shown."""
    until(page, "!document.querySelector('#jobs progress')")
    settle(page)


def screenshot(page: Any, path: Path, *, width: int) -> None:
    """Write a screenshot of the page as WebP."""
    shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    small = shown.resize((width, round(shown.height * width / shown.width)), Image.Resampling.LANCZOS)
    small.save(path, "WEBP", quality=80, method=6)
