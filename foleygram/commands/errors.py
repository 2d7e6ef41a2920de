"""How a command fails: one line on standard error and exit code 1, no traceback for what a user can mend."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from foleygram.files import error_text


def failed(error: BaseException) -> typer.Exit:
    """Print `error` as one line and return what ends the command with exit code 1."""
    typer.echo(f"foleygram: {error_text(error)}", err=True)
    return typer.Exit(1)


@contextmanager
def reported() -> Iterator[None]:
    """Turn ValueError, OSError and RuntimeError, which carry a message for the user, into `failed`."""
    try:
        yield
    except typer.Exit:
        raise  # it is a RuntimeError by descent
    except (ValueError, OSError, RuntimeError) as error:
        raise failed(error) from None
