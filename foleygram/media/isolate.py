"""Runs functions in separate processes, so that a damaged file cannot take the caller down."""

import errno
import io
import logging
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
"""Never plain fork, which would copy this process without its threads."""
PIECE_BYTES = 1 << 24
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of the disk that is written to, not of the file that is read."""
_starting = threading.Lock()
_preloaded: set[str] = set()


class MediaError(ValueError):
    """A media file that cannot be used; the message names the file and what to do."""


def time_limit(seconds: float) -> float:
    """Seconds after which work on a video of `seconds` counts as hung: five minutes and ten times its length."""
    return 300.0 + 10.0 * seconds


def preload(*modules: str) -> None:
    """Have the server of processes import `modules` as well, once; no effect after the first call of `run_isolated`."""
    _preloaded.update(modules)


def run_isolated(function: Callable[..., Any], *arguments: Any, timeout_sec: float = 120.0, **options: Any) -> Any:
    """Result of `function`, run in a process of its own: a crash, a hang or an error raises MediaError.

    The first argument is the file that the message names.
    """
    context: Any = multiprocessing.get_context(START)
    if START == "forkserver":  # imported once by the server; each later call starts in milliseconds
        preload(function.__module__)
        context.set_forkserver_preload(sorted(_preloaded))
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
        raise MediaError(f"{arguments[0]}: the decoder crashed; the file seems damaged") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(outcome, MediaError):
        raise outcome
    return outcome


@contextmanager
def _without_main(function: Callable[..., Any]) -> Iterator[None]:
    """Start workers without running the caller's script again, whose imports would cost seconds per file."""
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
    except (ValueError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in DISK_ERRORS
        outcome = _named(arguments[0], error_text(error) + ("" if full else "; check that the video is valid"))
    except MemoryError:
        outcome = _named(arguments[0], "not enough memory to read it; make it shorter or smaller")
    except Exception:  # a bug, or damage that a library answers with an error of Python's
        logging.getLogger(__name__).exception("%s failed on %s", function.__name__, arguments[0])
        outcome = _named(arguments[0], f"{function.__name__} failed on it; re-encode the video, and report this log")
    _send(sender, outcome)


def _named(file: Any, text: str) -> MediaError:
    return MediaError(text if str(file) in text else f"{file}: {text}")


class _Pickler(pickle.Pickler):
    """Pickles tensors and arrays out of band, so that minutes of frames are not copied.

    torch's own reducer for pipes would share memory that ends with the process.
    """

    def reducer_override(self, obj: Any) -> Any:
        torch = sys.modules.get("torch")  # not every worker imports it
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
