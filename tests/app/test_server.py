"""The page serves only its own folder, enforces its limits, and leaves nothing behind."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from foleygram import FoleyGRAMPipeline
from foleygram.app.guard import OwnFilesOnly
from foleygram.app.limits import Limits
from foleygram.app.server import is_loopback, web_app
from foleygram.cli import app as command

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def client(folder: Path, tiny_release: Path) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        pipeline = FoleyGRAMPipeline.from_pretrained(tiny_release)
        served = web_app(pipeline, folder, Limits(megabytes=0.05), host="127.0.0.1", steps=4)
        with TestClient(served, base_url="http://127.0.0.1:7860") as opened:
            yield opened


def test_its_own_files_are_served(client: TestClient, folder: Path) -> None:
    (folder / "own.wav").write_bytes(b"sound")
    answer = client.get(f"/gradio_api/file={folder}/own.wav")
    assert (answer.status_code, answer.content) == (200, b"sound")


@pytest.mark.parametrize(
    "asked",
    [
        "/etc/passwd",
        "{folder}/../secret.txt",
        "{folder}/%2e%2e/secret.txt",
        "{folder}/inside/link.txt",
        "{here}",
        "pyproject.toml",
        ".gradio/cached_examples/x",
        "http://127.0.0.1:1/x",
        "https://example.com/x",
        "file:///etc/passwd",
    ],
)
@pytest.mark.parametrize("route", ["/gradio_api/file=", "/gradio_api/file/", "/file="])
def test_files_elsewhere_are_refused(client: TestClient, folder: Path, asked: str, route: str) -> None:
    secret = folder.parent / "secret.txt"
    secret.write_text("secret")
    (folder / "inside").mkdir(exist_ok=True)
    link = folder / "inside" / "link.txt"
    if not link.is_symlink():
        link.symlink_to(secret)
    answer = client.get(route + asked.format(folder=folder, here=Path(__file__).resolve()))
    assert answer.status_code in (403, 404) and "secret" not in answer.text and "root:" not in answer.text


def test_the_guard_refuses_what_gradio_would_serve(folder: Path) -> None:
    guard = OwnFilesOnly(None, folder)
    assert guard.allows("/") and guard.allows("/assets/a.js") and guard.allows("/gradio_api/queue/data")
    assert guard.allows(f"/gradio_api/file={folder}/a/b.wav")
    for path in (f"file={folder.parent}/x", "file=http://example.com/x", "file=x", f"file={folder}/../x", "file="):
        assert not guard.allows(f"/gradio_api/{path}")
    assert not guard.allows("/gradio_api/proxy=https://example.com/x")


def joined(client: TestClient, target: str, data: list[Any]) -> Any:
    """The response to the page's request for the action `target` with `data`."""
    config = client.get("/config").json()
    ids = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
    number = next(i for i, d in enumerate(config["dependencies"]) if target in {ids.get(t[0]) for t in d["targets"]})
    body = {"data": data, "fn_index": number, "session_hash": "abc", "event_data": None, "trigger_id": None}
    return client.post("/gradio_api/queue/join", json=body)


@pytest.mark.parametrize("path", ["/etc/passwd", "{folder}/../secret.txt", "https://example.com/x", "pyproject.toml"])
def test_a_message_that_names_a_file_outside_the_folder_is_refused(client: TestClient, folder: Path, path: str) -> None:
    for file in (
        {"path": path.format(folder=folder)},
        {"path": path.format(folder=folder), "meta": {"_type": "gradio.FileData"}},
    ):
        for data in ([file, None], [[{"deep": [file]}], None]):
            assert joined(client, "video", data).status_code == 403
    assert not any(p.name == "passwd" for p in folder.rglob("*"))
    own = folder / "own.mp4"
    own.write_bytes(b"no video")
    file = {"path": str(own), "meta": {"_type": "gradio.FileData"}}
    assert joined(client, "video", [file, None]).status_code == 200


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        (b"", True), (b"{}", True), (b'{"path": null}', True), (b'{"path": 5}', False), (b"no JSON", False),
        (b"[" * 100_000, False), (b'{"path": "a\\u0000b"}', False), (b'{"a": [{"path": "/etc/passwd"}]}', False),
    ],
)  # fmt: skip
def test_invalid_messages_are_refused(folder: Path, body: bytes, accepted: bool) -> None:
    assert OwnFilesOnly(None, folder).accepts(body) is accepted


