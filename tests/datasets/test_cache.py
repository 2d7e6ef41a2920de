"""A cache gives back what was written, survives a kill, and refuses to mix with another."""

import hashlib
import json
import multiprocessing
import pickle
import shutil
import time
from dataclasses import asdict
from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from foleygram.datasets.cache import CachedClips, JoinedClips
from foleygram.datasets.datamodule import collate_clips
from foleygram.datasets.greatest_hits import GreatestHits
from foleygram.datasets.shards import ShardedClips
from foleygram.features.writer import write_cache
from foleygram.media.isolate import MediaError
from foleygram.spec import ClipSpec


class Numbers(Dataset):
    """Clip i holds i; counts what is read, and fails from `broken` on."""

    def __init__(self, size, broken=10**9):
        self.size, self.broken, self.read = size, broken, []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index >= self.broken:
            raise OSError(f"clip {index} is gone")
        self.read.append(index)
        return {
            "audio": torch.full((1, 5), index / 7),
            "frames": torch.full((2, 3), index % 256, dtype=torch.uint8),
            "seconds_start": 1_000 + index / 3,
            "caption": f"clip {index} é",
            "event_times": [0.1] * (index % 3),
        }


def test_round_trip_in_any_order(tmp_path):
    write_cache(Numbers(11), tmp_path, identity={"spec": {"seconds": 4.0}}, shard_size=4, batch_size=3, progress=False)
    cache = CachedClips(tmp_path, fields=("audio", "frames", "seconds_start"))
    assert len(cache) == 11 and len(list(cache)) == 11
    assert cache.manifest["identity"] == {"spec": {"seconds": 4.0}} and cache.manifest["count"] == 11
    shards = {f"shard-0000{i}.{kind}" for i in range(3) for kind in ("safetensors", "json")}
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "cache.json", *shards}
    for index in (7, 0, 10, 4, 11 + 3):
        item, want = cache[index], Numbers(11)[index % 11]
        assert torch.allclose(item["audio"], want["audio"], rtol=1e-3) and item["audio"].dtype == torch.float32
        assert torch.equal(item["frames"], want["frames"])
        assert float(item["seconds_start"]) == pytest.approx(want["seconds_start"], rel=1e-7)
        assert item["caption"] == want["caption"] and item["event_times"] == want["event_times"]


def test_workers_read_the_same(tmp_path):
    write_cache(Numbers(6), tmp_path, identity={}, shard_size=4, progress=False)
    cache = CachedClips(tmp_path, fields=("audio",))
    assert cache[0]["caption"] == "clip 0 é"  # its file is open before the workers start
    batches = list(DataLoader(cache, 3, num_workers=1, collate_fn=collate_clips))
    assert torch.cat([batch["audio"] for batch in batches])[:, 0, 0] == pytest.approx(torch.arange(6) / 7, rel=1e-3)
    assert pickle.loads(pickle.dumps(cache))[3]["caption"] == "clip 3 é"  # as spawned workers get it


def test_a_killed_run_resumes_and_a_finished_one_is_kept(tmp_path):
    with pytest.raises(OSError, match="clip 6 is gone"):
        write_cache(Numbers(10, broken=6), tmp_path, identity={"a": 1}, shard_size=4, progress=False)
    with pytest.raises(FileNotFoundError, match="no cache there"):
        CachedClips(tmp_path, fields=())
    second = Numbers(10)
    write_cache(second, tmp_path, identity={"a": 1}, shard_size=4, progress=False)
    assert second.read == list(range(4, 10))
    third = Numbers(10)
    write_cache(third, tmp_path, identity={"a": 1}, shard_size=4, progress=False)
    assert third.read == []
    (tmp_path / "shard-00002.safetensors").unlink()
    write_cache(third, tmp_path, identity={"a": 1}, shard_size=4, progress=False)
    assert third.read == [8, 9]
    assert [item["caption"] for item in CachedClips(tmp_path, fields=())] == [f"clip {i} é" for i in range(10)]


def test_processes_share_the_shards_and_the_last_writes_the_manifest(tmp_path):
    write = partial(write_cache, identity={}, shard_size=3, world_size=2, progress=False)
    first, second = Numbers(10), Numbers(10)
    write(first, tmp_path, rank=1)
    assert first.read == [3, 4, 5, 9] and not (tmp_path / "manifest.json").exists()
    write(second, tmp_path, rank=0)
    assert second.read == [0, 1, 2, 6, 7, 8]
    assert [item["caption"] for item in CachedClips(tmp_path, fields=())] == [f"clip {i} é" for i in range(10)]


class Slow(Numbers):
    def __getitem__(self, index):
        time.sleep(0.02)
        return super().__getitem__(index)


