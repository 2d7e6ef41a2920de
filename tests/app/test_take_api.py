"""Takes by HTTP: generated, one region rendered again, exported for other programs; jobs are followed and cancelled."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import mido
import numpy as np
import pytest
import soundfile

from foleygram.app.messages import EnvelopeMessage
from foleygram.envelope.editing.files import read_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.media.markers import cue_times
from foleygram.media.timeline import read_otio
from foleygram.media.video import probe
from foleygram.production.batch_runner import take_seed

HITS = EnvelopeMessage.of(draw_hits([Hit(0.5, 0.2), Hit(1.26, 0.1)], seconds=2.0)).model_dump()
SEGMENTS = [{"start": 0.0, "end": 1.0, "prompt": "wood"}, {"start": 1.0, "end": 2.0, "prompt": "metal"}]


def samples(client: Any, film: Any, number: int) -> np.ndarray:
    answer = client.get(f"/api/films/{film['id']}/takes/{number}/sound")
    return soundfile.read(io.BytesIO(answer.content), dtype="int16", always_2d=True)[0]


@pytest.fixture(scope="module")
def made(client: Any, film: Any, finish: Callable[[Any], Any]) -> list[int]:
    body = {"envelope": HITS, "count": 2, "steps": 2, "seed": 7, "prompt": "wood", "segments": SEGMENTS}
    job = finish(client.post(f"/api/films/{film['id']}/takes", json=body))
    assert (job["state"], job["progress"], job["film"]) == ("done", 1.0, film["id"])
    return job["result"]


def take(client: Any, film: Any, number: int) -> Any:
    takes = client.get(f"/api/films/{film['id']}/takes").json()
    return next(one for one in takes if one["number"] == number)


def test_takes_are_scored_and_ranked(client: Any, film: Any, made: list[int]) -> None:
    takes = [take(client, film, number) for number in made]
    assert [one["seed"] for one in takes] == [7, take_seed(7, 2)]
    assert len({one["rank"] for one in takes}) == 2
    for one in takes:
        assert one["score"]["relative_l1"] > 0 and one["score"]["volume"] > 0
        assert [hit["time"] for hit in one["envelope"]["hits"]] == pytest.approx([0.5, 1.26], abs=1e-6)
        sound = samples(client, film, one["number"])
        assert len(sound) == round(film["seconds"] * 16_000) and sound.any()
    assert not np.array_equal(samples(client, film, made[0]), samples(client, film, made[1]))


def test_the_same_request_gives_the_same_sound(client: Any, film: Any, made: list[int], finish: Any) -> None:
    body = {"envelope": HITS, "steps": 2, "seed": 7, "prompt": "wood", "segments": SEGMENTS}
    job = finish(client.post(f"/api/films/{film['id']}/takes", json=body))
    assert np.array_equal(samples(client, film, job["result"][0]), samples(client, film, made[0]))


def test_a_region_is_rendered_again_and_the_rest_is_kept_sample_for_sample(
    client: Any, film: Any, made: list[int], finish: Any
) -> None:
    body = {"envelope": HITS, "steps": 2, "seed": 99, "start": 1.0, "end": 1.6, "prompt": "metal"}
    job = finish(client.post(f"/api/films/{film['id']}/takes/{made[0]}/region", json=body))
    [number] = job["result"]
    exports = [export(client, film, one, kind="sound").content for one in (made[0], number)]
    before, after = (soundfile.read(io.BytesIO(one), dtype="int16", always_2d=True)[0] for one in exports)
    changed = np.flatnonzero((before != after).any(1))
    assert changed.min() >= 16_000 and changed.max() < round(1.6 * 16_000) and len(changed) > 5000
    described = take(client, film, number)
    assert (described["parent"], described["region"]) == (made[0], [1.0, 1.6])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"count": 7}, "count"),
        ({"steps": 0}, "steps"),
        ({"reference": "none"}, "no reference sound 'none'"),
        ({"segments": [{"start": 0, "end": 1.5}, {"start": 1, "end": 2}]}, "overlap"),
        ({"segments": [{"start": 0, "end": 50}]}, "must lie within"),
        ({"guidance": 1e9}, "guidance"),
        ({"sparkle": 1}, "sparkle: Extra inputs"),
    ],
)
def test_impossible_requests_give_the_reason(client: Any, film: Any, body: Any, message: str) -> None:
    answer = client.post(f"/api/films/{film['id']}/takes", json=body)
    assert answer.status_code == 422 and message in answer.json()["detail"]


def test_impossible_regions_say_why(client: Any, film: Any, made: list[int]) -> None:
    url = f"/api/films/{film['id']}/takes/{made[0]}/region"
    for body in ({"start": 1.0, "end": 1.0}, {"start": 70.0, "end": 71.0}):
        answer = client.post(url, json=body)
        assert answer.status_code == 422 and "a region from" in answer.json()["detail"]
    assert client.post(url.replace(f"/{made[0]}/", "/999/"), json={"start": 0, "end": 1}).status_code == 404


def export(client: Any, film: Any, number: int, **options: Any) -> Any:
    return client.get(f"/api/films/{film['id']}/takes/{number}/export", params=options)


def test_every_export_has_the_content_of_its_kind(
    client: Any, film: Any, made: list[int], tmp_path: Path, video: Path
) -> None:
    number, stem = made[0], f"{Path(film['name']).stem}-take{made[0]}"
    written = {}
    for kind, suffix in {
        "film": "mp4", "sound": "wav", "stems": "zip", "midi": "mid", "markers": "reaper.csv", "edl": "edl",
        "otio": "otio", "envelope": "csv", "all": "zip",
    }.items():  # fmt: skip
        answer = export(client, film, number, kind=kind)
        assert answer.status_code == 200, (kind, answer.text)
        assert stem in answer.headers["content-disposition"]
        written[kind] = tmp_path / f"{kind}.{suffix}"
        written[kind].write_bytes(answer.content)
    source, film_made = probe(video), probe(written["film"])
    assert (film_made.video_codec, film_made.has_audio) == (source.video_codec, True)
    assert film_made.duration_sec == pytest.approx(source.duration_sec, abs=1e-3)
    sound = soundfile.read(written["sound"], dtype="int16", always_2d=True)[0]
    assert np.array_equal(sound, samples(client, film, number))
    with zipfile.ZipFile(written["stems"]) as packed:
        stems = [soundfile.read(io.BytesIO(packed.read(name)), always_2d=True)[0] for name in packed.namelist()]
    assert len(stems) == 3  # two segments and what follows them
    np.testing.assert_allclose(sum(stems), sound / 32768, atol=3e-4)
    one = export(client, film, number, kind="stem", stem=2)
    second = soundfile.read(io.BytesIO(one.content), always_2d=True)[0]
    assert np.array_equal(second, stems[1]) and export(client, film, number, kind="stem", stem=4).status_code == 422
    assert client.get(f"/api/films/{film['id']}/takes/{number}").json()["stems"] == 3
    notes = [message for message in mido.MidiFile(written["midi"]) if message.type == "note_on" and message.velocity]
    assert len(notes) == 2
    assert read_envelope(written["envelope"]).onsets() == pytest.approx([0.5, 1.26], abs=1e-3)
    assert (
        written["markers"].read_text().startswith("#,Name,Start,End,Length\n")
        and "R3," in written["markers"].read_text()
    )
    assert len(read_otio(written["otio"]).clips) >= 3
    assert "TITLE:" in written["edl"].read_text()
    with zipfile.ZipFile(written["all"]) as packed:
        suffixes = {Path(name).suffix for name in packed.namelist()}
    assert {".mp4", ".wav", ".mid", ".csv", ".edl"} <= suffixes
    assert all(0 <= time <= film["seconds"] for time in cue_times(written["sound"].read_bytes()))


def test_exports_mix_the_original_and_set_loudness_and_leave_nothing(
    client: Any, film: Any, made: list[int], server_folder: Path, tmp_path: Path
) -> None:
    def heard(**options: Any) -> np.ndarray:
        path = tmp_path / "film.mkv"
        path.write_bytes(export(client, film, made[0], kind="film", container="mkv", **options).content)
        with av.open(str(path)) as container:
            return np.concatenate([frame.to_ndarray().reshape(1, -1) for frame in container.decode(audio=0)], axis=1)

    alone, mixed = heard().astype(float), heard(original_db=0).astype(float)
    assert alone.shape == mixed.shape and not np.array_equal(alone, mixed)
    quiet = heard(lufs=-40).astype(float)
    assert np.abs(quiet).max() < np.abs(alone).max()
    assert not list(server_folder.rglob("export-*"))
    assert export(client, film, made[0], kind="everything").status_code == 422
    assert export(client, film, made[0], original_db=99).status_code == 422


def test_a_job_is_cancelled_while_it_waits_and_while_it_runs(client: Any, film: Any, finish: Any) -> None:
    long = {"envelope": HITS, "steps": 150, "count": 6}
    running = client.post(f"/api/films/{film['id']}/takes", json=long)
    waiting = client.post(f"/api/films/{film['id']}/takes", json=long)
    key = waiting.json()["id"]
    assert client.delete(f"/api/jobs/{key}").json()["state"] == "cancelled"
    assert client.delete(f"/api/jobs/{running.json()['id']}").status_code == 200
    assert finish(running)["state"] == "cancelled" and finish(waiting)["state"] == "cancelled"
    assert key in [job["id"] for job in client.get("/api/jobs").json()]
    assert client.get("/api/jobs/none").status_code == 404


def test_a_removed_take_is_gone(client: Any, film: Any, finish: Any) -> None:
    [number] = finish(client.post(f"/api/films/{film['id']}/takes", json={"steps": 1}))["result"]
    assert client.delete(f"/api/films/{film['id']}/takes/{number}").status_code == 204
    assert client.get(f"/api/films/{film['id']}/takes/{number}/sound").status_code == 404


def test_the_folder_s_films_are_generated_by_one_job_that_resumes(client: Any, library: Path, finish: Any) -> None:
    names = sorted(path.name for path in library.glob("*.mp4"))
    listed = client.get("/api/folder").json()
    assert [one["name"] for one in listed] == names and {one["state"] for one in listed} == {"todo"}
    refused = finish(client.post("/api/folder/queue", json={"names": ["../x.mp4"]}))
    assert refused["state"] == "failed" and "no such film" in refused["error"]
    one = finish(client.post("/api/folder/queue", json={"names": names[:1], "steps": 2}))
    assert one["result"] == {"done": names[:1], "failed": [], "skipped": []}
    every = finish(client.post("/api/folder/queue", json={"steps": 2}))
    assert (
        every["state"] == "done" and sorted(every["result"]["done"]) == names and len(every["result"]["skipped"]) == 1
    )
    listed = client.get("/api/folder").json()
    assert {one["state"] for one in listed} == {"done"}
    film = next(name for name in listed[0]["files"] if name.endswith(".mp4"))
    assert client.get(f"/api/folder/results/{film}").content == (library / "foley" / film).read_bytes()
    for name in ("../" + names[0], names[0] + "x", "manifest.csv", "%2e%2e/notes.txt"):
        assert client.get(f"/api/folder/results/{name}").status_code in (404, 422)


def test_a_film_of_the_folder_is_made_as_it_was_edited(
    client: Any, library: Path, finish: Any, tmp_path: Path, video: Path
) -> None:
    edited, other = sorted(path.name for path in library.glob("*.mp4"))
    film = client.post("/api/films/open", json={"name": edited}).json()
    assert client.post("/api/films/open", json={"name": edited}).json()["id"] == film["id"]
    sound = video.with_suffix(".wav")
    reference = client.post(
        f"/api/films/{film['id']}/references", params={"name": "knock.wav"}, content=sound.read_bytes()
    ).json()["id"]
    segment = {"start": 0.0, "end": 1.0, "prompt": "wood", "reference": reference}
    regions = [segment, {"start": 1.0, "end": 1.5}]  # the second is marked only
    state = {"envelope": HITS, "prompt": "metal", "seed": 9, "segments": regions, "edits": ["--mute 1:1.1"]}
    assert client.put(f"/api/films/{film['id']}/project", json=state).status_code == 204
    body = {"steps": 2, "prompt": "stone", "reference": reference, "overwrite": True}
    assert "give the film" in finish(client.post("/api/folder/queue", json=body))["error"]
    done = finish(client.post("/api/folder/queue", json=body | {"film": film["id"]}))
    assert sorted(done["result"]["done"]) == [edited, other], done
    results = library / "foley"
    mine, theirs = (json.loads((results / name).with_suffix(".json").read_text()) for name in (edited, other))
    assert (mine["options"]["prompt"], mine["options"]["seed"]) == ("metal", 9)
    assert [(one["from"], one["to"], one["prompt"]) for one in mine["options"]["segments"]] == [(0.0, 1.0, "wood")]
    copied = Path(mine["options"]["segments"][0]["reference"])
    assert copied.parent == results / "settings" / Path(edited).stem and copied.read_bytes() == sound.read_bytes()
    assert read_envelope(mine["options"]["envelope"]).onsets() == pytest.approx([0.5, 1.26], abs=1e-3)
    assert (theirs["options"]["prompt"], theirs["options"]["envelope"]) == ("stone", "predicted")
    assert theirs["options"]["segments"] == []
    assert Path(theirs["options"]["reference"]).read_bytes() == sound.read_bytes()
