"""Atomic writes, tables, JSON, and hashes of files."""

import csv
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


def shipped(path: str | os.PathLike[str]) -> Path:
    """`path`, or what foleygram ships under that name (`checkpoints/mini`, `configs/...`) if there is no such path.

    So the names in the documentation work from any working directory.
    """
    path = Path(path)
    if not path.exists() and path.parts[:1] in (("checkpoints",), ("configs",), ("data",)):
        for root in (PACKAGE / "shipped", PACKAGE.parent):  # in a wheel; in a clone
            if (root / path).exists():
                return root / path
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, a file or folder, renamed to it when the block ends, removed when it raises."""
    temporary = path.with_name(f".{path.stem[:40]}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        share(temporary)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def share(path: Path) -> None:
    """Apply the umask's permissions to a file or the files of a folder: safetensors writes for the owner only."""
    allowed = 0o666 & ~_umask()
    for file in (path, *path.rglob("*")):
        if file.is_file() and allowed & ~file.stat().st_mode:
            file.chmod(file.stat().st_mode | allowed)


@lru_cache
def _umask() -> int:
    mask = os.umask(0o077)  # it can be read only by setting it
    os.umask(mask)
    return mask


def error_text(error: BaseException) -> str:
    """An error's message, without Python's class name or the number before the system's message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error) or type(error).__name__


def write_json(path: Path, content: Any, *, indent: int | None = 1) -> None:
    """Write JSON atomically, with its folder; raises ValueError for a number that is not finite."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n", encoding="utf-8")


def read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[Any, Any]]]]:
    """Columns of a CSV file, and its rows, each with the number of the line that it ends on.

    Raises FileNotFoundError, and ValueError for a file that is not CSV in UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the path")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        try:
            return list(rows.fieldnames or ()), [(rows.line_num, row) for row in rows]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a CSV in UTF-8 ({error}); save it as that") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises ValueError for one that is not JSON, without its name: the caller adds it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no text, no JSON, or nested without end
        raise ValueError(f"not readable as JSON: {error}") from None


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """`file_hash`, cached by the file's size and time of change."""
    facts = path.stat()
    return _hash_at(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=65_536)
def _hash_at(path: Path, size: int, modified: int) -> str:
    return file_hash(path)