def test_two_killed_processes_resume_to_the_output_of_one(tmp_path):
    def start(dataset):
        options = {"identity": {}, "shard_size": 3, "world_size": 2, "progress": False}
        fork = multiprocessing.get_context("fork")
        both = [
            fork.Process(target=write_cache, args=(dataset, tmp_path / "two"), kwargs=options | {"rank": rank})
            for rank in range(2)
        ]
        for process in both:
            process.start()
        return both

    killed = start(Slow(40))
    while not list((tmp_path / "two").glob("shard-*.json")):
        time.sleep(0.005)
    for process in killed:
        process.kill()
        process.join()
    (tmp_path / "two" / ".shard-00013.0badbeef.safetensors").write_bytes(b"half of it")  # as a kill may leave it
    early = {path: path.stat().st_mtime_ns for path in (tmp_path / "two").glob("shard-*.json")}
    assert early and not (tmp_path / "two" / "manifest.json").exists()
    for process in start(Numbers(40)):
        process.join()
        assert process.exitcode == 0
    assert all(path.stat().st_mtime_ns == written for path, written in early.items())
    write_cache(Numbers(40), tmp_path / "one", identity={}, shard_size=3, progress=False)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)


def test_another_cache_is_refused(tmp_path):
    write_cache(Numbers(3), tmp_path, identity={"spec": 1}, progress=False)
    for other in ({"identity": {"spec": 2}}, {"identity": {"spec": 1}, "shard_size": 2}):
        with pytest.raises(ValueError, match="another kind"):
            write_cache(Numbers(3), tmp_path, progress=False, **other)
    with pytest.raises(ValueError, match="no clips"):
        write_cache(Numbers(0), tmp_path / "none", identity={}, progress=False)


def test_encode_runs_per_batch_without_gradient(tmp_path):
    weight = torch.ones(1, requires_grad=True)

    def encode(batch):
        return {"latents_mean": batch["audio"] * weight * 2, "caption": batch["caption"]}

    write_cache(Numbers(5), tmp_path, identity={}, encode=encode, batch_size=2, progress=False)
    cache = CachedClips(tmp_path, fields=("latents_mean",))
    assert cache.manifest["fields"] == ["latents_mean"]
    assert torch.allclose(cache[3]["latents_mean"], torch.full((1, 5), 6 / 7), rtol=1e-3)
    with pytest.raises(ValueError, match=r"no \['audio'\], only \['latents_mean'\]"):
        CachedClips(tmp_path, fields=("audio",))


def test_values_beyond_float16_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"audio: holds 1e\+06"):
        write_cache(Numbers(2), tmp_path, identity={}, encode=lambda b: {"audio": b["audio"] * 0 + 1e6}, progress=False)


