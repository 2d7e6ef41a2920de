"""The released folder and its variants are read as clips: right moment, right events, what is missing is named."""

import shutil

import pytest
import torch

from foleygram.datasets.folder import VideoFolder, find_videos
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.media.mux import mux
from foleygram.media.video import MediaError
from foleygram.spec import ClipSpec

SPEC = ClipSpec(
    seconds=2.0, sample_rate=8_000, audio_channels=1, num_frames=4, image_size=16, motion_frame_rate=10, motion_size=8
)


SCALE = 5.0
"""Seconds after which the picture and sound of `conftest.write_recording` reach full level."""


def seconds_of(level):
    return level * SCALE


def test_an_item_holds_what_its_moment_shows_and_sounds(greatest_hits):
    data = GreatestHits(greatest_hits, spec=SPEC)
    assert [(clip.video_id, clip.start) for clip in data.clips] == [
        ("2015-01-01-00-00-00", 0.0),
        ("2015-01-01-00-00-00", 2.0),
        ("2015-01-01-00-00-01-2", 0.0),
    ]
    item = data[1]
    assert item["audio"].shape == (1, 16_000) and item["envelope_audio"].shape == (32_000,)
    assert seconds_of(item["audio"][0, 8_000]) == pytest.approx(3.0, abs=0.01)
    assert seconds_of(item["envelope_audio"][16_000]) == pytest.approx(3.0, abs=0.01)
    assert item["frames"].shape == (4, 3, 16, 16) and item["motion"].shape == (20, 3, 8, 8)
    shown = seconds_of(item["frames"].float().mean((1, 2, 3)) / 255)
    assert torch.allclose(shown, torch.tensor([2.25, 2.75, 3.25, 3.75]), atol=0.1)
    shown = seconds_of(item["motion"].float().mean((1, 2, 3)) / 255)
    assert torch.allclose(shown, 2.05 + torch.arange(20) / 10, atol=0.1)
    assert item["motion_ages"].shape == (20,) and 0 <= item["motion_ages"].min() <= item["motion_ages"].max() < 1 / 15
    assert item["caption"] == "A person hits ceramic with a wooden stick." and item["materials"] == "ceramic"
    assert item["event_times"] == [0.0, 0.75] and item["event_actions"] == ["hit", "hit"]
    assert (item["video_id"], item["start"]) == ("2015-01-01-00-00-00", 2.0)


def test_captions_and_splits(greatest_hits):
    train = GreatestHits(greatest_hits, spec=SPEC, fields=())
    assert [item["caption"] for item in train] == [
        "A person hits and scratches wood and metal with a wooden stick.",
        "A person hits ceramic with a wooden stick.",
        "A person uses a wooden stick.",
    ]
    assert train[3]["start"] == train[0]["start"]  # a later pass
    test = GreatestHits(greatest_hits, "test", spec=SPEC, fields=("audio",))
    assert len(test) == 1 and set(test[0]).isdisjoint({"frames", "motion", "envelope_audio"})
    listing = greatest_hits.parent / "mine.txt"
    listing.write_text("\ufeff2015-02-02-00-00-00\r\n2015-01-01-00-00-01-2\r\n", encoding="utf-8")
    assert len(GreatestHits(greatest_hits, str(listing), spec=SPEC, fields=())) == 2


def test_nested_and_microphone_only(greatest_hits, recording, tmp_path):
    nested = tmp_path / "archive" / "vis-data-256" / "vis-data-256"
    shutil.copytree(greatest_hits, nested)
    (tmp_path / "archive" / "train.txt").write_text("2015-01-01-00-00-00\n2016-01-01-00-00-00\n2016-01-01-00-00-01\n")
    recording(nested, "2016-01-01-00-00-00", 2.2, kind="mic")
    recording(nested, "2016-01-01-00-00-01", 2.2, kind="mic", wav=False)
    data = GreatestHits(tmp_path / "archive", spec=SPEC, fields=("frames",))
    assert [clip.audio_path.name for clip in data.clips] == [
        "2015-01-01-00-00-00_denoised.wav",
        "2015-01-01-00-00-00_denoised.wav",
        "2016-01-01-00-00-00_mic.wav",
        "2016-01-01-00-00-01_mic.mp4",
    ]
    assert len(data[3]["frames"]) == 4


