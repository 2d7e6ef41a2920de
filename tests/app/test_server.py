"""The server answers its own page and programs only, enforces its limits, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from foleygram.app.guard import Guard, same_site
from foleygram.app.server import STATIC, is_loopback
from foleygram.cli import app as command
from frontend import messages
from tests.app.browser import served
from tests.app.conftest import ADDRESS

ROOT = Path(__file__).parents[2]


def test_other_host_names_are_refused(client: Any) -> None:
    assert client.get("/api").status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        assert client.get("/api", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("origin", ["https://example.com", "http://127.0.0.1:8000", "null", "http://localhost"])
def test_requests_of_other_sites_are_refused(client: Any, film: Any, server_folder: Path, origin: str) -> None:
    """Browsers send forms, plain text and files of other sites without asking first."""
    before = set(server_folder.rglob("*"))
    headers = {"origin": origin}
    sent = [
        client.post("/api/films/upload", params={"name": "other.mp4"}, content=b"x", headers=headers),
        client.post("/api/films/open", content=b'{"example": true}', headers=headers | {"content-type": "text/plain"}),
        client.delete(f"/api/films/{film['id']}", headers=headers),
        client.get("/api/films", headers=headers),
    ]
    assert [answer.status_code for answer in sent] == [403] * 4
    assert set(server_folder.rglob("*")) == before
    assert client.get("/api/films", headers={"origin": ADDRESS}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_media_are_not_embedded_by_other_sites(client: Any, film: Any, site: str) -> None:
    for path in (f"/api/films/{film['id']}/video", "/api", "/static/index.js", "/openapi.json"):
        assert client.get(path, headers={"sec-fetch-site": site}).status_code == 403
    link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/api", headers=link).status_code == 403
    assert client.get("/api", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_same_site_needs_the_whole_origin() -> None:
    host = {b"host": b"127.0.0.1:7860"}
    assert same_site(host, "POST", "/api")
    assert not same_site(host | {b"origin": b"http://127.0.0.1:78600"}, "POST", "/api")
    assert not same_site(host | {b"origin": b"127.0.0.1:7860"}, "POST", "/api")


def test_a_body_of_a_false_length_is_refused(client: Any) -> None:
    for length in ("-1", "x", "1e3", "99999999999"):
        answer = client.post("/api/films/open", content=b"{}", headers={"content-length": length})
        assert answer.status_code == 413


def test_no_other_scope_reaches_the_server() -> None:
    import anyio

    async def fail(*values: Any) -> None:
        raise AssertionError(values)

    scope = {"type": "websocket", "path": "/", "headers": []}
    with ThreadPoolExecutor(1) as pool:  # playwright keeps an event loop in the main thread
        pool.submit(anyio.run, Guard(fail, upload_bytes=1), scope, fail, fail).result()


@pytest.mark.parametrize("path", ["/", "/docs", "/static/index.js", "/api", "/openapi.json"])
def test_every_answer_has_the_security_headers(client: Any, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["../server.py", "..%2fserver.py", "%2e%2e/server.py", "/etc/passwd", "."])
def test_only_the_page_s_own_files_are_served(client: Any, path: str) -> None:
    assert client.get(f"/static/{path}").status_code in (404, 405)


def test_the_page_loads_nothing_from_other_hosts() -> None:
    for path in STATIC.iterdir():
        text = re.sub(r"http://www\.w3\.org/(2000/svg|1999/xhtml)", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", text), path.name
        assert len(text.splitlines()) <= 300, path.name


def test_errors_do_not_name_the_server_s_folder(client: Any, server_folder: Path, film: Any) -> None:
    answer = client.post(
        f"/api/films/{film['id']}/envelope-file", params={"name": "curve.csv"}, content=b"time,level\nx,y\n"
    )
    assert answer.status_code == 422 and answer.json()["detail"].startswith("curve.csv")
    assert str(server_folder) not in answer.text


def test_the_schema_describes_every_endpoint(client: Any) -> None:
    schema = client.get("/openapi.json").json()
    listed = {(method.upper(), path) for path, methods in schema["paths"].items() for method in methods}
    table = (ROOT / "docs" / "editor.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(GET|POST|PUT|DELETE) (/api[^`]*)`", table, re.MULTILINE))
    assert documented == listed
    for methods in schema["paths"].values():
        assert all(one["summary"] for one in methods.values())


def test_the_page_s_types_are_those_of_the_schema(client: Any) -> None:
    written = messages.TARGET.read_text(encoding="utf-8")
    assert written == messages.typescript(client.get("/openapi.json").json()["components"]["schemas"]), "make frontend"


def test_every_action_of_the_docs_names_a_test_that_exists() -> None:
    table = re.search(r"^\| action .*?\n\n", (ROOT / "docs" / "editor.md").read_text(encoding="utf-8"), re.M | re.S)
    written = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert table is not None
    lines = table[0].strip().splitlines()[2:]
    named = [re.findall(r"`(test_\w+)`", line) for line in lines]
    assert len(lines) > 20 and all(named)
    assert all(f"def {name}(" in written for names in named for name in names)


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("host.local", False)],
)
def test_loopback_addresses(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def run(*arguments: object, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys\n{before}\nfrom foleygram.cli import main\nmain(sys.argv[1:])"
    asked = [sys.executable, "-c", code, "serve", *map(str, arguments)]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=120, env=os.environ | environment)


def test_without_fastapi_the_error_gives_the_install_command(tmp_path: Path) -> None:
    done = run(before="sys.modules['fastapi'] = None", TMPDIR=str(tmp_path))
    assert done.returncode == 1 and "pip install 'foleygram[app]'" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_and_a_missing_folder_are_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("--port", port, TMPDIR=str(tmp_path))
    assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr and "another --port" in done.stderr
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []
    done = run("--films", tmp_path / "none", "--port", "0", TMPDIR=str(tmp_path))
    assert done.returncode == 1 and "no such folder" in done.stderr


def test_a_stopped_server_leaves_nothing_and_connects_to_nothing(tmp_path: Path) -> None:
    with served(tmp_path, "--no-browser", command="app") as running:
        assert [path.name.startswith("foleygram-app-") for path in running.temporary.glob("*app*")] == [True]
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 128 + signal.SIGTERM
        assert list(running.temporary.glob("*app*")) == []
    assert running.errors.read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(["--port", "70000"], 2, "65535"), (["--max-seconds", "0"], 2, "max-seconds"), (["--sparkle"], 2, "--sparkle")],
)
@pytest.mark.parametrize("name", ["app", "serve"])
def test_wrong_options_are_refused(name: str, arguments: list[str], code: int, message: str) -> None:
    outcome: Any = CliRunner().invoke(command, [name, *arguments])
    assert outcome.exit_code == code and message in outcome.output
