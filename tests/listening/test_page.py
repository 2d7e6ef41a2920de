"""Folders become a blind page: files matched by stem, media uniform and nameless, errors in words."""

import json
from pathlib import Path

import av
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.listening.page import key_path, match_systems, spoil, write_test
from foleygram.listening.plan import ANCHOR, Plan
from foleygram.media.audio import read_audio, write_audio
from foleygram.media.video import probe


def tone(path: Path, *, rate: int = 16_000, channels: int = 1, seconds: float = 0.5, hertz: float = 440) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = torch.arange(round(seconds * rate)) / rate
    write_audio(path, 0.3 * torch.sin(2 * torch.pi * hertz * times).expand(channels, -1), rate)
    return path


def run(*arguments: object) -> tuple[int, str]:
    outcome = CliRunner().invoke(app, ["listening", *map(str, arguments)])
    return outcome.exit_code, outcome.output


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for clip, hertz in (("knock", 300), ("tap", 600)):
        tone(tmp_path / "secret-alpha" / f"{clip}.wav", hertz=hertz)
        tone(tmp_path / "secret-beta" / f"{clip}.wav", hertz=2 * hertz, rate=22_050, channels=2)
    return [tmp_path / "secret-alpha", tmp_path / "secret-beta"]


def test_the_page_names_nothing_and_the_key_beside_it_everything(folders, tmp_path: Path) -> None:
    out = tmp_path / "page"
    code, message = run(*folders, "--out", out, "--seed", 5, "--title", "A <b>fine</b> test")
    assert code == 0, message
    assert "2 systems on 2 clips; 4 comparisons and 4 ratings" in message
    pages = [path for path in out.rglob("*") if path.is_file()]
    for path in pages:
        content = path.read_bytes()
        for secret in (b"secret", b"alpha", b"beta", b"knock", ANCHOR.encode(), str(tmp_path).encode()):
            assert secret not in content and secret not in path.name.encode(), path
    assert "A &lt;b&gt;fine&lt;/b&gt; test" in (out / "index.html").read_text()
    plan = Plan.read(key_path(out))
    assert plan.systems == ("secret-alpha", "secret-beta") and plan.clips == ("knock", "tap") and plan.seed == 5
    assert {path.stem for path in (out / "media").iterdir()} == plan.media.keys()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page", "page.key.json", "secret-alpha", "secret-beta"]


def test_media_are_of_one_form_and_sound_as_their_source(folders, tmp_path: Path) -> None:
    plan = write_test(tmp_path / "page", match_systems(folders), seed=0, num_checks=1)
    forms = set()
    for name, stimulus in plan.media.items():
        path = tmp_path / "page" / "media" / f"{name}.flac"
        info = soundfile.info(path)
        forms.add((info.samplerate, info.channels, info.subtype, info.frames))
        if stimulus.system != ANCHOR:
            source = tmp_path / stimulus.system / f"{stimulus.clip}.wav"
            error = read_audio(path, sample_rate=16_000) - read_audio(source, sample_rate=16_000)
            assert error[:, 200:-200].abs().max() < 2e-3  # where a tone breaks off, resamplers ring
    assert forms == {(48_000, 2, "PCM_16", 24_000)}


def test_videos_are_shown_and_lose_their_names(rendered: Path, tmp_path: Path) -> None:
    video = next(rendered.glob("*.mp4"))
    seconds = probe(video).duration_sec
    for system in ("one", "two"):
        (tmp_path / system).mkdir()
        with av.open(str(video)) as source, av.open(str(tmp_path / system / "clip.mp4"), "w") as target:
            target.metadata["title"] = f"made by system {system}"
            copied = target.add_stream_from_template(source.streams.video[0])
            copied.metadata["handler_name"] = f"handler of {system}"
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = copied
                    target.mux(packet)
        tone(tmp_path / system / "clip.wav", seconds=seconds)  # lies beside the video: its sound
    assert b"made by system one" in (tmp_path / "one" / "clip.mp4").read_bytes()
    plan = write_test(tmp_path / "page", match_systems([tmp_path / "one", tmp_path / "two"]), seed=0)
    for name in plan.media:
        path = tmp_path / "page" / "media" / f"{name}.mp4"
        assert b"system" not in path.read_bytes() and b"handler of" not in path.read_bytes()
        info = probe(path)
        assert (info.video_codec, info.audio_rate, info.num_audio_channels) == ("h264", 48_000, 2)
        assert info.duration_sec == pytest.approx(seconds, abs=0.04)
    assert plan.scales.keys() == {"timing", "quality"}


