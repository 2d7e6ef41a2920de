"""People's own videos as clips: their captions, and what cannot be used counted, named and passed over."""

import re
from pathlib import Path

import pytest
import torch

from foleygram.datasets.datamodule import ClipDataModule, Readable
from foleygram.datasets.folder import VideoFolder, find_videos, log_left_out, read_captions
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.media.isolate import MediaError
from foleygram.media.mux import mux
from foleygram.spec import ClipSpec, read_spec

SPEC = ClipSpec(
    seconds=2.0, sample_rate=8_000, audio_channels=1, num_frames=4, image_size=16, motion_frame_rate=10, motion_size=8
)


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


def test_recordings_of_cameras_and_broadcast_are_videos(tmp_path):
    names = ["a.m2ts", "b.MTS", "c.mxf", "d.ts"]
    for name in [*names, "e.wav"]:
        (tmp_path / name).touch()
    assert [path.name for path in find_videos(tmp_path)] == names


def test_video_folder_with_captions(greatest_hits, tmp_path, caplog):
    table = tmp_path / "captions.csv"
    table.write_text(
        'file,caption\n2015-02-02-00-00-00_denoised.mp4,"a stick, a drum"\n2015-01-01-00-00-00_denoised.mp4,tap\n'
    )
    data = VideoFolder(greatest_hits, spec=SPEC, captions=table, fields=("frames",))
    assert [item["caption"] for item in data] == ["tap", "tap", "a stick, a drum"]
    assert data[1]["start"] == 2.0 and data[1]["frames"].shape == (4, 3, 16, 16)
    assert data.left_out == {"2015-01-01-00-00-01-2_denoised.mp4": "no row in the captions"}
    assert "1 of 3 videos left out: 2015-01-01-00-00-01-2_denoised.mp4 (no row in the captions)" in caplog.text
    assert [item["caption"] for item in VideoFolder(greatest_hits, spec=SPEC, fields=())] == [""] * 4
    assert set(GreatestHits(greatest_hits, spec=SPEC, fields=())[0]) == set(
        VideoFolder(greatest_hits, spec=SPEC, fields=())[0]
    )
    table.write_text("file,caption\nother.mp4,x\n")
    with pytest.raises(
        ValueError, match=r"no clip of 2 s in its 4 videos \(other\.mp4: a row in the captions, no such"
    ):
        VideoFolder(greatest_hits, spec=SPEC, captions=table)
    table.write_text("file,caption\n2015-02-02-00-00-00_denoised.mp4,x\n2015-02-02-00-00-00_denoised.mp4,y\n")
    with pytest.raises(ValueError, match=r"captions\.csv, line 3: a second row for 2015-02-02"):
        VideoFolder(greatest_hits, spec=SPEC, captions=table)
    table.write_text("name,text\n")
    with pytest.raises(ValueError, match="it needs caption, file"):
        VideoFolder(greatest_hits, spec=SPEC, captions=table)
    with pytest.raises(ValueError, match=r"no clip of 9 s in its 3 videos \(2015.*shorter than a clip"):
        VideoFolder(greatest_hits, spec=ClipSpec(seconds=9.0), fields=("frames",))


def test_unusable_videos_are_left_out_and_counted(recording, tmp_path, caplog):
    folder = tmp_path / "mine"
    recording(folder, "silent", 2.2, wav=False)
    (folder / "broken.mp4").write_bytes(b"no video")
    assert [c.video_id for c in VideoFolder(folder, spec=SPEC, fields=("frames",)).clips] == ["silent_denoised.mp4"]
    with pytest.raises(ValueError, match=r"no clip of 2 s in its 2 videos"):
        VideoFolder(folder, spec=SPEC, fields=("frames", "audio"))
    assert "2 of 2 videos left out: broken.mp4 (" in caplog.text
    mux(folder / "silent_denoised.mp4", torch.full((1, 16_000), 0.5), 8_000, folder / "loud.mp4")
    with_sound = VideoFolder(folder, spec=SPEC, fields=("audio",))
    assert [clip.video_id for clip in with_sound.clips] == ["loud.mp4"]
    assert with_sound.left_out["silent_denoised.mp4"] == "no sound track"
    assert float(with_sound[0]["audio"][0, 4_000:12_000].mean()) == pytest.approx(0.5, abs=0.05)


def test_rows_choose_videos_in_folders_and_splits(recording, tmp_path, caplog):
    for name, folder in (("a", "."), ("b", "deep"), ("c", "deep"), ("d", "elsewhere")):
        recording(tmp_path / folder, name, 2.0, wav=False)
    table = tmp_path / "captions.csv"
    rows = ["file,caption,split", "deep/b_denoised.mp4,bell,train", "a_denoised.mp4,ant,val", "gone.mp4,gust,train"]
    table.write_text("\n".join(rows))
    data = VideoFolder(tmp_path, spec=SPEC, captions=table, split="train", fields=("frames",))
    assert [(item["video_id"], item["caption"]) for item in data] == [("deep/b_denoised.mp4", "bell")]
    assert data.left_out == {
        "gone.mp4": "a row in the captions, no such file",
        "deep/c_denoised.mp4": "no row in the captions",  # beside one that has a row; d is not
    }
    assert "2 of 3 videos left out: gone.mp4 (a row in" in caplog.text  # the other split's are not among them
    assert [item["caption"] for item in VideoFolder(tmp_path, spec=SPEC, captions=table, fields=())] == ["ant", "bell"]
    with pytest.raises(ValueError, match=r"none of its 3 rows is of the split test"):
        read_captions(table, "test")
    table.write_text("file,caption\na_denoised.mp4,ant\n")
    with pytest.raises(ValueError, match="it needs caption, file, split"):  # or the same clips would train and validate
        read_captions(table, "train")


