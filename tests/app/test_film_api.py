"""Films by HTTP: opened, probed, watched, their envelopes predicted and edited; hostile input is refused."""

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from foleygram import FoleyGRAMPipeline
from foleygram.app.messages import EnvelopeMessage
from foleygram.envelope.editing.edits import apply_edits
from foleygram.envelope.editing.files import write_envelope
from foleygram.envelope.editing.hits import Hit, draw_hits
from foleygram.envelope.editing.options import parse_edit
from foleygram.envelope.envelope import Envelope
from foleygram.media.audio import write_audio
from foleygram.media.video import probe, read_frames

HITS = draw_hits([Hit(0.5, 0.2), Hit(1.26, 0.1)], seconds=2.0)


def upload(client: Any, path: Path, name: str | None = None) -> Any:
    return client.post("/api/films/upload", params={"name": name or path.name}, content=path.read_bytes())


def test_an_uploaded_film_is_probed(client: Any, film: Any, video: Path) -> None:
    info = probe(video)
    facts = client.get(f"/api/films/{film['id']}").json()
    assert (facts["seconds"], facts["frame_rate"]) == (info.duration_sec, info.frame_rate)
    assert (facts["width"], facts["height"], facts["video_codec"]) == (info.width, info.height, info.video_codec)
    assert film["id"] in [one["id"] for one in client.get("/api/films").json()]


def test_the_predicted_envelope_is_the_pipeline_s(client: Any, film: Any, video: Path, tiny_release: Path) -> None:
    from foleygram.pipeline.request import read_video

    pipeline = FoleyGRAMPipeline.from_pretrained(tiny_release)
    expected = pipeline.envelope_of(read_video(video, pipeline.spec))
    sent = client.get(f"/api/films/{film['id']}/envelope").json()
    np.testing.assert_allclose(sent["values"], expected.values, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose([hit["time"] for hit in sent["hits"]], expected.onsets(), atol=1e-6)


def test_the_own_envelope_and_sound_are_the_video_s(client: Any, film: Any, video: Path) -> None:
    from foleygram.media.audio import read_audio

    sound = client.get(f"/api/films/{film['id']}/sound")
    samples, rate = soundfile.read(io.BytesIO(sound.content), always_2d=True)
    assert len(samples) == round(film["seconds"] * rate)
    np.testing.assert_allclose(samples.T, read_audio(video, sample_rate=rate)[:, : len(samples)], atol=1e-4)
    own = client.get(f"/api/films/{film['id']}/envelope", params={"source": "audio"}).json()
    assert max(own["values"]) > 0.01


def test_the_film_is_served_by_ranges(client: Any, film: Any, video: Path) -> None:
    whole = client.get(f"/api/films/{film['id']}/video")
    assert whole.content == video.read_bytes()
    part = client.get(f"/api/films/{film['id']}/video", headers={"range": "bytes=10-19"})
    assert part.status_code == 206 and part.content == video.read_bytes()[10:20]


def test_a_strip_holds_the_frames_of_its_time_span(client: Any, film: Any, video: Path) -> None:
    answer = client.get(f"/api/films/{film['id']}/strip", params={"start": 0.5, "end": 1.5, "count": 4})
    strip = Image.open(io.BytesIO(answer.content))
    width = strip.width // 4
    assert strip.height == 96 and width == round(96 * film["width"] / film["height"])
    expected = read_frames(video, np.array([0.625, 0.875, 1.125, 1.375]), size=96).frames
    for number, frame in enumerate(expected):
        cell = np.asarray(strip.crop((number * width, 0, (number + 1) * width, 96)).resize((96, 96)), float)
        assert np.abs(cell - frame.permute(1, 2, 0).numpy()).mean() < 12
    refused = client.get(f"/api/films/{film['id']}/strip", params={"start": 5, "end": 4})
    assert refused.status_code == 422 and "no frames" in refused.json()["detail"]


def rotated(video: Path, out: Path, codec: str, turn: int = 90) -> Path:
    """The video's frames in another codec, displayed rotated."""
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        stream: Any = target.add_stream(codec, rate=25, options={"qscale": "2"})
        stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        stream.pix_fmt = "yuv420p"
        stream.set_display_rotation(turn) if hasattr(stream, "set_display_rotation") else None
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    return out


def test_the_proxy_is_h264_with_the_same_frames_at_the_same_times(client: Any, video: Path, tmp_path: Path) -> None:
    film = upload(client, rotated(video, tmp_path / "old.avi", "mpeg4", 0)).json()
    assert film["video_codec"] == "mpeg4"
    copy = tmp_path / "proxy.mp4"
    copy.write_bytes(client.get(f"/api/films/{film['id']}/proxy").content)
    made, source = probe(copy), probe(tmp_path / "old.avi")
    assert (made.video_codec, made.width, made.height) == ("h264", source.width, source.height)
    assert made.duration_sec == pytest.approx(source.duration_sec, abs=0.05)
    times = np.linspace(0.1, source.duration_sec - 0.1, 7)
    one, other = (read_frames(path, times, size=48).frames.float() for path in (copy, tmp_path / "old.avi"))
    assert (one - other).abs().mean() < 6
    assert client.delete(f"/api/films/{film['id']}").status_code == 204
    assert client.get(f"/api/films/{film['id']}").status_code == 404


@pytest.mark.parametrize(
    ("shape", "turn", "size"),
    [(Fraction(64, 45), 0, (102, 54)), (Fraction(64, 45), 90, (54, 102)), (Fraction(999), 0, (72, 54))],
)
def test_a_film_with_oblong_pixels_is_shown_in_its_shape(
    client: Any, tmp_path: Path, shape: Fraction, turn: int, size: tuple[int, int]
) -> None:
    path = tmp_path / "pal.mp4"
    with av.open(str(path), "w") as target:
        stream: Any = target.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 72, 54, "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        stream.set_display_rotation(turn)
        for level in (60, 120, 180):
            frame = av.VideoFrame.from_ndarray(np.full((54, 72, 3), level, np.uint8), format="rgb24")
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    film = upload(client, path).json()
    assert (film["width"], film["height"]) == size
    copy = tmp_path / "proxy.mp4"
    copy.write_bytes(client.get(f"/api/films/{film['id']}/proxy").content)
    made = probe(copy)
    assert (made.width, made.height) == size
    client.delete(f"/api/films/{film['id']}")


def test_edits_are_those_of_the_command_line(client: Any, film: Any) -> None:
    edits = [("mute", "1.0:1.4"), ("add-hit", "1.5:-20dB"), ("move-hit", "0.5:0.6"), ("draw", "1.7:0,1.8:0.1,1.9:0")]
    seconds = film["seconds"]
    start = EnvelopeMessage.of(HITS)
    body = {"envelope": start.model_dump(), "edits": [{"name": name, "text": text} for name, text in edits]}
    sent = client.post(f"/api/films/{film['id']}/edit", json=body).json()
    expected = apply_edits(start.envelope(seconds), [parse_edit(*edit) for edit in edits])
    np.testing.assert_allclose(sent["values"], expected.values, rtol=1e-5, atol=1e-9)
    assert [hit["time"] for hit in sent["hits"]] == pytest.approx(expected.onsets().tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"name": "mute", "text": "2:1"}, "the end must come after"),
        ({"name": "explode", "text": ""}, "unknown edit"),
        ({"name": "gain", "text": "40dB"}, "full scale is 1"),
        ({"name": "mute"}, "text: Field required"),
        ({"name": "mute", "text": "1:2", "x": 1}, "Extra inputs"),
    ],
)
def test_impossible_edits_give_the_reason(client: Any, film: Any, edit: Any, message: str) -> None:
    body = {"envelope": EnvelopeMessage.of(HITS).model_dump(), "edits": [edit]}
    answer = client.post(f"/api/films/{film['id']}/edit", json=body)
    assert answer.status_code == 422 and message in answer.json()["detail"]


