"""docs/envelope.md as written: its commands run in order, its Python too, its printed numbers too."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.envelope.editing.files import read_envelope
from foleygram.envelope.editing.options import FORMS, parse_edit

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "envelope.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def test_the_page_s_commands_run_and_give_its_onsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("data", "checkpoints"):
        Path(name).symlink_to(ROOT / name)
    commands = "".join(blocks("bash")).splitlines()
    assert len(commands) == 7
    for command in commands:
        program, *arguments = command.split()
        assert program == "foleygram"
        faster = ["--steps", "1", "--device", "cpu"] if arguments[0] == "generate" else []
        result = CliRunner().invoke(app, [*arguments, *faster])
        assert result.exit_code == 0, result.output
        assert all(Path(word).is_file() for word in arguments if word.startswith("out/"))
    onsets = read_envelope("out/edited.csv").onsets()
    message = re.search(r"asked for were ([\d., ]+) and ([\d.]+)\.", PAGE)
    assert message is not None
    np.testing.assert_allclose(onsets, [float(time) for time in [*message[1].split(", "), message[2]]], atol=6e-4)
    np.testing.assert_allclose(read_envelope("out/clip.reaper.csv").onsets(), onsets, atol=0.012)
    for block in blocks("python"):
        exec(block, {})
    np.testing.assert_allclose(read_envelope("out/edited.json").onsets()[-2:], [2.595, 3.076], atol=0.01)


def test_the_table_lists_every_edit_in_its_form() -> None:
    rows = dict(re.findall(r"^\| `--([\w-]+)` \| (.*?) \|", PAGE, re.M))
    assert rows.keys() == FORMS.keys()
    for name, examples in rows.items():
        for example in re.findall(r"`(.*?)`", examples):
            parse_edit(name, example)
