"""ASGI middleware in front of the server: refuses other sites' requests and large bodies, and sets security headers."""

from collections.abc import Iterable
from typing import Any

from foleygram.app.limits import MAX_MESSAGE_BYTES

WAVESURFER_STYLE = b"'sha256-gXnHDepVZ6KF6fKGOD+GVc9BynM50JQqht95p3HpemI='"
"""Hash of the one inline style that is allowed, by which wavesurfer.js lays out its waveforms.

Another version may have another style; the browser's console then names its hash, and the tests of the page fail.
"""
POLICY = (
    b"default-src 'self'; script-src 'self'; style-src 'self' %s; img-src 'self' data: blob:; media-src 'self' blob:; "
    b"connect-src 'self'; object-src 'none'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
) % WAVESURFER_STYLE
HEADERS = (
    (b"content-security-policy", POLICY),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """Answers 403 to requests from other sites, and 413 to bodies above a limit, before they reach the server.

    `uploads` are the last parts of the paths that take files of up to `upload_bytes`; other bodies end at
    `MAX_MESSAGE_BYTES`.
    """

    def __init__(self, app: Any, *, upload_bytes: int, uploads: Iterable[str] = ()) -> None:
        self.app, self.upload_bytes, self.uploads = app, upload_bytes, frozenset(uploads)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass an allowed request on and add the headers to the response; refuse the others."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not same_site(headers, scope["method"], scope["path"]):
            await _refuse(send, 403, b"this request comes from another site")
            return
        limit = self.upload_bytes if scope["path"].rpartition("/")[2] in self.uploads else MAX_MESSAGE_BYTES
        length = headers.get(b"content-length", b"0")
        too_large = f"larger than the limit of {limit / 1e6:g} MB".encode()
        if not length.isdigit() or int(length) > limit:
            await _refuse(send, 413, too_large)
            return
        size, started = 0, False

        async def counted() -> Any:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise TooLargeError
            return message

        async def guarded(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            await self.app(scope, counted, guarded)
        except TooLargeError:
            if not started:
                await _refuse(send, 413, too_large)


class TooLargeError(Exception):
    """A body grew past its limit."""


def same_site(headers: dict[bytes, bytes], method: str, path: str) -> bool:
    """Whether a request comes from this page or from a program that is no browser.

    Browsers name the page that sends a form or a script's request (`Origin`), and the relation of the two sites
    (`Sec-Fetch-Site`). A link on another site may open the page itself.
    """
    origin = headers.get(b"origin")
    if origin is not None and origin.partition(b"://")[2] != headers.get(b"host"):
        return False
    if headers.get(b"sec-fetch-site", b"none") in (b"none", b"same-origin"):
        return True
    return method == "GET" and path == "/" and headers.get(b"sec-fetch-mode") == b"navigate"


async def _refuse(send: Any, status: int, text: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