def test_large_messages_are_refused(client: TestClient) -> None:
    assert client.post("/gradio_api/queue/join", content=b" " * 1_000_001).status_code == 403
    multipart = {"files": ("x.mp4", b"x")}
    assert client.post("/gradio_api/component_server", files=multipart).status_code == 403


def test_other_host_names_are_refused(client: TestClient) -> None:
    assert client.get("/config").status_code == 200
    assert client.get("/config", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("origin", ["https://example.com", "http://127.0.0.1:8000", "null", "http://localhost"])
def test_requests_of_other_sites_are_refused(client: TestClient, folder: Path, origin: str) -> None:
    """Uploads and messages in plain text are sent by a browser without asking first."""
    upload = {"files": {"files": ("other.mp4", b"x" * 99)}}
    message = {"content": b"{}", "headers": {"content-type": "text/plain"}}
    for route, sent in (("upload", upload), ("queue/join", message)):
        headers = sent.get("headers", {}) | {"origin": origin}
        assert client.post(f"/gradio_api/{route}", **{**sent, "headers": headers}).status_code == 403
    assert not list(folder.rglob("other.mp4"))
    own = client.post("/gradio_api/upload", **upload, headers={"origin": "http://127.0.0.1:7860"})
    assert own.status_code == 200 and len(list(folder.rglob("other.mp4"))) == 1
    Path(own.json()[0]).unlink()


def test_a_file_above_the_limit_is_refused_and_not_kept(client: TestClient, folder: Path) -> None:
    before = {path for path in folder.rglob("*") if path.is_file()}
    answer = client.post("/gradio_api/upload", files={"files": ("big.mp4", bytes(60_000))})
    assert answer.status_code == 413
    assert {path for path in folder.rglob("*") if path.is_file()} == before
    answer = client.post("/gradio_api/upload", files={"files": ("small.mp4", bytes(40_000))})
    [kept] = answer.json()
    assert answer.status_code == 200 and Path(kept).is_relative_to(folder)


def test_the_page_loads_nothing_from_other_hosts_and_has_no_telemetry(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    loaded = re.findall(r"""<(?:script|link)[^>]*(?:src|href)=["'](?:https?:)?//[^"']+""", answer.text)
    fonts = re.findall(r"@import[^;]*|@font-face[^}]*//[^}]*", client.get("/theme.css").text)
    assert loaded == [] and fonts == []


def test_no_action_is_in_the_public_api(client: TestClient) -> None:
    assert client.get("/gradio_api/info").json() == {"named_endpoints": {}, "unnamed_endpoints": {}}


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("host.local", False)],
)
def test_loopback_addresses(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def run(*arguments: object, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys\n{before}\nfrom foleygram.cli import main\nmain(sys.argv[1:])"
    command = [sys.executable, "-c", code, "app", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ | environment)


def test_without_gradio_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    done = run(before="sys.modules['gradio'] = None", TMPDIR=str(tmp_path))
    assert done.returncode == 1 and "pip install 'foleygram[app]'" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("--port", port, TMPDIR=str(tmp_path))
    assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr and "another --port" in done.stderr
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["--port", "70000"], 2, "65535"), (["--max-seconds", "0"], 2, "max-seconds"), (["--sparkle"], 2, "--sparkle")],
)
def test_wrong_options_are_refused(arguments: list[str], code: int, message: str) -> None:
    outcome: Any = CliRunner().invoke(command, ["app", *arguments])
    assert outcome.exit_code == code and message in outcome.output
