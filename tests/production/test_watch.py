"""`generate --watch`: videos are generated as they appear, each once, and a copy that is under way is waited for."""

import os
import shutil
from functools import partial

import pytest
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.production import watch
from foleygram.production.manifest import Manifest


def waiting(*steps):
    """A `wait` that takes one of `steps` per poll, and then is interrupted."""
    left = iter(steps)

    def wait(seconds):
        step = next(left, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    return wait


def nothing():
    pass


def test_a_video_is_yielded_once_when_it_no_longer_changes(tmp_path):
    there, growing, other = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.txt"))
    there.write_bytes(b"1")
    other.write_bytes(b"1")
    changes = (
        lambda: growing.write_bytes(b"1"),
        lambda: growing.write_bytes(b"12"),
        nothing,
        lambda: os.utime(there, ns=(1, 1)),
        there.unlink,
        nothing,
    )
    found = list(watch.appearing_videos([tmp_path, tmp_path / "."], waiting(*changes)))
    assert found == [[there], [growing]]
    growing.unlink()
    assert list(watch.appearing_videos([tmp_path], waiting(nothing, nothing))) == []


def test_a_changed_video_is_yielded_again(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"1")
    changes = (nothing, lambda: video.write_bytes(b"12"), nothing, nothing)
    assert list(watch.appearing_videos([tmp_path], waiting(*changes))) == [[video], [video]]


def test_films_put_into_a_folder_are_generated_with_the_networks_loaded_once(
    tiny_release, flickers, tmp_path, monkeypatch
):
    folder, out, loaded = tmp_path / "in", tmp_path / "in" / "foley", []
    folder.mkdir()
    from foleygram import console

    load = console.load_pipeline
    monkeypatch.setattr(console, "load_pipeline", lambda *given, **more: loaded.append(given) or load(*given, **more))

    def put(name):
        return lambda: shutil.copy(flickers / name, folder)

    def put_damaged():
        (folder / "torn.mp4").write_bytes(b"no film")

    steps = put("clip 0.mp4"), nothing, put("clip 2.mp4"), put_damaged, nothing
    monkeypatch.setattr(watch, "appearing_videos", partial(watch.appearing_videos, wait=waiting(*steps, nothing)))
    given = ("--checkpoint", tiny_release, "--steps", 1, "--device", "cpu", "--watch", "--out", out)
    ran = CliRunner().invoke(app, ["generate", str(folder), *map(str, given)])
    assert ran.exit_code == 1 and ran.output.count("failed: ") == 1 and "Traceback" not in ran.output, ran.output
    rows = Manifest(out).rows
    assert {name: row.state for name, row in rows.items()} == {"clip 0": "done", "clip 2": "done", "torn": "failed"}
    assert len(loaded) == 1 and (out / "clip 0.wav").is_file() and (out / "clip 2.mp4").is_file()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["{film}", "--out", "o"], "is not a folder"),
        (["{folder}", "--out", "{folder}"], "is also --out"),
        (["{folder}", "--out", "o", "--dry-run"], "--watch does not go with --dry-run"),
        (["{folder}", "--out", "o", "--sheet", "s.csv"], "--watch does not go with --sheet"),
    ],
)
def test_what_cannot_be_watched_is_refused(flickers, given, named):
    names = {"folder": flickers, "film": flickers / "clip 0.mp4"}
    ran = CliRunner().invoke(app, ["generate", "--watch", *(text.format(**names) for text in given)])
    assert ran.exit_code == 1 and named in ran.output
