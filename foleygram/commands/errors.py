"""User errors of a command: one line on standard error and exit code 1, without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from foleygram.files import error_text


def failed(error: BaseException) -> typer.Exit:
    """Print `error` as one line and return the exit with code 1."""
    typer.echo(f"foleygram: {error_text(error)}", err=True)
    return typer.Exit(1)


@contextmanager
def reported() -> Iterator[None]:
    """Report ValueError, OSError and RuntimeError as user errors: raises typer.Exit with code 1 in their place.

    Every command runs in it; typer.BadParameter, for options that exclude one another, exits with code 2.
    """
    try:
        yield
    except typer.Exit:
        raise  # a subclass of RuntimeError
    except (ValueError, OSError, RuntimeError) as error:
        raise failed(error) from None
