"""ASGI middleware in front of gradio: only files of one folder are served, and nothing is fetched from elsewhere."""

import json
import re
from pathlib import Path
from typing import Any

FILE_ROUTE, PROXY_ROUTE, UPLOAD_ROUTE = re.compile(r"/file[=/](.*)", re.DOTALL), "/proxy=", "/upload"
MAX_BODY_BYTES = 1_000_000
"""Largest body of a request that is not an upload."""
POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    b"worker-src 'self' blob:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)


class OwnFilesOnly:
    """Answers 403 to requests for or naming a file outside `folder`, and to requests from other sites.

    gradio by itself would also serve a cache in the working folder, fetch URLs that a user names, and accept messages
    that name any file unless it has launched its own server. Its page loads scripts from other hosts, which the content
    security policy forbids.
    """

    def __init__(self, app: Any, folder: Path) -> None:
        self.app, self.folder = app, folder.resolve()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass an allowed request on and add the policy to the response; refuse the others."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        allowed = self.allows(scope["path"])
        if scope["method"] == "POST":
            allowed = allowed and same_origin(dict(scope["headers"]))
        if allowed and scope["method"] == "POST" and not scope["path"].endswith(UPLOAD_ROUTE):
            body = await _read_body(receive)
            allowed, receive = body is not None and self.accepts(body), _replay(body or b"", receive)
        if not allowed:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"forbidden: a file or site outside of this page"})
            return

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY)]
            await send(message)

        await self.app(scope, receive, send_with_policy)

    def allows(self, path: str) -> bool:
        """Whether the path of a request is inside the folder."""
        if PROXY_ROUTE in path:
            return False
        file = FILE_ROUTE.search(path)
        return file is None or self._owns(file[1])

    def accepts(self, body: bytes) -> bool:
        """Whether a body is empty or JSON, and names no file outside the folder."""
        try:
            return not body or all(self._owns(path) for path in named_files(json.loads(body)))
        except (ValueError, RecursionError):
            return False

    def _owns(self, path: Any) -> bool:
        try:
            return isinstance(path, str) and Path(path).resolve().is_relative_to(self.folder)
        except (OSError, ValueError):  # too long, or a null byte
            return False


def same_origin(headers: dict[bytes, bytes]) -> bool:
    """Whether a request comes from this page, or from no page; browsers also send forms of other sites."""
    origin = headers.get(b"origin")
    return origin is None or origin.partition(b"://")[2] == headers.get(b"host")


def named_files(message: Any) -> list[Any]:
    """Every value of a key `path` in a message, which is how gradio names files."""
    if isinstance(message, list):
        return [path for part in message for path in named_files(part)]
    if not isinstance(message, dict):
        return []
    paths = [message["path"]] if message.get("path") is not None else []
    return paths + [path for part in message.values() for path in named_files(part)]


async def _read_body(receive: Any) -> bytes | None:
    """The body of a request; None if it is too long or incomplete."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _replay(body: bytes, receive: Any) -> Any:
    """A `receive` that returns the body first."""
    sent = False

    async def replayed() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
