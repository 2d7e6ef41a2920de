"""Stands in front of gradio: files of one folder go in and out, and neither server nor page ask anybody else."""

import json
import re
from pathlib import Path
from typing import Any

FILE_ROUTE, PROXY_ROUTE, UPLOAD_ROUTE = re.compile(r"/file[=/](.*)", re.DOTALL), "/proxy=", "/upload"
MAX_BODY_BYTES = 1_000_000
"""Of a message; a file is no message, it is uploaded."""
POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    b"worker-src 'self' blob:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)


class OwnFilesOnly:
    """ASGI layer that answers 403 to a request for, or with the name of, a file beyond `folder`, or from another site.

    gradio guards what it serves, but would also serve a cache in the working folder and fetch a URL that a visitor
    names; a message that names a file beside the uploads it trusts, unless it has launched its own server; and parts
    of its page load scripts from elsewhere, which the policy forbids.
    """

    def __init__(self, app: Any, folder: Path) -> None:
        self.app, self.folder = app, folder.resolve()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a harmless request on, and its answer back with the policy; refuse the rest."""
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
            await send({"type": "http.response.body", "body": b"not a file, or no visitor, of this page"})
            return

        async def marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY)]
            await send(message)

        await self.app(scope, receive, marked)

    def allows(self, path: str) -> bool:
        """Whether a request's path asks for nothing beyond the folder."""
        if PROXY_ROUTE in path:
            return False
        asked = FILE_ROUTE.search(path)
        return asked is None or self._owns(asked[1])

    def accepts(self, body: bytes) -> bool:
        """Whether a message is JSON, or empty, and names no file beyond the folder."""
        try:
            return not body or all(self._owns(path) for path in named_files(json.loads(body)))
        except (ValueError, RecursionError):
            return False

    def _owns(self, path: Any) -> bool:
        try:
            return isinstance(path, str) and Path(path).resolve().is_relative_to(self.folder)
        except (OSError, ValueError):  # too long, or with a null byte
            return False


def same_origin(headers: dict[bytes, bytes]) -> bool:
    """Whether a request comes from the page itself, or from no page at all: browsers send other sites' forms too."""
    origin = headers.get(b"origin")
    return origin is None or origin.partition(b"://")[2] == headers.get(b"host")


def named_files(message: Any) -> list[Any]:
    """All that stands as a `path` anywhere in a message, which is how gradio's messages name files."""
    if isinstance(message, list):
        return [path for part in message for path in named_files(part)]
    if not isinstance(message, dict):
        return []
    named = [message["path"]] if message.get("path") is not None else []
    return named + [path for part in message.values() for path in named_files(part)]


async def _read_body(receive: Any) -> bytes | None:
    """A request's whole body; None for one that is too long or breaks off."""
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
    """What gives the body again, and then whatever comes."""
    told = False

    async def replayed() -> Any:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
