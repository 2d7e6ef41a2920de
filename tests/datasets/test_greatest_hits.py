"""The released folder and its variants are read as clips: right moment, right events, what is missing is named."""

import shutil

import pytest
import torch

from foleygram.datasets.folder import VideoFolder
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.media.isolate import MediaError
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
    # Of 15 frames per second every second one is read for a grid of 10, so that a frame is shown for 2 / 15 s.
    lag = 2.05 + torch.arange(20) / 10 - shown
    assert lag.min() >= -0.02 and lag.max() < 2 / 15 + 0.04
    torch.testing.assert_close(item["motion_ages"], lag, atol=0.06, rtol=0)
    assert item["motion_ages"].shape == (20,)
    assert item["caption"] == "A person hits ceramic with a wooden stick." and item["materials"] == "ceramic"
    assert item["event_times"] == [0.0, 0.75] and item["event_actions"] == ["", "hit"]
    assert (item["video_id"], item["start"]) == ("2015-01-01-00-00-00", 2.0)


@pytest.mark.parametrize("kind", [GreatestHits, VideoFolder])
def test_each_pass_draws_new_frames_in_their_segments(greatest_hits, kind):
    def shown(index, seed):
        data = kind(greatest_hits, spec=SPEC, fields=("frames",), frame_seed=seed)
        return seconds_of(data[index]["frames"].float().mean((1, 2, 3)) / 255)

    middles, drawn = shown(1, None), torch.stack([shown(1 + 12 * number, 0) for number in range(8)])  # 3 or 4 clips
    assert torch.equal(drawn[0], shown(1, 0)) and torch.equal(middles, shown(13, None))
    assert not torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], shown(1, 1))
    assert (drawn - middles).abs().max() < 0.25 + 0.1 and (drawn - middles).abs().amax(0).min() > 0.1


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
    for given in (str(listing), listing):
        assert len(GreatestHits(greatest_hits, split=given, spec=SPEC, fields=())) == 2
    with pytest.raises(FileNotFoundError, match="no clip of 10 s in the 2 videos"):  # without a spec: full size
        GreatestHits(greatest_hits, split="train")


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