def test_what_is_missing_is_named(greatest_hits, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        GreatestHits(tmp_path / "nowhere", spec=SPEC)
    with pytest.raises(FileNotFoundError, match=r"validation: no such list"):
        GreatestHits(greatest_hits, "validation", spec=SPEC)
    with pytest.raises(FileNotFoundError, match=r"no clip of 60 s in the 2 videos"):
        GreatestHits(greatest_hits, spec=ClipSpec(seconds=60.0))
    (greatest_hits / "2015-01-01-00-00-01-2_denoised.mp4").unlink()
    assert len(GreatestHits(greatest_hits, spec=SPEC, fields=("audio",))) == 3
    with pytest.raises(FileNotFoundError, match=r"00-01-2_denoised\.mp4.*00-01-2_mic\.mp4"):
        GreatestHits(greatest_hits, spec=SPEC, fields=("audio", "motion"))
    (greatest_hits / "2015-01-01-00-00-00_denoised.wav").write_text("no sound")
    with pytest.raises(MediaError, match=r"00-00-00_denoised\.wav"):
        GreatestHits(greatest_hits, spec=SPEC, fields=("audio",))
    (greatest_hits / "train.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no train\.txt"):
        GreatestHits(greatest_hits, spec=SPEC)


def test_malformed_annotation_names_file_and_line(greatest_hits):
    (greatest_hits / "2015-01-01-00-00-00_times.txt").write_text("0.5 wood hit static\nhit wood\n")
    with pytest.raises(ValueError, match=r"2015-01-01-00-00-00_times\.txt, line 2"):
        GreatestHits(greatest_hits, spec=SPEC)


def test_find_videos(tmp_path):
    for name in ("b é.MP4", "a.mkv", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "sub.mp4").mkdir()
    (tmp_path / "sub.mp4" / "c.mp4").touch()
    assert [path.name for path in find_videos(tmp_path)] == ["a.mkv", "b é.MP4"]
    assert find_videos(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    with pytest.raises(FileNotFoundError, match="gone: no such file or folder"):
        find_videos(tmp_path / "gone")
    (tmp_path / "bare").mkdir()
    with pytest.raises(FileNotFoundError, match="bare: no video in it"):
        find_videos(tmp_path / "bare")


def test_video_folder_with_captions(greatest_hits, tmp_path, caplog):
    table = tmp_path / "captions.csv"
    table.write_text(
        'file,caption\n2015-02-02-00-00-00_denoised.mp4,"a stick, a drum"\n2015-01-01-00-00-00_denoised.mp4,\n'
    )
    data = VideoFolder(greatest_hits, spec=SPEC, captions=table, fields=("frames",))
    assert [item["caption"] for item in data] == ["", "", "a stick, a drum"]
    assert data[1]["start"] == 2.0 and data[1]["frames"].shape == (4, 3, 16, 16)
    assert data.left_out == {"2015-01-01-00-00-01-2_denoised.mp4": "no row in the captions"}
    assert "1 of 3 videos left out, first 2015-01-01-00-00-01-2_denoised.mp4 (no row in the captions)" in caplog.text
    assert [item["caption"] for item in VideoFolder(greatest_hits, spec=SPEC, fields=())] == [""] * 4
    assert set(GreatestHits(greatest_hits, spec=SPEC, fields=())[0]) == set(
        VideoFolder(greatest_hits, spec=SPEC, fields=())[0]
    )
    table.write_text("file,caption\nother.mp4,x\n")
    with pytest.raises(ValueError, match=r"captions\.csv: names 1 files.*other\.mp4"):
        VideoFolder(greatest_hits, spec=SPEC, captions=table)
    table.write_text("file,caption\n2015-02-02-00-00-00_denoised.mp4,x\n2015-02-02-00-00-00_denoised.mp4,y\n")
    with pytest.raises(ValueError, match=r"captions\.csv, line 3: a second row for 2015-02-02"):
        VideoFolder(greatest_hits, spec=SPEC, captions=table)
    table.write_text("name,text\n")
    with pytest.raises(ValueError, match="needs `file` and `caption`"):
        VideoFolder(greatest_hits, spec=SPEC, captions=table)
    with pytest.raises(ValueError, match=r"no clip of 9 s in its 3 videos \(2015.*shorter than a clip"):
        VideoFolder(greatest_hits, spec=ClipSpec(seconds=9.0), fields=("frames",))


def test_what_cannot_be_used_is_left_out_and_counted(recording, tmp_path, caplog):
    folder = tmp_path / "mine"
    recording(folder, "silent", 2.2, wav=False)
    (folder / "broken.mp4").write_bytes(b"no video")
    assert [c.video_id for c in VideoFolder(folder, spec=SPEC, fields=("frames",)).clips] == ["silent_denoised.mp4"]
    with pytest.raises(ValueError, match=r"no clip of 2 s in its 2 videos"):
        VideoFolder(folder, spec=SPEC, fields=("frames", "audio"))
    assert "2 of 2 videos left out, first broken.mp4" in caplog.text
    mux(folder / "silent_denoised.mp4", torch.full((1, 16_000), 0.5), 8_000, folder / "loud.mp4")
    with_sound = VideoFolder(folder, spec=SPEC, fields=("audio",))
    assert [clip.video_id for clip in with_sound.clips] == ["loud.mp4"]
    assert with_sound.left_out["silent_denoised.mp4"] == "no sound track"
    assert float(with_sound[0]["audio"][0, 4_000:12_000].mean()) == pytest.approx(0.5, abs=0.05)
