"""WebDataset shards: every clip once over processes and workers, the same again on resuming, damage counted."""

import functools
import http.server
import json
import multiprocessing
import tarfile
import threading
from dataclasses import asdict

import lightning
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import Dataset

from foleygram.datasets.cache import CachedClips
from foleygram.datasets.datamodule import ClipDataModule, collate_clips
from foleygram.datasets.shards import ShardedClips, ShardLoader, Share, segments
from foleygram.features.writer import write_cache
from foleygram.spec import ClipSpec


class Numbers(Dataset):
    """Clip i holds i."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {"index": index, "latents_mean": torch.full((2, 3), index / 7), "caption": f"clip {index} é.x"}


def write(folder, size, shard_size=4, **options):
    identity = {"spec": {"seconds": 4.0}, "encoders": {}}
    options = {"identity": identity, "format": "webdataset", "shard_size": shard_size, "progress": False} | options
    write_cache(Numbers(size), folder, **options)
    return ShardedClips(str(folder), fields=("index", "latents_mean"))


def test_the_clips_are_those_of_a_safetensors_cache(tmp_path):
    shards = write(tmp_path / "tar", 11)
    write_cache(Numbers(11), tmp_path / "flat", identity={}, shard_size=4, progress=False)
    pairs = list(zip(shards, CachedClips(tmp_path / "flat", fields=("index", "latents_mean")), strict=True))
    assert shards.num_clips() == len(pairs) == 11
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys() and ours["caption"] == theirs["caption"]
        assert torch.equal(ours["latents_mean"], theirs["latents_mean"]) and ours["index"] == theirs["index"]
    with tarfile.open(tmp_path / "tar" / "shard-00002.tar") as tar:
        assert tar.getnames()[:2] == ["shard-00002-00000.json", "shard-00002-00000.safetensors"]
    with pytest.raises(ValueError, match="read them with ShardedClips"):
        CachedClips(tmp_path / "tar", fields=())
    with pytest.raises(ValueError, match="use CachedClips"):
        ShardedClips(str(tmp_path / "flat"), fields=())


def test_the_same_clips_make_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, 5)
    assert (tmp_path / "a" / "shard-00001.tar").read_bytes() == (tmp_path / "b" / "shard-00001.tar").read_bytes()


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any),
    world_size=st.integers(1, 4),
    num_workers=st.integers(1, 4),
    batch_size=st.integers(1, 5),
    shuffled=st.booleans(),
    draws=st.randoms(use_true_random=False),
)
def test_each_clip_is_in_exactly_one_share(counts, world_size, num_workers, batch_size, shuffled, draws):
    total, order = sum(counts), draws.sample(range(len(counts)), len(counts))
    seen = []
    for rank in range(world_size):
        share = Share(rank, world_size, batch_size, 0 if shuffled else None)
        stretches = [share.stretch(total, worker, num_workers) for worker in range(num_workers)]
        assert sum(count for _, count in stretches) == share.num_clips(total)
        for first, count in stretches:
            rows = [(s, r) for s, a, b in segments(counts, order, first, count) for r in range(a, b)] if count else []
            assert len(rows) == count
            seen += rows
    if shuffled:  # whole batches, fewer left over than one for each process
        assert len(seen) == len(set(seen)) and 0 <= total - len(seen) < world_size * batch_size
        assert len(seen) == world_size * batch_size * share.num_batches(total)
    else:  # all of them, and some twice where the number does not divide
        assert set(seen) == {(s, r) for s, count in enumerate(counts) for r in range(count)}
        assert len(seen) - total < world_size


def read_as(rank, folder, out):
    """One of two processes, with the environment that a launcher sets, over two workers."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    share = Share(torch.distributed.get_rank(), torch.distributed.get_world_size(), 2, 5)
    loader = ShardLoader(
        ShardedClips(str(folder), fields=("index",)), share, num_workers=2, collate_fn=collate_clips,
        position=lambda: (0, 0),
    )  # fmt: skip
    batches = [batch["index"].tolist() for batch in loader]
    assert len(batches) == len(loader)
    gathered = [None, None]
    torch.distributed.all_gather_object(gathered, batches)
    if rank == 0:
        (out / "seen.json").write_text(json.dumps(gathered))
    torch.distributed.destroy_process_group()


