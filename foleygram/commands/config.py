"""`--config`: a YAML file whose keys are a command's options; the command line takes precedence."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from foleygram.files import shipped


def read_options(context: typer.Context, path: Path | None) -> Path | None:
    """Set the defaults of a command's options from a YAML file.

    Raises typer.BadParameter, exit code 2, for an absent or invalid file and for an unknown key.
    """
    if path is None:
        return None
    path = shipped(path)
    if not path.is_file():
        raise typer.BadParameter(f"{path}: no such file", context)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path}: invalid YAML ({error})", context) from error
    if not isinstance(content, dict):
        raise typer.BadParameter(f"{path}: contains no options; write one `name: value` per line", context)
    parameters = {name: p for p in context.command.params for name in (p.name or "", _option(p))}
    unknown = sorted(str(key) for key in content if str(key) not in parameters)
    if unknown:
        options = ", ".join(sorted({_option(p) for p in parameters.values()} - {"config", "help"}))
        raise typer.BadParameter(f"{path}: unknown key {', '.join(unknown)}; known: {options}", context)
    values = {parameters[str(key)].name: _plain(value) for key, value in content.items() if value is not None}
    context.default_map = {**(context.default_map or {}), **{str(name): value for name, value in values.items()}}
    return path


def _option(parameter: Any) -> str:
    return (parameter.name or "").replace("_", "-")


def _plain(value: Any) -> Any:
    """A list as the comma-separated text of the command line."""
    if not isinstance(value, list):
        return value
    return ",".join(str(item).lower() if isinstance(item, bool) else str(item) for item in value)


Config = Annotated[
    Path | None,
    typer.Option(
        help="YAML whose keys are these options; the command line takes precedence.",
        callback=read_options,
        is_eager=True,
    ),
]