@pytest.mark.parametrize(
    "envelope",
    [{"values": []}, {"values": [-1.0]}, {"values": ["x"]}, {"values": [0.1], "rate": 0},
     {"values": [0.1], "rate": 1e9}, {"values": [2.0]}, {"values": [0.1], "hits": [{"time": -1, "level": 1}]}],
)  # fmt: skip
def test_invalid_envelopes_are_refused(client: Any, film: Any, envelope: Any) -> None:
    body = {"envelope": envelope, "edits": [{"name": "mute", "text": "0:0.001"}]}
    assert client.post(f"/api/films/{film['id']}/edit", json=body).status_code == 422
    nan = json.dumps(body).replace("[0.1]", "[NaN]")
    headers = {"content-type": "application/json"}
    assert client.post(f"/api/films/{film['id']}/edit", content=nan, headers=headers).status_code == 422


@pytest.mark.parametrize("suffix", ["csv", "json", "mid", "wav"])
def test_an_envelope_file_is_read_and_fitted(client: Any, film: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"curve.{suffix}"
    write_envelope(path, HITS)
    url = f"/api/films/{film['id']}/envelope-file"
    sent = client.post(url, params={"name": path.name}, content=path.read_bytes()).json()
    assert len(sent["values"]) == round(film["seconds"] * 125) + 1
    assert [hit["time"] for hit in sent["hits"]][:2] == pytest.approx([0.5, 1.26], abs=0.02)
    bad = client.post(url, params={"name": f"curve.{suffix}"}, content=b"\0\1 no envelope")
    assert bad.status_code == 422 and f"curve.{suffix}" in bad.json()["detail"]


def test_a_reference_is_a_sound(client: Any, film: Any, tmp_path: Path) -> None:
    url = f"/api/films/{film['id']}/references"
    import torch

    write_audio(tmp_path / "hit.wav", 0.3 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)), 16_000)
    kept = client.post(url, params={"name": "hit.wav"}, content=(tmp_path / "hit.wav").read_bytes())
    assert kept.status_code == 201 and kept.json()["name"] == "hit.wav"
    refused = client.post(url, params={"name": "notes.wav"}, content=b"text")
    assert refused.status_code == 422 and "notes.wav" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.mp4", b"no video", "notes.mp4: not a readable media file"),
        ("empty.mp4", b"", "empty.mp4: the file is empty"),
        ("../../up.mp4", b"no video", "up.mp4: not a readable"),
        ("..", b"x", "not a file name"),
        ("/", b"x", "not a file name"),
    ],
)
def test_unusable_films_are_refused_and_not_kept(
    client: Any, server_folder: Path, name: str, content: bytes, message: str
) -> None:
    before = set(server_folder.rglob("*"))
    answer = client.post("/api/films/upload", params={"name": name}, content=content)
    assert answer.status_code == 422 and message in answer.json()["detail"]
    assert str(server_folder) not in answer.text and set(server_folder.rglob("*")) == before
    assert not (server_folder.parent / "up.mp4").exists()