def test_one_folder_of_videos_serves_systems_with_audio_only(folders, rendered: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for clip, video in zip(("knock", "tap"), sorted(rendered.glob("*.mp4")), strict=False):
        (tmp_path / "videos" / f"{clip}.mp4").write_bytes(video.read_bytes())
    assert match_systems(folders).sources["secret-alpha", "tap"].video is None
    match = match_systems(folders, videos=tmp_path / "videos")
    assert {source.video.name for source in match.sources.values()} == {"knock.mp4", "tap.mp4"}
    assert match.sources["secret-alpha", "tap"].sound == folders[0] / "tap.wav"
    alone = match_systems(folders, videos=tmp_path / "videos", media="audio")
    assert all(source.video is None for source in alone.sources.values())


def test_clips_that_a_system_lacks_are_named_and_left_out(folders, tmp_path: Path) -> None:
    tone(folders[0] / "extra.wav")
    (folders[0] / ".hidden.wav").touch()
    (folders[0] / "notes.txt").touch()
    code, message = run(*folders, "--out", tmp_path / "page", "--tasks", "pairs", "--checks", 0)
    assert code == 0 and "left out: extra: not in secret-beta" in message and "2 comparisons and 0 ratings" in message
    assert "hidden" not in message


def test_the_limit_takes_fewer_clips(folders, tmp_path: Path) -> None:
    code, message = run(
        *folders, "--out", tmp_path / "page", "--clips", 1, "--checks", 0, "--scale", "fit=Does it fit?"
    )
    assert code == 0, message
    plan = Plan.read(key_path(tmp_path / "page"))
    assert (len(plan.clips), len(plan.pairs), plan.scales) == (1, 1, {"fit": "Does it fit?"})


def test_folders_of_one_name_are_distinguished_by_their_path(tmp_path: Path) -> None:
    for run_name in ("a", "b"):
        tone(tmp_path / run_name / "out" / "clip.wav")
    match = match_systems([tmp_path / "a" / "out", tmp_path / "b" / "out"])
    assert [Path(system).parent.name for system in match.systems] == ["a", "b"]


def broken(folder: Path) -> None:
    (folder / "knock.wav").write_bytes(b"RIFF" + bytes(60))


def ambiguous(folder: Path) -> None:
    (folder / "knock.flac").touch()


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def renamed(folder: Path) -> None:
    for path in folder.iterdir():
        path.rename(path.with_stem(path.stem + "2"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (broken, "knock.wav: "),
        (ambiguous, "knock.flac and knock.wav both are knock"),
        (emptied, "no sound or video in it"),
        (renamed, "nothing to compare; knock: not in secret-beta"),
    ],
)
def test_bad_folders_are_named_and_nothing_is_written(folders, tmp_path: Path, damage, words) -> None:
    damage(folders[1])
    before = sorted(p.name for p in tmp_path.iterdir())
    code, message = run(*folders, "--out", tmp_path / "page")
    assert code == 1 and words in message and "Traceback" not in message
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{0}", "--out", "{2}/page"], "two or more"),
        (["{0}", "{0}", "--out", "{2}/page"], "given twice"),
        (["{0}", "{2}/missing", "--out", "{2}/page"], "no such folder"),
        (["{0}", "{1}"], "--out PAGE"),
        (["{0}", "{1}", "--out", "{1}"], "exists already"),
        (["{0}", "{1}", "--out", "{2}/page", "--media", "video"], "--videos"),
        (["{0}", "{1}", "--out", "{2}/page", "--scale", "fit"], "NAME=QUESTION"),
        (["{0}", "{1}", "--out", "{2}/page", "--checks", "3"], "one per clip"),
        (["{2}/page", "--collect"], "no answers given"),
        (["{2}/page", "{2}/x.json", "--collect"], "no such key"),
    ],
)
def test_impossible_arguments_are_refused_with_a_message(folders, tmp_path: Path, arguments, words) -> None:
    code, message = run(*(text.format(*folders, tmp_path) for text in arguments))
    assert code == 1 and words in message and not (tmp_path / "page").exists()


def test_codecs_that_browsers_do_not_play_are_refused(tmp_path: Path) -> None:
    for system in ("one", "two"):
        (tmp_path / system).mkdir()
        with av.open(str(tmp_path / system / "clip.mp4"), "w") as target:
            stream = target.add_stream("mpeg4", rate=30)
            stream.width = stream.height = 64
            frame = av.VideoFrame(64, 64, "yuv420p")
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                target.mux(packet)
        tone(tmp_path / system / "clip.wav")
    with pytest.raises(ValueError, match="browsers do not show mpeg4"):
        write_test(tmp_path / "page", match_systems([tmp_path / "one", tmp_path / "two"]), seed=0)


def test_a_spoilt_sound_lies_beneath_louder_noise() -> None:
    audio = 0.2 * torch.sin(torch.arange(48_000) / 20).expand(2, -1)
    spoilt = spoil(audio, torch.Generator().manual_seed(0))
    noise = spoilt - 0.5 * audio
    assert float(noise.square().mean() / audio.square().mean()) == pytest.approx(4, rel=0.05)
    assert spoil(torch.zeros(2, 48_000), torch.Generator().manual_seed(0)).square().mean().sqrt() > 0.045


def test_a_title_and_a_question_cannot_break_out_of_the_page(folders, tmp_path: Path) -> None:
    question = "</script><script>alert(1)</script> {{title}}"
    write_test(tmp_path / "page", match_systems(folders), seed=0, title="{{test}}", scales={"fit": question})
    text = (tmp_path / "page" / "index.html").read_text()
    assert text.count("</script>") == 2 and "alert(1)<" not in text
    inlined = text.split('id="test">')[1].split("</script>")[0]
    assert json.loads(inlined)["scales"] == {"fit": question}
