"""Functions run in processes of their own, so that a damaged file brings no other down."""

import errno
import io
import multiprocessing
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from foleygram.files import error_text

START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""How a worker starts; never by plain fork, which would copy this process's threads half."""
PIECE_BYTES = 1 << 24
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""No fault of the file that is read: there is no room for what is written."""
_starting = threading.Lock()


class MediaError(ValueError):
    """A media file that cannot be used; the message names the file and the way out."""


def patience(seconds: float) -> float:
    """How long, in seconds, work on a film of `seconds` may take before it counts as hung: ten times that, and more."""
    return 300.0 + 10.0 * seconds


def guarded(function: Callable[..., Any], *arguments: Any, timeout_sec: float = 120.0, **options: Any) -> Any:
    """Run `function` in a process of its own: a decoder that crashes or hangs on damage becomes a MediaError.

    The first argument names the file in the message. Errors that the function raises become MediaErrors too.
    """
    context: Any = multiprocessing.get_context(START)
    if START == "forkserver":  # what the first call needs is imported once; a file then costs milliseconds
        context.set_forkserver_preload([function.__module__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(sender, function, arguments, options), daemon=True)
    with _without_main(function):
        process.start()
    sender.close()
    try:
        if not receiver.poll(timeout_sec):
            raise MediaError(f"{arguments[0]}: decoding took more than {timeout_sec:g} s; the file seems damaged")
        outcome = _receive(receiver)
    except EOFError:
        raise MediaError(f"{arguments[0]}: the decoder crashed on it; the file seems damaged") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(outcome, MediaError):
        raise outcome
    return outcome


@contextmanager
def _without_main(function: Callable[..., Any]) -> Iterator[None]:
    """Start a worker that does not run the caller's script again: its imports alone would cost seconds per file."""
    with _starting:
        main = sys.modules["__main__"]
        if function.__module__ != main.__name__:
            sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _report(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        outcome: Any = function(*arguments, **options)
    except MediaError as error:
        outcome = error
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in DISK_ERRORS
        said = error_text(error) if full else f"{error!r}; check that it is a sound video"
        outcome = MediaError(f"{arguments[0]}: {said}")
    _send(sender, outcome)


class _Pickler(pickle.Pickler):
    """Leaves the content of tensors and arrays where it is: minutes of frames are not copied to be sent.

    A pipe's own pickler would share memory that dies with the process.
    """

    def reducer_override(self, obj: Any) -> Any:
        torch = sys.modules.get("torch")  # there is no tensor without it, and not every worker needs it
        if torch is None or not isinstance(obj, torch.Tensor):
            return NotImplemented
        return torch.from_numpy, (obj.numpy(),)


def _send(sender: Any, outcome: Any) -> None:
    """Send an object, then the content of its arrays piece by piece."""
    body, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(body, protocol=5, buffer_callback=buffers.append).dump(outcome)
    contents = [buffer.raw() for buffer in buffers]
    sender.send_bytes(pickle.dumps((body.getvalue(), [len(content) for content in contents])))
    for content in contents:
        for begin in range(0, len(content), PIECE_BYTES):
            sender.send_bytes(content[begin : begin + PIECE_BYTES])


def _receive(receiver: Any) -> Any:
    """Receive what `_send` sent; raises EOFError when the sender dies."""
    body, sizes = pickle.loads(receiver.recv_bytes())
    buffers = [bytearray(size) for size in sizes]
    for buffer in buffers:
        filled = 0
        while filled < len(buffer):
            filled += receiver.recv_bytes_into(buffer, filled)
    return pickle.loads(body, buffers=buffers)
