import json

import pytest

from foleygram.datasets.annotated import annotated_clips
from foleygram.datasets.clip import Event
from foleygram.media.video import probe


def test_a_table_of_onsets_makes_one_clip_per_file(rendered, tmp_path):
    video = next(rendered.glob("*_denoised.mp4"))
    (tmp_path / "one.mp4").write_bytes(video.read_bytes())
    (tmp_path / "onsets.csv").write_text(
        "file,seconds,label\none.mp4,0.9,wood scratch\none.mp4,0.25,\none.mp4,0.5,None hit\n"
    )
    (clip,) = annotated_clips(tmp_path)
    assert (clip.video_id, clip.start, clip.video_path.name) == ("one", 0.0, "one.mp4")
    assert clip.seconds == probe(video).duration_sec
    assert clip.events == (Event(0.25, None, None), Event(0.5, None, "hit"), Event(0.9, "wood", "scratch"))


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ("file,time\na.mp4,1\n", ValueError, "no column seconds, label"),
        ("file,seconds,label\n", ValueError, "no onset"),
        ("file,seconds,label\na.mp4,-1,wood hit\n", ValueError, "line 2"),
        ("file,seconds,label\na.mp4,nan,wood hit\n", ValueError, "line 2"),
        ("file,seconds,label\na.mp4,1,wood hit\n", FileNotFoundError, "a.mp4"),
        ("file,seconds,label\n../a.mp4,1,wood hit\n", FileNotFoundError, "a.mp4"),
    ],
)
def test_a_bad_table_is_named_with_its_line(tmp_path, table, error, words):
    (tmp_path / "onsets.csv").write_text(table)
    with pytest.raises(error, match=words):
        annotated_clips(tmp_path)


def test_published_annotations_replace_the_times_of_the_released_set(rendered, tmp_path):
    video_id, *_ = (rendered / "test.txt").read_text().split()
    events = {f"{video_id}_{sample}": "metal hit" for sample in (0, 11_025, 22_050, 10_000_000)}
    (tmp_path / "events.json").write_text(json.dumps(events))
    clips = annotated_clips(rendered, seconds=1.0, annotations=tmp_path / "events.json")
    assert [clip.start for clip in clips[:2]] == [0.0, 1.0]
    assert clips[0].events == (Event(0.5, "metal", "hit"),)  # sample / 22050 + 0.5 s
    assert clips[1].events == (Event(0.0, "metal", "hit"), Event(0.5, "metal", "hit"))


def test_annotations_of_other_videos_are_refused(rendered, tmp_path):
    (tmp_path / "events.json").write_text('["2015-01-01-00-00-00_100"]')
    with pytest.raises(ValueError, match="names none of the"):
        annotated_clips(rendered, seconds=1.0, annotations=tmp_path / "events.json")
