"""A hub of one's own on this machine, for tests: it speaks as much of the real one's HTTP as the client asks for."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from huggingface_hub import constants

COMMIT = "c0ffee" + 34 * "0"
REFUSALS = {"gated": (403, "GatedRepo"), "absent": (401, "RepoNotFound")}


class Hub(ThreadingHTTPServer):
    """Serves `files` under any repository's name; `refusal` is a key of REFUSALS, `claimed` other hashes than are true.

    The first `breaks` downloads end after half of what was asked for. `ranges` holds the Range of every download.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.claimed: dict[str, str] = {}
        self.refusal: str | None = None
        self.breaks = 0
        self.ranges: list[str | None] = []
        self.uploaded: dict[str, bytes] = {}
        """Content of large files by their SHA-256, until a commit names them."""
        self.created: dict[str, Any] = {}

    def sha256(self, name: str) -> str:
        return self.claimed.get(name, hashlib.sha256(self.files[name]).hexdigest())


class Answer(BaseHTTPRequestHandler):
    """One request's answer."""

    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_PUT(self) -> None:
        content = self.received()
        self.server.uploaded[self.path.rpartition("/")[2]] = content
        self.respond(200 if hashlib.sha256(content).hexdigest() == self.path.rpartition("/")[2] else 400, b"", {})

    def do_POST(self) -> None:
        hub, path, content = self.server, urlsplit(self.path).path, self.received()
        address = f"http://127.0.0.1:{hub.server_port}"
        if hub.refusal:
            self.respond(403, b"{}", {"X-Error-Message": "no right to write here"})
            return
        if path == "/api/repos/create":
            hub.created = json.loads(content)
            answer_text: dict[str, Any] = {"url": f"{address}/owner/name"}
        elif path == "/api/validate-yaml":
            answer_text = {"warnings": [], "errors": []}
        elif "/preupload/" in path:
            large = [file["path"].endswith(".safetensors") for file in json.loads(content)["files"]]
            modes = ["lfs" if one else "regular" for one in large]
            files = zip(json.loads(content)["files"], modes, strict=True)
            answer_text = {
                "files": [{"path": f["path"], "uploadMode": mode, "shouldIgnore": False} for f, mode in files]
            }
        elif path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(content)["objects"]
            upload = [{"upload": {"href": f"{address}/upload/{one['oid']}"}} for one in objects]
            answer_text = {
                "objects": [one | {"actions": a} for one, a in zip(objects, upload, strict=True)],
                "transfer": "basic",
            }
        else:
            self.commit([json.loads(line) for line in content.splitlines()])
            answer_text = {
                "commitUrl": f"{address}/owner/name/commit/{COMMIT}",
                "commitOid": COMMIT,
                "pullRequestUrl": None,
            }
        self.respond(200, json.dumps(answer_text).encode(), {"Content-Type": "application/vnd.git-lfs+json"})

    def commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.server.files[value["path"]] = self.server.uploaded.pop(value["oid"])

    def received(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, *, with_body: bool) -> None:
        hub, path = self.server, urlsplit(self.path).path
        if hub.refusal and not (hub.refusal == "gated" and path.startswith("/api/")):  # anyone may list gated weights
            status, code = REFUSALS[hub.refusal]
            self.respond(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "refused"})
        elif path.startswith("/api/"):
            self.respond(200, json.dumps(self.listing(path)).encode(), {"Content-Type": "application/json"})
        else:
            name = path.partition("/resolve/")[2].partition("/")[2]
            if name in hub.files:
                self.send_file(name, with_body=with_body)
            else:
                self.respond(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def listing(self, path: str) -> Any:
        hub = self.server
        if "/tree/" in path:
            sizes = {name: len(content) for name, content in hub.files.items()}
            return [{"type": "file", "path": name, "size": size, "oid": ""} for name, size in sizes.items()]
        blobs = []
        for name, content in hub.files.items():
            large = {"sha256": hub.sha256(name), "size": len(content), "pointerSize": 130}
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            blobs.append(
                {"rfilename": name, "size": len(content), "blobId": git, "lfs": large if len(content) > 99 else None}
            )
        return {"id": "owner/name", "modelId": "owner/name", "sha": COMMIT, "siblings": blobs, "tags": []}

    def send_file(self, name: str, *, with_body: bool) -> None:
        hub = self.server
        content = hub.files[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hub.sha256(name)}"', "Accept-Ranges": "bytes"}
        if not with_body:
            self.respond(200, content, headers, send=False)
            return
        asked = self.headers.get("Range")
        hub.ranges.append(asked)
        first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
        part = content[first:]
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        broken = hub.breaks > 0
        hub.breaks -= broken
        self.respond(206 if first else 200, part, headers, cut=len(part) // 2 if broken else None)

    def respond(
        self, status: int, body: bytes, headers: dict[str, str], *, send: bool = True, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send and self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True


@contextmanager
def running_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the client library asks instead of the real one."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    ask_at(monkeypatch, f"http://127.0.0.1:{hub.server_port}")
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def ask_at(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Let the client library ask at `endpoint`, and start from an empty cache."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # CI is offline, and this hub is on this machine
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # for processes that a test starts
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