def test_two_processes_of_two_workers_read_every_clip_once(tmp_path):
    write(tmp_path / "shards", 48, shard_size=7)
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=read_as, args=(rank, tmp_path / "shards", tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    parts = json.loads((tmp_path / "seen.json").read_text())
    assert [len(part) for part in parts] == [12, 12]
    flat = [index for part in parts for batch in part for index in batch]
    assert sorted(flat) == list(range(48)) and flat != sorted(flat)


def order(folder, pass_number, done=0, seed=3, num_workers=0):
    clips = ShardedClips(str(folder), fields=("index",), buffer_size=6)
    loader = ShardLoader(
        clips, Share(0, 1, 4, seed), num_workers=num_workers, collate_fn=collate_clips,
        position=lambda: (pass_number, done),
    )  # fmt: skip
    return [batch["index"].tolist() for batch in loader]


def test_the_order_depends_on_seed_and_pass(tmp_path):
    write(tmp_path, 24)
    first = order(tmp_path, 0)
    assert first == order(tmp_path, 0) and sorted(index for batch in first for index in batch) == list(range(24))
    assert len({str(x) for x in (first, order(tmp_path, 1), order(tmp_path, 0, seed=4))}) == 3


@pytest.mark.parametrize("done", [1, 2, 5])
def test_a_pass_resumes_where_it_stopped(tmp_path, done):
    write(tmp_path, 25, shard_size=5)
    assert order(tmp_path, 2, done, num_workers=2) == order(tmp_path, 2, num_workers=2)[done:]


class Recorder(lightning.LightningModule):
    """Remembers what it was fed."""

    def __init__(self):
        super().__init__()
        self.layer, self.fed, self.validated = torch.nn.Linear(1, 1), [], []

    def training_step(self, batch, batch_index):
        self.fed += batch["index"].tolist()
        return self.layer(torch.ones(1, 1)).sum()

    def validation_step(self, batch, batch_index):
        self.validated += batch["index"].tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def record(folder, shards, max_steps, resume=None):
    module = Recorder()
    trainer = lightning.Trainer(
        max_steps=max_steps, accelerator="cpu", logger=False, num_sanity_val_steps=0,
        callbacks=[ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=1)],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    clips = [ShardedClips(str(shards), fields=("index",), buffer_size=8) for _ in range(2)]
    trainer.fit(module, ClipDataModule(*clips, batch_size=4, num_workers=1, seed=3), ckpt_path=resume)
    return module


def test_a_resumed_run_reads_the_batches_of_an_uninterrupted_one(tmp_path):
    write(tmp_path / "shards", 22)
    whole = record(tmp_path / "whole", tmp_path / "shards", 11)
    first = record(tmp_path / "cut", tmp_path / "shards", 7)
    rest = record(tmp_path / "cut", tmp_path / "shards", 11, resume=tmp_path / "cut" / "last.ckpt")
    assert first.fed + rest.fed == whole.fed and len(whole.fed) == 44
    assert len(set(whole.fed[:20])) == len(set(whole.fed[20:40])) == 20 and whole.fed[:20] != whole.fed[20:40]
    assert whole.validated == list(range(22)) * 2


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(tmp_path):
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_shards_come_over_http_and_from_a_command(tmp_path, served):
    local = [clip["index"].item() for clip in write(tmp_path / "set", 9)]
    for source in (f"{served}/set", f"{served}/set/", f"pipe:cat {tmp_path}/set/{{file}}"):
        assert [clip["index"].item() for clip in ShardedClips(source, fields=("index",))] == local
    with pytest.raises(OSError, match=r"elsewhere: its manifest\.json cannot be read"):
        ShardedClips(f"{served}/elsewhere", fields=("index",))


def test_shards_that_a_server_lacks_or_cuts_off_are_named_and_counted(tmp_path, served, caplog):
    write(tmp_path / "set", 12)
    (tmp_path / "set" / "shard-00000.tar").unlink()
    path = tmp_path / "set" / "shard-00002.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen = [clip["index"].item() for clip in ShardedClips(f"{served}/set", fields=("index",))]
    assert len(seen) == 12 and {4, 5, 6, 7} <= set(seen) <= {4, 5, 6, 7, 8, 9, 10}
    assert "shard-00000.tar lacks 4 of 4 clips" in caplog.text
    assert f"shard-00002.tar lacks {12 - 4 - len(set(seen))} of 4 clips" in caplog.text


class Long(Dataset):
    """Latents whose values are their places."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"index": index, "latents_mean": torch.arange(8.0).expand(2, 8), "seconds_start": 3.0}


def test_crops_move_their_start_and_differ_in_each_pass(tmp_path):
    spec = ClipSpec(seconds=4.0, sample_rate=1000, latent_hop=500)
    write_cache(Long(), tmp_path, identity={"spec": asdict(spec)}, format="webdataset", progress=False)
    fields = ("index", "latents_mean", "seconds_start")

    def starts(pass_number, seed=0):
        clips = ShardedClips(str(tmp_path), fields=fields, crop_seconds=1.0, seed=seed)
        clips.pass_number = pass_number
        found = []
        for clip in clips:
            first = int(clip["latents_mean"][0, 0])
            assert torch.equal(clip["latents_mean"], first + torch.arange(2.0).expand(2, 2))
            assert float(clip["seconds_start"]) == 3.0 + first * 0.5
            found.append(first)
        return found

    assert starts(0) == starts(0) and len({str(drawn) for drawn in (starts(0), starts(1), starts(0, seed=1))}) == 3
    with pytest.raises(ValueError, match="crops of 5 s from cached clips of 4 s"):
        ShardedClips(str(tmp_path), fields=fields, crop_seconds=5.0)


def test_a_manifest_cannot_name_a_command(tmp_path):
    write(tmp_path, 4)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for name in (
        f"pipe:touch {tmp_path}/ran",
        "../shard-00000.tar",
        "shard-00000.tar; touch ran",
        "s3://x/shard-00000.tar",
    ):
        manifest["shards"][0]["file"] = name
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match="names no WebDataset shards"):
            ShardedClips(f"pipe:cat {tmp_path}/{{file}}", fields=("index",))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match=r"write \{file\} in the command"):
        ShardedClips("pipe:cat manifest.json", fields=("index",))
    with pytest.raises(ValueError, match="give a folder, http"):
        ShardedClips("s3://bucket/set", fields=("index",))


def test_nothing_is_unpickled(tmp_path):
    write(tmp_path, 2)
    torch.save({"index": torch.tensor(0)}, tmp_path / "evil.pth")
    with tarfile.open(tmp_path / "shard-00000.tar", "w") as tar:
        for row in range(2):
            tar.add(tmp_path / "evil.pth", f"shard-00000-0000{row}.pth")
    with pytest.raises(ValueError, match="none of 2 clips could be read"):
        list(ShardedClips(str(tmp_path), fields=("index",)))


def test_a_shard_that_ends_early_is_counted_and_made_up_for(tmp_path, caplog):
    clips = write(tmp_path, 12)
    path = tmp_path / "shard-00001.tar"
    path.write_bytes(path.read_bytes()[:6000])
    seen = [clip["index"].item() for clip in clips]
    assert len(seen) == 12 and set(seen) < set(range(12)) and {0, 1, 2, 3, 8, 9, 10, 11} <= set(seen)
    lost = 12 - len(set(seen))
    assert f"shard-00001.tar lacks {lost} of 4 clips" in caplog.text and "take their place" in caplog.text
    path.unlink()
    rest = ShardedClips(str(tmp_path), fields=("index",))
    assert {clip["index"].item() for clip in rest} == {0, 1, 2, 3, 8, 9, 10, 11}
    assert "shard-00001.tar lacks 4 of 4 clips" in caplog.text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"json": b"[" * 100_000}, "maximum recursion depth"),
        ({"json": b"[1]"}, "cannot convert"),
        ({"json": b"\xff"}, "codec can't decode"),
        ({"safetensors": b"\xff" * 9}, "header"),
    ],
)  # fmt: skip
def test_a_damaged_member_is_counted(tmp_path, caplog, damage, message):
    clips = write(tmp_path, 4)
    path = tmp_path / "shard-00000.tar"
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            key, _, kind = name.partition(".")
            (tmp_path / "member").write_bytes(damage.get(kind, content) if key.endswith("2") else content)
            tar.add(tmp_path / "member", name)
    assert [clip["index"].item() for clip in clips] == [0, 1, 3, 0]
    assert "lacks 1 of 4 clips" in caplog.text and message in caplog.text


def test_strings_of_a_shard_are_not_tensors(tmp_path):
    write(tmp_path, 1)
    path = tmp_path / "shard-00000.tar"
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            (tmp_path / "member").write_bytes(b'{"index": "zero"}' if name.endswith("json") else content)
            tar.add(tmp_path / "member", name)
    (clip,) = ShardedClips(str(tmp_path), fields=("index",))
    assert clip["index"].item() == 0


def test_a_clip_without_a_member_is_counted(tmp_path, caplog):
    clips = write(tmp_path, 4)
    path = tmp_path / "shard-00000.tar"
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            if member.name != "shard-00000-00002.safetensors":
                (tmp_path / "member").write_bytes(content)
                tar.add(tmp_path / "member", member.name)
    assert [clip["index"].item() for clip in clips] == [0, 1, 3, 0]
    assert "lacks 1 of 4 clips ('shard-00000-00002 has no safetensors')" in caplog.text


def test_another_contract_is_refused(tmp_path):
    write(tmp_path, 4)
    with pytest.raises(ValueError, match=r"ClipSpec \(seconds 4\.0 where 9\.0 is asked for"):
        ShardedClips(str(tmp_path), fields=("index",), spec=ClipSpec(seconds=9.0))
    with pytest.raises(ValueError, match=r"the cache has no \['motion'\]"):
        ShardedClips(str(tmp_path), fields=("motion",))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="no manifest of a cache"):
        ShardedClips(str(tmp_path), fields=("index",))
    with pytest.raises(FileNotFoundError, match="--format webdataset"):
        ShardedClips(str(tmp_path / "gone"), fields=("index",))
