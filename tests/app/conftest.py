"""The server with tiny random networks, in this process."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from foleygram import FoleyGRAMPipeline
from foleygram.app.limits import Limits
from foleygram.app.server import web_app

ADDRESS = "http://127.0.0.1:7860"


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory, rendered: Path) -> Path:
    """A folder with two films and a file that is none."""
    folder = tmp_path_factory.mktemp("library")
    for video in sorted(rendered.glob("*.mp4"))[:2]:
        (folder / video.name).write_bytes(video.read_bytes())
    (folder / "notes.txt").write_text("notes")
    return folder


@pytest.fixture(scope="session")
def client(server_folder: Path, library: Path, tiny_release: Path) -> Iterator[TestClient]:
    pipeline = FoleyGRAMPipeline.from_pretrained(tiny_release)
    limits = Limits(seconds=10.0, megabytes=2.0)
    app = web_app(pipeline, tiny_release, server_folder, limits, host="127.0.0.1", steps=4, library=library)
    with TestClient(app, base_url=ADDRESS) as opened:
        yield opened


@pytest.fixture(scope="session")
def video(rendered: Path) -> Path:
    return min(rendered.glob("*.mp4"))


@pytest.fixture(scope="session")
def film(client: TestClient, video: Path) -> dict[str, Any]:
    answer = client.post("/api/films/upload", params={"name": video.name}, content=video.read_bytes())
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(scope="session")
def finish(client: TestClient) -> Callable[[Any], Any]:
    """Waits until the job in an answer has ended."""

    def wait(answer: Any) -> Any:
        assert answer.status_code == 202, answer.text
        key = answer.json()["id"]
        for _ in range(1200):
            job = client.get(f"/api/jobs/{key}").json()
            if job["state"] not in ("waiting", "running"):
                return job
            time.sleep(0.05)
        raise AssertionError(job)

    return wait
