"""The REAPER script runs in Lua 5.4 against the real server by real HTTP; REAPER's functions are replaced."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.app.browser import EXAMPLE, Served, served

SCRIPT = Path(__file__).parents[1] / "integrations" / "reaper" / "foleygram.lua"
POSITION, OFFSET, LENGTH = 10.0, 0.2, 4.0

lua = pytest.importorskip("lupa.lua54", reason="lupa is missing: install foleygram[dev]")
if shutil.which("curl") is None:
    pytest.skip("curl is missing", allow_module_level=True)


class Reaper:
    """REAPER's functions that the script calls, for one item; tracks, markers and messages are recorded."""

    def __init__(self, film: str, answer: str, folder: Path, regions: list[tuple[float, float, str]]) -> None:
        self.film, self.answer, self.folder, self.regions = film, answer, folder, regions
        self.tracks: list[dict[str, Any]] = []
        self.markers: list[tuple[float, str]] = []
        self.messages: list[str] = []
        self.deferred: list[Any] = []
        self.clock, self.playrate, self.selected = 0.0, 1.0, True

    def functions(self) -> dict[str, Any]:
        item = {"D_POSITION": POSITION, "D_LENGTH": LENGTH}

        def enumerate_markers(index: int) -> tuple[Any, ...]:
            if index >= len(self.regions):
                return (0,)
            return (index + 1, True, *self.regions[index])

        def time_precise() -> float:
            self.clock += 1.0
            return self.clock

        return {
            "ExecProcess": self.execute,
            "GetSelectedMediaItem": lambda project, number: item if self.selected else None,
            "GetActiveTake": lambda item: "take",
            "GetMediaItemTakeInfo_Value": lambda take, name: {"D_STARTOFFS": OFFSET, "D_PLAYRATE": self.playrate}[name],
            "GetMediaItemInfo_Value": lambda item, name: item[name],
            "GetMediaItemTake_Source": lambda take: "source",
            "GetMediaSourceFileName": lambda source, buffer: self.film,
            "EnumProjectMarkers": enumerate_markers,
            "GetExtState": lambda section, key: "",
            "SetExtState": lambda *values: None,
            "GetUserInputs": lambda *values: (True, self.answer),
            "GetProjectPath": lambda: str(self.folder),
            "CountTracks": lambda project: len(self.tracks),
            "InsertTrackAtIndex": lambda index, defaults: self.tracks.insert(index, {}),
            "GetTrack": lambda project, index: self.tracks[index],
            "GetSetMediaTrackInfo_String": lambda track, key, value, write: track.update({key: value}),
            "AddMediaItemToTrack": lambda track: track,
            "AddTakeToMediaItem": lambda item: item,
            "PCM_Source_CreateFromFile": lambda file: file,
            "SetMediaItemTake_Source": lambda take, source: take.update(file=source),
            "SetMediaItemInfo_Value": lambda item, key, value: item.update({key: value}),
            "SetMediaItemTakeInfo_Value": lambda take, key, value: take.update({key: value}),
            "AddProjectMarker2": lambda project, region, at, end, name, *rest: self.markers.append((at, name)),
            "MB": lambda text, title, kind: self.messages.append(text),
            "time_precise": time_precise,
            "defer": self.deferred.append,
            **dict.fromkeys(("Undo_BeginBlock", "Undo_EndBlock", "UpdateArrange"), lambda *values: None),
        }

    @staticmethod
    def execute(command: str, timeout_ms: int) -> str:
        """Runs the command as REAPER does, without a shell: the exit code, a line break, the output."""
        done = subprocess.run(shlex.split(command), capture_output=True, timeout=timeout_ms / 1000)
        return f"{done.returncode}\n{(done.stdout or done.stderr).decode()}"

    def run(self) -> "Reaper":
        runtime = lua.LuaRuntime(unpack_returned_tuples=True)
        runtime.globals().reaper = runtime.table_from(self.functions())
        runtime.execute(SCRIPT.read_text(encoding="utf-8"))
        while self.deferred:
            self.deferred.pop(0)()
        return self


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as one:
        yield one


def test_stems_and_markers_are_put_under_the_item(running: Served, tmp_path: Path) -> None:
    film = tmp_path / "my film [1] & more.mp4"
    film.write_bytes(EXAMPLE.read_bytes())
    regions = [(10.8, 12.0, 'wood "soft"'), (12.5, 13.0, ""), (30.0, 31.0, "elsewhere")]
    reaper = Reaper(str(film), f"metal, hit | 7 | {running.address}", tmp_path, regions).run()
    assert reaper.messages == []
    assert len(reaper.tracks) == 3  # before, in and after the region
    stems = []
    for number, track in enumerate(reaper.tracks, start=1):
        assert track["P_NAME"] == f"my film [1] & more take 1 stem {number}"
        assert (track["D_POSITION"], track["D_LENGTH"], track["D_STARTOFFS"]) == (POSITION, LENGTH, OFFSET)
        stems.append(soundfile.read(track["file"])[0])
    assert np.abs(sum(stems)).max() > 0.01
    inside = slice(round(1.1 * 16_000), round(2.1 * 16_000))  # the region is from 1.0 to 2.2 s of the film
    assert not stems[0][inside].any() and not stems[2][inside].any()
    assert reaper.markers and all(POSITION <= at <= POSITION + LENGTH for at, _ in reaper.markers)
    assert all(name.startswith("hit ") for _, name in reaper.markers)


@pytest.mark.parametrize(
    ("change", "answer", "message"),
    [
        ({"selected": False}, "x|0|http://127.0.0.1:1", "select an item"),
        ({"playrate": 2.0}, "x|0|http://127.0.0.1:1", "play rate"),
        ({}, "x|0|http://127.0.0.1:1", "foleygram serve does not answer"),
        ({}, "x|many|http://127.0.0.1:1", "whole number"),
        ({}, "x|0|https://example.com/x y", "an address such as"),
        ({"film": 'a"b.mp4'}, "x|0|http://127.0.0.1:1", "quotation mark"),
    ],
)
def test_problems_are_shown_in_words(change: Any, answer: str, message: str, tmp_path: Path) -> None:
    reaper = Reaper(str(EXAMPLE), answer, tmp_path, [])
    for name, value in change.items():
        setattr(reaper, name, value)
    [shown] = reaper.run().messages
    assert message in shown and reaper.tracks == []


def test_what_the_server_refuses_is_shown(running: Served, tmp_path: Path) -> None:
    film = tmp_path / "notes.mp4"
    film.write_text("no film")
    reaper = Reaper(str(film), f"x|0|{running.address}", tmp_path, []).run()
    assert reaper.messages and "notes.mp4: not a readable media file" in reaper.messages[0]