def test_a_film_above_the_limits_is_refused(client: Any, video: Path, server_folder: Path, tmp_path: Path) -> None:
    before = set(server_folder.rglob("*"))
    for headers in ({}, {"transfer-encoding": "chunked"}):
        answer = client.post("/api/films/upload", params={"name": "big.mp4"}, content=bytes(2_000_001), headers=headers)
        assert answer.status_code == 413 and "2 MB" in answer.text

    def pieces() -> Any:
        for _ in range(30):
            yield bytes(100_000)

    assert client.post("/api/films/upload", params={"name": "big.mp4"}, content=pieces()).status_code == 413
    assert set(server_folder.rglob("*")) == before
    large = client.post("/api/films/x/edit", content=b" " * 16_000_001)
    assert large.status_code == 413


@pytest.mark.parametrize("name", ["../server/x.mp4", "/etc/passwd", "notes.txt2", "", ".", "sub/x.mp4"])
def test_only_films_of_the_folder_can_be_named(client: Any, name: str) -> None:
    answer = client.post("/api/films/open", json={"name": name})
    assert answer.status_code == 422 and "no such film" in answer.json()["detail"]


def test_a_link_out_of_the_folder_is_refused(client: Any, library: Path, video: Path) -> None:
    link = library / "link.mp4"
    link.symlink_to(video)
    try:
        assert client.post("/api/films/open", json={"name": "link.mp4"}).status_code == 422
    finally:
        link.unlink()


def test_a_film_of_the_folder_and_the_example_are_opened(client: Any, library: Path) -> None:
    name = min(path.name for path in library.glob("*.mp4"))
    opened = client.post("/api/films/open", json={"name": name}).json()
    assert opened["name"] == name
    assert client.delete(f"/api/films/{opened['id']}").status_code == 204
    assert (library / name).is_file()  # closing removes copies and takes, not the user's film
    assert client.get("/api").json()["has_example"] is True
    example = client.post("/api/films/open", json={"example": True})
    assert example.status_code == 201
    client.delete(f"/api/films/{example.json()['id']}")
    for body in ({}, {"name": name, "example": True}):
        assert client.post("/api/films/open", json=body).status_code == 422


def test_a_film_without_sound_has_none(client: Any, video: Path, tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(video)) as source, av.open(str(path), "w") as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = copied
                target.mux(packet)
    film = upload(client, path).json()
    assert film["has_sound"] is False
    for route in ("sound", "envelope?source=audio"):
        answer = client.get(f"/api/films/{film['id']}/{route}")
        assert answer.status_code == 422 and "no sound track" in answer.json()["detail"]


def test_exact_times_pass_through_messages() -> None:
    message = EnvelopeMessage.of(HITS)
    assert message.envelope(2.0).onsets().tolist() == [0.5, 1.26]
    faster = Envelope(HITS.at(np.arange(500) / 250), 250.0)
    assert EnvelopeMessage(rate=250.0, values=faster.values.tolist()).envelope(1.0).rate == 125.0


def test_the_editor_s_state_is_kept(client: Any, film: Any) -> None:
    url = f"/api/films/{film['id']}/project"
    assert client.get(url).json() is None
    envelope = EnvelopeMessage.of(HITS).model_dump()
    region = {"start": 0.25, "end": 1.0, "prompt": "wood", "reference": "abc", "reference_name": "wood.wav"}
    state = {
        "envelope": envelope, "source": envelope, "edits": ["--mute 1.0:1.1"], "segments": [region], "prompt": "metal",
        "reference": "abc", "reference_name": "wood.wav", "take": 3, "other": None, "seed": 5, "count": 2,
    }  # fmt: skip
    assert client.put(url, json=state).status_code == 204
    kept = client.get(url).json()
    assert {name: kept[name] for name in state} == state
    for change in ({"sparkle": 1}, {"edits": "all"}, {"envelope": {"values": []}}, {"seed": -1}):
        assert client.put(url, json=state | change).status_code == 422, change
    assert client.get(url).json() == kept
    assert client.put("/api/films/none/project", json=state).status_code == 404