def test_damaged_shard_is_named(tmp_path):
    """Before the first clip is drawn, whichever shard it is."""
    write_cache(Numbers(3), tmp_path, identity={}, shard_size=2, progress=False)
    (tmp_path / "shard-00001.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"shard-00001\.safetensors: missing or not of the size"):
        CachedClips(tmp_path, fields=("audio",))
    (tmp_path / "shard-00001.safetensors").unlink()
    with pytest.raises(ValueError, match=r"shard-00001\.safetensors: missing or not of the size"):
        CachedClips(tmp_path, fields=("audio",))


def _rewritten(folder, change):
    """The cache in `folder` with a manifest that was edited by hand."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["shards"][0].pop("bytes"), r"manifest\.json: no manifest of a cache \('bytes' is missing\)"),
        (lambda m: m["shards"][0].update(count=10**12), r"manifest\.json: no manifest .* 1000000000000 clips"),
        (lambda m: m["shards"][0].update(count="4"), r"manifest\.json: no manifest .* '4' clips"),
        (lambda m: m["shards"][0].update(count=3), r"manifest\.json: no manifest .*other lengths than 3"),
        (lambda m: m.update(identity=[]), r"manifest\.json: no manifest of a cache \('list' object has no"),
        (lambda m: m["shards"][0].update(file="../shard-00000.safetensors"), "missing or not of the size"),
        (lambda m: m["shards"][1].update(count=9, strings={}), r"00001.safetensors: holds {'audio': 4} clips, not 9"),
        (lambda m: m["fields"].append("lost"), r"shard-00000.safetensors: damaged \(.*lost"),
    ],
)  # fmt: skip
def test_an_edited_manifest_is_refused_by_name(tmp_path, change, message):
    write_cache(Numbers(8), tmp_path / "cache", identity={}, shard_size=4, progress=False)
    _rewritten(tmp_path / "cache", change)
    fields = ("audio", "lost") if "lost" in message else ("audio",)
    with pytest.raises(ValueError, match=message):
        list(CachedClips(tmp_path / "cache", fields=fields))


@pytest.mark.parametrize("damage", ["another cache", "another name", "nested manifest", "no text"])
def test_a_shard_from_elsewhere_is_refused_by_name(tmp_path, damage):
    for name in ("ours", "theirs"):
        write_cache(Numbers(8), tmp_path / name, identity={"clips": name}, shard_size=4, progress=False)
    source = tmp_path / ("theirs" if damage == "another cache" else "ours")
    named = r"shard-00001\.safetensors: a shard of another cache, or under another's name"
    if damage.startswith("another"):
        wrong = source / ("shard-00001.safetensors" if damage == "another cache" else "shard-00000.safetensors")
        shutil.copy(wrong, tmp_path / "ours" / "shard-00001.safetensors")
    else:
        (tmp_path / "ours" / "manifest.json").write_bytes(b"[" * 100_000 if damage == "nested manifest" else b"\xff\0")
        named = r"manifest\.json: no manifest of a cache"
    with pytest.raises(ValueError, match=named):
        list(CachedClips(tmp_path / "ours", fields=("audio",)))


def test_clips_of_a_folder_go_through(greatest_hits, tmp_path):
    spec = ClipSpec(seconds=2.0, sample_rate=8_000, audio_channels=1, num_frames=2, image_size=8)
    data = GreatestHits(greatest_hits, spec=spec, fields=("audio", "frames"))
    manifest = json.loads(write_cache(data, tmp_path / "cache", identity={}, progress=False).read_text())
    assert manifest["fields"] == ["audio", "frames", "seconds_start", "seconds_total", "start"]
    item = CachedClips(tmp_path / "cache", fields=("frames", "start"))[1]
    assert torch.equal(item["frames"], data[1]["frames"]) and float(item["start"]) == 2.0
    assert item["event_times"] == data[1]["event_times"]


class Damaged(Numbers):
    """Clips 1 and 4 to 7 cannot be decoded."""

    def __getitem__(self, index):
        if index in {1, 4, 5, 6, 7}:
            raise MediaError(f"{index}.mp4: damaged")
        return super().__getitem__(index)


@pytest.mark.parametrize("format", ["safetensors", "webdataset"])
def test_clips_that_cannot_be_read_are_left_out_and_counted(tmp_path, format):
    write_cache(Damaged(10), tmp_path, identity={}, shard_size=4, batch_size=2, format=format, progress=False)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [shard["count"] for shard in manifest["shards"]] == [3, 0, 2]
    assert manifest["count"] == 5 and manifest["unread"] == 5 and "frames" in manifest["fields"]
    assert manifest["shards"][0]["unread"] == ["1.mp4: damaged"]
    reader = (
        CachedClips(tmp_path, fields=("audio",)) if format == "safetensors" else ShardedClips(str(tmp_path), fields=())
    )
    assert [item["caption"] for item in reader] == [f"clip {i} é" for i in (0, 2, 3, 8, 9)]
    with pytest.raises(ValueError, match=r"none of the 1 clips could be read, the first: 1\.mp4"):
        write_cache(Subset(Damaged(2), [1]), tmp_path / "none", identity={}, progress=False)


def write_identified(folder, spec, encoders=None):
    write_cache(Numbers(3), folder, identity={"spec": asdict(spec), "encoders": encoders or {}}, progress=False)


def test_another_spec_is_refused(tmp_path):
    write_identified(tmp_path, ClipSpec())
    assert len(CachedClips(tmp_path, fields=(), spec=ClipSpec())) == 3
    with pytest.raises(ValueError, match=r"sample_rate 44100 where 48000 is asked for, num_frames 8 where 4"):
        CachedClips(tmp_path, fields=(), spec=ClipSpec(sample_rate=48_000, num_frames=4))


def test_a_cache_of_other_encoders_is_refused(tmp_path):
    release, backbone = tmp_path / "release", tmp_path / "backbone"
    for path, content in ((release / "video_encoder", b"one"), (backbone / "vae", b"two")):
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(content)
    hashes = {f"{part}/model.safetensors": hashlib.sha256(content).hexdigest() for part, content in
              (("video_encoder", b"one"), ("vae", b"two"))}  # fmt: skip
    write_identified(tmp_path / "cache", ClipSpec(), hashes)
    check = partial(CachedClips, tmp_path / "cache", fields=())
    assert len(check(encoders=[str(release), str(backbone)])) == 3
    with pytest.raises(ValueError, match=r"vae/model\.safetensors, which is not in .*release; name its folder"):
        check(encoders=str(release))
    (release / "video_encoder" / "model.safetensors").write_bytes(b"retrained")
    with pytest.raises(ValueError, match=r"another network than .*video_encoder/model\.safetensors; write the cache"):
        check(encoders=[str(release), str(backbone)])


class Long(Dataset):
    """Latents of 4 s whose values are their places, in a cache of ten clips."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        places = torch.arange(8.0).expand(2, 8)
        return {"latents_mean": places, "control_latents": places[None], "seconds_start": 5.0, "seconds_total": 60.0}


def test_a_crop_of_latents_moves_its_start(tmp_path):
    spec = ClipSpec(seconds=4.0, sample_rate=1000, latent_hop=500)
    write_cache(Long(), tmp_path, identity={"spec": asdict(spec)}, progress=False)
    fields = ("latents_mean", "control_latents", "seconds_start", "seconds_total")
    cropped = CachedClips(tmp_path, fields=fields, crop_seconds=1.2, seed=4)
    firsts = set()
    for index in range(60):  # later passes draw anew
        item = cropped[index]
        first = int(item["latents_mean"][0, 0])
        assert torch.equal(item["latents_mean"], first + torch.arange(3.0).expand(2, 3))  # 1.2 s in latents of 0.5 s
        assert torch.equal(item["control_latents"][0], item["latents_mean"])
        assert float(item["seconds_start"]) == pytest.approx(5.0 + first * 0.5) and item["seconds_total"] == 60.0
        assert torch.equal(cropped[index]["latents_mean"], item["latents_mean"])
        firsts.add(first)
    assert firsts == {0, 1, 2, 3, 4, 5}
    with pytest.raises(ValueError, match=r"crops of 9 s from cached clips of 4 s"):
        CachedClips(tmp_path, fields=fields, crop_seconds=9.0)
    with pytest.raises(ValueError, match="need the field seconds_start"):
        CachedClips(tmp_path, fields=("latents_mean",), crop_seconds=1.0)


def test_crops_do_not_join_with_whole_latents(tmp_path):
    spec = ClipSpec(seconds=4.0, sample_rate=1000, latent_hop=500)
    write_cache(Long(), tmp_path, identity={"spec": asdict(spec)}, progress=False)
    crops = CachedClips(tmp_path, fields=("latents_mean", "seconds_start"), crop_seconds=1.2)
    with pytest.raises(ValueError, match="crops of latents in one of them and whole ones in another"):
        JoinedClips([crops, CachedClips(tmp_path, fields=("control_latents",))])
    item = JoinedClips([crops, CachedClips(tmp_path, fields=("seconds_total",))])[0]
    assert item["latents_mean"].shape == (2, 3) and item["seconds_total"] == 60.0


class Named(Dataset):
    """Clips of two videos, from `first` seconds on."""

    def __init__(self, field, value, first=0.0, videos=("a", "a", "b")):
        self.field, self.value, self.first, self.videos = field, value, first, videos

    def __len__(self):
        return len(self.videos)

    def __getitem__(self, index):
        row = {self.field: torch.full((2, 3), index + self.value), "video_id": self.videos[index]}
        return row | {"start": self.first + 4.0 * index, "caption": f"from {self.field}"}


def test_caches_of_the_same_clips_join(tmp_path):
    def cached(name, *clips, seconds=4.0):
        write_cache(Named(*clips), tmp_path / name, identity={"spec": {"seconds": seconds}}, progress=False)
        return CachedClips(tmp_path / name, fields=(clips[0],))

    latents, embeddings = cached("latents", "latents_mean", 0.0), cached("embeddings", "video_embedding", 10.0)
    joined = JoinedClips([latents, embeddings])
    assert len(joined) == len(list(joined)) == 3
    item = joined[1 + 3]
    assert item["latents_mean"][0, 0] == 1 and item["video_embedding"][0, 0] == 11
    assert item["video_id"] == "a" and item["caption"] == "from latents_mean"
    with pytest.raises(ValueError, match=r"\['latents_mean'\] asked of more than one"):
        JoinedClips([latents, latents])
    with pytest.raises(ValueError, match=r"number 0 is a from 0\.0 s against a from 0\.5 s"):
        JoinedClips([latents, cached("moved", "video_embedding", 0.0, 0.5)])
    with pytest.raises(ValueError, match=r"number 1 is a from 4\.0 s against b"):
        JoinedClips([latents, cached("other", "video_embedding", 0.0, 0.0, ("a", "b", "b"))])
    with pytest.raises(ValueError, match=r"3 clips of 4\.0 s against 2 clips of 4\.0 s"):
        JoinedClips([latents, cached("fewer", "video_embedding", 0.0, 0.0, ("a", "a"))])
    with pytest.raises(ValueError, match=r"3 clips of 4\.0 s against 3 clips of 2\.0 s"):
        JoinedClips([latents, cached("shorter", "video_embedding", 0.0, seconds=2.0)])
