"""The notebook of the documentation runs from top to bottom, and shows players; the comparison names its sources."""

import base64
import io
import os
import re
from pathlib import Path

import nbformat
import pytest
import soundfile
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed with outputs; clear them"
    folder = tmp_path_factory.mktemp("ipython")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(ROOT / "docs")}})
        return client.execute().cells


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Jupyter's own
def test_every_cell_runs_and_results_are_players(ran):
    shown = [output["data"] for cell in ran for output in cell.get("outputs", ()) if "data" in output]
    players = [data["text/html"] for data in shown if "text/html" in data]
    assert len(players) == 2
    for html in players:
        sound = base64.b64decode(re.search(r"base64,([^\"]+)", html)[1])
        samples, rate = soundfile.read(io.BytesIO(sound))
        assert rate == 16_000 and len(samples) > rate and abs(samples).max() > 0.01
        assert "<polyline" in html
    assert any(re.fullmatch(r"\[FoleyOutput\(.*\),\s+FoleyOutput\(.*\)\]", data["text/plain"], re.S) for data in shown)
    printed = "".join(output.get("text", "") for cell in ran for output in cell.get("outputs", ()))
    assert "moved.wav" in printed and "moved.mp4" in printed


def test_every_system_of_the_comparison_is_linked():
    rows = (ROOT / "docs" / "comparison.md").read_text().splitlines()
    table = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows if row.startswith("|")]
    assert {len(row) for row in table} == {7}
    assert all("](https://" in cell for cell in table[0][2:])