def test_rows_without_caption_or_file_are_reported(recording, tmp_path, caplog):
    for name in "abc":
        recording(tmp_path, name, 2.0, wav=False)
    table = tmp_path / "captions.csv"
    table.write_text("caption,file\nant,a_denoised.mp4\n ,b_denoised.mp4\n,c_denoised.mp4\n")
    data = VideoFolder(tmp_path, spec=SPEC, captions=table, fields=())
    assert [(item["video_id"], item["caption"]) for item in data] == [("a_denoised.mp4", "ant")]
    assert data.left_out == dict.fromkeys(("b_denoised.mp4", "c_denoised.mp4"), "no caption in its row")
    assert "2 of 3 videos left out: " in caplog.text and "b_denoised.mp4 (no caption in its row)" in caplog.text
    table.write_text("caption,file\nant,a_denoised.mp4\nbell\n")
    with pytest.raises(ValueError, match=r"captions\.csv, line 3: no file in this row"):
        read_captions(table)
    table.write_bytes("file,caption\na_denoised.mp4,Tür\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"captions\.csv: not a CSV in UTF-8 \('utf-8' codec can't decode byte 0xfc"):
        read_captions(table)


def test_a_long_list_is_named_in_part(caplog):
    log_left_out("mine", 40, {f"{n}.mp4": "no sound track" for n in range(12)})
    assert "mine: 12 of 40 videos left out: 0.mp4 (no sound track), 1.mp4" in caplog.text
    assert caplog.text.rstrip().endswith("9.mp4 (no sound track), and 2 more")


class Damaged(torch.utils.data.Dataset):
    """Ten clips, of which `bad` cannot be read."""

    def __init__(self, bad):
        self.bad = bad

    def __len__(self):
        return 10

    def __getitem__(self, index):
        if index % 10 in self.bad:
            raise MediaError(f"{index % 10}.mp4: damaged")
        return {"index": index % 10}


def test_unreadable_clips_are_replaced_in_training(caplog):
    module = ClipDataModule(Damaged({3, 4, 9}), Damaged({3}), batch_size=5)
    for _ in range(2):
        seen = sorted(int(i) for batch in module.train_dataloader() for i in batch["index"])
        assert seen == [0, 0, 1, 2, 5, 5, 5, 6, 7, 8]
    assert caplog.text.count("3.mp4: damaged; another clip takes its place (") == 2  # once in each loader
    assert caplog.text.count("such clips so far)") == 6
    assert [batch["index"].tolist() for batch in module.val_dataloader()] == [[0, 1, 2, 4, 4], [5, 6, 7, 8, 9]]
    with pytest.raises(ValueError, match=r"16 clips in a row cannot be read, the last: 5\.mp4: damaged"):
        Readable(Damaged(set(range(10))))[0]


DATA_PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_lists_of_vggsound_and_audioset_become_captions_as_the_docs_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vggsound, audioset = re.findall(r"```python\n(.*?)```", DATA_PAGE.read_text(), re.S)
    Path("vggsound.csv").write_text('--PJHxphWEs,30,male speech,train\n2Xam7kpr-fY,5,"playing bongo, slow",test\n')
    exec(vggsound, {})
    assert read_captions(Path("captions.csv"), "test") == {
        "--PJHxphWEs_000030.mp4": None, "2Xam7kpr-fY_000005.mp4": "playing bongo, slow"
    }  # fmt: skip
    Path("class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n'
    )
    Path("balanced_train_segments.csv").write_text(
        "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2\n# YTID, start_seconds, end_seconds, labels\n"
        '--4gqARaEJE, 0.000, 10.000, "/m/09x0r,/m/05zppz"\n-0RWZT-miFs, 420.000, 430.000, "/m/09x0r"\n'
    )
    exec(audioset, {})
    assert read_captions(Path("captions.csv"), "train") == {
        "--4gqARaEJE_000000.mp4": "Speech, Male speech, man speaking", "-0RWZT-miFs_000420.mp4": "Speech"
    }  # fmt: skip


def test_the_sizes_in_the_docs_follow_from_the_clip():
    spec, shared = read_spec(DATA_PAGE.parents[1] / "configs" / "greatest_hits" / "clip.yaml"), 64 * 2
    latents, sound = spec.num_latents * shared, round(spec.seconds * spec.envelope_sample_rate) * 2
    frames, motion = 3 * spec.image_size**2 * spec.num_frames, (3 * spec.motion_size**2 + 2) * spec.num_motion_frames
    sizes = {
        "`latents`": 2 * latents, "`control_latents` (three)": 3 * latents, "`embeddings`": 3 * 512 * 2,
        "`frames`, `envelope_audio`": frames + sound, "`motion`, `envelope_audio`": motion + sound,
    }  # fmt: skip
    for name, size in sizes.items():
        row = re.search(
            rf"\| {re.escape(name)} \| (.*?) kB \| (.*?) GB \| (.*?) GB \| (.*?) GB \|", DATA_PAGE.read_text()
        )
        cells = [float(cell.replace(",", "")) for cell in row.groups()]
        assert cells == pytest.approx([size / 1e3, *(size * n / 1e9 for n in (3_000, 190_000, 1_900_000))], rel=0.03), (
            name
        )
